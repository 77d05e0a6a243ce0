"""Memories: who is in them, with which chance, and that they are copies."""

import pytest
import torch
from scipy.stats import chi2

from clkit import replicas
from clkit.buffers import Recent, Reservoir
from clkit.errors import ClkitError
from clkit.replicas import Draws


@pytest.fixture
def draws(monkeypatch):
    """Draws of many replicas; short blocks, so that they fit the memory and runs cross their edges."""
    monkeypatch.setattr(replicas, "BLOCK", 64)
    return lambda count: Draws(tuple(range(count)))


def numbered(first, count, replicas):
    """Examples whose only input and whose label is their number in the stream."""
    y = torch.arange(first, first + count).expand(replicas, -1)
    return y[..., None].float(), y


def filled(memory, n, replicas, batch=10):
    """The memory after the examples 0..n-1 in batches."""
    for first in range(0, n, batch):
        memory.add(*numbered(first, min(batch, n - first), replicas))
    return memory


def inclusions(memory, n):
    """How many replicas hold each of the examples 0..n-1."""
    return torch.bincount(memory.kept[1][:, : memory.filled].flatten(), minlength=n)


def statistic(counts, size, replicas):
    """Chi-square of n counts against the chance M / n; n - 1 degrees of freedom, as their sum is fixed."""
    n, chance = len(counts), size / len(counts)
    spread = ((counts - replicas * chance) ** 2).sum() / (replicas * chance * (1 - chance))
    return float(spread) * (n - 1) / n


class OffByOne(Reservoir):
    """The wrong one: slot j ~ U{0..n-1} for presentation n."""

    def slots(self, n):
        j = (self.coins(self.seen, len(n)) * n).long()
        return torch.where(n < self.capacity, n, j).clamp(max=self.capacity)


class PerTask(Reservoir):
    """The wrong one: it counts from zero again when half of the stream is over."""

    def slots(self, n):
        n = torch.where(n < 100, n, n - 100 + self.capacity)
        j = (self.coins(self.seen, len(n)) * (n + 1)).long()
        return torch.where(n < self.capacity, n, j).clamp(max=self.capacity)


def test_reservoir_by_hand(draws):
    """eq: reservoir. In one slot: 1/2 each after two examples, 1/3 each after three."""
    count = 3000
    memory = filled(Reservoir(1, draws(count)), 2, count, batch=1)
    # standard deviation of the share: sqrt(1/4 / 3000) = 0.009; the off-by-one rule would give (0, 1)
    assert inclusions(memory, 2) / count == pytest.approx([1 / 2, 1 / 2], abs=0.03)
    memory.add(*numbered(2, 1, count))
    assert inclusions(memory, 3) / count == pytest.approx([1 / 3] * 3, abs=0.03)


@pytest.mark.parametrize("size, n, wrong", [(20, 200, PerTask), (2, 12, OffByOne)])
def test_reservoir_keeps_every_example_of_the_stream_with_the_same_chance(draws, size, n, wrong):
    count = 3000
    low, high = chi2.ppf([0.0005, 0.9995], n - 1)
    right = filled(Reservoir(size, draws(count)), n, count)
    assert low < statistic(inclusions(right, n), size, count) < high
    # the test notices: off by one, the first two have chance 1/11, not 1/6; a large memory would hide it
    failing = filled(wrong(size, draws(count)), n, count)
    assert statistic(inclusions(failing, n), size, count) > 2 * high


@pytest.mark.parametrize("kind", [Recent, Reservoir])
def test_a_batch_is_its_examples_one_by_one(draws, kind):
    """Of two examples of one batch for the same slot the later stays."""
    one, many = (filled(kind(4, draws(50)), 90, 50, batch=size) for size in (1, 30))
    for a, b in zip(one.kept, many.kept, strict=True):
        assert torch.equal(a[:, :4], b[:, :4])


