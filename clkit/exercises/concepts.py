"""Graded exercise: the modes of any tree, and what a deep linear network says in the middle of learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches

Array = NDArray[Any]


def _trees(rng: np.random.Generator) -> list[Arguments]:
    """The section's tree; other numbers of branches; one level; a level that splits nothing."""
    first, second = rng.choice([2, 3, 4, 5], 2, replace=False).tolist()
    return [[[3, 2]], [[2, 2, 2]], [[first, second]], [[second]], [[2, 1, first]], [[first, 2, 3]]]


def _leaves(branches: Sequence[int]) -> list[int]:
    """Items below a node of each level, the root first."""
    return [int(np.prod(branches[level:])) for level in range(len(branches) + 1)]


def _squares(branches: Sequence[int]) -> Array:
    """A node's split makes a mode for each branch but one; s^2 = items below a branch, summed over the levels there."""
    leaves, found = _leaves(branches), [float(sum(_leaves(branches)))]
    for level, count in enumerate(branches):
        nodes = int(np.prod(branches[:level]))
        found += [float(sum(leaves[level + 1 :]))] * (nodes * (count - 1))
    return np.array(found)


def _without_root(branches: Sequence[int]) -> Array:
    squares = _squares(branches)
    squares[0] -= np.prod(branches)
    return np.sort(np.sqrt(squares))[::-1]


def _without_items(branches: Sequence[int]) -> Array:
    inner = _table(branches)[:, : -int(np.prod(branches))]
    return np.linalg.svd(inner, compute_uv=False)


def _judge_values(answer: object, branches: Sequence[int]) -> str | None:
    wanted = np.sqrt(_squares(branches))
    wrong = matches(wanted, answer, "these are not the singular values of that tree")
    if (
        wrong
        and wrong != "return numbers"
        and np.asarray(answer).shape == (len(branches) + 1,) != wanted.shape
    ):
        return f"{wrong}: a value for each item, not one for each level. Repeat equal values"
    return wrong


TREE_VALUES = Question(
    name="tree_values",
    points=3,
    asks="Which singular values has a tree with any number of branches?",
    inputs=_trees,
    judge=_judge_values,
    mistakes=(
        Mistake(
            _squares,
            "These are the squares. The eigenvalues of F F' are the squared singular values of F.",
        ),
        Mistake(
            _without_root,
            "The root is a node too: there is a feature that all items have.",
        ),
        Mistake(
            lambda branches: np.sqrt(_squares(branches))[::-1],
            "The values are right, and in rising order. Asked is the largest first, the order of learning.",
        ),
        Mistake(
            lambda branches: np.sqrt(np.unique(_squares(branches))[::-1]),
            "Each value is right, but there once. There is a mode for each item.",
        ),
        Mistake(
            _without_items,
            "The items are nodes too: each has a feature that no other item has.",
        ),
    ),
    ladder=(
        "Build the table: a row for each item, a column for each node. At a level with n nodes the columns are n "
        "blocks of equal height.",
        "np.repeat(np.eye(n), items // n, axis=0) is the part of a level with n nodes. How many nodes has each level, "
        "the root and the items included?",
        "Level k has np.prod(branches[:k]) nodes, k from 0 to len(branches). Put the parts side by side; "
        "np.linalg.svd(..., compute_uv=False) gives the values.",
    ),
)


def _table(branches: Sequence[int]) -> Array:
    leaves = _leaves(branches)
    return np.concatenate([np.repeat(np.eye(leaves[0] // n), n, axis=0) for n in leaves], axis=1)


def _moments(rng: np.random.Generator) -> list[Arguments]:
    """Trees with a few more features of their own; early, in the middle, at the start and long after."""
    cases: list[Arguments] = []
    for branches, t in (([2, 2], 1.5), ([2, 2, 2], 1.2), ([3, 2], 2.0), ([2, 3], 0.0), ([4], 30.0)):
        table = _table(branches)
        more = (rng.random((len(table), 2)) < 0.5).astype(float)
        cases.append(
            [np.concatenate([table, more], axis=1), 10 ** rng.uniform(-4, -2), t * rng.uniform(0.8, 1.2)]
        )
    return cases


def _answers(F: Array, strengths: Callable[[Array], Array]) -> Array:
    u, s, v = np.linalg.svd(F, full_matrices=False)
    return u @ np.diag(strengths(s)) @ v


def _sigmoid(s: Array, a0: float, t: float, rate: Array) -> Array:
    return s / (1 + (s / a0 - 1) * np.exp(-rate * t))


def _judge_answers(answer: object, F: Array, a0: float, t: float) -> str | None:
    wanted = _answers(F, lambda s: _sigmoid(s, a0, t, 2 * s))
    return matches(wanted, answer, "this is not what the network says at that time")


ANSWERS_AT = Question(
    name="answers_at",
    points=4,
    asks="What does a deep linear network say of each item at a time t?",
    inputs=_moments,
    judge=_judge_answers,
    mistakes=(
        Mistake(
            lambda F, a0, t: _answers(F, lambda s: s + (a0 - s) * np.exp(-t)),
            "This is a network of one layer: all modes at one pace. With two layers the strengths follow a sigmoid.",
        ),
        Mistake(
            lambda F, a0, t: _answers(F, lambda s: _sigmoid(s, a0, t, s)),
            "Your modes take twice as long as they should. Two layers pull, so the exponent is 2 s t.",
        ),
        Mistake(
            lambda F, a0, t: _answers(F, lambda s: _sigmoid(s**2, a0, t, 2 * s**2)),
            "You put squared singular values into the formula. Those of F itself belong there.",
        ),
        Mistake(
            lambda F, a0, t: _answers(F, lambda s: _sigmoid(s, a0, t, 2 * s)).T,
            "This is the right answer on its side. The rows of F are items, so with numpy's U, s, V' of F the answers "
            "are U diag(a) V', the other way round from the section.",
        ),
    ),
    ladder=(
        "Take F apart into modes, give each its strength at time t, and put it together again.",
        "np.linalg.svd(F, full_matrices=False) gives U, s and V'. In the answers each s is replaced by the strength "
        "that this mode has at time t.",
        "a = s / (1 + (s / a0 - 1) exp(-2 s t)), and the answers are U diag(a) V'.",
    ),
)

EXERCISE = Exercise("concepts", "tug_of_war", (TREE_VALUES, ANSWERS_AT))
