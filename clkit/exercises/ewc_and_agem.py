"""Graded exercise: the Fisher information of a softmax with a temperature, and a step that two old tasks allow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches

Array = NDArray[Any]


def _layers(rng: np.random.Generator) -> list[Arguments]:
    return [
        [rng.normal(size=(d, classes)), rng.normal(size=(n, d)), temperature]
        for d, classes, n, temperature in ((2, 3, 4, 2.0), (3, 4, 6, 0.5), (2, 2, 5, 1.0))
    ]


def _probabilities(W: Array, x: Array, temperature: float) -> Array:
    scores = x @ W / temperature
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def _fisher(W: Array, x: Array, temperature: float) -> Array:
    """The expectation over the answers, as it is defined."""
    p, total = _probabilities(W, x, temperature), np.zeros_like(W)
    for c in range(W.shape[1]):
        slope = x[:, :, None] * (np.eye(W.shape[1])[c] - p)[:, None, :] / temperature  # d log p_c / d W
        total += (p[:, c, None, None] * slope**2).mean(axis=0)
    return total


def _likeliest(W: Array, x: Array, temperature: float) -> Array:
    p = _probabilities(W, x, temperature)
    slope = x[:, :, None] * (np.eye(W.shape[1])[p.argmax(axis=1)] - p)[:, None, :] / temperature
    return np.mean(slope**2, axis=0)


def _judge_fisher(answer: object, W: Array, x: Array, temperature: float) -> str | None:
    return matches(_fisher(W, x, temperature), answer, "the importances are not right")


SOFTMAX_FISHER = Question(
    name="softmax_fisher",
    points=3,
    asks="What is the Fisher information of each weight of one layer with a softmax of a given temperature?",
    inputs=_layers,
    judge=_judge_fisher,
    mistakes=(
        Mistake(
            lambda W, x, temperature: _fisher(W, x, temperature) * temperature**2,
            "The temperature changes the probabilities, and also the slope: by the chain rule the gradient of "
            "log p in the weights is divided by it.",
        ),
        Mistake(
            lambda W, x, temperature: _fisher(W, x, temperature) * temperature,
            "The gradient carries a factor of 1 / temperature, and the Fisher information is the mean of its "
            "square.",
        ),
        Mistake(
            _likeliest,
            "You ask for the likeliest answer only. The Fisher information weighs every answer with its "
            "probability, the unlikely ones too: their gradients are large.",
        ),
    ),
    ladder=(
        "Begin with one example. How does log p_c change with the score of class k, once for k = c, once for "
        "another?",
        "With temperature t, d log p_c / d W[i, k] = x_i (1[k = c] - p_k) / t. Square it, take the mean over c with "
        "the weights p_c, and then over the examples.",
        "The mean over c of (1[k = c] - p_k)^2 is p_k (1 - p_k), so F[i, k] is the mean over the examples of "
        "x_i^2 p_k (1 - p_k) / t^2.",
    ),
)


def _guards(rng: np.random.Generator) -> list[Arguments]:
    """Pictures in a plane, in a random plane of five weights: which old task objects, and which one counts."""
    pictures = [  # g, r1, r2, slack
        ((1.0, 1.0), (4.0, 0.4), (-2.0, 0.3), 0.1),  # the second objects, their mean does not
        ((-1.0, -1.0), (1.0, 0.0), (-0.75, 1.5), 0.05),  # both object, and both count
        ((-1.0, 1.0), (1.0, 0.2), (1.0, -0.2), 0.1),  # both object, and the second counts
        ((0.6, 0.5), (1.0, -0.3), (0.2, 1.0), 0.0),  # neither objects
        ((-0.5, -0.2), (-1.0, 0.4), (0.9, 1.0), 0.0),  # the second objects; without it the first would
    ]
    cases: list[Arguments] = []
    for *vectors, slack in pictures:
        plane = np.linalg.qr(rng.normal(size=(5, 3)))[0]
        moved = [np.append(vector, 0.0) + rng.uniform(-0.02, 0.02, 3) for vector in vectors]
        g, r1, r2 = (plane @ vector for vector in moved)
        cases.append([g, r1, r2, slack])
    return cases


def _one(g: Array, r: Array, slack: float) -> Array:
    """The nearest z with z r >= -slack."""
    return g + max(0.0, float(-slack - g @ r)) / (r @ r) * r


def _both(g: Array, r1: Array, r2: Array, slack: float) -> Array:
    """The nearest z with z r1 = z r2 = -slack."""
    R = np.stack([r1, r2])
    return g - R.T @ np.linalg.solve(R @ R.T, R @ g + slack)


def _guard(g: Array, r1: Array, r2: Array, slack: float) -> Array:
    """The nearest of the candidates that both tasks allow; one of them is the nearest of all."""
    candidates = [_one(g, r1, slack), _one(g, r2, slack), _both(g, r1, r2, slack)]
    fine = [z for z in candidates if min(z @ r1, z @ r2) >= -slack - 1e-9]
    return min(fine, key=lambda z: float((z - g) @ (z - g)))


def _both_always(g: Array, r1: Array, r2: Array, slack: float) -> Array:
    fine = min(g @ r1, g @ r2) >= -slack
    return g if fine else _both(g, r1, r2, slack)


def _judge_guard(answer: object, g: Array, r1: Array, r2: Array, slack: float) -> str | None:
    wanted = _guard(g, r1, r2, slack)
    wrong = matches(wanted, answer, "")
    if wrong != "":
        return wrong
    z = np.asarray(answer, float)
    if np.abs(z).max() > 1e6:
        return "this is far from g"
    for number, r in ((1, r1), (2, r2)):
        if z @ r < -slack - 1e-6:
            return f"old task {number} allows {-slack:.3f} and above, your step has z r{number} = {z @ r:.3f}"
    return "both tasks allow this step, but a nearer one exists"


GUARD_TWO = Question(
    name="guard_two",
    points=4,
    asks="Which direction is nearest to g among those that two old tasks allow?",
    inputs=_guards,
    judge=_judge_guard,
    mistakes=(
        Mistake(
            lambda g, r1, r2, slack: _one(g, (r1 + r2) / 2, slack),
            "This is A-GEM: it guards the mean of the two old gradients. What one task gains hides what the other "
            "one loses.",
        ),
        Mistake(
            lambda g, r1, r2, slack: _one(_one(g, r1, slack), r2, slack),
            "You project for task 1 and then for task 2. The second projection may undo the first.",
        ),
        Mistake(
            _both_always,
            "You hold both tasks at their bound. A task may also gain: where one bound is enough, the step that "
            "holds only this one is nearer to g.",
        ),
    ),
    ladder=(
        "Draw it in the plane of r1 and r2. Each task allows a half plane, and what both allow is a wedge. Where can "
        "the point of a wedge nearest to g lie?",
        "There are four places: g itself, the one edge, the other edge, the corner. Compute all four, and keep those "
        "that both tasks allow.",
        "On one edge: g - (g r + slack) / (r r) r. In the corner: g - R^T (R R^T)^-1 (R g + slack), with r1 and r2 "
        "as the rows of R. Of those that are allowed, to within rounding, the nearest to g is the answer.",
    ),
)

EXERCISE = Exercise("ewc_and_agem", "gradient", (SOFTMAX_FISHER, GUARD_TWO))
