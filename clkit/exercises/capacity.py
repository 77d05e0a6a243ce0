"""Graded exercise: what a linear network of fixed width loses of task 1, and which runs are on the frontier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, close, matches

Array = NDArray[Any]


def _streams(rng: np.random.Generator) -> list[Arguments]:
    """Random tasks; tasks that share directions; room for five tasks of seven; one unit; tasks of unequal size."""
    shared = rng.normal(size=(5, 2, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.normal(size=(5, 2, 8))
    return [
        [rng.normal(size=(6, 2, 9)), 4],
        [shared, 3],
        [rng.normal(size=(7, 1, 7)), 5],
        [rng.normal(size=(4, 3, 6)), 1],
        [rng.normal(size=(5, 2, 7)) * np.array([0.5, 1, 2, 1, 3])[:, None, None], 3],
    ]


def _kept(stacked: Array, width: int) -> Array:
    """The projection on the `width` directions of the input that matter most."""
    top = np.linalg.svd(stacked)[2][:width]
    return top.T @ top


def _left(task: Array, kept: Array) -> float:
    return float(((task - task @ kept) ** 2).sum())


def _first_task_error(tasks: Array, width: int) -> list[float]:
    return [_left(tasks[0], _kept(np.concatenate(tasks[:t]), width)) for t in range(1, len(tasks) + 1)]


def _all_tasks(tasks: Array, width: int) -> list[float]:
    singular = [np.linalg.svd(np.concatenate(tasks[:t]))[1] for t in range(1, len(tasks) + 1)]
    return [float((s[width:] ** 2).sum()) for s in singular]


def _mean(tasks: Array, width: int) -> list[float]:
    return [total / t for t, total in enumerate(_all_tasks(tasks, width), start=1)]


def _newest_only(tasks: Array, width: int) -> list[float]:
    return [_left(tasks[0], _kept(task, width)) for task in tasks]


def _root(tasks: Array, width: int) -> list[float]:
    return [float(np.sqrt(error)) for error in _first_task_error(tasks, width)]


def _mean_entry(tasks: Array, width: int) -> list[float]:
    return [error / tasks[0].size for error in _first_task_error(tasks, width)]


def _columns(tasks: Array, width: int) -> list[float]:
    tops = [np.linalg.svd(np.concatenate(tasks[:t]))[2][:, :width] for t in range(1, len(tasks) + 1)]
    return [_left(tasks[0], top @ top.T) for top in tops]


def _judge_error(answer: object, tasks: Array, width: int) -> str | None:
    wanted = _first_task_error(tasks, width)
    wrong = matches(wanted, answer, "another error")
    if wrong != "another error":
        return wrong
    right = [close(given, value) for given, value in zip(np.asarray(answer, float), wanted, strict=True)]
    t = (
        right.index(False) if not all(right) else 0
    )  # each is within its own tolerance, not within that of all
    return (
        f"{width} hidden units: after t = {t + 1} the error on task 1 is {wanted[t]:.4g}, "
        f"yours is {np.asarray(answer, float)[t]:.4g}"
    )


FIRST_TASK_ERROR = Question(
    name="first_task_error",
    points=4,
    asks="What error on task 1 does the best linear network of a given width make, as tasks are added?",
    inputs=_streams,
    judge=_judge_error,
    mistakes=(
        Mistake(
            _all_tasks,
            "This is the error on all tasks together, what the best network makes smallest. Asked is the part "
            "of it that falls on task 1.",
        ),
        Mistake(_mean, "This is the mean error of the tasks so far. They do not lose alike: ask for task 1."),
        Mistake(
            _mean_entry,
            "You take the mean over the entries of M1. The error is their sum: the k outputs add up, and so do the d "
            "inputs of each.",
        ),
        Mistake(
            _columns,
            "You take the first columns of Vt. np.linalg.svd gives V transposed: the right singular vectors are its "
            "rows.",
        ),
        Mistake(
            _newest_only,
            "You let the hidden layer serve the newest task only. That is sequential training. Here all tasks so far "
            "are stacked, and the layer serves them together.",
        ),
        Mistake(
            _root, "Almost: the error is the square of this, the sum of the squared entries that are missed."
        ),
    ),
    ladder=(
        "All the hidden layer can do is to choose which `width` directions of the input to pass on. Everything else "
        "about the input is lost to all tasks alike.",
        "tasks[:t], stacked, has the shape (t * k, d). The matrix of rank `width` nearest to it keeps its largest "
        "singular values (Eckart and Young 1936). The directions passed on are the first `width` rows of Vt, anew for "
        "each t.",
        "With these as the rows of W (orthonormal), task 1 becomes M1 W'W. The error is the sum of the squares of "
        "M1 - M1 W'W, for the W of each t.",
    ),
)


def _clouds(rng: np.random.Generator) -> list[Arguments]:
    """Runs with ties, then with two equal runs; a curve with a dent; many at random; a negative intransigence.

    Of the runs with ties, (1, 5) is beaten by (1, 4) alone, a tie in forgetting, and (5, 1) by (3, 1) alone, a tie in
    intransigence: half of the rule misses one of the two.
    """
    ties = np.array([[3, 1], [3, 4], [1, 4], [1, 5], [5, 1], [2, 2], [4, 3]], float)
    twins = np.array([[2, 2], [2, 2], [1, 5], [6, 0], [4, 4]], float)
    dent = np.array([[0, 10], [1, 9.5], [4, 8.5], [5, 5.5], [10, 0], [11, 0.5]], float)
    many = rng.uniform(0, 40, size=(15, 2)).round()
    below = rng.uniform(-6, 3, size=(12, 2)).round(1)
    clouds = [cloud[rng.permutation(len(cloud))] for cloud in (ties, twins, dent)]
    clouds += [np.vstack([cloud, cloud.max(0) + 1]) for cloud in (many, below)]  # one is beaten for certain
    return [[cloud[:, 0].copy(), cloud[:, 1].copy()] for cloud in clouds]


def _compared(forgetting: Array, intransigence: Array) -> tuple[Array, Array]:
    """[K, K]: is run j (row) no worse than run k (column) on both; is it better on both?"""
    F, I = forgetting, intransigence  # noqa: E741
    return (F[:, None] <= F) & (I[:, None] <= I), (F[:, None] < F) & (I[:, None] < I)


def _frontier(forgetting: Array, intransigence: Array) -> Array:
    no_worse, _ = _compared(forgetting, intransigence)
    return np.asarray(~(no_worse & ~no_worse.T).any(0))


def _better_on_both(forgetting: Array, intransigence: Array) -> Array:
    return np.asarray(~_compared(forgetting, intransigence)[1].any(0))


def _must_forget_less(forgetting: Array, intransigence: Array) -> Array:
    no_worse, _ = _compared(forgetting, intransigence)
    return np.asarray(~(no_worse & (forgetting[:, None] < forgetting)).any(0))


def _must_learn_better(forgetting: Array, intransigence: Array) -> Array:
    no_worse, _ = _compared(forgetting, intransigence)
    return np.asarray(~(no_worse & (intransigence[:, None] < intransigence)).any(0))


def _no_twins(forgetting: Array, intransigence: Array) -> Array:
    return np.asarray(_compared(forgetting, intransigence)[0].sum(0) == 1)


def _cheapest(forgetting: Array, intransigence: Array) -> Array:
    """What some price of forgetting makes the cheapest."""
    found = np.zeros(len(forgetting), bool)
    for price in np.linspace(0.001, 0.999, 999):
        cost = price * forgetting + (1 - price) * intransigence
        found |= cost <= cost.min() + 1e-12
    return found


def _judge_frontier(answer: object, forgetting: Array, intransigence: Array) -> str | None:
    wanted = _frontier(forgetting, intransigence)
    wrong = matches(wanted, answer, "not the frontier")
    if wrong != "not the frontier":
        return wrong
    k = int(np.argmax(np.abs(np.asarray(answer, float) - np.asarray(wanted, float)) > 1e-6))
    place = f"forgetting {forgetting[k]:g}, intransigence {intransigence[k]:g}"
    if wanted[k]:
        return f"run {k} ({place}) is on the frontier: no other run beats it"
    return f"run {k} ({place}) is not on the frontier: another run beats it"


FRONTIER = Question(
    name="on_frontier",
    points=3,
    asks="Which runs are on the frontier between stability and plasticity?",
    inputs=_clouds,
    judge=_judge_frontier,
    mistakes=(
        Mistake(
            _better_on_both,
            "You throw a run out only where another is better on both. To be as good on one and better on the other is "
            "enough.",
        ),
        Mistake(
            _must_forget_less,
            "Half of the rule: you throw a run out only where another forgets less. One that forgets as much and "
            "learns better beats it, too.",
        ),
        Mistake(
            _must_learn_better,
            "Half of the rule: you throw a run out only where another learns better. One that learns as well and "
            "forgets less beats it, too.",
        ),
        Mistake(_no_twins, "Two equal runs do not beat each other: to beat is to be better somewhere."),
        Mistake(
            _cheapest,
            "These are the runs that some price of forgetting makes the cheapest. Where the frontier has a dent, a run "
            "in it is never the cheapest, and yet no other run beats it.",
        ),
    ),
    ladder=(
        "Write down first, for two runs j and k, when j beats k. It takes two conditions: no worse on both, and ...",
        "j beats k if F[j] <= F[k] and I[j] <= I[k], and one of the two is strict. k is on the frontier if no j does.",
        "Compare all pairs: F[:, None] <= F is the matrix of 'row no worse than column'. A run is out if its column "
        "holds a True that is not mutual.",
    ),
)

EXERCISE = Exercise("capacity", "tug_of_war", (FIRST_TASK_ERROR, FRONTIER))
