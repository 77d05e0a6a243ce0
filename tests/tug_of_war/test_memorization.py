"""What networks learn first: guises of the data, spread against chance, loss sensitivity, Gini coefficient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.data import load
from clkit.method import Method
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.tug_of_war.memorization import (
    RandomInputs,
    RandomLabels,
    Shuffled,
    gini,
    sensitivity,
    spread,
    spread_by_chance,
)


def started(hidden: tuple[int, ...], shape: tuple[int, ...] = (5,), classes: int = 3) -> Method:
    rule, draws = scenario("domain", (classes,)), Draws((0, 1), dtype=torch.float64)
    method = Method()
    method.start(Build(Mlp(hidden=hidden), shape, rule, draws), draws, rule)
    return method


def points(n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    dice = np.random.default_rng(0)
    return torch.from_numpy(dice.normal(size=(2, n, 5))), torch.from_numpy(dice.integers(3, size=(2, n)))


def test_the_sensitivity_of_a_linear_model_has_a_closed_form() -> None:
    """eq: loss-sensitivity. No hidden layer: scores x W + b, so dL/dx = W (p - e_y), p the softmax, e_y the label.

    The mean over the batch would be N times too small, the norm of a mean gradient smaller still.
    """
    method, (x, y) = started(()), points()
    (weight, _) = method.parameters()
    wrong = method.net(x).softmax(-1) - torch.nn.functional.one_hot(y, 3)
    expected = (wrong @ weight.mT).abs().sum(-1)
    torch.testing.assert_close(sensitivity(method, x, y), expected.detach(), rtol=1e-12, atol=0)


def test_the_sensitivity_of_an_example_is_its_own() -> None:
    """Permuted examples give permuted numbers, and one example alone gives the same as among others."""
    method, (x, y) = started((6,)), points()
    found, order = sensitivity(method, x, y), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(sensitivity(method, x[:, order], y[:, order]), found[:, order])
    torch.testing.assert_close(sensitivity(method, x[:, :1], y[:, :1]), found[:, :1])
    assert not x.requires_grad and all(p.grad is None for p in method.parameters())


def test_the_sensitivity_against_differences_of_the_loss() -> None:
    method, (x, y) = started((6,)), points(1)
    small, total = 1e-6, torch.zeros(2, dtype=torch.float64)
    for k in range(5):
        nudge = torch.zeros(5, dtype=torch.float64)
        nudge[k] = small
        up, down = (
            torch.nn.functional.cross_entropy(method.net(x + s * nudge)[:, 0], y[:, 0], reduction="none")
            for s in (1, -1)
        )
        total += ((up - down) / (2 * small)).detach().abs()
    torch.testing.assert_close(sensitivity(method, x, y)[:, 0], total, rtol=1e-6, atol=1e-8)


def test_gini_by_hand() -> None:
    """eq: gini. (1, 2, 3): ((2-4) 1 + (4-4) 2 + (6-4) 3) / (3 * 6) = 4 / 18. Equal: 0. One has all of four: 3/4."""
    assert gini(np.array([3.0, 1.0, 2.0])) == pytest.approx(4 / 18)
    assert gini(np.array([5.0, 5.0, 5.0])) == pytest.approx(0)
    np.testing.assert_allclose(gini(np.array([[0.0, 0, 7, 0], [1, 2, 3, 4]])), [0.75, 0.25])
    assert gini(np.array([10.0, 20.0, 30.0])) == pytest.approx(4 / 18)  # the unit does not matter


def test_gini_is_the_mean_absolute_difference_over_twice_the_mean() -> None:
    values = np.random.default_rng(1).exponential(size=50)
    expected = np.abs(values[:, None] - values).mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(expected)


def test_spread_by_hand() -> None:
    """eq: spread, eq: spread-by-chance. Two networks, four examples, each network right on two.

    The same two: shares 1, 1, 0, 0, spread 1/2. Different ones: all shares 1/2, spread 0.
    By chance sqrt(2 * 1/4) / 2 = 0.354 for both.
    """
    same = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], dtype=bool)
    apart = np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)
    np.testing.assert_allclose(spread(np.stack([same, apart])), [0.5, 0.0])
    np.testing.assert_allclose(spread_by_chance(np.stack([same, apart])), np.sqrt(0.5) / 2)


def test_the_spread_of_networks_that_are_right_at_random_is_that_by_chance() -> None:
    """Also where the networks differ in how often they are right: 20 networks, from 10 to 90 %."""
    dice = np.random.default_rng(2)
    right = dice.random((200, 20, 500)) < np.linspace(0.1, 0.9, 20)[:, None]
    assert (spread(right) ** 2).mean() == pytest.approx((spread_by_chance(right) ** 2).mean(), rel=0.02)


def test_random_labels_change_labels_only_and_a_share_only_some() -> None:
    draws, digits = Draws((0, 1)), load("digits")
    plain = Shuffled().tasks(draws)[0]
    every, some = (RandomLabels(share=share).tasks(draws)[0] for share in (1.0, 0.2))
    assert torch.equal(every.train.parts[0].index, plain.train.parts[0].index)
    assert torch.equal(every.test.parts[0].y, plain.test.parts[0].y)
    changed = [(d.train.parts[0].y != plain.train.parts[0].y).double().mean(1) for d in (every, some)]
    n = len(digits.train)  # a label drawn anew is the old one in a tenth of the cases: 0.9 and 0.18 change
    for found, expected in zip(changed, (0.9, 0.18), strict=True):
        assert abs(float(found[0]) - expected) < 4 * (expected * (1 - expected) / n) ** 0.5
        assert found[0] == found[1]  # all replicas see the same labels


def test_random_inputs_keep_the_statistics_of_each_pixel_and_the_labels() -> None:
    draws = Draws((0,))
    plain, noise = Shuffled().tasks(draws)[0].train.parts[0], RandomInputs().tasks(draws)[0].train.parts[0]
    assert torch.equal(plain.y, noise.y)
    n = len(plain.x)
    assert float((noise.x.mean(0) - plain.x.mean(0)).abs().max()) < 5 * float(plain.x.std(0).max()) / n**0.5
    torch.testing.assert_close(noise.x.std(0), plain.x.std(0), rtol=0.15, atol=1e-6)
    used = plain.x.flatten(1).std(0) > 0.1
    together = [
        torch.corrcoef(part.x.flatten(1)[:, used].T) - torch.eye(int(used.sum())) for part in (plain, noise)
    ]
    assert float(together[0].abs().max()) > 0.5  # pixels no longer go together
    assert float(together[1].abs().max()) < 5 / n**0.5
