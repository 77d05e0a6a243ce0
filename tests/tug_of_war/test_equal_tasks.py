"""Equally hard parities, and a staircase: labels, fairness of the two arms, and times."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.replicas import Draws
from clkit.tug_of_war import equal_tasks as e


def test_labels_by_hand() -> None:
    # three bits, three bits: -1 * 1 * 1 < 0 and -1 * -1 * 1 > 0
    assert e.parities(torch.tensor([-1.0, 1, 1, -1, -1, 1]), (3, 3)).tolist() == [1, 0]
    # a staircase of one bit, two and three: -1, then -1 * -1, then 1 * 1 * -1
    assert e.parities(torch.tensor([-1.0, -1, -1, 1, 1, -1]), (1, 2, 3)).tolist() == [1, 0, 1]


def test_all_inputs_once_and_every_task_as_hard_as_the_others() -> None:
    """No bit, and no two bits of a task, say anything about its label."""
    x = e.inputs()
    assert x.shape == (4096, 12) and len(x.unique(dim=0)) == 4096
    y = e.parities(x)
    assert y.mean(0).tolist() == [0.5] * 4
    for t in range(4):
        bits = x[:, 3 * t : 3 * t + 3]
        assert (bits.T @ (2 * y - 1)).abs().max() == 0
        assert ((bits[:, 0] * bits[:, 1]) @ (2 * y - 1)).abs().max() == 0


def test_at_the_start_no_unit_knows_of_three_bits() -> None:
    """Biases of 0: max(0, z) = z/2 + |z|/2. Over all inputs the odd part, linear, has no share in x1 x2 x3."""
    x, (shared, _) = e.inputs(10), e.begin(Draws((0, 1)), e.STAIRS, 50)
    assert shared[1].abs().max() == 0
    units = torch.relu(x @ shared[0])  # [R, inputs, hidden]
    signs = 1 - 2 * e.parities(x, e.STAIRS)
    said = units.transpose(1, 2) @ signs / len(x)  # [R, hidden, tasks]
    assert said[..., 2].abs().max() < 1e-6
    assert said[..., 3].abs().median() > 1e-4 and said[..., :2].abs().median() > 1e-2


def test_both_arms_begin_as_the_same_function() -> None:
    draws = Draws((0, 1))
    shared, own = e.begin(draws, (3, 3, 3, 3), 10)
    x = e.inputs()[:50].expand(2, -1, -1)
    together, alone = e.answers(x, shared, own)
    assert together.shape == (2, 50, 4)
    torch.testing.assert_close(together, alone)
    assert len({tuple(column.tolist()) for column in together[0].T}) == 4  # the outputs differ


def test_a_network_of_its_own_hears_its_own_task_only() -> None:
    """And the shared one takes the mean over tasks: the gradient of its output is a quarter."""
    shared, own = e.begin(Draws((0, 1)), (3, 3, 3, 3), 10)
    for p in shared + own:
        p.requires_grad_()
    x = e.inputs()[::40].expand(2, -1, -1)
    y = e.parities(x)
    e.loss(e.answers(x, shared, own), y).backward()
    for r in range(2):
        columns = own[2].grad.unflatten(0, (2, 4))[r, :, :, 0].T
        torch.testing.assert_close(shared[2].grad[r], columns / 4)
    changed = y.clone()
    changed[:, :, 0] = 1 - y[:, :, 0]
    before = own[0].grad.clone()
    for p in own:
        p.grad = None
    e.loss(e.answers(x, shared, own), changed).backward()
    same = (own[0].grad == before).flatten(1).all(1).unflatten(0, (2, 4))
    assert same.tolist() == [[False, True, True, True]] * 2


def test_spread_by_hand() -> None:
    assert e.spread(np.array([[100, 150, 150, 200.0], [3, 3, 3, 3]])) == pytest.approx([100 / 150, 0])


def test_times_by_hand() -> None:
    """The first update at 90 %, not the last below it and not the best; where there is none, the last update."""
    accuracy = np.array(
        [[[0.5, 0.5], [0.9, 0.89], [0.8, 0.88], [1.0, 0.7]]]
    )  # [1 replica, 4 evaluations, 2 tasks]
    assert e.times(np.array([0, 10, 20, 30]), accuracy).tolist() == [[10, 30]]
    late = np.array([[[0.5], [0.5], [0.5], [0.95]]])
    assert e.times(np.array([0, 10, 20, 30]), late).tolist() == [[30]]  # learned at the end counts alike


def test_both_arms_learn_and_replicas_depend_on_their_own_seed() -> None:
    """Two bits for each of two tasks, so that it is quick."""
    how = {"updates": 300, "every": 100, "bits": (2, 2), "hidden": 32, "lr": 0.01}
    two, one = e.train(Draws((4, 5)), **how), e.train(Draws((5,)), **how)
    for arm, single in zip(two, one, strict=True):
        assert arm.shape == (2, 4, 2) and arm[:, -1].min() == 1.0 and abs(arm[:, 0].mean() - 0.5) < 0.3
        np.testing.assert_allclose(arm[1:], single, atol=0.07)  # a rounding may flip one of 16 inputs