def test_recent_by_hand(draws):
    # example n goes to slot n mod 3: after 0..7 slot 0 has 6, slot 1 has 7, slot 2 has 5
    memory = filled(Recent(3, draws(2)), 8, 2, batch=8)
    assert memory.kept[1][:, :3].tolist() == [[6, 7, 5]] * 2
    assert memory.kept[0][:, :3, 0].tolist() == [[6.0, 7.0, 5.0]] * 2


@pytest.mark.parametrize("kind", [Recent, Reservoir])
def test_size_and_order_while_there_is_room(draws, kind):
    memory = kind(12, draws(3))
    for n, first in enumerate(range(0, 20, 5), start=1):
        memory.add(*numbered(first, 5, 3))
        assert memory.filled == min(5 * n, 12)
        if 5 * n <= 12:
            assert memory.kept[1][:, : 5 * n].tolist() == [list(range(5 * n))] * 3
        kept = memory.kept[1][:, : memory.filled]
        assert all(len(set(row)) == memory.filled for row in kept.tolist())  # a subset of the stream
        assert int(kept.max()) < 5 * n


def test_a_stream_that_fits_is_kept_whole_with_its_duplicates(draws):
    memory = Reservoir(8, draws(2))
    for _ in range(2):  # two epochs of the same four
        memory.add(*numbered(0, 4, 2))
    assert memory.kept[1][:, :8].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]] * 2


def test_examples_are_copies(draws):
    x, y = (t.clone() for t in numbered(0, 4, 2))
    memory = Reservoir(4, draws(2))
    memory.add(x.requires_grad_(), y)
    with torch.no_grad():
        x.fill_(-1)
    y.fill_(-1)
    assert memory.kept[1][:, :4].tolist() == [[0, 1, 2, 3]] * 2
    assert memory.kept[0][:, :4, 0].tolist() == [[0.0, 1.0, 2.0, 3.0]] * 2
    assert not memory.kept[0].requires_grad
    sample = memory.sample(4)
    sample[0].fill_(9)
    assert float(memory.kept[0].max()) < 9


def test_samples_are_different_examples_with_their_labels(draws):
    memory = filled(Reservoir(10, draws(5)), 6, 5)
    x, y = memory.sample(4)
    assert x.shape == (5, 4, 1) and y.shape == (5, 4)
    assert torch.equal(x[..., 0].long(), y)
    assert all(len(set(row)) == 4 for row in y.tolist())
    _, every = memory.sample(50)  # more than there are: all six, once
    assert every.sort(dim=1).values.tolist() == [list(range(6))] * 5


def test_samples_are_uniform_and_never_repeat_themselves(draws):
    count, memory = 400, Reservoir(8, draws(400))
    filled(memory, 8, count)
    drawn = torch.stack([memory.sample(2)[1] for _ in range(10)])  # [10, R, 2]
    counts = torch.bincount(drawn.flatten(), minlength=8)
    low, high = chi2.ppf([0.0005, 0.9995], 7)
    assert low < statistic(counts, 2, 10 * count) < high
    assert not torch.equal(drawn[0], drawn[1])


def test_a_replica_does_not_depend_on_the_others(draws):
    beside = filled(Reservoir(5, Draws((7, 3, 9))), 60, 3)
    alone = filled(Reservoir(5, Draws((3,))), 60, 1)
    assert torch.equal(beside.kept[1][1:2, :5], alone.kept[1][:, :5])
    assert torch.equal(beside.sample(3)[1][1:2], alone.sample(3)[1])


def test_bytes(draws):
    # (10 + 1) slots of 16 float32 inputs and an int64 label: 11 * (64 + 8) = 792
    memory = Reservoir(10, draws(3))
    assert memory.bytes_kept() == 0
    memory.add(torch.zeros(3, 2, 4, 4), torch.zeros(3, 2, dtype=torch.int64))
    assert memory.bytes_kept() == 792


def test_no_room_keeps_nothing(draws):
    memory = filled(Reservoir(0, draws(2)), 5, 2)
    assert memory.filled == 0 and memory.bytes_kept() == 0
    with pytest.raises(ClkitError, match="capacity"):
        Reservoir(-1, draws(2))
