"""Deep linear networks: the closed form against gradient descent, what is conserved, what is never learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.replicas import Draws
from clkit.tug_of_war import deep_linear as d

S = d.tree().T  # [15 features, 8 items]
VALUES = np.sqrt([15, 7, 3, 1])


def decoupled(lr, time=12.0):
    """Strengths [E, 4] from a decoupled start at 1e-3, and their times [E]."""
    updates = round(time / lr)
    maps = d.train(d.decoupled(S, 1e-3, 16), S, lr, updates, 1)[1]
    return d.strengths(maps, S)[:, 0], lr * np.arange(updates + 1)


def test_the_tree_by_hand() -> None:
    # two levels: root, two inner nodes, four leaves; item 2 (the third) is under the second inner node
    assert d.tree(2)[2].tolist() == [1, 0, 1, 0, 0, 1, 0]
    # S'S has 15 = 8 + 4 + 2 + 1 along (1, ..., 1), then 4 + 2 + 1, 2 + 1 twice and 1 four times
    np.testing.assert_allclose(d.modes(S)[1] ** 2, [15, 7, 3, 3, 1, 1, 1, 1], rtol=1e-9)
    assert [group.tolist() for group in d.groups(d.modes(S)[1])] == [[0], [1], [2, 3], [4, 5, 6, 7]]


def test_the_closed_form_solves_its_equation() -> None:
    """eq: mode-strength. da/dt = 2 a (s - a), from a0; without the 2 the slope would be half."""
    t, s, a0, step = np.linspace(0, 4, 9), 1.7, 0.01, 1e-5
    a = d.strength(s, a0, t)
    slope = (d.strength(s, a0, t + step) - d.strength(s, a0, t - step)) / (2 * step)
    np.testing.assert_allclose(slope, 2 * a * (s - a), rtol=1e-7)
    assert a[0] == pytest.approx(a0) and d.strength(s, a0, 50.0) == pytest.approx(s)


def test_the_half_time_by_hand() -> None:
    """eq: mode-half-time. s = 2, a0 = 0.2: ln(10 - 1) / 4 = 0.5493."""
    assert d.half_time(2.0, 0.2) == pytest.approx(np.log(9) / 4)
    assert d.strength(2.0, 0.2, np.log(9) / 4) == pytest.approx(1.0)


def test_the_shallow_form_is_what_one_layer_does() -> None:
    """eq: shallow-strength. From 0 all modes are half learned at ln 2, whatever their s."""
    lr, updates = 0.001, 4000
    maps = d.train([np.zeros((1, *S.shape))], S, lr, updates, 1)[1]
    times, found = lr * np.arange(updates + 1), d.strengths(maps, S)
    np.testing.assert_allclose(found[:, 0], d.shallow_strength(VALUES, 0.0, times[:, None]), atol=1e-3)
    halves = [d.crossing(times, found[:, :, k], s / 2)[0] for k, s in enumerate(VALUES)]
    np.testing.assert_allclose(halves, np.log(2), atol=1e-3)


@pytest.mark.parametrize("layers", [1, 2])
def test_pulls_are_minus_the_gradient_of_the_loss(layers: int) -> None:
    """eq: deep-linear-pulls. Against autograd."""
    rng = np.random.default_rng(0)
    shapes = [(2, 4, 3), (2, 5, 4)] if layers == 2 else [(2, 5, 3)]
    weights, target = [rng.normal(size=shape) for shape in shapes], rng.normal(size=(5, 3))
    parts = [torch.tensor(w, requires_grad=True) for w in weights]
    whole = parts[1] @ parts[0] if layers == 2 else parts[0]
    ((torch.tensor(target) - whole).square().sum() / 2).backward()
    for pull, part in zip(d.pulls(weights, target), parts, strict=True):
        np.testing.assert_allclose(pull, -part.grad.numpy(), rtol=1e-10)


def test_descent_follows_the_closed_form_and_its_error_halves_with_the_step() -> None:
    """Euler's method: the error is proportional to the step; a wrong closed form leaves a rest."""
    errors = []
    for lr in (0.004, 0.002, 0.001):
        found, times = decoupled(lr)
        errors.append((np.abs(found - d.strength(VALUES, 1e-3, times[:, None])) / VALUES).max())
    assert errors[1] < 0.01
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2, rtol=0.02)


def test_half_times_of_the_tree() -> None:
    # ln(3.873 / 0.001 - 1) / 7.746 = 1.067 and so on; gradient descent lags by O(lr)
    np.testing.assert_allclose(d.half_time(VALUES, 1e-3), [1.067, 1.489, 2.153, 3.453], atol=5e-4)
    found, times = decoupled(0.002)
    halves = [d.crossing(times, found[:, [k]], s / 2)[0] for k, s in enumerate(VALUES)]
    np.testing.assert_allclose(halves, [1.070, 1.492, 2.155, 3.456], atol=1e-3)


