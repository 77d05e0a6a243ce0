"""Learning a forgotten task again, and the dip at a change of task."""

from __future__ import annotations

import numpy as np
import torch

from clkit.controls import Joint
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.streams import Permuted, Rotated
from clkit.training import Training
from clkit.tug_of_war.recovery import (
    LaterPermuted,
    LaterRotated,
    change,
    deepest,
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
    """Of task 1 after its end at update 60, whatever was before; the end itself counts, as in De Lange et al."""
    record = change(Method(), 90.0, SMALL, replicas=2)
    assert record.curve is not None and record.curve.shape == (2, 120, 2)
    np.testing.assert_allclose(deepest(record), record.curve[:, 59:, 0].min(axis=1))


def test_joint_training_falls_less_deep_than_fine_tuning() -> None:
    """The data of task 1 are present in one of them only, so that one recovers; both fall at first."""
    longer = Training(updates=(150, 150), network=Mlp(hidden=(40,)))
    joint, alone = (change(method, 90.0, longer, replicas=3) for method in (Joint(), Method()))
    assert (deepest(joint) - deepest(alone)).min() > 0.05
    assert (joint.matrix[:, 2, 0] - alone.matrix[:, 2, 0]).min() > 0.15
