"""Learning a forgotten task again, and the dip at a change of task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from clkit import instruments
from clkit.controls import Joint
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.streams import Permuted, Rotated
from clkit.training import Training
from clkit.tug_of_war.recovery import (
    Growing,
    LaterPermuted,
    LaterRotated,
    change,
    deepest,
    pulled,
    relearn,
    saved,
    untrained,
)

SMALL = Training(updates=(60, 60), network=Mlp(hidden=(20,)))


def test_savings_by_hand() -> None:
    """Old accuracy 0.8, so 0.72 counts. Again: reached at update 1, fresh: at 4. Savings 1 - 1/4."""
    again, fresh = np.array([[0.3, 0.75, 0.7, 0.8, 0.8]]), np.array([[0.1, 0.3, 0.5, 0.7, 0.72]])
    found = saved(again, fresh, np.array([0.8]))
    assert found["updates again"] == [1] and found["updates of a fresh network"] == [4]
    assert found["savings"] == [0.75]


def test_what_was_never_lost_is_saved_whole_and_what_takes_longer_counts_against() -> None:
    known, slow, fresh = np.array([[0.9, 0.9, 0.9]]), np.array([[0.0, 0.0, 0.9]]), np.array([[0.0, 0.9, 0.9]])
    assert saved(known, fresh, np.array([0.9]))["savings"] == [1.0]
    assert saved(slow, fresh, np.array([0.9]))["savings"] == [-1.0]  # 1 - 2/1


def trained(stream: Rotated) -> Method:
    method = Method()
    run(method, stream, SMALL, replicas=2, progress=False)
    return method


def test_a_fresh_network_has_other_weights_and_sees_the_same_batches() -> None:
    """Relearning twice from equal weights gives equal curves; a fresh network starts elsewhere, near guessing."""
    stream = Rotated(length=2, degrees=60)
    first, second = trained(stream), trained(stream)
    data = stream.audit(first.draws)[0]
    fresh, start = untrained(first), first.build(task=0)
    assert fresh.lr == first.lr == 0.05
    for new, own in zip(fresh.net.parameters(), start.parameters(), strict=True):
        assert new.shape[1] == 1 or not torch.equal(new, own)  # the biases of both are 0
    curve = relearn(first, data, 8)
    np.testing.assert_array_equal(curve, relearn(second, data, 8))
    assert curve.shape == (2, 9)
    assert (curve[:, 0] > relearn(fresh, data, 1)[:, 0]).all()


def test_relearning_begins_where_the_run_ended_and_learns() -> None:
    """Entry 0 is the last row of the accuracy matrix: nothing has been trained yet."""
    stream, method = Rotated(length=2, degrees=60), Method()
    record = run(method, stream, SMALL, replicas=2, progress=False)
    curve = relearn(method, stream.audit(method.draws)[0], 60)
    np.testing.assert_allclose(curve[:, 0], record.matrix[:, 2, 0], atol=1e-12)
    assert (curve[:, -1] > curve[:, 0] + 0.1).all()


def test_the_later_streams_lack_the_first_task() -> None:
    draws, rows = Draws((0, 1)), torch.arange(5).expand(2, -1)
    for whole, later in (
        (Rotated(length=3), LaterRotated(length=2)),
        (Permuted(length=3), LaterPermuted(length=2)),
    ):
        for full, part in zip(whole.tasks(draws)[1:], later.tasks(draws), strict=True):
            assert torch.equal(full.test.take(rows)[0], part.test.take(rows)[0])


def test_the_lowest_accuracy_after_the_change_by_hand() -> None:
    """Of task 1 after its end at update 60: neither what was before nor the end itself counts.

    The curve is lowest at the end, at update 60 (0.1), and low at 59 (0.2); the lowest after it is 0.3, at 61 in
    one replica and at 90 in the other.
    """
    record = change(Method(), 90.0, SMALL, replicas=2)
    assert record.curve is not None and record.curve.shape == (2, 120, 2)  # entry u - 1: after u updates
    curve = np.full_like(record.curve, 0.8)
    curve[:, [58, 59], 0] = 0.2, 0.1
    curve[[0, 1], [60, 89], 0] = 0.3
    curve[:, 100, 1] = 0.0  # of task 2, which does not count
    np.testing.assert_allclose(deepest(replace(record, curve=curve)), [0.3, 0.3])


def test_joint_training_falls_less_deep_than_fine_tuning() -> None:
    """The data of task 1 are present in one of them only, so that one recovers; both fall at first."""
    longer = Training(updates=(150, 150), network=Mlp(hidden=(40,)))
    joint, alone = (change(method, 90.0, longer, replicas=3) for method in (Joint(), Method()))
    assert (deepest(joint) - deepest(alone)).min() > 0.05
    assert (joint.matrix[:, 2, 0] - alone.matrix[:, 2, 0]).min() > 0.15


class Watched(Growing):
    """Remembers which places kept their example of task 2, and that the others show task 1."""

    def start(self, *arguments) -> None:  # type: ignore[no-untyped-def]
        super().start(*arguments)
        self.kept: list[torch.Tensor] = []

    def widen(self, batch):  # type: ignore[no-untyped-def]
        wide, place = super().widen(batch), self.place
        if self.past is not None:
            self.kept.append(wide.index >= 0)
            old = self.past.take(self.order[:, place : place + 32])
            for new, own, other in ((wide.x, batch.x, old[0]), (wide.y, batch.y, old[1])):
                for r, kept in enumerate(self.kept[-1]):
                    assert torch.equal(new[r, kept], own[r, kept])
                    assert torch.equal(new[r, ~kept], other[r, ~kept])
        return wide


def test_the_share_of_the_new_task_grows_in_a_straight_line() -> None:
    """0.5 u / 200 at update u: on average 0.125 in the first half and 0.375 in the second, of 2 x 3200 places each.

    Their sd is at most 0.006; a share that jumped to one half, or a growth to 1, would be far from both.
    """
    method = Watched()
    change(method, 90.0, Training(updates=(5, 200), network=Mlp(hidden=(4,))), replicas=2)
    kept = torch.stack(method.kept).double()  # [updates, R, B]
    assert kept.shape == (200, 2, 32) and not kept[0].any()  # nothing of task 2 in the first update
    assert abs(float(kept[:100].mean()) - 0.125) < 0.025 and abs(float(kept[100:].mean()) - 0.375) < 0.025
    assert not torch.equal(kept[:, 0], kept[:, 1])


def test_the_pulls_are_taken_at_the_change_and_not_one_update_later() -> None:
    """At update 60 the weights are those of a network that was trained on task 1 alone, for as long."""
    stream, alone = Rotated(length=2, degrees=80), Method()
    record, losses, pulls = pulled(Joint(), 80.0, SMALL, (0, 3), replicas=2)
    run(alone, Rotated(length=1), Training(updates=(60,), network=SMALL.network), replicas=2, progress=False)
    assert pulls.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(losses[:, 0], instruments.losses(alone, stream), rtol=1e-4)
    gradients = instruments.gradients(alone, stream)
    np.testing.assert_allclose(pulls[:, 0], gradients @ gradients.mT, rtol=1e-4, atol=1e-5)
    assert (np.abs(pulls[:, 1] - pulls[:, 0]) > 1e-3).all()
    np.testing.assert_array_equal(record.matrix, change(Joint(), 80.0, SMALL, replicas=2).matrix)
