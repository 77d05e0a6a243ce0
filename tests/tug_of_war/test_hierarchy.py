"""The tree learned by a ReLU network: targets, errors and times."""

from __future__ import annotations

import numpy as np
import torch

from clkit.replicas import Draws
from clkit.tug_of_war import hierarchy as h
from clkit.tug_of_war.deep_linear import tree

FEATURES = torch.from_numpy(tree()).float()


def test_levels_by_hand() -> None:
    assert h.level_of(2).tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert [int((h.level_of() == level).sum()) for level in range(4)] == [1, 2, 4, 8]


def test_shuffled_features_keep_their_counts_and_lose_their_tree() -> None:
    """Column by column, each in an order of its own: a common shuffle would only rename the items."""
    found = h.shuffled(FEATURES, Draws((0, 1, 2)))
    assert torch.equal(found.sum(1), FEATURES.sum(0).expand(3, -1))
    for one in found.numpy():
        ranks = np.linalg.svd(one, compute_uv=False)
        assert not np.allclose(ranks, np.linalg.svd(tree(), compute_uv=False), atol=0.1)
    assert torch.equal(found[1], h.shuffled(FEATURES, Draws((1,)))[0])


def test_the_first_errors_are_those_of_knowing_nothing_and_the_last_are_zero() -> None:
    """A feature of k items has the squared error k at the start, up to the small weights."""
    found = h.errors(Draws((0, 1)), FEATURES.expand(2, -1, -1), updates=1500, every=1500)
    np.testing.assert_allclose(found[:, 0], np.broadcast_to(FEATURES.sum(0).numpy(), (2, 15)), rtol=0.05)
    assert found[:, 1].max() < 1e-3


def test_a_step_is_the_gradient_of_half_the_squared_error() -> None:
    """One update of one weight: two updates of half the step agree to first order, a factor 2 would not."""
    targets = FEATURES.expand(1, -1, -1)
    once = h.errors(Draws((0,)), targets, updates=1, every=1, lr=1e-3)
    half = h.errors(Draws((0,)), targets, updates=2, every=2, lr=5e-4)
    fall, wanted = (each[:, 0].sum() - each[:, -1].sum() for each in (once, half))
    assert abs(fall / wanted - 1) < 0.01
    scale = (2 * h.START / h.HIDDEN) ** 0.5
    draws = Draws((0,))
    first, second = (
        draws.normal("first layer", (8, 100)) * scale,
        draws.normal("second layer", (100, 15)) * scale,
    )
    first.requires_grad_(), second.requires_grad_()
    ((FEATURES - torch.relu(first) @ second).square().sum() / 2).backward()
    # the loss falls by lr |gradient|^2, the squared error by twice that
    expected = 2e-3 * (first.grad.square().sum() + second.grad.square().sum())
    assert abs(fall / float(expected) - 1) < 0.02


def test_shares_and_times_by_hand() -> None:
    # two features of level 0 and 1: errors 4, 0.4, 0 and 2, 1, 0.1 at updates 0, 5, 10
    squares = np.array([[[4, 2], [0.4, 1], [0, 0.1]]])
    shares = h.left(squares, np.array([0, 1]))
    np.testing.assert_allclose(shares[0], [[1, 1], [0.1, 0.5], [0, 0.05]])
    assert h.times(np.array([0, 5, 10]), shares).tolist() == [[5, 10]]


def test_the_claim_depends_on_each_replicas_own_seed() -> None:
    np.testing.assert_allclose(h.levels_in_turn(3).effect[:2], h.levels_in_turn(2).effect, rtol=1e-6)
