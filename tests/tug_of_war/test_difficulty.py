"""What each example is to a network: residual, share held by the hardest, when it is learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from clkit.loop import run
from clkit.method import Method
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.training import Training
from clkit.tug_of_war.difficulty import (
    Watch,
    _agreement,
    _visits_to_learned,
    _within,
    each_loss,
    first_learned,
    held_when_right,
    learned_early,
    learned_for_good,
    residual,
    right_after_one_epoch,
    share_held,
)
from clkit.tug_of_war.memorization import RandomLabels, Shuffled


def test_residual_by_hand_and_near_zero() -> None:
    """eq: residual. Loss ln 2: p = 1/2. At a loss of 1e-9 a float32 exp is 1, and 1 - exp would be 0."""
    found = residual(torch.tensor([math.log(2), math.log(4), 1e-9]))
    assert found.tolist() == pytest.approx([0.5, 0.75, 1e-9])


def test_the_residual_is_the_pull_on_the_score_of_the_label() -> None:
    """d (-log p_y) / d (score of y) = -(1 - p_y), by autograd on a network's scores."""
    rule, draws = scenario("domain", (4,)), Draws((0, 1), dtype=torch.float64)
    method = Method()
    method.start(Build(Mlp(hidden=(6,)), (5,), rule, draws), draws, rule)
    x, y = draws.normal("x", (7, 5)), draws.integers("y", 4, (7,))
    scores = method.net(x).detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(scores.transpose(1, 2), y, reduction="sum")
    (pull,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(residual(each_loss(method, x, y)), -pull.gather(2, y[..., None])[..., 0])


def test_share_held_by_hand() -> None:
    """eq: share-held. Twenty residuals, two of 0.9, the others 0.1: the hardest tenth holds 1.8 of 3.6.

    Where all are equal a tenth holds a tenth; more than the share of the sorted wrong end would be 0.2 / 3.6.
    """
    few = np.full(20, 0.1)
    few[[3, 17]] = 0.9
    assert share_held(few) == pytest.approx(0.5)
    np.testing.assert_allclose(share_held(np.full((2, 30), 0.4)), 0.1)
    np.testing.assert_allclose(share_held(few, share=1.0), 1.0)


def test_share_held_at_equal_shares_of_right_by_hand() -> None:
    """eq: held-when-right. Ten examples, three looks with 2, 6 and 5 right; the hardest holds 10, 55 and 40 %.

    Half are right first at the second look: 55 %, not the 40 % of the last; nine are right at none.
    """
    residuals = np.full((1, 3, 10), 0.1)
    residuals[0, 1, 7], residuals[0, 2, 4] = 1.1, 0.6
    right = np.arange(10) < np.array([2, 6, 5])[:, None]
    found = held_when_right(residuals, right[None], (0.2, 0.5, 0.6, 0.9))
    np.testing.assert_allclose(found, [[0.1, 0.55, 0.55, np.nan]])


def test_when_an_example_is_learned_by_hand() -> None:
    """Looks at 0, 5, 10, 15. Right at 5, wrong at 10, right at 15: first at 5, for good at 15.

    Always right: 0 and 0. Right at 5 and 10 only: first at 5, never for good. Never right: infinite.
    """
    examples = np.array([[0, 1, 0, 1], [1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)  # [N, E]
    right, looks = examples.T[None], np.array([0, 5, 10, 15])
    assert first_learned(right, looks).tolist() == [[5, 0, 5, math.inf]]
    assert learned_for_good(right, looks).tolist() == [[15, 0, math.inf, math.inf]]


def test_visits_to_the_learned_by_hand() -> None:
    """One replica, 64 examples, 4 updates of 32: two passes. What is learned after 2 updates makes up the second."""
    assert _visits_to_learned(np.full((1, 64), 2.0), 1, 4).tolist() == [0.5]
    assert _visits_to_learned(np.full((1, 64), np.inf), 1, 4).tolist() == [0.0]
    half = np.where(np.arange(64) < 32, 0.0, 4.0)[
        None
    ]  # half are right from the start, the others at the end
    assert _visits_to_learned(half, 1, 4).tolist() == [0.5]


def test_agreement_is_a_rank_correlation() -> None:
    """1 for any rising function of the residuals, -1 for a falling one."""
    mine = np.random.default_rng(0).random((2, 21, 40))
    mean = mine[:, ::10].mean(1)[:, None]
    np.testing.assert_allclose(_agreement(mine, mean**3), 1)
    np.testing.assert_allclose(_agreement(mine, -mean), -1)


def test_agreement_within_a_label_ignores_differences_between_labels() -> None:
    """eq: within-label. Label 1 is harder than label 0 for both networks; within each they say the opposite.

    Over all examples the ranks agree; a mean over the labels gives -1, and labels of unequal number are weighted:
    with the order of label 0 turned round, (6 - 4) / 10.
    """
    labels = np.array([0] * 6 + [1] * 4)
    order = np.arange(10.0)
    mine = np.broadcast_to(order + 20 * labels, (1, 11, 10))
    opposite, mixed = -order + 40 * labels, np.where(labels == 0, order, -order) + 40 * labels
    assert _agreement(mine, opposite[None, None]) > 0.3
    np.testing.assert_allclose(_within(mine, opposite[None, None], labels), -1)
    np.testing.assert_allclose(_within(mine, mixed[None, None], labels), 0.2)


def test_the_watch_sees_what_the_network_says() -> None:
    """Its last look against the network after training; looks before training and every so many updates."""
    watch, method = Watch(Shuffled()), Method()
    run(method, Shuffled(), Training(updates=(20,), every=10), replicas=2, progress=False, observe=watch)
    assert watch.updates == [0, 10, 20]
    p = method.net(watch.x).softmax(-1)
    expected = 1 - p.gather(2, watch.y[..., None])[..., 0]
    np.testing.assert_allclose(watch.residuals[:, -1], expected.detach().numpy(), atol=1e-6)
    np.testing.assert_array_equal(watch.right[:, -1], (p.argmax(-1) == watch.y).numpy())
    assert watch.residuals.shape == (2, 3, 1097)


def test_watching_changes_nothing() -> None:
    nets = []
    for watch in (None, Watch(Shuffled())):
        method = Method()
        run(method, Shuffled(), Training(updates=(20,), every=10), replicas=2, progress=False, observe=watch)
        nets.append(method.parameters()[0].detach())
    assert torch.equal(*nets)


def test_after_one_epoch_real_labels_are_learned_and_random_ones_are_not() -> None:
    real, drawn = (right_after_one_epoch(guise, 1, networks=3) for guise in (Shuffled(), RandomLabels()))
    assert real.shape == (1, 3, 1097)
    assert real.mean() > 0.6 and drawn.mean() < 0.2


def test_the_claim_is_finite_and_its_replicas_are_their_own() -> None:
    two, three = (learned_early(n, updates=50) for n in (2, 3))
    np.testing.assert_array_equal(two.effect, three.effect[:2])
    for name, values in two.reported.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values, three.reported[name][:2], atol=1e-4)
    assert (two.effect > 0).all()
