"""Boundaries that are announced at wrong moments."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from clkit import metrics
from clkit.controls import L2, Joint
from clkit.errors import ClkitError
from clkit.examples import Batch, Examples, Task
from clkit.gradient.ewc import EWC
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.streams import Rotated
from clkit.training import Training
from clkit.tug_of_war.jitter import announced

STREAM = Rotated(length=3, degrees=40, limit=(64,) * 3)
ONCE = Training(updates=(8,) * 3, batch=8, network=Mlp(hidden=(12,)))  # each of the 64 images once
SEEDS = (0, 1)


@dataclass(kw_only=True, eq=False)
class Listens(Method):
    """Writes down what it hears, and when."""

    heard: list[tuple[str, int, int]] = field(default_factory=list)
    steps: int = 0

    def begin_task(self, task: Task) -> None:
        self.heard.append(("begin", task.number, self.steps))

    def after_step(self, batch: Batch) -> None:
        self.steps += 1

    def end_task(self, task: Task) -> None:
        self.heard.append(("end", task.number, self.steps))
        self.shown = task.train


def test_announcements_come_when_they_are_said_to() -> None:
    """eq: announcements. Tasks of 8 updates; the first boundary 3 early, the second 2 late: after 5 and 18."""
    method = Listens()
    announced(method, STREAM, ONCE, (-3, 2), seeds=SEEDS)
    assert method.heard == [("begin", 0, 0), ("end", 0, 5), ("begin", 1, 5), ("end", 1, 18), ("begin", 2, 18)]


def test_an_announced_task_shows_what_was_learned_from_since_the_last() -> None:
    """Updates 5 to 17: 3 batches of the upright task, all 8 of the next, 2 of the third; every other batch: 7."""
    drawn: list[Batch] = []

    class Keeps(Listens):
        def after_step(self, batch: Batch) -> None:
            drawn.append(batch)
            super().after_step(batch)

    for thin, kept in ((1, range(5, 18)), (2, range(5, 18, 2))):
        drawn.clear()
        method = Keeps()
        announced(method, STREAM, ONCE, (-3, 2), seeds=SEEDS, thin=thin)
        shown = list(method.shown.chunks(8))
        assert method.shown.sizes == [8 * len(kept)] * 2 and len(shown) == len(kept)
        for (x, y, _), number in zip(shown, kept, strict=True):
            np.testing.assert_array_equal(x, drawn[number].x)
            np.testing.assert_array_equal(y, drawn[number].y)


@pytest.mark.parametrize("make", [Method, L2, EWC])
def test_at_the_right_moments_it_is_the_ordinary_run(make: type[Method]) -> None:
    """In one pass the examples learned from are the training set, in another order."""
    plain = run(make(), STREAM, ONCE, seeds=SEEDS, progress=False)
    found = announced(make(), STREAM, ONCE, (0, 0), seeds=SEEDS)
    np.testing.assert_allclose(found, plain.matrix, atol=0.003)  # a test image may tip over


def test_what_a_method_protects_is_put_back_and_progress_runs_from_one_announcement_to_the_next() -> None:
    """5 updates are told as task 1, then 11 as task 2; from the announcement on nothing may move."""
    progress: list[float] = []
    weights: list[np.ndarray] = []

    class Frozen(Listens):
        def protected(self):  # type: ignore[no-untyped-def]
            return (
                [(p, p.new_ones(p.shape, dtype=bool)) for p in self.parameters()]
                if len(self.heard) > 1
                else []
            )

        def after_step(self, batch: Batch) -> None:
            progress.append(self.progress)
            weights.append(self.parameters()[0].detach().numpy().copy())

    method = Frozen()
    announced(method, STREAM, ONCE, (-3, 0), seeds=SEEDS)
    assert progress == [*(u / 5 for u in range(5)), *(u / 11 for u in range(11)), *(u / 8 for u in range(8))]
    assert (weights[3] != weights[4]).any()
    last = method.parameters()[0].detach().numpy()
    np.testing.assert_array_equal(last, weights[4])


def test_who_does_not_listen_has_no_gap_and_who_does_has_one() -> None:
    """To the bit; the data change at the true moments, whatever is announced."""
    stream = Rotated(length=3, degrees=40)
    training = Training(updates=(60,) * 3, network=Mlp(hidden=(20,)))
    gaps = {}
    for method in (Method, L2):
        runs = [announced(method(), stream, training, (shift,) * 2, seeds=SEEDS) for shift in (0, 12)]
        gaps[method] = metrics.boundary_jitter_gap(*runs)
    assert (gaps[Method] == 0).all() and (gaps[L2] != 0).all()


def test_what_cannot_be_announced_is_refused() -> None:
    for shifts in ((0,), (4, 0), (0, -4)):
        with pytest.raises(ClkitError, match="2 numbers below half of 8"):
            announced(Method(), STREAM, ONCE, shifts, seeds=SEEDS)
    for method, stream in ((Joint(), STREAM), (Method(), Rotated(length=3, scenario="task"))):
        with pytest.raises(
            ClkitError, match="domain-incremental stream, and a method that does not need past"
        ):
            announced(method, stream, ONCE, (0, 0), seeds=SEEDS)

    class Joins(Method):
        def begin_task(self, task: Task) -> Examples:
            return task.train

    with pytest.raises(ClkitError, match="joins kept examples to a task"):
        announced(Joins(), STREAM, ONCE, (0, 0), seeds=SEEDS)
