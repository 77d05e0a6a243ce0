"""Graded exercise: which examples a writing rule keeps, and which exemplars to give up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches

Array = NDArray[Any]


def _rules(rng: np.random.Generator) -> list[Arguments]:
    """Any rule; a memory of one; a fixed chance; the reservoir; the reservoir that draws from 0..n-1."""

    def full(capacity: int, later: Array) -> list[object]:
        return [np.append(np.ones(capacity), later), capacity]

    n = np.arange(5, 40)
    return [
        full(3, rng.uniform(0.2, 0.9, 9)),
        full(1, rng.uniform(0.2, 0.9, 6)),
        full(4, np.full(20, rng.uniform(0.2, 0.5))),
        full(5, 5 / (n + 1)),
        full(5, 5 / n),
    ]


def _survives(enter: Array, capacity: int, lost: Array) -> Array:
    """enter_i prod over later t of (1 - lost_t); writes to empty places lose nothing."""
    safe = np.where(np.arange(len(enter)) < capacity, 1.0, 1 - lost)
    later = np.append(np.cumprod(safe[::-1])[::-1][1:], 1.0)
    return enter * later


def _kept(enter: Array, capacity: int) -> Array:
    return _survives(enter, capacity, enter / capacity)


def _judge_kept(answer: object, enter: Array, capacity: int) -> str | None:
    wrong = matches(enter, answer, "")
    if wrong:
        return wrong
    given = np.asarray(answer, float)
    if given.min() < 0 or given.max() > 1:
        return "a probability lies between 0 and 1"
    total = float(given.sum())
    sums = "" if abs(total - capacity) < 1e-6 else f"; they should sum to {capacity}, not to {total:.3f}"
    return matches(_kept(enter, capacity), answer, "the probabilities are not right" + sums)


CHANCE_KEPT = Question(
    name="chance_kept",
    points=3,
    asks="With which probability is each example of the stream in the memory in the end?",
    inputs=_rules,
    judge=_judge_kept,
    mistakes=(
        Mistake(
            lambda enter, capacity: enter,
            "This is the probability that an example enters. It can still be overwritten by each one that enters "
            "later.",
        ),
        Mistake(
            lambda enter, capacity: _survives(enter, capacity, enter),
            "A newcomer that enters takes one place of `capacity`. It hits a given one only with probability "
            "1 / capacity.",
        ),
        Mistake(
            lambda enter, capacity: _survives(enter, 0, enter / capacity),
            "The first examples go to empty places, and overwrite nothing. Only from number `capacity` on (counted "
            "from 0) can a newcomer cost an example its place.",
        ),
    ),
    ladder=(
        "Follow one example. It must enter, and then it must survive every later newcomer.",
        "Newcomer t overwrites a given place with probability enter[t] / capacity, if the memory was full when it "
        "came. The draws are independent, so the probabilities of surviving multiply.",
        "The answer for i is enter[i] times the product of 1 - enter[t] / capacity over all t > i with t >= capacity.",
    ),
)


def _features(rng: np.random.Generator) -> list[Arguments]:
    """[n, h] and how many stay. Skewed, so that neither the farthest nor the last of herding must go."""
    return [
        [rng.exponential(size=shape) * rng.choice([-1, 1, 1], shape), size]
        for shape, size in (((12, 2), 3), ((10, 3), 2), ((9, 4), 5), ((7, 1), 1))
    ]


def _drops(features: Array, size: int, moving: bool = False) -> list[int]:
    """Indices in the order in which they go. moving: stay close to the mean of those left so far."""
    left, dropped, mean = list(range(len(features))), [], features.mean(axis=0)
    while len(left) > size:
        if moving:
            mean = features[left].mean(axis=0)
        rest = [features[[j for j in left if j != i]].mean(axis=0) for i in left]
        dropped.append(left.pop(int(np.argmin([np.linalg.norm(r - mean) for r in rest]))))
    return dropped


def _farthest(features: Array, size: int) -> list[int]:
    away = np.linalg.norm(features - features.mean(axis=0), axis=1)
    return [int(i) for i in np.argsort(-away)[: len(features) - size]]


def _herding_cut(features: Array, size: int) -> list[int]:
    """The end of iCaRL's list, the last one first."""
    mean, picked = features.mean(axis=0), list[int]()
    for k in range(1, len(features) + 1):
        distances = [
            np.inf
            if i in picked
            else float(np.linalg.norm(mean - (features[i] + features[picked].sum(axis=0)) / k))
            for i in range(len(features))
        ]
        picked.append(int(np.argmin(distances)))
    return picked[size:][::-1]


def _judge_drops(answer: object, features: Array, size: int) -> str | None:
    wanted = _drops(features, size)
    wrong = matches(wanted, answer, "")
    if wrong != "":
        return wrong
    given = np.asarray(answer, float).tolist()
    if len(set(given)) < len(given) or not set(given) <= set(range(len(features))):
        return f"give {len(wanted)} different indices from 0 to {len(features) - 1}"
    first = next(i for i, (a, b) in enumerate(zip(given, wanted, strict=True)) if a != b)
    return f"drop number {first + 1} is not the one that keeps the mean closest"


DROP_ORDER = Question(
    name="drop_order",
    points=3,
    asks="In which order does backward herding give up its exemplars?",
    inputs=_features,
    judge=_judge_drops,
    mistakes=(
        Mistake(
            _herding_cut,
            "This is iCaRL's own list, cut from its end. It was built from the front. Here the list is taken apart "
            "from the back: each time, try every exemplar that is left.",
        ),
        Mistake(
            lambda features, size: _drops(features, size, moving=True),
            "You compare with the mean of those that are left. It drifts away from what they should stand for: "
            "compare with the mean of all, which stays.",
        ),
        Mistake(
            _farthest,
            "You give up the farthest. Two that are far out on opposite sides may balance each other: what counts is "
            "the mean of those that stay.",
        ),
    ),
    ladder=(
        "One exemplar must go. For each of them, where would the mean of the others be?",
        "Choose the one for which the mean of the others is closest to the mean of *all* examples. Take it out, and "
        "begin again with those that are left.",
        "Keep a list `left`. While it is longer than size: for every i in it compute the norm of "
        "features[left without i].mean(axis=0) - features.mean(axis=0), and remove the i with the smallest.",
    ),
)

EXERCISE = Exercise("rehearsal", "memory", (CHANCE_KEPT, DROP_ORDER))
