"""Graded exercise: a run with the measures one asks for, and what a paper's averages tell about transfer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, close, matches

Array = NDArray[Any]
VALUES = "the values are not right"  # what `matches` says where the shape is right
DIAGONAL = "is the diagonal still what you set? Row T - 1 holds the diagonal entry of task T - 1"


def _wanted(rng: np.random.Generator) -> list[Arguments]:
    """Tasks, F, BWT: no backward transfer; a gain; F = -BWT; a large gain; negative forgetting."""
    small = rng.uniform(-0.02, 0.02, 5)
    return [
        [3, 0.3 + small[0], 0.0],
        [3, 0.25 + small[1], 0.1],
        [4, 0.2 + small[2], -(0.2 + small[2])],
        [6, 0.1 + small[3], 0.3],
        [5, -0.1 + small[4], 0.2],
    ]


def _run(tasks: int, forgetting: float, backward: float, *, rise: float) -> Array:
    """All tasks but the last two rise by `rise` before the last row, all but the last end at `backward`."""
    A = np.full((tasks + 1, tasks), max(0.0, -backward))  # after learning
    A[tasks - 1, : tasks - 2] += rise
    A[tasks, : tasks - 1] += backward
    return A


def _spread_over_all(tasks: int, forgetting: float, backward: float) -> Array:
    return _run(tasks, forgetting, backward, rise=forgetting + backward)


def _in_the_next_row(tasks: int, forgetting: float, backward: float) -> Array:
    """Every task rises by F + BWT in the row after its own; for the last but one, that row is the last."""
    A = np.full((tasks + 1, tasks), 0.5)
    for j in range(tasks - 1):
        A[j + 2 :, j] = 0.5 + forgetting + backward
        A[tasks, j] = 0.5 + backward
    return A


def _over_the_diagonal(tasks: int, forgetting: float, backward: float) -> Array:
    """Row T - 1 is filled with the best of all earlier tasks, the entry on the diagonal included."""
    A = _run(tasks, forgetting, backward, rise=0.0)
    A[tasks - 1, : tasks - 1] = A[tasks, 0] + forgetting
    return A


def _without_row_0(tasks: int, forgetting: float, backward: float) -> Array:
    return _run(tasks, forgetting, backward, rise=_rise(tasks, forgetting, backward))[1:]


def _from_the_best(tasks: int, forgetting: float, backward: float) -> Array:
    return _run(tasks, forgetting, backward, rise=_rise(tasks, forgetting, 0.0))


def _rise(tasks: int, forgetting: float, backward: float) -> float:
    return (forgetting + backward) * (tasks - 1) / (tasks - 2)


def _judge_run(answer: object, tasks: int, forgetting: float, backward: float) -> str | None:
    wrong = matches(np.zeros((tasks + 1, tasks)), answer)
    if wrong and wrong != VALUES:
        return wrong
    A = np.asarray(answer, float)
    if A.min() < 0 or A.max() > 1:
        return (
            f"an accuracy lies between 0 and 1, yours reach from {A.min():.4g} to {A.max():.4g}. Choose another "
            "accuracy just after learning: it must be at least -BWT, and the lower it is, the more room is above"
        )
    earlier = range(tasks - 1)
    F = np.mean([A[j + 1 : tasks, j].max() - A[tasks, j] for j in earlier])
    own = np.array([A[tasks, j] - A[j + 1, j] for j in earlier])
    BWT = own.mean()
    if abs(BWT - backward) > 1e-6:
        said = f"backward transfer of your matrix is {BWT:.4f}, asked is {backward:.4f}"
        return f"{said}: {DIAGONAL}" if np.abs(own[:-1] - backward).max() < 1e-6 else said
    if abs(F - forgetting) > 1e-6:
        said = (
            f"backward transfer of your matrix is right; its forgetting is {F:.4f}, asked is {forgetting:.4f}"
        )
        short = abs((F + BWT) * (tasks - 1) - (forgetting + backward) * (tasks - 2)) < 1e-6
        return (
            f"{said}: did task {tasks - 1}, which has no row to rise in, get a share of the rise?"
            if short
            else said
        )
    return None


BUILD_RUN = Question(
    name="build_run",
    points=4,
    asks="Which run of so many tasks has this forgetting and this backward transfer?",
    inputs=_wanted,
    judge=_judge_run,
    mistakes=(
        Mistake(
            _spread_over_all,
            "You let the tasks rise as if all but the last could. The last but one has no row between its own and the "
            "last: it cannot. The others must rise by more, for the mean is over all T - 1.",
        ),
        Mistake(
            _in_the_next_row,
            "You let every task rise by F + BWT after its turn. Task T - 1 has no row to rise in: the row after its "
            "own is the last, which the maximum leaves out. So F comes out too small. What must the others do?",
        ),
        Mistake(
            _over_the_diagonal,
            "You fill row T - 1 for all earlier tasks. For task T - 1 that row is its own: you overwrite its accuracy "
            "just after learning. And it has no other row to rise in, so the others must rise by more.",
        ),
        Mistake(
            _without_row_0,
            "The matrix has T + 1 rows: row 0 is the network before any training. Neither measure looks at it.",
        ),
        Mistake(
            _from_the_best,
            "You raise by the forgetting, as if it were counted from the accuracy after learning. It is counted from "
            "the last row: the rise is what forgetting and backward transfer come to together.",
        ),
    ),
    ladder=(
        "If BWT is wrong: take the same accuracy c for every task just after it was learned. Which number in the last "
        "row gives BWT, and is the diagonal still c when all is filled? If only F is wrong: write down, for each task, "
        "the rows that its maximum looks at.",
        "The last row is c + BWT. Forgetting then needs a best of c + BWT + F in the mean: tasks must rise above c "
        "after their turn and fall again. In which rows, and for which tasks, is there room?",
        "In row T - 1 the first T - 2 tasks have room. Each must rise by (F + BWT) (T - 1) / (T - 2). All entries stay "
        "between 0 and 1 with c = max(0, -BWT).",
    ),
)


def _tables(rng: np.random.Generator) -> list[Arguments]:
    """ACC, LA, F and T of runs that were made up entry by entry."""
    cases: list[Arguments] = []
    for tasks in (2, 3, 5, 10):
        A = rng.uniform(0.3, 0.9, (tasks + 1, tasks))
        own, last = np.diagonal(A[1:]), A[-1]
        F = np.mean([A[j + 1 : tasks, j].max() - last[j] for j in range(tasks - 1)])
        cases.append([float(last.mean()), float(own.mean()), float(F), tasks])
    return cases


def _read(average: float, learned: float, forgetting: float, tasks: int) -> Array:
    backward = (average - learned) * tasks / (tasks - 1)
    return np.array([backward, forgetting + backward])


def _judge_table(answer: object, average: float, learned: float, forgetting: float, tasks: int) -> str | None:
    expected = _read(average, learned, forgetting, tasks)
    wrong = matches(expected, answer)
    if wrong != VALUES:
        return wrong
    right = [close(given, wanted) for given, wanted in zip(np.asarray(answer, float), expected, strict=True)]
    if not any(right):
        return "neither the backward transfer nor the rise is right"
    return (
        "the backward transfer is right, the rise is not"
        if right[0]
        else "the rise is right, the backward transfer is not"
    )


READ_TABLE = Question(
    name="read_table",
    points=3,
    asks="What do average accuracy, learned accuracy and forgetting say about backward transfer?",
    inputs=_tables,
    judge=_judge_table,
    mistakes=(
        Mistake(
            lambda average, learned, forgetting, tasks: [
                average - learned,
                forgetting + average - learned,
            ],
            "Average and learned accuracy are means over T tasks, backward transfer is a mean over T - 1.",
        ),
        Mistake(
            lambda average, learned, forgetting, tasks: [-forgetting, 0.0],
            "Backward transfer is minus the forgetting only where no task rises after its turn. The table tells "
            "whether one did.",
        ),
        Mistake(
            lambda average, learned, forgetting, tasks: [
                _read(average, learned, forgetting, tasks)[0],
                forgetting - _read(average, learned, forgetting, tasks)[0],
            ],
            "The first number is right. The rise is from the accuracy after learning to the best; forgetting goes from "
            "the best to the end, backward transfer from after learning to the end. Add them.",
        ),
    ),
    ladder=(
        "Write T ACC and T LA as sums over the tasks, and subtract. What does the last task contribute?",
        "The last task contributes nothing, since its entry in the last row is the one on the diagonal. So T (ACC - "
        "LA) is the sum of which backward transfer is the mean.",
        "BWT = T (ACC - LA) / (T - 1). And best - learned = (best - end) + (end - learned), whose mean is F + BWT.",
    ),
)

EXERCISE = Exercise("desiderata", "tug_of_war", (BUILD_RUN, READ_TABLE))
