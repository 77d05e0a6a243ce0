"""Accuracy on the first of ever more tasks, and what protection costs."""

from __future__ import annotations

import numpy as np
import pytest

from clkit.controls import L2, Joint
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import bands
from clkit.nets import Mlp
from clkit.record import Record
from clkit.streams import Rotated
from clkit.training import Training
from clkit.tug_of_war import capacity
from clkit.tug_of_war.capacity import first_task, measures, sequence, so_far, sweep

# One replica, three tasks; row 0 before training. Entries above the diagonal are there to be left out.
MATRIX = np.array([[0.1, 0.2, 0.1], [0.9, 0.6, 0.7], [0.5, 0.8, 0.7], [0.3, 0.6, 0.9]])


def record_of(*matrices: np.ndarray) -> Record:
    return Record("fine_tuning", {}, list(range(len(matrices))), "permuted", accuracy=np.stack(matrices))


def test_first_task_is_the_first_column_from_the_end_of_task_1() -> None:
    np.testing.assert_array_equal(first_task(record_of(MATRIX, MATRIX)), [[0.9, 0.5, 0.3]] * 2)


def test_mean_over_the_tasks_seen_by_hand() -> None:
    """eq: mean-so-far. (0.9), (0.5 + 0.8) / 2, (0.3 + 0.6 + 0.9) / 3; tasks to come do not count."""
    np.testing.assert_allclose(so_far(record_of(MATRIX)), [[0.9, 0.65, 0.6]])


def test_measures_by_hand() -> None:
    """Task 1 was 0.9 and ends at 0.3, task 2 was 0.8 and ends at 0.6: forgetting (0.6 + 0.2) / 2 = 0.4.

    Joint learned 0.8, 0.8, 0.8 when new, the run 0.9, 0.8, 0.9: intransigence 0.8 - 2.6 / 3 = -0.0667.
    """
    joint = record_of(np.full((4, 3), 0.8))
    found = measures([record_of(MATRIX), joint], joint)
    np.testing.assert_allclose(found["forgetting"]["mean"], [0.4, 0.0])
    np.testing.assert_allclose(found["intransigence"]["mean"], [0.8 - 2.6 / 3, 0.0])
    np.testing.assert_allclose(found["average accuracy"]["mean"], [0.6, 0.8])
    np.testing.assert_allclose(found["learned accuracy"]["mean"], [2.6 / 3, 0.8])


def test_every_task_gets_the_same_updates_and_a_wider_net_only_more_units() -> None:
    narrow, wide = (sequence(Joint(), width, 3, 4, replicas=2) for width in (2, 5))
    assert narrow.updates == wide.updates == [4, 4, 4]
    assert narrow.bytes_kept[0] - narrow.bytes_examples[0] == 4 * (65 * 2 + 3 * 10)
    assert wide.bytes_kept[0] - wide.bytes_examples[0] == 4 * (65 * 5 + 6 * 10)


def test_the_sweep_leaves_every_strength_under_its_name_and_0_is_fine_tuning() -> None:
    stream, training = Rotated(length=2), Training(updates=(3, 3), network=Mlp(hidden=(4,)))
    found = sweep(L2, (0.0, 1e9), stream, training=training, replicas=2)
    free = run(Method(), stream, training, replicas=2, progress=False)
    assert [r.settings["method"]["strength"] for r in found.values()] == [*found] == [0.0, 1e9]
    np.testing.assert_array_equal(found[0.0].matrix, free.matrix)
    frozen = found[1e9].matrix
    np.testing.assert_array_equal(frozen[:, 2], frozen[:, 1])  # nothing can move: row 2 is row 1


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The studies at a size that a test can afford."""
    monkeypatch.setattr(capacity, "WIDTHS", {"1x": 2, "2x": 3})
    monkeypatch.setattr(capacity, "LENGTH", 2)
    monkeypatch.setattr(capacity, "UPDATES", 2)
    monkeypatch.setattr(capacity, "L2_STRENGTHS", (1.0, 1e9))
    monkeypatch.setattr(capacity, "Rotated", lambda: Rotated(length=2, limit=(40, 40)))


def test_longer_sequences_takes_its_effect_from_joint_training_of_the_narrow_net(tiny: None) -> None:
    out = capacity.longer_sequences(2, {})
    record = sequence(Joint(), 2, 2, 2, replicas=2)
    np.testing.assert_array_equal(out.effect, record.matrix[:, 1, 0] - record.matrix[:, 2, 0])
    longer = sequence(Joint(), 3, 2, 2 * capacity.LONGER, replicas=2)
    assert out.curves["joint, 2x, longer"]["first"] == bands(first_task(longer))
    ends = {
        w: sequence(Joint(), w, 2, 2, replicas=2).matrix[:, 1:, 0] for w in (2, 3)
    }  # [R, after 1, after 2]
    more_lost = ends[2] @ [1, -1] - ends[3] @ [1, -1]
    np.testing.assert_allclose(out.reported["drop on task 1: joint, 1x minus 2x"], more_lost, atol=1e-12)
    lower = ends[3][:, 1] - ends[2][:, 1]
    np.testing.assert_allclose(out.reported["task 1 in the end: joint, 2x minus 1x"], lower, atol=1e-12)
    longer_end = longer.matrix[:, -1, 0] - sequence(Joint(), 2, 2, 8, replicas=2).matrix[:, -1, 0]
    np.testing.assert_allclose(out.reported["task 1 in the end: joint, 2x minus 1x, longer"], longer_end)
    one = capacity.longer_sequences(1, {})  # a replica depends on its own seed alone
    np.testing.assert_allclose(one.effect, out.effect[:1], atol=1e-9)


def test_protection_measures_what_the_strongest_pull_costs_against_none(tiny: None) -> None:
    """A frozen net learns task 2 as little as it knew of it; the free one is joint training's rival."""
    out = capacity.protection(2, {"l2": L2})
    stream = Rotated(length=2, limit=(40, 40))
    free, frozen = (run(m, stream, replicas=2, progress=False).matrix for m in (Method(), L2(strength=1e9)))
    mean_learned = [(m[:, 1, 0] + m[:, 2, 1]) / 2 for m in (free, frozen)]
    np.testing.assert_allclose(out.effect, mean_learned[0] - mean_learned[1])
    assert out.curves["l2"]["strength"] == [0.0, 1.0, 1e9]
    assert out.curves["joint"]["intransigence"]["mean"] == [0.0]
    weak = run(L2(strength=1.0), stream, replicas=2, progress=False).matrix
    between = mean_learned[0] - (weak[:, 1, 0] + weak[:, 2, 1]) / 2  # what the effect would be at strength 1
    expected = bands(np.stack([0 * between, between, out.effect], axis=1))
    for end in ("mean", "low", "high"):
        np.testing.assert_allclose(out.curves["l2"]["cost"][end], expected[end], atol=1e-12)
