"""Noisy labels: drop-out against its mean, the stopped accuracy by hand, what is stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.examples import Batch
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.training import Training
from clkit.tug_of_war import critical_samples, noisy_labels
from clkit.tug_of_war.memorization import RandomLabels, Shuffled
from clkit.tug_of_war.noisy_labels import DropOut, Held, stopped, sweep


def test_the_best_look_is_chosen_on_validation_data_by_hand() -> None:
    """eq: stopped. Validation is best at the second look: 0.7, not the highest test accuracy 0.9. Ties: the first."""
    validation = np.array([[0.5, 0.8, 0.6], [0.4, 0.6, 0.6]])
    test = np.array([[0.6, 0.7, 0.9], [0.1, 0.2, 0.3]])
    assert stopped(validation, test).tolist() == [0.7, 0.2]


def test_without_drop_out_it_is_plain_training_to_the_bit() -> None:
    ends = []
    for method in (Method(), DropOut(rate=0.0)):
        run(method, RandomLabels(share=0.4), Training(updates=(20,)), replicas=2, progress=False)
        ends.append([p.detach() for p in method.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_drop_out_leaves_out_hidden_units_and_keeps_their_mean() -> None:
    """eq: drop-out. Equal examples, weights of the last layer 1 for output 0 and 0 for output 1.

    A score of output 0 is then the sum of the units that are left, times 1 / (1 - rate): over many draws its mean
    is the sum without drop-out; without the factor it would be half of it. The inputs are never left out, and the
    network that answers is whole.
    """
    rule, draws = scenario("domain", (2,)), Draws((0, 1), dtype=torch.float64)
    method = DropOut(rate=0.5)
    method.start(Build(Mlp(hidden=(40,)), (5,), rule, draws), draws, rule)
    method.begin_task(None)  # type: ignore[arg-type]  # takes nothing of the task
    with torch.no_grad():
        method.net.head.linear.weight.copy_(torch.tensor([1.0, 0.0]).expand(2, 40, 2))
    x, size = draws.normal("x", (1, 5)).expand(-1, 4000, -1), 4000
    seen: list[torch.Tensor] = []
    method.net.head.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    zeros, ones = torch.zeros(2, size, dtype=torch.int64), torch.ones(2, size, dtype=torch.float64)
    method.loss(Batch(x, zeros, ones, None, zeros, size))
    whole = method.net(x[:, :1]).detach()[:, 0, 0]
    scores = seen[0][..., 0]
    assert torch.allclose(scores.mean(1), whole, rtol=0.05)
    assert (scores.std(1) > 0.05 * whole).all() and len(scores[0].unique()) > 1000


def test_the_observer_sees_given_labels_in_training_and_true_ones_in_validation() -> None:
    """A network that knows the digits is right on most validation images, and on 1 - 0.9 share of the labels."""
    guise, method = RandomLabels(share=0.4), Method()
    run(method, Shuffled(), Training(updates=(300,)), replicas=2, progress=False)
    watch = Held(guise)
    watch(method, 0)
    assert (watch.validation[0] > 0.85).all()
    assert watch.train[0].numpy() == pytest.approx(0.64, abs=0.06)


def test_a_small_sweep_and_what_is_stored(tmp_path, monkeypatch) -> None:
    """One width at a few updates; then store and stored are inverse."""
    monkeypatch.setattr(noisy_labels, "SHARES", (0.4,))
    monkeypatch.setattr(noisy_labels, "WIDTHS", (5, 6, 7))
    monkeypatch.setattr(noisy_labels, "RATES", (0.0, 0.5))
    found = sweep(2, updates=200)
    assert list(found) == [
        "0.4, width 5, drop-out 0.0",
        "0.4, width 6, drop-out 0.0",
        "0.4, width 7, drop-out 0.0",
        "0.4, width 6, drop-out 0.5",
    ]
    assert all(one["updates"] == [200] and one["best minus end"]["mean"] < 1 for one in found.values())
    monkeypatch.setattr(noisy_labels, "sweep", lambda replicas: found)
    monkeypatch.setattr(critical_samples, "along_training", lambda replicas: {"updates": [0]})
    noisy_labels.store(2, tmp_path)
    assert noisy_labels.stored(tmp_path)["noisy labels"] == found


def test_what_is_stored_comes_out_again() -> None:
    """All arms are there, and the first look of one of them is measured anew (a run's beginning is its own)."""
    found = noisy_labels.stored()
    arms = ["width 20, drop-out 0.0", "width 100, drop-out 0.0", "width 200, drop-out 0.0"]
    arms += ["width 100, drop-out 0.25", "width 100, drop-out 0.5"]
    assert list(found["noisy labels"]) == [f"{share}, {arm}" for share in (0.0, 0.4, 0.8) for arm in arms]
    assert found["replicas"] == 10 and found["critical samples"]["updates"] == list(critical_samples.LOOKS)
    again = noisy_labels.one_arm(0.4, 20, 0.0, 10, updates=200)
    first = found["noisy labels"]["0.4, width 20, drop-out 0.0"]["test"]["mean"][0]
    assert again["test"]["mean"][0] == pytest.approx(
        first, abs=0.01
    )  # digits of a run differ between processors
