"""Graded exercise: what an accuracy matrix tells, and what its measures do not see.

A [T + 1, T] holds fractions: row i is the accuracy on each task after i tasks, row 0 before training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, close, matches

Array = NDArray[Any]


def _matrices(rng: np.random.Generator) -> list[Arguments]:
    """Task 1 is best after its turn, task 2 right before its turn.

    With more than three, task 3 is best two rows before its turn, and from its turn on in the last row.
    """
    cases: list[Arguments] = []
    for tasks in (4, 3, 6):
        A = rng.uniform(0.3, 0.7, (tasks + 1, tasks))
        A[0] = rng.uniform(0.05, 0.15, tasks)
        A[tasks - 1, 0], A[1, 1] = rng.uniform(0.8, 0.9), rng.uniform(0.9, 0.95)
        if tasks > 3:
            A[1, 2], A[-1, 2] = rng.uniform(0.9, 0.95), 0.8
        cases.append([A])
    return cases


def _best(A: Array) -> Array:
    """Of each earlier task, [T - 1]: the best accuracy from its own row on, the last row included."""
    return np.array([A[j + 1 :, j].max() for j in range(A.shape[1] - 1)])


def _share(A: Array, best: Array) -> Array:
    return (best - A[-1, :-1]) / (best - A[0, :-1])


def _judge_share(answer: object, A: Array) -> str | None:
    return matches(_share(A, _best(A)), answer, "the shares are not right")


LOST_SHARE = Question(
    name="lost_share",
    points=3,
    asks="Which share of its gain has each earlier task lost?",
    inputs=_matrices,
    judge=_judge_share,
    mistakes=(
        Mistake(
            lambda A: _share(A, np.diagonal(A[1:])[:-1]),
            "You compare the end with the moment just after the task was learned. A later task may have lifted it "
            "since: take the best of its column from that moment on.",
        ),
        Mistake(
            lambda A: _share(A, A[:, :-1].max(axis=0)),
            "You take the best of the whole column. What a task reaches before its turn was given to it by other "
            "tasks, and is transfer: begin with the row in which it was learned.",
        ),
        Mistake(
            lambda A: _share(A, np.array([A[j:, j].max() for j in range(A.shape[1] - 1)])),
            "You begin one row too early, with the row before the task was learned. Row 0 is before training, so "
            "the task in column j (counted from 0) has just been learned in row j + 1.",
        ),
        Mistake(
            lambda A: _share(A, np.array([A[j + 1 : -1, j].max() for j in range(A.shape[1] - 1)])),
            "The last row takes part in the maximum; a share cannot be negative. A task that ends at its best has "
            "lost nothing.",
        ),
        Mistake(
            lambda A: (_best(A) - A[-1, :-1]) / _best(A),
            "You divide by the best accuracy itself. A part of it was there before training: the gain is the best "
            "accuracy minus that of row 0.",
        ),
    ),
    ladder=(
        "Take one column, and mark three of its entries: before training, at its best, in the end.",
        "The share is (best - end) / (best - start). `best` is the maximum over the part of the column that begins "
        "in the row where the task had just been learned; the last row belongs to it.",
        "Column j (counted from 0) belongs to task j + 1, so `best` is A[j + 1:, j].max(), for j = 0 to T - 2.",
    ),
)


def _own(A: Array) -> Array:
    return np.diagonal(A[1:])


def _kept(A: Array) -> dict[str, float]:
    """The four measures of the section that must stay."""
    return {
        "average accuracy": A[-1].mean(),
        "learned accuracy": _own(A).mean(),
        "backward transfer": (A[-1] - _own(A))[:-1].mean(),
        "forward transfer": (np.diagonal(A[:-1]) - A[0])[1:].mean(),
    }


def _forgetting(A: Array) -> float:
    """F of the section: the best entry from the task's own row to the row before the last, minus the last."""
    return float(np.mean([A[j + 1 : -1, j].max() - A[-1, j] for j in range(A.shape[1] - 1)]))


def _with(A: Array, row: int, stop: int, value: float) -> Array:
    made = A.copy()
    made[row, :stop] = value
    return made


def _all_free(A: Array) -> Array:
    """1 wherever no other measure reads, in every row."""
    made = A.copy()
    for row in range(2, A.shape[1]):
        made[row, : row - 1] = 1.0
    return made


def _judge_forgetting(answer: object, A: Array) -> str | None:
    tasks = A.shape[1]
    wanted = _with(A, tasks - 1, tasks - 2, 1.0)
    wrong = matches(wanted, answer, "")
    if wrong != "":
        return wrong  # right, or no matrix of numbers of this shape
    made = np.asarray(answer, float)
    if made.min() < 0 or made.max() > 1:
        return "an accuracy lies between 0 and 1"
    rows = [i for i in range(tasks + 1) if not close(made[i], A[i])]
    if not rows:
        return "nothing differs from A: the answer is the matrix itself"
    if len(rows) > 1:
        return f"{len(rows)} rows differ from A, it should be one: that which the maximum of most earlier tasks reads"
    before, after = _kept(A), _kept(made)
    for name in before:
        if not close(after[name], before[name]):
            return f"the {name} was {before[name]:.3f} and is now {after[name]:.3f}"
    return f"forgetting is now {_forgetting(made):.3f}, and can be {_forgetting(wanted):.3f}"


RAISE_FORGETTING = Question(
    name="raise_forgetting",
    points=3,
    asks="Change one row such that forgetting is as large as can be, and no other measure moves.",
    inputs=_matrices,
    judge=_judge_forgetting,
    mistakes=(
        Mistake(
            lambda A: _with(A, A.shape[1] - 1, A.shape[1], 1.0),
            "The right row, but not all of it is free. Its last two entries count elsewhere: one is on the "
            "diagonal, the other is accuracy on a task before its turn.",
        ),
        Mistake(
            lambda A: _with(A, A.shape[1] - 1, A.shape[1] - 1, 1.0),
            "Nearly: one entry too many. The one on the diagonal counts in learned accuracy and in backward "
            "transfer.",
        ),
        Mistake(
            lambda A: _with(A, A.shape[1], A.shape[1] - 1, 0.0),
            "That is forgetting which every measure sees: the last row counts in average accuracy and in backward "
            "transfer. Leave the end as it is, and move the best that came before it.",
        ),
        Mistake(
            _all_free,
            "No other measure reads these entries, but they stand in several rows. Each task needs only one of its "
            "free entries for its maximum: look for the row that has one of every task that has any.",
        ),
    ),
    ladder=(
        "Mark each entry that some other measure reads: the last row, the diagonal, and what stands right above "
        "the diagonal. What is left?",
        "Forgetting reads a maximum over the rows from the diagonal to the last but one. Which single row takes "
        "part in that maximum for as many earlier tasks as possible?",
        "In row T - 1, after the last but one task, the entries of the tasks 1 to T - 2 are free (with T = 2 there "
        "are none). None can be better than 1.",
    ),
)

EXERCISE = Exercise("catastrophic_forgetting", "tug_of_war", (LOST_SHARE, RAISE_FORGETTING))
