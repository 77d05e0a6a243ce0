"""Graded exercise: the best single answer to tasks that contradict each other, and meta-learning with a spring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches

Array = NDArray[Any]


def _worlds(rng: np.random.Generator) -> list[Arguments]:
    """The most frequent task wants an extreme answer, and is less frequent than the others together."""
    cases: list[Arguments] = []
    for chances in ((0.4, 0.15, 0.2, 0.25), (0.3, 0.1, 0.15, 0.2, 0.25), (0.75, 0.25)):
        y = np.cumsum(rng.uniform(0.5, 1.5, len(chances))) + rng.uniform(-4, 0)
        order = rng.permutation(len(chances))
        cases.append([y[order], np.array(chances)[order]])
    return cases


def _judge_best(answer: object, y: Array, chance: Array) -> str | None:
    wrong = matches([0.0, 0.0], answer, "")
    if wrong:
        return wrong
    squared, absolute = (float(a) for a in np.asarray(answer, float))
    if max(abs(squared), abs(absolute)) > 1e6:
        return "no task wants an answer this large"
    if matches(chance @ y, squared):
        return "another answer has a smaller mean squared error"
    least = min(chance @ np.abs(y - a) for a in y)  # piecewise linear: smallest at a corner
    if chance @ np.abs(y - absolute) > least + 1e-9:
        return "another answer has a smaller mean absolute error"
    return None


BEST_ANSWER = Question(
    name="best_answer",
    points=3,
    asks="What is the best single answer in squared error, and in absolute error?",
    inputs=_worlds,
    judge=_judge_best,
    mistakes=(
        Mistake(
            lambda y, chance: [chance @ y, chance @ y],
            "The mean is best in squared error only. In absolute error each task pulls with the same force, however "
            "far away it is.",
        ),
        Mistake(
            lambda y, chance: [y.mean(), np.median(y)],
            "You count all tasks alike. Some are met more often, and pull more often.",
        ),
        Mistake(
            lambda y, chance: [chance @ y, y[chance.argmax()]],
            "You answer the most frequent task. All the others may lie to one side of it, and together they may be "
            "met more often.",
        ),
    ),
    ladder=(
        "Move the answer f a little to the right. By how much does each task's loss change, and how often is it met?",
        "Squared error: the derivative is 2 sum_k chance_k (f - y_k). Absolute error: it is the chance of all tasks to "
        "the left of f minus the chance of all to the right. Where does each change its sign?",
        "The first is zero at sum_k chance_k y_k. For the second sort y, add up the chances in this order, and take "
        "the first y at which the sum reaches one half.",
    ),
)


def _springs(rng: np.random.Generator) -> list[Arguments]:
    cases: list[Arguments] = []
    for size, strength in ((2, 2.0), (3, 0.5), (4, 5.0)):
        roots = rng.normal(size=(2, size, size))
        A, B = (root @ root.T + 0.3 * np.eye(size) for root in roots)
        w, c, d = rng.normal(size=(3, size))
        cases.append([w, A, c, B, d, strength])
    return cases


def _rest(w: Array, A: Array, c: Array, strength: float) -> Array:
    """Where A (v - c) + strength (v - w) = 0."""
    return np.linalg.solve(A + strength * np.eye(len(w)), A @ c + strength * w)


def _spring_gradient(w: Array, A: Array, c: Array, B: Array, d: Array, strength: float) -> Array:
    """The first row by central differences of J, which are exact for a quadratic."""

    def J(w: Array) -> float:
        away = _rest(w, A, c, strength) - d
        return float(away @ B @ away / 2)

    exact = [(J(w + e) - J(w - e)) / 2 for e in np.eye(len(w))]
    return np.stack([exact, B @ (_rest(w, A, c, strength) - d)])


def _without_strength(w: Array, A: Array, c: Array, B: Array, d: Array, strength: float) -> Array:
    return _spring_gradient(w, A, c, B, d, strength) * np.array([[1 / strength], [1.0]])


def _one_step(w: Array, A: Array, c: Array, B: Array, d: Array, strength: float) -> Array:
    """MAML with one step of size 1 / strength."""
    g = B @ (w - A @ (w - c) / strength - d)
    return np.stack([g - A @ g / strength, g])


def _first_order_twice(w: Array, A: Array, c: Array, B: Array, d: Array, strength: float) -> Array:
    return np.stack([B @ (_rest(w, A, c, strength) - d)] * 2)


def _judge_spring(
    answer: object, w: Array, A: Array, c: Array, B: Array, d: Array, strength: float
) -> str | None:
    wanted = _spring_gradient(w, A, c, B, d, strength)
    wrong = matches(wanted, answer, "")
    if wrong != "":
        return wrong
    given = np.asarray(answer, float)
    if matches(wanted[1], given[1]):
        return "the first-order gradient (row 1) is not the query gradient at the place of rest"
    return "the exact gradient (row 0) does not agree with differences of J"


SPRING_GRADIENT = Question(
    name="spring_gradient",
    points=4,
    asks="What are the exact and the first-order meta-gradient, when the inner loop comes to rest against a spring?",
    inputs=_springs,
    judge=_judge_spring,
    mistakes=(
        Mistake(
            _first_order_twice,
            "Both rows hold the first-order gradient. When w moves, the place of rest moves with it, but not as far: "
            "the exact gradient needs dv / dw.",
        ),
        Mistake(
            _one_step,
            "This is MAML with one step of size 1 / strength. Here the inner loop runs until it rests: solve for the "
            "point where the support gradient and the spring cancel.",
        ),
        Mistake(
            _without_strength,
            "A factor is missing in dv / dw. Check a spring of enormous strength: it holds v at w, so dv / dw must "
            "become the identity.",
        ),
    ),
    ladder=(
        "At rest the two forces on v cancel. Write this as an equation, and solve it for v.",
        "(A + k I) v = A c + k w, with k for the strength. How does v change when w changes? The loss of the query set "
        "then follows from the chain rule.",
        "dv / dw = k (A + k I)^-1, which is symmetric. With g = B (v - d), row 0 is k (A + k I)^-1 g and row 1 is g.",
    ),
)

EXERCISE = Exercise("contradictory_tasks", "meta", (BEST_ANSWER, SPRING_GRADIENT))
