"""SelfieBoost: distribution, potential, what a round minimises, and the bound at every round."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.replicas import Draws
from clkit.tug_of_war.selfieboost import (
    RATES,
    Boosting,
    _at_the_best,
    _dead,
    _errors,
    boost,
    boosting,
    bound,
    distribution,
    edge,
    halves,
    plain,
    potential,
    step_loss,
)


def scores(n: int, seed: int = 0, size: float = 1.0) -> torch.Tensor:
    return size * torch.from_numpy(np.random.default_rng(seed).normal(size=(50, n)))


def test_by_hand() -> None:
    """eq: boost-potential, eq: boost-distribution, eq: boost-loss, eq: boost-edge, eq: boost-bound.

    Margins 0 and ln 3: Z = (1 + 1/3) / 2 = 2/3, D = (3/4, 1/4). Old scores (0, -ln 3), labels (1, -1),
    new (0.5, -ln 3): a = (0 - 0.5, 0), step losses (-0.5 + 0.125, 0), edge 3/4 * -0.375 = -0.28125,
    bound 1 + 3/4 (-0.5 + 0.25) = 0.8125; the ratio of potentials is 3/4 e^-0.5 + 1/4 = 0.705.
    """
    y, old = torch.tensor([[1.0, -1.0]]).double(), torch.tensor([[0.0, -np.log(3)]])
    new = torch.tensor([[0.5, -np.log(3)]])
    assert float(potential(y * old)) == pytest.approx(2 / 3)
    assert distribution(y * old)[0].tolist() == pytest.approx([0.75, 0.25])
    assert step_loss(old, new, y)[0].tolist() == pytest.approx([-0.375, 0])
    assert float(edge(old, new, y)) == pytest.approx(-0.28125)
    assert float(bound(old, new, y)) == pytest.approx(0.8125)
    assert float(potential(y * new) / potential(y * old)) == pytest.approx(0.75 * np.exp(-0.5) + 0.25)


def test_the_mean_under_the_distribution_is_the_ratio_of_potentials() -> None:
    """Z_new / Z_old = sum of D e^a, exactly; with D of the new network, or a of the wrong sign, it is not."""
    old, new = scores(20, 1, 2.0), scores(20, 2, 2.0)
    y = torch.where(scores(20, 3) > 0, 1.0, -1.0).double()
    ratio = potential(y * new) / potential(y * old)
    torch.testing.assert_close((distribution(y * old) * (y * (old - new)).exp()).sum(-1), ratio)


def test_the_bound_holds_where_no_step_exceeds_one_and_not_always_beyond() -> None:
    y = torch.where(scores(20, 3) > 0, 1.0, -1.0).double()
    old = scores(20, 1, 2.0)
    near = old + scores(20, 2).clamp(-1, 1)
    assert bool((potential(y * near) / potential(y * old) <= bound(old, near, y) + 1e-12).all())
    far = old - 3 * y  # a = 3 everywhere: e^3 = 20.1 > 1 + 3 + 9
    assert bool((potential(y * far) / potential(y * old) > bound(old, far, y)).all())


def test_the_error_is_never_above_the_potential() -> None:
    margin = scores(40, 4, 3.0)
    assert bool(((margin <= 0).double().mean(-1) <= potential(margin)).all())


def test_the_quadratic_term_stops_the_step_at_one() -> None:
    """a + a^2 / 2 is smallest at a = -1: without the square the best step would be infinite."""
    y, old = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    steps = torch.linspace(-3, 3, 601).double()[:, None]
    assert float(steps[step_loss(old, steps, y).argmin()]) == pytest.approx(1.0)


def test_every_round_of_a_run() -> None:
    """eq: boost-acceptance. An accepted round has an edge below -rho, keeps the bound, and changes what is answered."""
    settings = Boosting(rounds=6, steps=60)
    found = boost(settings, Draws((0, 1, 2)))
    accepted = found["accepted"] > 0
    np.testing.assert_array_equal(accepted, found["edge"] < -settings.rho)
    assert accepted[:, 0].all() and accepted.any()
    small = found["largest"] <= 1
    assert small.any() and (found["ratio"] <= found["bound"] + 1e-6)[small].all()
    steps = np.diff(found["log_potential"], axis=1)
    np.testing.assert_allclose(steps[accepted], np.log(found["ratio"])[accepted], rtol=1e-3, atol=1e-4)
    assert (steps[~accepted] == 0).all()  # a round that fails leaves the accepted network as it is
    assert (found["train"] <= np.exp(found["log_potential"]) + 1e-9).all()
    assert found["train"][:, -1].max() < found["train"][:, 0].min() / 4


def test_a_test_that_no_round_passes_changes_nothing() -> None:
    found = boost(Boosting(rounds=2, steps=10, rho=10.0), Draws((0,)))
    assert not found["accepted"].any() and (found["train"] == found["train"][:, :1]).all()


def test_the_control_learns_and_replicas_are_their_own() -> None:
    settings = Boosting(rounds=2, steps=80)
    for learner in (boost, plain):
        two, three = learner(settings, Draws((0, 1))), learner(settings, Draws((0, 1, 2)))
        np.testing.assert_allclose(two["train"], three["train"][:2], atol=1e-6)
        assert (two["train"][:, -1] < two["train"][:, 0] / 2).all()


def test_what_is_reported() -> None:
    curves, reported = boosting(2, Boosting(rounds=2, steps=20))
    assert set(curves) == {"SelfieBoost", "plain, same step size"}
    kept, small = (
        reported[f"boosting, {k}"] for k in ("of these, bound kept", "rounds where the bound applies")
    )
    np.testing.assert_array_equal(kept, small)
    assert len(curves["SelfieBoost"]["train"]["mean"]) == 3
    for part in ("train", "validation", "test"):
        assert len([n for n in reported if f"{part} error at the end, step size" in n]) == 5 * len(RATES)
    assert len([name for name in reported if "wrong labels drawn" in name]) == 2 * len(RATES)
    assert all(np.isfinite(values).all() for values in reported.values())


def test_steps_that_are_too_large_are_seen() -> None:
    """One score for all, or one that is no number: dead, and no number is a wrong answer. An error of 0 it is not."""
    nan = float("nan")
    scores = torch.tensor([[0.5, 0.5, 0.5], [1.0, nan, 2.0], [1.0, 2.0, 2.0]])
    assert _dead(scores).tolist() == [True, True, False]
    data = {"test": (scores, torch.ones(3, 3))}
    assert _errors({"test": scores}, data)[0].tolist() == pytest.approx([0, 1 / 3, 0])
    far = Boosting(rounds=1, steps=30, lr=1e6)
    for learner in (boost, plain):
        assert learner(far, Draws((0, 1)))["dead"][:, -1].all()
    assert (boost(far, Draws((0, 1)))["accepted"] == 0).all()
    assert not plain(Boosting(rounds=1, steps=30), Draws((0, 1)))["dead"].any()


def test_clipped_margins_by_hand() -> None:
    """Margins -5 and 0, clip 1: e to 1, so D = (0.731, 0.269). Not clipped, the first would take 0.993.

    The edge takes the same D: y = 1, a = (-1, 0), step losses (-0.5, 0).
    """
    old = torch.tensor([[-5.0, 0.0]]).double()
    new, y = old + torch.tensor([[1.0, 0.0]]), torch.ones(1, 2).double()
    share = np.e / (np.e + 1)
    assert distribution(old, 1.0)[0].tolist() == pytest.approx([share, 1 - share])
    assert float(edge(old, new, y, 1.0)) == pytest.approx(-0.5 * share)


def test_a_fifth_of_the_labels_drawn_anew_is_a_tenth_wrong() -> None:
    """Of the training labels, each replica its own; the test labels stay right. D then says how much they draw."""
    draws = Draws((0, 1, 2))
    right, noisy = halves(draws), halves(draws, 0.2)
    wrong = right["train"][1] != noisy["train"][1]
    assert 0.07 < float(wrong.double().mean()) < 0.13 and not torch.equal(wrong[0], wrong[1])
    assert torch.equal(right["test"][1], noisy["test"][1])
    found = boost(Boosting(rounds=2, steps=60, noise=0.2), draws)
    assert (found["wrong"][:, 1] > 1.3 * wrong.double().mean(1).numpy()).all()
    assert (boost(Boosting(rounds=1, steps=5), draws)["wrong"] == 0).all()


def test_the_chosen_step_sizes_by_hand() -> None:
    """Validation chooses 0.5 for plain, 0.1 for SelfieBoost, and by the test errors both would be the other.

    Target 0.3 + 0.005: reached after 2 rounds, and after 1.
    """

    def run(validation: float, *errors: float) -> dict[str, np.ndarray]:
        return {"validation": np.array([[0.5, 0.0, validation]]), "test": np.array([errors])}

    runs = {"plain": {0.1: run(0.3, 0.5, 0.4, 0.2), 0.5: run(0.2, 0.5, 0.4, 0.3)}}
    runs["SelfieBoost"] = {0.1: run(0.1, 0.5, 0.2, 0.1), 0.5: run(0.4, 0.5, 0.5, 0.0)}
    found = _at_the_best(runs)
    assert found["boosting, step size chosen: plain"].tolist() == [0.5]
    assert found["boosting, step size chosen: SelfieBoost"].tolist() == [0.1]
    assert found["boosting, rounds to the target: plain"].tolist() == [2]
    assert found["boosting, rounds to the target: SelfieBoost"].tolist() == [1]
    name = "boosting, test error, each at its chosen step size: SelfieBoost minus plain"
    assert found[name].tolist() == pytest.approx([-0.2])
