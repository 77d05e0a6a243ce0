"""Graded exercise: bowls that take turns for ever, and the largest step size of a ball with momentum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches

Array = NDArray[Any]
power = np.linalg.matrix_power


def _curvature(rng: np.random.Generator, *eigenvalues: float) -> Array:
    """A symmetric matrix with these eigenvalues, turned at random."""
    turn = np.linalg.qr(rng.normal(size=(len(eigenvalues), len(eigenvalues))))[0]
    made = turn @ np.diag(eigenvalues) @ turn.T
    return (made + made.T) / 2


def _cycles(rng: np.random.Generator) -> list[Arguments]:
    """Two bowls; two with equal blocks; one that is flat in a direction; two of these; three weights."""

    def points(size: int) -> Array:
        return rng.uniform(-2, 2, size)

    steep, flat = rng.uniform(2.5, 3.5, 5), rng.uniform(0.4, 0.8, 5)
    first, second = np.array([1, rng.uniform(-0.3, 0.3)]), np.array([rng.uniform(-0.3, 0.3), 1])
    bowls = [_curvature(rng, steep[i], flat[i]) for i in range(4)]
    three = [_curvature(rng, steep[4], 1.0, flat[4]) for _ in range(2)]
    return [
        [bowls[0], points(2), bowls[1], points(2), 0.1, 2, 5],
        [bowls[2], points(2), bowls[3], points(2), 0.2, 3, 3],
        [np.outer(first, first), points(2), bowls[1], points(2), 0.15, 6, 2],
        [np.outer(first, first), points(2), np.outer(second, second), points(2), 0.2, 4, 3],
        [three[0], points(3), three[1], points(3), 0.1, 30, 12],
    ]


def _rest(S1: Array, m1: Array, S2: Array, m2: Array) -> Array:
    """w = m2 + S2 (m1 + S1 (w - m1) - m2), solved for w."""
    one = np.eye(len(m1))
    return np.linalg.solve(one - S2 @ S1, S2 @ (one - S1) @ m1 + (one - S2) @ m2)


def _cycle_end(A1: Array, m1: Array, A2: Array, m2: Array, lr: float, k1: int, k2: int) -> Array:
    one = np.eye(len(m1))
    return _rest(power(one - lr * A1, k1), m1, power(one - lr * A2, k2), m2)


def _after_task_1(A1: Array, m1: Array, A2: Array, m2: Array, lr: float, k1: int, k2: int) -> Array:
    return _cycle_end(A2, m2, A1, m1, lr, k2, k1)


def _other_order(A1: Array, m1: Array, A2: Array, m2: Array, lr: float, k1: int, k2: int) -> Array:
    one = np.eye(len(m1))
    S1, S2 = power(one - lr * A1, k1), power(one - lr * A2, k2)
    return np.linalg.solve(one - S1 @ S2, S2 @ (one - S1) @ m1 + (one - S2) @ m2)


def _balance(A1: Array, m1: Array, A2: Array, m2: Array, lr: float, k1: int, k2: int) -> Array:
    return np.linalg.solve(k1 * A1 + k2 * A2, k1 * A1 @ m1 + k2 * A2 @ m2)


def _by_entries(A1: Array, m1: Array, A2: Array, m2: Array, lr: float, k1: int, k2: int) -> Array:
    one = np.eye(len(m1))
    return _rest((one - lr * A1) ** k1, m1, (one - lr * A2) ** k2, m2)


def _judge_cycle(
    answer: object, A1: Array, m1: Array, A2: Array, m2: Array, lr: float, k1: int, k2: int
) -> str | None:
    wanted = _cycle_end(A1, m1, A2, m2, lr, k1, k2)
    return matches(wanted, answer, "one more cycle from your point does not lead back to it")


CYCLE_END = Question(
    name="cycle_end",
    points=4,
    asks="Where do the weights stand after each cycle of k1 steps on task 1 and k2 steps on task 2?",
    inputs=_cycles,
    judge=_judge_cycle,
    mistakes=(
        Mistake(
            _balance,
            "This is where the pulls balance, each counted as often as it acts. It is the limit of small steps. "
            "Within a block the weights move, and the pull with them.",
        ),
        Mistake(
            _after_task_1,
            "This is where the weights stand after the block of task 1. Asked is the other end of the swing.",
        ),
        Mistake(
            _other_order,
            "The constant is right. But I - S1 S2 has its two matrices in the wrong order: the block taken last stands "
            "leftmost, as it does in the constant.",
        ),
        Mistake(
            _by_entries,
            "`**` raises each entry of a matrix to the power. A block of k steps multiplies by the matrix k times: "
            "np.linalg.matrix_power.",
        ),
    ),
    ladder=(
        "A point of rest of the cycle is one that the cycle maps to itself. What does one block make of a point w?",
        "With S1 = (I - lr A1)^k1 the first block leads from w to m1 + S1 (w - m1). Put this into the same line "
        "for task 2, and set the result equal to w. Mind the order: the block taken last stands leftmost.",
        "Collect w on one side: (I - S2 S1) w = S2 (I - S1) m1 + (I - S2) m2. np.linalg.solve does the rest.",
    ),
)


def _pairs(rng: np.random.Generator) -> list[Arguments]:
    """Two curvatures and a momentum; the last without."""
    cases: list[Arguments] = []
    for size, momentum in ((2, 0.5), (2, 0.9), (4, 0.7), (3, 0.0)):
        A1, A2 = (_curvature(rng, *rng.uniform(0.3, 4.0, size)) for _ in range(2))
        cases.append([A1, A2, momentum])
    return cases


def _top(A: Array) -> float:
    return float(np.linalg.eigvalsh(A)[-1])


def _radius(A: Array, lr: float, momentum: float) -> float:
    """What (v, w) is multiplied by in the long run: the largest eigenvalue of one step, in absolute value."""
    one = np.eye(len(A))
    step = np.block([[momentum * one, -lr * A], [momentum * one, one - lr * A]])
    return float(np.abs(np.linalg.eigvals(step)).max())


def _judge_step(answer: object, A1: Array, A2: Array, momentum: float) -> str | None:
    wrong = matches([0.0], answer, "") and matches(0.0, answer, "")  # a number, or an array of one?
    if wrong:
        return wrong
    lr = float(np.asarray(answer, float).ravel()[0])
    if not 0 < lr < 1e6:
        return "a step size is positive, and never this large here"
    if _radius(A1 + A2, 0.9999 * lr, momentum) >= 1:
        return "with a slightly smaller step size the weights already run away"
    if _radius(A1 + A2, 1.0001 * lr, momentum) < 1:
        return "with a slightly larger step size the weights still come to rest"
    return None


LARGEST_STEP = Question(
    name="largest_step",
    points=3,
    asks="What is the largest step size of joint training with momentum?",
    inputs=_pairs,
    judge=_judge_step,
    mistakes=(
        Mistake(
            lambda A1, A2, momentum: 2 / _top(A1 + A2),
            "This is the bound without momentum. A velocity that turns round at each step damps the jumps, and "
            "allows more.",
        ),
        Mistake(
            lambda A1, A2, momentum: 2 * (1 + momentum) / (_top(A1) + _top(A2)),
            "You add the largest eigenvalues of the two curvatures. The steepest directions of two bowls differ: "
            "take the largest eigenvalue of the sum.",
        ),
        Mistake(
            lambda A1, A2, momentum: 2 / ((1 - momentum) * _top(A1 + A2)),
            "You multiply the bound by 1 / (1 - momentum), the sum 1 + momentum + momentum^2 + ... At the bound the "
            "gradient changes its sign in each step: the earlier ones count with alternating signs.",
        ),
        Mistake(
            lambda A1, A2, momentum: 2 * (1 - momentum) / _top(A1 + A2),
            "On a long slope momentum multiplies the step by 1 / (1 - momentum). At the bound there is no slope: the "
            "gradient changes its sign in each step.",
        ),
    ),
    ladder=(
        "Look along one eigenvector of A1 + A2, with eigenvalue c: two numbers, the velocity and the distance to "
        "the minimum. At the bound the distance just repeats itself with the sign changed.",
        "Let the distance be x, -x, x, ... Then the velocity, the difference of two of them, is -2x, then 2x. Put "
        "both into v <- momentum v - lr c x.",
        "This gives lr c = 2 (1 + momentum). The eigenvalue c that is reached first is the largest of A1 + A2.",
    ),
)

EXERCISE = Exercise("two_weights", "tug_of_war", (CYCLE_END, LARGEST_STEP))
