"""Leaving out for good what is known: who is left out, what the others' pull becomes, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.examples import Batch
from clkit.loop import run
from clkit.method import Method
from clkit.training import Training
from clkit.tug_of_war.difficulty import Watch, everything
from clkit.tug_of_war.leaving import LeaveOut, dropping_the_easy, share
from clkit.tug_of_war.memorization import Shuffled

LONG = Training(updates=(400,), every=80)


def trained(method: Method, training: Training = LONG, **how: object) -> torch.Tensor:
    run(method, Shuffled(), training, replicas=2, progress=False, **how)  # type: ignore[arg-type]
    return method.parameters()[0].detach()


def of_64(method: LeaveOut) -> tuple[torch.Tensor, Batch]:
    """The loss [R, 64] of each of the first 64 examples, and a batch of them, after the moment."""
    method.progress = 1.0
    index = torch.arange(64).expand(2, -1)
    batch = next(Shuffled().tasks(method.draws)[0].train.batches(index, 64, Shuffled().rule(), 0))
    x, y = (part[:, :64] for part in everything(Shuffled(), method.draws))
    each = torch.nn.functional.cross_entropy(method.net(x).transpose(1, 2), y, reduction="none")
    return each, batch


def test_switched_off_it_is_plain_training() -> None:
    short = Training(updates=(60,))
    expected = trained(Method(), short)
    for method in (LeaveOut(replayed=1.0), LeaveOut(moment=1.0)):
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
    each, batch = of_64(method)
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
    each, batch = of_64(method)
    remain = ~method.left[:, :64]
    torch.testing.assert_close(method.loss(batch), (each * remain).sum(1) / remain.sum(1))


def test_share_by_hand() -> None:
    """Of examples 0, 1 and 3 the first two are right: 2/3, not 2/4, and not the 3/4 of all. Of none: 0."""
    right, of = np.array([[True, True, True, False]] * 2), np.array([[True, True, False, True], [False] * 4])
    assert share(right, of).tolist() == pytest.approx([2 / 3, 0])


def test_the_claim_is_finite_and_says_who_left() -> None:
    outcome = dropping_the_easy(2, updates=300)
    assert np.isfinite(outcome.effect).all()
    assert all(np.isfinite(values).all() for values in outcome.reported.values())
    arms = ("kept", "left out", "left at random")
    spared = {arm: outcome.reported[f"backward passes spared: {arm}"] for arm in arms}
    assert (spared["kept"] == 0).all() and all((spared[arm] > 0).all() for arm in arms[1:])
    pull = {arm: outcome.reported[f"share of the residual that left: {arm}"] for arm in arms}
    assert (pull["kept"] == pull["left out"]).all() and (pull["left out"] < pull["left at random"]).all()
