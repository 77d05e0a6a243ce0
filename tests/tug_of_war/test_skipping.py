"""Leaving out what is known: who is left out, what the others' pull becomes, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.loop import run
from clkit.method import Method
from clkit.training import Training
from clkit.tug_of_war import skipping
from clkit.tug_of_war.active_bias import emphasis
from clkit.tug_of_war.difficulty import Watch, everything
from clkit.tug_of_war.memorization import Shuffled
from clkit.tug_of_war.selfieboost import Boosting, boosting
from clkit.tug_of_war.skipping import (
    LeaveOut,
    SkipKnown,
    SkipRandom,
    _at_equal,
    _share,
    _until,
    dropping_the_easy,
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
        LeaveOut(replayed=1.0),
        LeaveOut(moment=1.0),
        SkipKnown(threshold=0.0),
        SkipRandom(passes=everyone),
    ):
        torch.testing.assert_close(trained(method, short), expected)


def test_who_is_left_out_are_those_known_at_the_moment() -> None:
    """eq: known. The looks before and at the moment, after 240 updates, tell who: residual below 0.2 then."""
    watch, method = Watch(Shuffled()), LeaveOut(moment=0.6)
    trained(method, observe=watch)
    at = watch.updates.index(240)
    np.testing.assert_array_equal(method.left.numpy(), watch.residuals[:, at] < 0.2)
    assert 0.5 < method.left.double().mean() < 1
    assert watch.right[:, at][method.left.numpy()].all()  # p > 0.8: such an example is right


def test_those_left_out_make_no_difference_and_the_others_pull_as_before() -> None:
    """eq: left-out. The gradient is the sum over who remains, divided by the whole batch: not by who remains."""
    method = LeaveOut(moment=0.6)
    trained(method)
    x, y = everything(Shuffled(), method.draws)
    index = torch.arange(64).expand(2, -1)
    batch = next(Shuffled().tasks(method.draws)[0].train.batches(index, 64, Shuffled().rule(), 0))
    method.progress = 1.0
    each = torch.nn.functional.cross_entropy(
        method.net(x[:, :64]).transpose(1, 2), y[:, :64], reduction="none"
    )
    remains = ~method.left[:, :64]
    torch.testing.assert_close(method.loss(batch), (each * remains).sum(1) / 64)


def test_backward_passes_spared_are_the_visits_of_those_left_out() -> None:
    """No visit of theirs takes place with replayed = 0; with a tenth replayed, nine tenths are spared."""
    none, tenth = LeaveOut(moment=0.6), LeaveOut(moment=0.6, replayed=0.1)
    for method in (none, tenth):
        trained(method)
    order = none.draws.shuffles("order", [1097] * 2, 400 * 32, 0)[:, 240 * 32 :]
    visits = none.left.gather(1, order).sum(1)
    assert torch.equal(none.spared, visits.to(none.spared.dtype))
    assert torch.equal(none.left, tenth.left)  # alike until the moment
    np.testing.assert_allclose((tenth.spared / visits).numpy(), 0.9, atol=0.02)


def test_whole_classes_can_leave() -> None:
    method = LeaveOut(classes=7)
    trained(method)
    assert torch.equal(method.left, method.y < 7)


def test_as_many_can_leave_at_random() -> None:
    """As many as are known at the moment, of each replica; but others, known and not, in the same proportion."""
    known, drawn = LeaveOut(moment=0.6), LeaveOut(moment=0.6, drawn=True)
    for method in (known, drawn):
        trained(method)
    assert torch.equal(known.left, drawn.known_then)  # alike until the moment
    assert torch.equal(known.left.sum(1), drawn.left.sum(1))
    among = (drawn.left & drawn.known_then).sum(1) / drawn.known_then.sum(1)
    np.testing.assert_allclose(among.numpy(), drawn.left.double().mean(1).numpy(), atol=0.04)
    assert not torch.equal(drawn.left[0], drawn.left[1])


def test_those_that_remain_can_pull_harder() -> None:
    """eq: left-out. Divided by their own number, 32 in the batch: the gradient of a smaller batch."""
    method = LeaveOut(moment=0.6, drawn=True, smaller=True)
    trained(method)
    x, y = everything(Shuffled(), method.draws)
    index = torch.arange(64).expand(2, -1)
    batch = next(Shuffled().tasks(method.draws)[0].train.batches(index, 64, Shuffled().rule(), 0))
    method.progress = 1.0
    each = torch.nn.functional.cross_entropy(
        method.net(x[:, :64]).transpose(1, 2), y[:, :64], reduction="none"
    )
    remain = ~method.left[:, :64]
    torch.testing.assert_close(method.loss(batch), (each * remain).sum(1) / remain.sum(1))


def test_share_by_hand() -> None:
    """Of examples 0, 1 and 3 the first two are right: 2/3, not 2/4, and not the 3/4 of all. Of none: 0."""
    right, of = np.array([[True, True, True, False]] * 2), np.array([[True, True, False, True], [False] * 4])
    assert _share(right, of).tolist() == pytest.approx([2 / 3, 0])


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


@pytest.mark.parametrize("claim", [dropping_the_easy, fewer_passes])
def test_the_claims_are_finite_and_plain_training_is_the_measure(
    claim: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Boosting(rounds=2, steps=20)
    monkeypatch.setattr(skipping, "boosting", lambda replicas: boosting(replicas, short))
    monkeypatch.setattr(skipping, "emphasis", lambda replicas: emphasis(replicas, epochs=1))
    outcome = claim(2, updates=300)  # type: ignore[operator]
    assert np.isfinite(outcome.effect).all()
    assert all(np.isfinite(values).all() for values in outcome.reported.values())
    if claim is fewer_passes:
        assert (outcome.reported["spared to the target: plain"] == 0).all()
        assert (outcome.reported["forward passes in all, of plain training: skip known"] == 1).all()
    else:
        spared = {
            arm: outcome.reported[f"backward passes spared: {arm}"]
            for arm in ("kept", "left out", "left at random")
        }
        assert (spared["kept"] == 0).all() and all((spared[arm] > 0).all() for arm in list(spared)[1:])
        pull = {arm: outcome.reported[f"share of the residual that left: {arm}"] for arm in spared}
        assert (pull["kept"] == pull["left out"]).all() and (pull["left out"] < pull["left at random"]).all()


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
