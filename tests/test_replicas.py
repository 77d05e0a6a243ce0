"""Draws by key, the feed in blocks, shuffles, and any network as replicas of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from clkit import replicas
from clkit.errors import ClkitError
from clkit.replicas import Draws, Feed, Replicas, generator


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


KINDS = {
    "uniform": lambda draws: draws.uniform("noise", (2, 3), 1, 2),
    "normal": lambda draws: draws.normal("noise", (2, 3), 1, 2),
    "permutation": lambda draws: draws.permutation("noise", 9, 1, 2),
    "integers": lambda draws: draws.integers("noise", 1000, (2, 3), 1, 2),
    "shuffles": lambda draws: draws.shuffles("noise", [7] * draws.replicas, 20, 1),
}


@pytest.mark.parametrize("draw", KINDS.values(), ids=KINDS)
def test_the_same_key_gives_the_same_numbers_whatever_was_drawn_before(draw):
    draws = Draws((4, 9))
    first = draw(draws)
    draws.normal("init", (3,))
    assert torch.equal(draw(draws), first)
    assert torch.equal(draw(Draws((4, 9))), first)


@pytest.mark.parametrize("draw", KINDS.values(), ids=KINDS)
def test_a_replica_depends_on_its_own_seed_alone(draw):
    three, one = draw(Draws((4, 9, 2))), draw(Draws((9,)))
    assert torch.equal(three[1], one[0])
    assert not torch.equal(three[0], three[1])


def test_the_numbers_are_those_of_every_machine():
    """Philox is fixed by its definition; a change of the key would change every stored result."""
    assert generator(3, "init", 1, 2).random(2).tolist() == [0.9794978791771985, 0.7617071672121917]


def test_purpose_task_and_counter_each_change_the_numbers():
    keys = [(1, "order", 0, 0), (2, "order", 0, 0), (1, "init", 0, 0), (1, "order", 1, 0), (1, "order", 0, 1)]
    keys += [
        (1, "order", 1, 11),
        (1, "order", 11, 1),
        (11, "order", 1, 1),
        (1, "order1", 1, 1),
    ]  # joined alike
    firsts = [float(generator(*key).random()) for key in keys]
    assert len(set(firsts)) == len(keys)


def test_seeds_from_numpy_are_the_same_seeds():
    assert torch.equal(Draws(tuple(np.arange(2))).uniform("init", (3,)), Draws((0, 1)).uniform("init", (3,)))


def test_no_global_generator_is_read_or_moved():
    ends = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        ends.append([draw(Draws((1,))) for draw in KINDS.values()])
        ends[-1] += [p.detach() for p in Replicas(lambda: nn.Linear(2, 2), 2).parameters()]
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_distributions():
    draws = Draws((0, 1))
    uniform, whole = draws.uniform("noise", (10_000,)), draws.integers("noise", 3, (10_000,))
    normal = draws.normal("noise", (10_000,))
    # standard errors over 20,000 numbers: uniform 0.29 / 141 = 0.002; normal 0.007, its deviation 0.005
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.02
    assert whole.unique().tolist() == [0, 1, 2] and abs(whole.double().mean() - 1) < 0.03
    assert uniform.dtype == torch.float64 and normal.dtype == torch.float32
    assert Draws((0,), dtype=torch.float64).normal("noise", (3,)).dtype == torch.float64
    assert (draws.permutation("noise", 50).sort(1).values == torch.arange(50)).all()


@pytest.mark.parametrize("start, length", [(0, 8), (3, 2), (7, 2), (5, 20), (16, 8), (15, 1), (8, 0)])
def test_a_feed_is_the_blocks_laid_end_to_end(monkeypatch, start, length):
    monkeypatch.setattr(replicas, "BLOCK", 8)
    draws = Draws((3, 5))
    line = torch.cat([draws.uniform("noise", (8,), counter=i) for i in range(5)], dim=1)
    feed = Feed(draws, "noise")
    assert torch.equal(feed(start, length), line[:, start : start + length])
    assert torch.equal(feed(0, 4), line[:, :4])  # going back gives the same again


def test_a_shuffle_covers_each_round_exactly_once():
    rows = Draws((1, 2)).shuffles("order", [5, 3], 13)  # 13 = 2 x 5 + 3 = 4 x 3 + 1
    assert rows.shape == (2, 13)
    for row, size in zip(rows.tolist(), (5, 3), strict=True):
        rounds = [row[i : i + size] for i in range(0, 13, size)]
        assert all(sorted(each) == list(range(size)) for each in rounds[:-1])
        assert len(set(rounds[-1])) == len(rounds[-1])
        assert len({tuple(each) for each in rounds[:-1]}) > 1  # shuffled anew
    longer = Draws((1, 2)).shuffles("order", [5, 3], 40)
    assert torch.equal(longer[:, :13], rows)


def mlp():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_replicas_are_the_networks_that_build_makes():
    net, x = Replicas(mlp, 3), torch.randn(3, 5, 3)
    out = net(x)
    for r in range(3):
        torch.manual_seed(int(generator(r, "init", 0).integers(2**62)))
        assert torch.allclose(out[r], mlp()(x[r]), atol=1e-6)
    assert not torch.equal(out[0], out[1])
    alone = Replicas(mlp, Draws((2,)))
    assert torch.allclose(out[2], alone(x[2:])[0], atol=1e-6)
    assert not torch.equal(next(iter(Replicas(mlp, 3, task=1).parameters())), next(iter(net.parameters())))


def test_replicas_take_their_number_from_the_weights():
    """An inner loop over 4 tasks calls the network with [R * 4, ...] weights."""
    net = Replicas(mlp, Draws((0, 1), dtype=torch.float64))
    weights = {name: p.repeat_interleave(4, 0) for name, p in net.named_parameters()}
    x = torch.randn(8, 5, 3, dtype=torch.float64)
    expected = [net(torch.stack([x[i], x[4 + i]])) for i in range(4)]
    assert torch.allclose(functional_call(net, weights, (x,)), torch.stack(expected, 1).flatten(0, 1))


def test_replicas_run_on_the_meta_device():
    net = Replicas(mlp, 2).to("meta")
    out = net(torch.empty(2, 5, 3, device="meta"))
    out.sum().backward()
    assert out.shape == (2, 5, 2) and out.device.type == "meta"


def test_a_layer_used_twice_is_one_parameter():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.again = self.first

        def forward(self, x):
            return self.again(self.first(x))

    net = Replicas(Tied, Draws((0, 1), dtype=torch.float64))
    assert [tuple(p.shape) for p in net.parameters()] == [(2, 3, 3), (2, 3)]
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    w, b = (p.detach() for p in net.parameters())
    once = x @ w.mT + b[:, None]
    assert torch.allclose(net(x), once @ w.mT + b[:, None])


@pytest.mark.parametrize("running", [True, False])
def test_batch_normalisation_is_refused(running):
    """Its answer to one example depends on the others: padding at test would reach from replica to replica."""
    with pytest.raises(ClkitError, match="batch normalisation.*LayerNorm"):
        Replicas(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=running)), 2)


def test_dropout_of_torch_is_refused():
    with pytest.raises(ClkitError, match="dropout.*clkit.layers"):
        Replicas(lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)), 2)
