"""Relation networks: invariance, what they reduce to, and the scenes."""

from __future__ import annotations

import numpy as np
import torch

from clkit.replicas import Draws
from clkit.tug_of_war import relations as n

DRAWS = Draws((0, 1), dtype=torch.float64)


def test_the_order_of_the_objects_changes_nothing() -> None:
    """eq: relation-sum. To 1e-6, and 1e-12 in float64; the MLP, the control, does change."""
    x, _ = n.scenes(DRAWS, "test", 20)
    mixed = x[:, :, torch.randperm(6, generator=torch.Generator().manual_seed(0))]
    network = n.RelationNetwork(DRAWS, 3)
    assert (network(x) - network(mixed)).abs().max() < 1e-12
    plain = n.Plain(DRAWS, 3)
    assert (plain(x) - plain(mixed)).abs().max() > 0.01
    single = n.RelationNetwork(Draws((0,)), 3)
    assert (single(x[:1].float()) - single(mixed[:1].float())).abs().max() < 1e-6


def test_it_sums_over_ordered_pairs() -> None:
    """Against the double loop, one scene at a time."""
    x, _ = n.scenes(DRAWS, "test", 3)
    network = n.RelationNetwork(DRAWS, 2)
    for b in range(3):
        total = 0
        for i in range(6):
            for j in range(6):
                pair = torch.cat([x[:, b : b + 1, i], x[:, b : b + 1, j]], dim=-1)
                for layer in network.g:
                    pair = torch.relu(layer(pair))
                total = total + pair
        wanted = network.f[1](torch.relu(network.f[0](total)))
        torch.testing.assert_close(network(x)[:, b : b + 1], wanted)


def test_blind_to_the_second_object_it_is_a_deep_set() -> None:
    """Then sum_ij g(o_i) = 6 sum_i g(o_i) (Zaheer et al. 2017)."""
    x, _ = n.scenes(DRAWS, "test", 10)
    network = n.RelationNetwork(DRAWS, 1)
    with torch.no_grad():
        network.g[0].weight[:, 5:] = 0
    rows = torch.relu(x.flatten(1, 2) @ network.g[0].weight[:, :5] + network.g[0].bias)
    each = torch.relu(network.g[1](rows)).unflatten(1, (10, 6))
    wanted = network.f[1](torch.relu(network.f[0](6 * each.sum(2))))
    torch.testing.assert_close(network(x), wanted)


def test_labels_by_hand() -> None:
    places = torch.tensor(
        [
            [[0.9, 0.1], [0.1, 0.1], [0.1, 0.9]],  # one at the edge, none near
            [[0.2, 0.5], [0.3, 0.5], [0.8, 0.9]],  # 0.1 apart, other colours
            [[0.2, 0.5], [0.4, 0.5], [0.8, 0.9]],  # 0.2 apart, one colour
        ]
    )
    colour = torch.tensor([[0, 0, 0], [0, 1, 0], [2, 2, 1]])
    assert n.labels(places, colour).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_each_concept_holds_in_about_half_of_the_scenes() -> None:
    _, y = n.scenes(DRAWS, "test", 4000)
    share = y.mean((0, 1))
    assert share.min() > 0.4 and share.max() < 0.72
    # some of six x above 0.88: 1 - 0.88^6 = 0.536
    assert abs(float(share[0]) - 0.536) < 0.02


def test_balanced_accuracy_by_hand() -> None:
    # three scenes with it (two found), one without (found): (2/3 + 1) / 2
    scores, y = torch.tensor([[[1.0], [2], [-1], [-3]]]), torch.tensor([[[1.0], [1], [1], [0]]])
    np.testing.assert_allclose(n.balanced(scores, y), [[5 / 6]])
    np.testing.assert_allclose(n.balanced(torch.ones(1, 4, 1), y), [[0.5]])  # always yes is chance


def test_times_by_hand() -> None:
    """The first update at 75 %; the last update where there is none."""
    accuracy = np.array([[[0.5, 0.5], [0.75, 0.7], [0.7, 0.74]]])  # [1 replica, 3 evaluations, 2 concepts]
    assert n.times([0, 100, 200], accuracy).tolist() == [[100, 200]]


def test_the_control_has_more_parameters() -> None:
    def size(network):
        return sum(p[0].numel() for p in network.parameters())

    # 10 * 64 + 64 for pairs of 2 * 5 numbers, twice 64 * 64 + 64, and 64 * 3 + 3
    assert size(n.RelationNetwork(DRAWS, 3)) == 704 + 2 * 4160 + 195 < size(n.Plain(DRAWS, 3))


def test_each_concept_is_compared_with_itself_alone_replica_by_replica(monkeypatch) -> None:
    """The delay of a concept is split into what it takes alone, and what company adds."""
    monkeypatch.setattr(n, "UPDATES", 200)
    seen = {  # balanced accuracy [2 replicas, 3 evaluations, 3 concepts]: the second is found at 100 alone, else late
        3: np.array([[[0.5, 0.5, 0.5], [0.8, 0.6, 0.5], [0.9, 0.8, 0.6]]] * 2),
        1: np.array([[[0.5], [0.8], [0.9]], [[0.5], [0.8], [0.7]]]),
    }
    monkeypatch.setattr(n, "learn", lambda network, draws, concepts: seen[len(concepts)])
    reported, _ = n.three_concepts(2)
    two = n.CONCEPTS[1]
    gap = reported[f"balanced accuracy in the end, {two}, alone minus together"]
    np.testing.assert_allclose(gap, [0.9 - 0.8, 0.7 - 0.8])
    late = {
        arm: reported[f"updates behind the first concept, {two}, {arm}"]
        for arm in ("alone", "together", "together minus alone")
    }
    assert [each.tolist() for each in late.values()] == [[0, 0], [100, 100], [100, 100]]
    assert reported[f"replicas that find it, {n.CONCEPTS[2]}, together"].tolist() == [0, 0]


def test_replicas_depend_on_their_own_seed_and_learn() -> None:
    draws, single = Draws((3, 4), dtype=torch.float64), Draws((4,), dtype=torch.float64)
    two = n.learn(n.RelationNetwork(draws, 1), draws, [0], updates=150, every=150)
    one = n.learn(n.RelationNetwork(single, 1), single, [0], updates=150, every=150)
    np.testing.assert_allclose(two[1:], one, atol=1e-3)
    assert two[:, -1].min() > 0.55