def test_the_difference_of_the_layers_is_conserved_up_to_the_step() -> None:
    """W1 W1' - W2' W2 does not change under gradient flow; a step changes it by lr^2, a run by O(lr)."""
    drifts = []
    for lr in (0.004, 0.002):
        start = d.random_start(Draws((3,), dtype=torch.float64), S, 0.05, 20)
        end = d.train(start, S, lr, round(6 / lr), 1000)[0]
        before, after = (w[0] @ w[0].swapaxes(1, 2) - w[1].swapaxes(1, 2) @ w[1] for w in (start, end))
        drifts.append(np.abs(after - before).max())
        assert np.abs(end[0] @ end[0].swapaxes(1, 2)).max() > 1  # the terms themselves grow
    assert drifts[0] < 0.02 and drifts[0] / drifts[1] == pytest.approx(2, rel=0.1)


def test_a_start_of_rank_r_never_learns_the_other_modes() -> None:
    found = d.train(d.decoupled(S, 1e-3, 16, rank=4), S, 0.01, 2000, 2000)[1]
    np.testing.assert_allclose(d.strengths(found, S)[-1, 0], [VALUES[0], VALUES[1], VALUES[2], 0], atol=1e-6)


def test_initial_strengths_are_read_off_the_start() -> None:
    """eq: growing-half. Balanced: the product's strength; unbalanced: a quarter of |p + q|^2."""
    start = d.decoupled(S, 0.04, 16)
    for each, group in zip(d.starting(start, S), d.groups(d.modes(S)[1]), strict=True):
        np.testing.assert_allclose(each, np.full((1, len(group)), 0.04), rtol=1e-9)
    # second layer zero: half of p grows, so a quarter of the first layer's strength
    for each in d.starting([start[0], 0 * start[1]], S):
        np.testing.assert_allclose(each, 0.01, rtol=1e-9)


def test_initial_strengths_do_not_depend_on_the_basis_of_equal_modes(monkeypatch) -> None:
    start = d.random_start(Draws((0, 1), dtype=torch.float64), S, 1e-3, 30)
    once, maps = d.starting(start, S), start[1] @ start[0]
    strengths = d.strengths(maps, S)
    u, s, v = d.modes(S)
    turn = np.eye(8)
    turn[4:, 4:] = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    monkeypatch.setattr(d, "modes", lambda _: (u @ turn, s, v @ turn))
    for first, second in zip(once, d.starting(start, S), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-8)
    np.testing.assert_allclose(d.strengths(maps, S), strengths, atol=1e-12)


def test_the_claim_depends_on_each_replicas_own_seed_and_is_near_the_closed_form() -> None:
    two, three = d.closed_form(2), d.closed_form(3)
    np.testing.assert_allclose(two.effect, three.effect[:2], rtol=1e-9)
    assert three.reported["largest gap, deep"].max() < 0.05
    assert three.reported["largest gap, shallow"].min() > 0.5
    gaps = [three.reported[f"largest gap, {name}"] for name in ("shallow", "deep")]
    np.testing.assert_allclose(three.effect, gaps[0] - gaps[1])


def test_whitened_by_hand_and_in_general() -> None:
    # two directions with deviations 2 and 1 become +-1 in each; a third without any is left out
    x = np.array([[2.0, 0, 7], [-2, 0, 7], [0, 1, 7], [0, -1, 7]])
    np.testing.assert_allclose(np.abs(d.whitened(x)), np.sqrt(2) * np.array([[1, 0], [1, 0], [0, 1], [0, 1]]))
    mixed = np.random.default_rng(0).normal(size=(50, 4)) @ np.diag([9.0, 1, 0.1, 0.01]) + 3
    found = d.whitened(mixed)
    np.testing.assert_allclose(found.T @ found / 50, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)


def test_the_digits_are_white_and_the_network_learns_from_their_correlation_alone() -> None:
    """Minus the gradient of the squared error on the images is `pulls` of the correlation; nine modes, no tenth."""
    images, labels = d.digits()
    np.testing.assert_allclose(images.T @ images / len(images), np.eye(images.shape[1]), atol=1e-8)
    correlation = labels.T @ images / len(images)
    s = d.modes(correlation)[1]
    assert s[0] == pytest.approx(np.sqrt(15)) and s[8] > 1 and s[9] < 1e-9
    start = d.random_start(Draws((0,), dtype=torch.float64), correlation, 0.1, 12)
    first, second = (torch.tensor(w[0], requires_grad=True) for w in start)
    error = torch.tensor(labels) - torch.tensor(images) @ first.T @ second.T
    (error.square().sum() / 2 / len(images)).backward()
    for pull, part in zip(d.pulls(start, correlation), (first, second), strict=True):
        np.testing.assert_allclose(pull[0], -part.grad.numpy(), rtol=1e-7, atol=1e-10)


def test_the_digits_follow_the_closed_form() -> None:
    two, one = d.on_digits(2), d.on_digits(1, seed=1)
    np.testing.assert_allclose(two["half-times"][1:], one["half-times"], rtol=1e-9)
    assert two["gap, decoupled"] < 0.01  # Euler's step, as in the tree
    assert two["gap, random"].max() < 0.08
    np.testing.assert_allclose(
        two["half-times"].mean(0), d.half_time(two["singular values"], 1e-3), rtol=0.05
    )
