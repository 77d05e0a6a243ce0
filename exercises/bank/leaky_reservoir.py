"""An example of a teacher's own exercise: what a leaky reservoir still holds of each task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches


def _streams(rng: np.random.Generator) -> list[Arguments]:
    return [
        [capacity, float(rng.uniform(0.2, 0.8)), [int(n) for n in rng.integers(capacity, 30, tasks)]]
        for capacity, tasks in ((4, 3), (1, 2), (10, 5))
    ] + [[5, 0.5, [20]]]


def _held(capacity: int, hit: float, sizes: Sequence[int], certain: bool = True) -> list[float]:
    """A place holds what was last written to it; nothing was with probability (1 - hit)^writers."""
    later = np.cumsum([0, *sizes[::-1]])[
        ::-1
    ]  # examples that came after the start of each task; 0 at the end
    untouched = (1 - hit) ** later.astype(float)
    if certain:
        untouched[0] = 0.0  # the first examples fill the places
    return [float(capacity * (b - a)) for a, b in zip(untouched, untouched[1:], strict=False)]


def _judge(answer: object, capacity: int, chance: float, sizes: Sequence[int]) -> str | None:
    wanted = _held(capacity, chance / capacity, sizes)
    wrong = matches(wanted, answer, "")
    if wrong != "":
        return wrong
    given = np.asarray(answer, float)
    if given.min() < 0 or given.max() > capacity:
        return "the memory holds from 0 to `capacity` examples of a task"
    total = float(given.sum())
    sums = "" if abs(total - capacity) < 1e-6 else f"; they should sum to {capacity}, not to {total:.3f}"
    return "the numbers are not right" + sums


LEAKY_SHARE = Question(
    name="leaky_share",
    points=4,
    asks="How many examples of each task does a leaky reservoir hold on average?",
    inputs=_streams,
    judge=_judge,
    mistakes=(
        Mistake(
            lambda capacity, chance, sizes: [capacity * n / sum(sizes) for n in sizes],
            "This is a true reservoir, whose newcomers enter more and more rarely. Here they enter with the same "
            "chance for ever, so the past leaks away.",
        ),
        Mistake(
            lambda capacity, chance, sizes: _held(capacity, chance, sizes),
            "A newcomer that enters takes one place of `capacity`: a given place is hit with probability "
            "chance / capacity.",
        ),
        Mistake(
            lambda capacity, chance, sizes: _held(capacity, chance / capacity, sizes, certain=False),
            "The memory is full in the end, and your numbers do not sum to its capacity. The first examples enter "
            "for certain, one into each place.",
        ),
    ),
    ladder=(
        "Look at a single place. Whose example does it hold in the end? That of the last one who wrote there.",
        "With s = 1 - chance / capacity, a place escapes n newcomers with probability s^n. It holds an example of "
        "task t if it escaped all later tasks and was hit during task t.",
        "With n_t examples after the end of task t: capacity (s^(n_t) - s^(n_t + size_t)) for t > 1, and for task 1, "
        "which filled the places, capacity s^(n_1).",
    ),
)

EXERCISE = Exercise("leaky_reservoir", "memory", (LEAKY_SHARE,))
