"""Graded exercise: how a variant of progressive networks grows, and what leaks through a lateral."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches

Array = NDArray[Any]
Widths = Sequence[int]  # inputs, units of each hidden layer, outputs


def _plain_size(widths: Widths) -> int:
    """Weights and biases of a network."""
    return sum((a + 1) * b for a, b in zip(widths, widths[1:], strict=False))


def _ear(widths: Widths, middle: int) -> int:
    """What a column needs to hear one older column: V and U of every layer above the first."""
    return sum(middle * (a + b) for a, b in zip(widths[1:], widths[2:], strict=False))


def _totals(widths: Widths, middle: int, tasks: int) -> list[int]:
    size, ear = _plain_size(widths), _ear(widths, middle)
    return [k * size + k * (k - 1) // 2 * ear for k in range(1, tasks + 1)]


def _networks(rng: np.random.Generator) -> list[Arguments]:
    return [
        [[int(n) for n in rng.integers(3, 30, layers)], int(rng.integers(2, 9)), tasks]
        for layers, tasks in ((4, 5), (3, 8), (5, 4), (4, 1))
    ]


def _judge_kept(answer: object, widths: Widths, middle: int, tasks: int) -> str | None:
    return matches(_totals(widths, middle, tasks), answer, "the counts are not right")


PARAMETERS_KEPT = Question(
    name="parameters_kept",
    points=3,
    asks="How many parameters are kept after each task?",
    inputs=_networks,
    judge=_judge_kept,
    mistakes=(
        Mistake(
            lambda widths, middle, tasks: [
                _plain_size(widths) + k * _ear(widths, middle) for k in range(tasks)
            ],
            "You count the newest column alone. All columns are kept, with everything they listen through.",
        ),
        Mistake(
            lambda widths, middle, tasks: [
                (k + 1) * _plain_size(widths) + k * _ear(widths, middle) for k in range(tasks)
            ],
            "You let each column hear its predecessor only. Column k hears k - 1 older columns, through an adapter "
            "of its own for each of them.",
        ),
        Mistake(
            lambda widths, middle, tasks: [
                k * _plain_size(widths)
                + k * (k - 1) // 2 * (_ear(widths, middle) + middle * (widths[0] + widths[1]))
                for k in range(1, tasks + 1)
            ],
            "You give an adapter to the first hidden layer, too. Below it is only the input, which every column sees "
            "anyway.",
        ),
    ),
    ladder=(
        "Three counts, one after the other: a network on its own; what it takes to hear one older column; how many "
        "pairs of a column and an older one there are.",
        "A layer from a to b units has (a + 1) b parameters, and an adapter beside it has middle (a + b). There is one "
        "beside every layer but the first, the output layer included.",
        "With P parameters in a network and a in all the adapters of one pair, T columns hold T P + T (T - 1) / 2 a.",
    ),
)


def _exceeds(widths: Widths, middle: int, wider: Widths, tasks: int) -> bool:
    return _totals(widths, middle, tasks)[-1] > tasks * _plain_size(wider)


def _rivals(rng: np.random.Generator) -> list[Arguments]:
    """In the second case the two hold equally many at some number of tasks."""
    inputs, units, outputs = (int(n) for n in rng.integers(4, 10, 3))
    even = [inputs, units, outputs], 1, [inputs, 2 * units + outputs, outputs]
    deep = [int(n) for n in rng.integers(8, 14, 4)]
    more = [deep[0], *(2 * n for n in deep[1:-1]), deep[-1]]
    return [[deep, 2, more], list(even), [deep, 6, more], [even[0], 3, [inputs, units + 1, outputs]]]


def _judge_even(answer: object, widths: Widths, middle: int, wider: Widths) -> str | None:
    wrong = matches(0, answer, "")  # of the shape of a number?
    if wrong:
        return wrong
    tasks = int(np.asarray(answer, float))
    if tasks < 1 or tasks != np.asarray(answer, float):
        return "the number of tasks is a whole number from 1 on"
    if tasks > 10_000 or (tasks > 1 and _exceeds(widths, middle, wider, tasks - 1)):
        return "with fewer tasks the columns already keep more"
    if not _exceeds(widths, middle, wider, tasks):
        return f"with {tasks} tasks the columns do not keep more yet"
    return None


def _needed(widths: Widths, middle: int, wider: Widths) -> float:
    """(T - 1) / 2 of where both keep equally many."""
    return (_plain_size(wider) - _plain_size(widths)) / _ear(widths, middle)


BREAK_EVEN = Question(
    name="break_even",
    points=2,
    asks="From how many tasks on do columns keep more parameters than wider networks that hear nothing?",
    inputs=_rivals,
    judge=_judge_even,
    mistakes=(
        Mistake(
            lambda widths, middle, wider: int(np.floor(1 + _needed(widths, middle, wider))) + 1,
            "You compare the newest column with one wider network. Asked is the sum: the early columns are small, "
            "and for a while they pay for the late ones.",
        ),
        Mistake(
            lambda widths, middle, wider: int(np.ceil(1 + 2 * _needed(widths, middle, wider))),
            "At this number of tasks both keep equally many. Asked is the first at which the columns keep more.",
        ),
    ),
    ladder=(
        "Write down what both keep after T tasks, with P and Q for the parameters of the narrow and of the wide "
        "network.",
        "T P + T (T - 1) / 2 a > T Q, where a is what it takes to hear one older column. Divide by T.",
        "T > 1 + 2 (Q - P) / a. You may also simply count T upwards until the inequality holds.",
    ),
)


def _leaks(rng: np.random.Generator) -> list[Arguments]:
    cases: list[Arguments] = []
    for size in (2, 3, 5):
        w1, w2, x1, x2 = rng.normal(size=(4, size))
        lateral, y1, y2 = rng.choice([-1, 1], 3) * rng.uniform(0.5, 1.5, 3)
        cases.append([w1, w2, float(lateral), x1, float(y1), x2, float(y2), 0.2])
    return cases


def _move(w1: Array, w2: Array, lateral: float, x2: Array, y2: float, lr: float) -> Array:
    """What one step on task 2 adds to w1."""
    error = w2 @ x2 + lateral * (w1 @ x2) - y2
    return -lr * error * lateral * x2


def _rise(w1: Array, x1: Array, y1: float, move: Array) -> float:
    """What a move of w1 costs task 1."""
    return float(((w1 + move) @ x1 - y1) ** 2 / 2 - (w1 @ x1 - y1) ** 2 / 2)


def _judge_leak(
    answer: object,
    w1: Array,
    w2: Array,
    lateral: float,
    x1: Array,
    y1: float,
    x2: Array,
    y2: float,
    lr: float,
) -> str | None:
    wanted = _rise(w1, x1, y1, _move(w1, w2, lateral, x2, y2, lr))
    return matches(wanted, answer, "this is not what task 1 loses")


LATERAL_LEAK = Question(
    name="lateral_leak",
    points=3,
    asks="What does one step on task 2 cost task 1 if its column is not frozen?",
    inputs=_leaks,
    judge=_judge_leak,
    mistakes=(
        Mistake(
            lambda w1, w2, lateral, x1, y1, x2, y2, lr: 0.0,
            "This is the answer for a frozen column. Here the optimiser holds w1 as well, and f2 depends on it "
            "through the lateral.",
        ),
        Mistake(
            lambda w1, w2, lateral, x1, y1, x2, y2, lr: _rise(
                w1, x1, y1, _move(w1, w2, lateral, x2, y2, lr) / lateral
            ),
            "On its way back to w1 the gradient passes through the lateral, and is multiplied by it.",
        ),
        Mistake(
            lambda w1, w2, lateral, x1, y1, x2, y2, lr: float(
                (w1 @ x1 - y1) * (_move(w1, w2, lateral, x2, y2, lr) @ x1)
            ),
            "This is the first order in lr. Asked is the exact change: compute the loss of task 1 before and after "
            "the step.",
        ),
    ),
    ladder=(
        "Which weights does the loss of task 2 depend on? Write f2 out, with f1 put in.",
        "f2(x) = w2 x + lateral (w1 x). The gradient of the loss of task 2 in w1 is (f2(x2) - y2) lateral x2.",
        "Move w1 by -lr times this gradient. Then take the loss of task 1 with the new w1, minus that with the old.",
    ),
)

EXERCISE = Exercise("growing_networks", "modular", (PARAMETERS_KEPT, BREAK_EVEN, LATERAL_LEAK))
