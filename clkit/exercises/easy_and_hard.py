"""Graded exercise: whom to visit next, and the largest threshold that keeps a share of the pull."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches

Array = NDArray[Any]


def _visits(rng: np.random.Generator) -> list[Arguments]:
    """All visited often; some once and some never, twice; one that never varied; two examples."""

    def case(examples: int, visits: int, seen: int, once: int = 0) -> Arguments:
        index = np.concatenate([np.arange(seen), rng.integers(0, seen - once, visits - seen)])
        skill = rng.uniform(0.2, 0.9, seen)[index]
        said = np.clip(skill + rng.normal(size=visits) * rng.uniform(0.05, 0.2, seen)[index], 0.01, 0.99)
        order = rng.permutation(visits)
        return [index[order].tolist(), said[order], examples]

    steady: list[Any] = [[0, 1, 2, 1, 0, 2, 1], rng.uniform(0.1, 0.9, 7), 4]
    steady[1][[2, 5]] = 0.6  # the two visits of example 2
    return [case(5, 60, 5), case(8, 14, 6, once=2), case(12, 40, 9, once=2), steady, case(2, 9, 2)]


def _moments(index: list[int], said: Array, examples: int) -> tuple[Array, Array]:
    """Visits and variance over the visits, of each example."""
    at = np.array(index, int)
    count = np.bincount(at, minlength=examples).astype(float)
    mean, square = (
        np.bincount(at, weights=v, minlength=examples) / np.maximum(count, 1) for v in (said, said**2)
    )
    return count, np.maximum(square - mean**2, 0)


def _score(variance: Array, count: Array) -> Array:
    return np.sqrt(variance + variance**2 / np.maximum(count - 1, 1))


def _filled(
    index: list[int], said: Array, examples: int, score: Callable[[Array, Array], Array], least: int = 2
) -> Array:
    """Scores; who was visited less than twice has the mean of the others."""
    count, variance = _moments(index, said, examples)
    known, scores = count >= least, score(variance, count)
    return np.where(known, scores, scores[known].mean())


def _shares(index: list[int], said: Array, examples: int) -> Array:
    scores = _filled(index, said, examples, _score)
    return (scores + scores.mean()) / (2 * scores.sum())


def _unsmoothed(index: list[int], said: Array, examples: int) -> Array:
    scores = _filled(index, said, examples, _score)
    return scores / scores.sum()


def _starved(index: list[int], said: Array, examples: int) -> Array:
    count, variance = _moments(index, said, examples)
    scores = np.where(count >= 2, _score(variance, count), 0.0)
    return (scores + scores.mean()) / (2 * scores.sum())


def _certain_after_one(index: list[int], said: Array, examples: int) -> Array:
    """One visit: score 0; only who was never visited has the mean."""
    scores = _filled(index, said, examples, _score, least=1)
    return (scores + scores.mean()) / (2 * scores.sum())


def _of_variances(index: list[int], said: Array, examples: int) -> Array:
    scores = _filled(index, said, examples, lambda v, n: v + v**2 / np.maximum(n - 1, 1))
    return (scores + scores.mean()) / (2 * scores.sum())


def _judge_shares(answer: object, index: list[int], said: Array, examples: int) -> str | None:
    wrong = matches(np.zeros(examples), answer, "")
    if wrong and "NaN" in wrong:
        return (
            f"{wrong}: some example has no visits, or you found none of them. A list compared with a number is never "
            "equal to it: make `index` an array first"
        )
    if wrong:
        return wrong
    given = np.asarray(answer, float)
    if (np.abs(given) > 2 * examples).any() or abs(given.sum() - 1) > 1e-6:
        return "the probabilities of all examples must add up to 1"
    if (given < 0.5 / examples - 1e-9).any():
        return "an example comes less than half as often as it would if all were alike"
    return matches(_shares(index, said, examples), answer, "the probabilities are not right")


VISIT_SHARES = Question(
    name="visit_shares",
    points=4,
    asks="With which probability is each example drawn next, if those whose prediction varies come more often?",
    inputs=_visits,
    judge=_judge_shares,
    mistakes=(
        Mistake(
            _unsmoothed,
            "Without the mean score added, an example whose prediction never varied is never seen again, however its "
            "prediction changes from now on.",
        ),
        Mistake(
            lambda *given: given[2] * _shares(*given),
            "These are weights of a loss, with mean 1. Asked are probabilities, which add up to 1.",
        ),
        Mistake(
            _starved,
            "An example visited less than twice has no variance yet. That is not a variance of 0: give it the "
            "mean score of the examples that have one.",
        ),
        Mistake(
            _certain_after_one,
            "A single visit has a variance of 0, whatever the network thinks: nothing is there to differ from. Such an "
            "example has no score yet, like one that was never visited.",
        ),
        Mistake(
            _of_variances,
            "This is the square of the score. The root is still to be taken, before the mean score is added.",
        ),
    ),
    ladder=(
        "Make `index` an array first: a list is never equal to a number. For each example collect the probabilities of "
        "its visits; np.var gives the variance over them (divided by their number n, not by n - 1). Which examples "
        "have none?",
        "Those with two or more visits have the score sqrt(v + v**2 / (n - 1)); the others get the mean of these.",
        "Add the mean of all scores to each score, and divide by the sum of what you get.",
    ),
)


def _residuals(rng: np.random.Generator) -> list[Arguments]:
    """Late in training; early; with ties at the threshold; all alike; everything to be kept; exactly the share."""
    late = np.minimum(rng.beta(0.25, 2.0, 80) + rng.uniform(1e-4, 3e-4, 80), 1)
    early = rng.uniform(0.6, 0.95, 40)
    a, b = rng.uniform(0.5, 0.6), rng.uniform(0.2, 0.3)
    ties = rng.permutation(np.array([a, b, b, b, b, 0.02, 0.02, 0.01, 0.01]))
    return [
        [late, float(rng.uniform(0.85, 0.95))],
        [early, float(rng.uniform(0.4, 0.6))],
        [ties, float((a + rng.uniform(1.2, 1.8) * b) / ties.sum())],
        [np.full(6, rng.uniform(0.2, 0.8)), 0.45],
        [rng.uniform(0.1, 0.9, 7), 0.9999],
        [rng.permutation([0.5, 0.25, 0.125, 0.0625, 0.0625]), 0.75],  # sums without rounding
    ]


def _fitting(residuals: Array, keep: float, at_least: bool = True, enough: bool = True) -> list[list[float]]:
    """The residuals that, as thresholds, keep the share, rising; each with the share of the examples that it skips.

    at_least: an example at the threshold stays; enough: exactly the share will do.
    """
    least, found = keep * residuals.sum(), []
    for threshold in np.unique(residuals):
        stay = residuals >= threshold if at_least else residuals > threshold
        held = residuals[stay].sum()
        if held > least or (enough and held == least):
            found.append([float(threshold), float(1 - stay.mean())])
    return found or [[0.0, 0.0]]


def _largest(residuals: Array, keep: float, at_least: bool = True, enough: bool = True) -> list[float]:
    return _fitting(residuals, keep, at_least, enough)[-1]


def _one_by_one(residuals: Array, keep: float) -> list[float]:
    """Ties cut apart."""
    ordered = np.sort(residuals)[::-1]
    count = int((np.cumsum(ordered) < keep * ordered.sum()).sum()) + 1
    return [float(ordered[count - 1]), 1 - count / len(ordered)]


def _of_examples(residuals: Array, keep: float) -> list[float]:
    count = max(1, int(np.ceil(keep * len(residuals))))
    threshold = np.sort(residuals)[::-1][count - 1]
    return [float(threshold), float((residuals < threshold).mean())]


def _passes(residuals: Array, keep: float) -> list[float]:
    threshold, skipped = _largest(residuals, keep)
    return [threshold, 1 - skipped]


def _judge_threshold(answer: object, residuals: Array, keep: float) -> str | None:
    wrong = matches([0.0, 0.0], answer, "")
    if wrong:
        return wrong
    threshold = np.asarray(answer, float)[0]
    wanted = _largest(residuals, keep)
    stay = residuals >= threshold - 1e-9
    if residuals[stay].sum() < (keep - 1e-9) * residuals.sum():
        return "with this threshold the examples that remain hold less of the residual than asked"
    if abs(threshold - wanted[0]) > 1e-6:
        return "this threshold is not the largest residual that keeps enough"
    return matches(
        wanted, answer, "the threshold is right, the share of the examples that are skipped is not"
    )


LARGEST_THRESHOLD = Question(
    name="largest_threshold",
    points=3,
    asks="What is the largest threshold that keeps a given share of the residual, and how many examples does it skip?",
    inputs=_residuals,
    judge=_judge_threshold,
    mistakes=(
        Mistake(
            _of_examples,
            "You keep this share of the examples. Asked is the share of the summed residual that they hold.",
        ),
        Mistake(
            lambda residuals, keep: _largest(residuals, keep, at_least=False),
            "An example whose residual equals the threshold is not skipped: only smaller ones are skipped.",
        ),
        Mistake(
            lambda residuals, keep: _fitting(residuals, keep)[0],
            "Several thresholds keep enough, and this is the smallest. Take the largest: it skips the most.",
        ),
        Mistake(
            lambda residuals, keep: _largest(residuals, keep, enough=False),
            "Those that remain are to hold *at least* the share: exactly the share is enough.",
        ),
        Mistake(
            _passes,
            "This is the share of the examples that remain. Asked is the share that is skipped.",
        ),
        Mistake(
            _one_by_one,
            "Several examples have the same residual. A threshold cannot tell them apart: all of them stay, or none.",
        ),
    ),
    ladder=(
        "Try the residuals themselves as thresholds: between two of them nothing changes. Several keep "
        "enough; take the largest.",
        "Sort them from large to small. The running sum says how much the examples down to each of them hold.",
        "Take the first residual at which the running sum reaches keep times the total. The share skipped is that "
        "of the residuals below it.",
    ),
)

EXERCISE = Exercise("easy_and_hard", "tug_of_war", (VISIT_SHARES, LARGEST_THRESHOLD))
