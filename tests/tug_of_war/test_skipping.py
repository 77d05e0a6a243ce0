"""Skipping what is known: whose pull remains, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.loop import run
from clkit.method import Method
from clkit.training import Training
from clkit.tug_of_war import skipping
from clkit.tug_of_war.active_bias import emphasis
from clkit.tug_of_war.difficulty import everything
from clkit.tug_of_war.memorization import Shuffled
from clkit.tug_of_war.selfieboost import Boosting, boosting
from clkit.tug_of_war.skipping import (
    SkipKnown,
    SkipRandom,
    _at_equal,
    _until,
    fewer_passes,
)

LONG = Training(updates=(400,), every=80)


def trained(method: Method, training: Training = LONG, **how: object) -> torch.Tensor:
    run(method, Shuffled(), training, replicas=2, progress=False, **how)  # type: ignore[arg-type]
    return method.parameters()[0].detach()


def test_switched_off_they_are_plain_training() -> None:
    short = Training(updates=(60,))
    expected = trained(Method(), short)
    everyone = [torch.full((2,), 32)] * 60
    for method in (
        SkipKnown(threshold=0.0),
        SkipRandom(passes=everyone),
    ):
        torch.testing.assert_close(trained(method, short), expected)


def test_skipping_keeps_only_the_pull_of_the_unknown() -> None:
    """eq: skip-known. Against a loop over the batch, with the threshold at the residual of now."""
    method = SkipKnown(threshold=0.2)
    trained(method)
    x, y = everything(Shuffled(), method.draws)
    index = torch.arange(64).expand(2, -1)
    batch = next(Shuffled().tasks(method.draws)[0].train.batches(index, 64, Shuffled().rule(), 0))
    p = method.net(x[:, :64]).softmax(-1).gather(2, y[:, :64, None])[..., 0].detach()
    for r in range(2):
        unknown = [-float(v.log()) for v in p[r] if 1 - v >= 0.2]
        assert float(method.loss(batch)[r].detach()) == pytest.approx(sum(unknown) / 64, rel=1e-4)
        assert int(method.passes[-1][r]) == len(unknown)


def test_skipping_at_random_skips_as_many() -> None:
    """In every update; a smaller batch divides by those that remain, and pulls stronger."""
    known = SkipKnown()
    trained(known)
    spent = torch.stack(known.passes, 1)
    assert spent[:, :30].double().mean() > 30 > 20 > spent[:, -30:].double().mean()  # falls as more is known
    weights = {}
    for smaller in (False, True):
        control = SkipRandom(passes=known.passes, smaller=smaller)
        weights[smaller] = trained(control)
        assert bool(torch.isfinite(weights[smaller]).all())
    assert not torch.allclose(weights[False], weights[True])


def test_skipping_at_random_with_one_example_left_by_hand() -> None:
    """One of 32 remains: its loss divided by 32, or by 1."""
    one = [torch.ones(2, dtype=torch.long)] * 5
    methods = [SkipRandom(passes=one, smaller=smaller) for smaller in (False, True)]
    losses = []
    for method in methods:
        run(method, Shuffled(), Training(updates=(1,)), replicas=2, progress=False)
        method.progress = 0.0
        index = torch.arange(32).expand(2, -1)
        batch = next(Shuffled().tasks(method.draws)[0].train.batches(index, 32, Shuffled().rule(), 0))
        fresh = method.build(task=0)
        method.net.load_state_dict(fresh.state_dict())
        losses.append(method.loss(batch))
    torch.testing.assert_close(losses[0] * 32, losses[1])


def test_passes_to_the_target_by_hand() -> None:
    """Reached at the second look, after 20 passes; never reached: charged with all of plain training, 90."""
    accuracy, passes = np.array([[0.5, 0.9, 0.8], [0.5, 0.6, 0.7]]), np.array([[10, 20, 30]] * 2)
    target, most = np.array([0.85, 0.85]), np.array([90, 90])
    assert _until(accuracy, passes, target, most).tolist() == [20, 90]


def test_accuracy_at_equal_passes_by_hand() -> None:
    """The other arm has done 25 in all: at 20 the first was at 0.6."""
    found = _at_equal(np.array([[0.5, 0.6, 0.7]]), np.array([[10, 20, 30]]), np.array([[5, 15, 25]]))
    assert found.tolist() == [0.6]


def test_the_claim_is_finite_and_plain_training_is_the_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Boosting(rounds=2, steps=20)
    monkeypatch.setattr(skipping, "boosting", lambda replicas: boosting(replicas, short))
    monkeypatch.setattr(skipping, "emphasis", lambda replicas: emphasis(replicas, epochs=1))
    outcome = fewer_passes(2, updates=300)
    assert np.isfinite(outcome.effect).all()
    assert all(np.isfinite(values).all() for values in outcome.reported.values())
    assert (outcome.reported["spared to the target: plain"] == 0).all()
    assert (outcome.reported["forward passes in all, of plain training: skip known"] == 1).all()


def test_no_saving_is_reported_of_a_control_that_misses_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is charged for what it never reached would look like one that needs more passes."""
    monkeypatch.setattr(skipping, "boosting", lambda replicas: ({}, {}))
    monkeypatch.setattr(skipping, "emphasis", lambda replicas: {})
    found = fewer_passes(2, updates=300).reported
    for arm in ("plain", "skip known", "skip at random", "smaller batches"):
        all_there = bool((found[f"target reached: {arm}"] == 1).all())
        assert (f"spared to the target: {arm}" in found) == (all_there or arm == "skip known")
    assert (found["target reached: plain"] == 1).all() and not (
        found["target reached: skip at random"] == 1
    ).all()
