"""Two tasks that come and go: the streams, the schedule of a batch, and what it does to the absent task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.data import load
from clkit.errors import ClkitError
from clkit.loop import run
from clkit.method import Method, cross_entropy
from clkit.nets import Mlp
from clkit.training import Training
from clkit.tug_of_war.absence import (
    BOTH,
    FIRST,
    SECOND,
    Scheduled,
    blocks,
    energies,
    scheduled,
    two_phases,
)

SIZE = len(load("digits").train)


class Watched(Scheduled):
    """Remembers which examples were learned from."""

    def start(self, *arguments) -> None:  # type: ignore[no-untyped-def]
        super().start(*arguments)
        self.seen: list[torch.Tensor] = []

    def after_step(self, batch) -> None:  # type: ignore[no-untyped-def]
        super().after_step(batch)
        self.seen.append(batch.index)
        x, y, _ = self.task.train.take(batch.index)
        assert torch.equal(x, batch.x) and torch.equal(y, batch.y)


def watched(shares: tuple[float, ...], seeds: tuple[int, ...] = (0, 1)) -> torch.Tensor:
    """[updates, R, B]: positions in the training set; those from SIZE on belong to task 2."""
    method, half = Watched(shares=shares), len(shares) // 2
    training = Training(updates=(half, len(shares) - half), network=Mlp(hidden=(4,)))
    run(method, two_phases(BOTH, BOTH), training, seeds=seeds, progress=False)
    return torch.stack(method.seen)


def test_phases_hold_the_tasks_they_name() -> None:
    """The mixture has both tasks' rows; each test set shows one task; task 2 has the same pixels in another order."""
    mixed, single = two_phases(BOTH, SECOND), two_phases(FIRST, SECOND)
    assert len(mixed.sources[0].train) == 2 * SIZE and len(mixed.sources[1].train) == SIZE
    first, second = single.sources
    assert torch.equal(first.x.sort(1).values, second.x.sort(1).values) and not torch.equal(first.x, second.x)
    for a, b in zip(mixed.sources, single.sources, strict=True):
        assert torch.equal(a.x[a.test], b.x[b.test])


def test_the_mixture_has_task_1_in_its_first_half() -> None:
    """What the schedule relies on: positions 0..n-1 of the mixture are task 1, n..2n-1 the same labels as task 2."""
    mixed, single = two_phases(BOTH, BOTH).sources[0], two_phases(FIRST, SECOND)
    for half, source in ((slice(0, SIZE), single.sources[0]), (slice(SIZE, None), single.sources[1])):
        assert torch.equal(mixed.x[mixed.train][half], source.x[source.train])
        assert torch.equal(mixed.y[mixed.train][half], source.y[source.train])


def test_energy_is_the_squared_norm_of_each_replicas_own_gradient() -> None:
    """eq: gradient-energy, against autograd on one replica at a time; a mean over replicas would be too small."""
    stream, method = two_phases(FIRST, SECOND), Method()
    training = Training(updates=(3, 3), network=Mlp(hidden=(6,)))
    run(method, stream, training, replicas=2, dtype=torch.float64, progress=False)
    energy = energies(method, stream)
    data = stream.tasks(method.draws)[1].train
    rows = torch.arange(data.sizes[0]).expand(2, -1)
    batch = next(data.batches(rows, rows.shape[1], stream.rule(), 0))
    for r in range(2):
        loss = cross_entropy(method.net(batch.x), batch)[r]
        grads = torch.autograd.grad(loss, method.parameters())
        expected = sum(float(g.square().sum()) for g in grads)
        np.testing.assert_allclose(energy[r, 1], expected, rtol=1e-9)


def test_blocks_take_turns() -> None:
    assert blocks(2, total=6) == (0, 0, 1, 1, 0, 0)
    assert blocks(1, total=4) == (0, 1, 0, 1)
    assert sum(blocks(400)) == 800  # half of the 1600 updates, whatever the length
    assert all(blocks(length)[-1] == 1 for length in (1, 5, 20, 100, 400, 800))  # task 1 is absent in the end


def test_a_share_of_none_or_all_shows_one_task_only_across_the_phases() -> None:
    """Task 1 for three updates, then task 2; the change lies within the second phase, which begins at update 2."""
    task = watched((0.0, 0.0, 0.0, 1.0)) >= SIZE
    assert not task[:3].any() and task[3].all()


def test_a_share_is_a_chance_for_each_place_and_every_example_comes_in_turn() -> None:
    """0.25 of 2 x 40 x 32 = 2560 places: sd 0.0086. Within one pass no example of a task can come twice."""
    index = watched((0.25,) * 40)
    assert abs(float((index >= SIZE).double().mean()) - 0.25) < 4 * 0.0086
    for replica in range(2):
        own = index[:20, replica].flatten()  # 640 places of one phase: less than a pass of 1097
        assert len(own.unique()) == len(own)
    assert not torch.equal(index[:, 0], index[:, 1])


def test_a_replica_depends_on_its_own_seed_only() -> None:
    assert torch.equal(watched((0.5,) * 4, seeds=(0, 7))[:, 1], watched((0.5,) * 4, seeds=(7,))[:, 0])


def test_too_few_shares_are_refused() -> None:
    training = Training(updates=(3, 2), network=Mlp(hidden=(4,)))
    with pytest.raises(ClkitError, match="one for each update"):
        run(Scheduled(shares=(0.5,) * 4), two_phases(BOTH, BOTH), training, replicas=1, progress=False)


def test_one_long_block_costs_the_absent_task_more_than_many_short_ones() -> None:
    """The same examples in all: 300 updates of each task. A run that ignored the schedule would show no difference."""
    ends = {length: scheduled(blocks(length, 600), replicas=3).accuracy[:, -1] for length in (1, 300)}  # type: ignore[index]
    assert (ends[1][:, 0] - ends[300][:, 0]).min() > 0.1
    assert ends[300][:, 1].min() > 0.9  # who is present does well
