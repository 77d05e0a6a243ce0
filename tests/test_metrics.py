"""The seven desiderata, each worked by hand, and the intervals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clkit import desiderata as desiderata_module
from clkit import metrics
from clkit.desiderata import desiderata
from clkit.errors import ClkitError

# Row i: accuracy on tasks 1, 2, 3 after i tasks.
A = np.array([[[0.1, 0.2, 0.1], [0.9, 0.3, 0.1], [0.95, 0.8, 0.4], [0.5, 0.9, 0.7]]])
# Updates at which the curve was taken; two tasks of 4 updates.
UPDATES, ENDS = [0, 1, 2, 4, 5, 6, 8], [4, 8]
CURVE = np.array(
    [
        [[0.1, 0.0], [0.5, 0.0], [0.7, 0.1], [0.9, 0.2], [0.3, 0.6], [0.5, 0.7], [0.7, 0.8]],
        [[0.1, 0.0], [0.1, 0.0], [0.1, 0.0], [0.2, 0.4], [0.4, 0.4], [0.5, 0.5], [0.6, 0.6]],
    ]
)
OF_MATRIX = (
    metrics.average_accuracy,
    metrics.learned,
    metrics.forgetting,
    metrics.backward_transfer,
    metrics.forward_transfer,
)


def table(columns):
    """A of one replica from columns: column j holds task j before training, after task 1, 2, ..."""
    return np.array(columns).T[None]


def test_average_accuracy():
    # (0.5 + 0.9 + 0.7) / 3
    assert metrics.average_accuracy(A) == pytest.approx([0.7])


def test_learned():
    # the diagonal below row 0: (0.9 + 0.8 + 0.7) / 3; one row too high it would be (0.1 + 0.3 + 0.4) / 3
    assert metrics.learned(A) == pytest.approx([0.8])


def test_forgetting():
    # task 1: max(0.9, 0.95) - 0.5 = 0.45; task 2: 0.8 - 0.9 = -0.1; mean 0.175
    # with the last row inside the maximum task 2 would count 0 (0.225); over T it would be 0.1167
    assert metrics.forgetting(A) == pytest.approx([0.175])


def test_forgetting_starts_when_the_task_was_learned():
    # task 2 stood at 0.9 before it was ever trained: 0.6 - 0.5, not 0.9 - 0.5; task 1 stays at 0.8
    before = table([[0.1, 0.8, 0.8, 0.8], [0.9, 0.9, 0.6, 0.5], [0.1, 0.1, 0.1, 0.7]])
    assert metrics.forgetting(before) == pytest.approx([0.05])


def test_backward_transfer():
    # (0.5 - 0.9 + 0.9 - 0.8) / 2 = -0.15; over T it would be -0.1
    assert metrics.backward_transfer(A) == pytest.approx([-0.15])


def test_forward_transfer():
    # task 2: 0.3 - 0.2; task 3: 0.4 - 0.1; mean over T - 1 = 2 tasks: 0.2; over T it would be 0.1333
    # without the baseline of row 0 it would be 0.35
    assert metrics.forward_transfer(A) == pytest.approx([0.2])
    assert np.isnan(metrics.forward_transfer(A, class_incremental=True)).tolist() == [True]


def test_perfect_retention():
    kept = table([[0.1, 0.9, 0.9, 0.9], [0.1, 0.1, 0.8, 0.8], [0.1, 0.1, 0.1, 0.7]])
    assert metrics.forgetting(kept) == pytest.approx([0.0], abs=1e-12)
    assert metrics.backward_transfer(kept) == pytest.approx([0.0], abs=1e-12)
    assert metrics.average_accuracy(kept) == pytest.approx(metrics.learned(kept))


def test_full_forgetting():
    # 1.0 when learned, chance 0.1 from the next task on
    lost = table([[0.1, 1.0, 0.1, 0.1], [0.1, 0.1, 1.0, 0.1], [0.1, 0.1, 0.1, 1.0]])
    assert metrics.forgetting(lost) == pytest.approx([0.9])
    assert metrics.backward_transfer(lost) == pytest.approx([-0.9])
    assert metrics.average_accuracy(lost) == pytest.approx([0.4])


def test_no_backward_transfer_but_forgetting():
    # task 1 rises to 0.9 with task 2 and falls back to 0.6; task 2 stays: F = (0.9 - 0.6 + 0) / 2
    up_and_down = table([[0.1, 0.6, 0.9, 0.6], [0.1, 0.1, 0.8, 0.8], [0.1, 0.1, 0.1, 0.7]])
    assert metrics.backward_transfer(up_and_down) == pytest.approx([0.0], abs=1e-12)
    assert metrics.forgetting(up_and_down) == pytest.approx([0.15])


def test_pure_backward_transfer_makes_forgetting_negative():
    # 0.5 -> 0.8 while task 2 is learned: the maximum is over earlier rows, so F = 0.5 - 0.8
    gained = table([[0.1, 0.5, 0.8], [0.1, 0.1, 0.9]])
    assert metrics.backward_transfer(gained) == pytest.approx([0.3])
    assert metrics.forgetting(gained) == pytest.approx([-0.3])


def test_one_task_shows_no_forgetting_and_no_transfer():
    one = table([[0.1, 0.9]])
    for metric in (metrics.forgetting, metrics.backward_transfer, metrics.forward_transfer):
        assert np.isnan(metric(one)).tolist() == [True]
    assert metrics.average_accuracy(one) == metrics.learned(one) == 0.9


def test_a_metric_is_taken_replica_by_replica():
    three = np.concatenate([A, A**2, 1 - A])
    order = [2, 0, 1]
    for metric in OF_MATRIX:
        each = metric(three)
        assert each.shape == (3,)
        assert len(set(each.round(9))) == 3
        assert np.array_equal(metric(three[order]), each[order])
        assert metric(A) == pytest.approx(each[:1])


def test_intransigence():
    # joint run, diagonal 0.95, 0.85, 0.9: ((0.95 - 0.9) + (0.85 - 0.8) + (0.9 - 0.7)) / 3
    joint = A.copy()
    joint[0, [1, 2, 3], [0, 1, 2]] = 0.95, 0.85, 0.9
    assert metrics.intransigence(A, joint) == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("accuracy", "says"),
    [
        (A[0], r"\[R, T\+1, T\].*not \(4, 3\)"),
        (A[:, 1:], r"row 0 before training, not \(1, 3, 3\)"),
        (A[:0], r"\(0, 4, 3\)"),
        (np.where(A == 0.4, np.nan, A), r"0\.\.1, not nan \(replica 0, A\[2, 3\]\)"),
        (A * 100, r"0\.\.1, not 10\.0 \(replica 0, A\[0, 1\]\)"),
        (-A, r"0\.\.1, not -0\.1"),
    ],
)
@pytest.mark.parametrize("metric", OF_MATRIX)
def test_a_wrong_matrix_is_refused(metric, accuracy, says):
    with pytest.raises(ClkitError, match=says):
        metric(accuracy)


def test_minimum_accuracy_lies_after_the_end_of_the_task():
    # task 1 at updates 5, 6, 8: 0.3, 0.5, 0.7 and 0.4, 0.5, 0.6; the second's 0.2 at update 4 is its end
    assert metrics.minimum_accuracy(UPDATES, CURVE, ENDS) == pytest.approx([0.3, 0.4])


def test_worst_case_accuracy():
    # (0.8 + 0.3) / 2 and (0.6 + 0.4) / 2
    assert metrics.worst_case_accuracy(UPDATES, CURVE, ENDS) == pytest.approx([0.55, 0.5])


def test_minimum_and_worst_case_of_three_tasks():
    # ends 1, 2, 3; task 1 after update 1: 0.4, 0.6 -> 0.4; task 2 after update 2: 0.5; task 3 at the end: 0.9
    curve = np.array([[[0.1, 0.1, 0.1], [0.9, 0.1, 0.1], [0.4, 0.8, 0.1], [0.6, 0.5, 0.9]]])
    assert metrics.minimum_accuracy([0, 1, 2, 3], curve, [1, 2, 3]) == pytest.approx([0.45])
    # 0.9 / 3 + 2 / 3 * 0.45
    assert metrics.worst_case_accuracy([0, 1, 2, 3], curve, [1, 2, 3]) == pytest.approx([0.6])


def test_one_task_has_no_minimum_but_a_worst_case():
    curve = CURVE[:, :4, :1]
    assert np.isnan(metrics.minimum_accuracy(UPDATES[:4], curve, [4])).all()
    assert metrics.worst_case_accuracy(UPDATES[:4], curve, [4]) == pytest.approx([0.9, 0.2])


def test_learning_curve_area():
    # task 1 at updates 0, 1: 0.1, 0.5; task 2 at 4, 5: 0.2, 0.6; second replica: 0.1, 0.1, 0.4, 0.4
    assert metrics.learning_curve_area(UPDATES, CURVE, ENDS, beta=1) == pytest.approx([0.35, 0.25])
    # beta 0 is accuracy before the first update: (0.1 + 0.2) / 2, (0.1 + 0.4) / 2
    assert metrics.learning_curve_area(UPDATES, CURVE, ENDS, beta=0) == pytest.approx([0.15, 0.25])


@pytest.mark.parametrize("beta", [3, 5, -1])
def test_learning_curve_area_needs_every_update(beta):
    # update 3 was not evaluated; task 1 has no update 5; -1 has no meaning
    with pytest.raises(ClkitError, match=f"beta={beta}"):
        metrics.learning_curve_area(UPDATES, CURVE, ENDS, beta=beta)


@pytest.mark.parametrize(
    ("updates", "values", "ends", "says"),
    [
        (UPDATES, CURVE[0], ENDS, r"values \[R, E, T\]"),
        (UPDATES[1:], CURVE, ENDS, r"updates \[E\]"),
        (UPDATES, CURVE, [8], r"ends \[T\]"),
        (UPDATES[::-1], CURVE, ENDS, "rise"),
        (UPDATES, CURVE, [8, 8], "rise"),
        (UPDATES, np.full_like(CURVE, np.nan), ENDS, "NaN"),
        (UPDATES, CURVE, [4, 9], "ends at update 8, the last task at 9"),
    ],
)
def test_a_wrong_curve_is_refused(updates, values, ends, says):
    for metric in (metrics.minimum_accuracy, metrics.worst_case_accuracy, metrics.learning_curve_area):
        with pytest.raises(ClkitError, match=says):
            metric(updates, values, ends)


def test_learning_efficiency():
    # ((0.4 - 0.1) + (0.8 - 0.5)) / 2 and ((0.1 - 0.1) + (0.3 - 0.5)) / 2
    mine, scratch = [[0.4, 0.8], [0.1, 0.3]], [[0.1, 0.5], [0.1, 0.5]]
    assert metrics.learning_efficiency(mine, scratch) == pytest.approx([0.3, -0.1])


def test_first_reaching():
    values = [[0.1, 0.5, 0.4, 0.9], [0.6, 0.2, 0.2, 0.2], [0.0, 0.1, 0.2, 0.3]]
    assert metrics.first_reaching([0, 5, 7, 20], values, 0.5).tolist() == [5, 0, np.inf]
    assert metrics.first_reaching([0, 5, 7, 20], values, [0.6, 0.6, 0.2]).tolist() == [20, 0, 7]
    with pytest.raises(ClkitError, match="rising updates"):
        metrics.first_reaching([0, 7, 5, 20], values, 0.5)


def test_half_life():
    # above chance 0.1: 0.8, half of it 0.4, so 0.5, reached at update 20; above 0: half is 0.45, passed at 30
    values = [[0.9, 0.7, 0.5, 0.2]]
    assert metrics.half_life([0, 10, 20, 30], values, chance=0.1).tolist() == [20]
    assert metrics.half_life([0, 10, 20, 30], values).tolist() == [30]
    assert metrics.half_life([0, 10, 20, 30], [[0.9, 0.9, 0.9, 0.8]]).tolist() == [np.inf]


def test_recovery_time():
    # 0.9 of 0.8 is 0.72 in exact arithmetic, a rounding error more in floats: 0.72 reaches it
    assert 0.9 * 0.8 > 0.72
    values = [[0.1, 0.6, 0.72, 0.8], [0.1, 0.2, 0.3, 0.4]]
    assert metrics.recovery_time([0, 1, 2, 3], values, [0.8, 0.4], fraction=0.9).tolist() == [2, 3]
    # 0.95 of 0.8 is 0.76: update 3
    assert metrics.recovery_time([0, 1, 2, 3], values, [0.8, 0.9]).tolist() == [3, np.inf]


def test_savings():
    # 50 of 200 updates: three quarters saved; slower than from scratch: negative; no reference: NaN
    assert metrics.savings([50.0, 300.0], [200.0, 200.0]) == pytest.approx([0.75, -0.5])
    assert metrics.relative_learning_time([50.0, 300.0], [200.0, 200.0]) == pytest.approx([0.25, 1.5])
    assert metrics.savings([np.inf], [200.0]).tolist() == [-np.inf]
    assert np.isnan(metrics.savings([5.0, np.inf, 0.0], [0.0, np.inf, np.inf])).all()


def test_stored_data_saving():
    # mean of 10, 20, 30 bytes over the 300 of all data: 1 - 1/15; nothing kept: 1; more than all: 0
    assert metrics.stored_data_saving([10, 20, 30], [100, 200, 300]) == pytest.approx(14 / 15)
    assert metrics.stored_data_saving([0, 0, 0], [100, 200, 300]) == 1.0
    assert metrics.stored_data_saving([900, 900], [100, 200]) == 0.0


def test_model_size_efficiency():
    # (1 + 1/2 + 1/4) / 3; a model that shrinks counts as 1
    assert metrics.model_size_efficiency([4, 8, 16]) == pytest.approx(7 / 12)
    assert metrics.model_size_efficiency([8, 8]) == metrics.model_size_efficiency([8, 4]) == 1.0


def test_computational_efficiency():
    # (1/2 + 1/4) / 2, the mean of ratios; the ratio of means would be 1/3
    assert metrics.computational_efficiency([2, 4], [1, 1]) == pytest.approx(0.375)
    assert metrics.computational_efficiency([2, 4], [1, 1], epsilon=2) == pytest.approx(0.75)
    assert metrics.computational_efficiency([1, 1], [1, 2]) == 1.0


def test_growth_exponent():
    assert metrics.growth_exponent([5, 5, 5]) == pytest.approx(0.0, abs=1e-12)
    assert metrics.growth_exponent([3, 6, 9, 12]) == pytest.approx(1.0)
    assert metrics.growth_exponent([1, 4, 9]) == pytest.approx(2.0)
    # two tasks: log(3) / log(2)
    assert metrics.growth_exponent([1, 3]) == pytest.approx(1.5849625)
    assert np.isnan(metrics.growth_exponent([7]))
    # Python integers beyond 64 bits
    assert metrics.growth_exponent([10**30, 2 * 10**30]) == pytest.approx(1.0)


@pytest.mark.parametrize("amounts", [[], [1.0, 0.0], [1.0, -2.0], [1.0, np.nan], [[1.0]], 3.0])
def test_wrong_amounts_are_refused(amounts):
    with pytest.raises(ClkitError, match="bytes_model must be > 0"):
        metrics.model_size_efficiency(amounts)
    with pytest.raises(ClkitError, match="amounts must be > 0"):
        metrics.growth_exponent(amounts)


def test_bands_by_hand():
    """Two replicas with 0.2 and 0.4: mean 0.3, sd 0.1414, half 12.7062 x 0.1414 / 1.4142 = 1.2706; alike: no width."""
    values = np.array([[0.2, 1.0], [0.4, 1.0]])
    assert metrics.bands(values, 4) == {"mean": [0.3, 1.0], "low": [-0.9706, 1.0], "high": [1.5706, 1.0]}
    assert metrics.bands(values)["high"][0] == metrics.interval([0.2, 0.4]).high  # as it is
    assert metrics.bands([[0.5, np.nan]]) == {"mean": [0.5, None], "low": [None] * 2, "high": [None] * 2}


def test_boundary_jitter_gap_and_ignored_labels():
    moved = A.copy()
    moved[0, 3] = 0.4, 0.9, 0.5  # mean 0.6 against 0.7
    assert metrics.boundary_jitter_gap(A, moved) == pytest.approx([0.1])
    assert metrics.ignores_labels(A, A.copy())
    assert not metrics.ignores_labels(A, np.nextafter(A, 1))


def test_interval_by_hand():
    # 0, 1, 2: mean 1, sd 1, t(2) = 4.3027: half-width 4.3027 / sqrt(3) = 2.4841
    assert metrics.interval([0, 1, 2]) == pytest.approx((1.0, -1.4841, 3.4841), abs=1e-4)
    # 0, 2: mean 1, sd sqrt(2), t(1) = 12.7062: half-width 12.7062 * sqrt(2) / sqrt(2)
    assert metrics.interval([0, 2]) == pytest.approx((1.0, -11.7062, 13.7062), abs=1e-4)
    # level 90 %: t(2) = 2.9200: half-width 1.6859
    assert metrics.interval([0, 1, 2], 0.9) == pytest.approx((1.0, -0.6859, 2.6859), abs=1e-4)


def test_an_interval_needs_two_finite_values():
    assert metrics.interval([0.5]) == (0.5, None, None)
    for bad in ([0.5, np.nan], [np.inf, 1.0], [np.inf, -np.inf], [np.nan]):
        assert metrics.interval(bad).to_json() == {"mean": None, "low": None, "high": None}
    for bad, level in (([], 0.95), ([[1.0]], 0.95), ([1.0, 2.0], 95)):
        with pytest.raises(ClkitError, match="interval needs"):
            metrics.interval(bad, level)


def test_an_interval_is_plain_json():
    known = metrics.interval(np.array([0, 1, 2], np.float32)).to_json()
    assert json.loads(json.dumps(known, allow_nan=False)) == known
    assert list(known) == ["mean", "low", "high"]


def test_a_difference_is_paired():
    # differences 1, 1, 1: no width, although either side has sd 1
    assert metrics.difference([1, 2, 3], [0, 1, 2]) == (1.0, 1.0, 1.0)
    # differences 1, 2, 3
    assert metrics.difference([1, 3, 5], [0, 1, 2]) == pytest.approx((2.0, -0.4841, 4.4841), abs=1e-4)
    with pytest.raises(ClkitError, match="equal seeds"):
        metrics.difference([1, 2, 3], [1])


GROWTH = {
    "bytes_kept": [100, 220, 340],  # models of 100, 200, 300 bytes and 0, 20, 40 bytes of examples
    "bytes_examples": [0, 20, 40],
    "bytes_data": [100, 200, 400],
    "interactions": [0, 30, 64],
    "flops": [10, 40, 120],
    "flops_plain": [10, 20, 40],
}


def rows(**given):
    found = desiderata(**{"accuracy": A, "needs": frozenset(), **GROWTH, **given})
    return {row["metric"]: row for row in found}


def test_the_table_of_desiderata():
    means = {name: row["mean"] for name, row in rows(needs={"task boundaries", "stored examples"}).items()}
    assert means == {
        "stored-data saving": pytest.approx(0.95),  # 1 - 20 / 400
        "interaction count": 94.0,
        "model-size efficiency": pytest.approx(11 / 18),  # (1 + 1/2 + 1/3) / 3, without the examples
        "growth of bytes kept": pytest.approx(metrics.growth_exponent([100, 220, 340])),
        "computational efficiency": pytest.approx(11 / 18),  # 1, 1/2, 1/3
        "growth of operations per step": pytest.approx(1.0),  # 1, 2, 3 times the plain step
        "average accuracy": pytest.approx(0.7),
        "forgetting": pytest.approx(0.175),
        "minimum accuracy": None,
        "worst-case accuracy": None,
        "learning curve area": None,
        "recovery time": None,
        "savings": None,
        "learned accuracy": pytest.approx(0.8),
        "intransigence": None,
        "forward transfer": pytest.approx(0.2),
        "backward transfer": pytest.approx(-0.15),
        "boundary-jitter gap": None,
        "needs task boundaries": 1.0,
        "needs task labels in training": 0.0,
        "needs task labels at test": 0.0,
    }


def test_the_table_covers_all_seven_and_is_plain_json():
    found = desiderata(np.concatenate([A, A / 2]), needs=(), **GROWTH)
    assert {row["number"] for row in found} == set(range(1, 8))
    assert all(list(row) == list(found[0]) for row in found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    by_metric = {row["metric"]: row for row in found}
    # two replicas, 0.7 and 0.35: mean 0.525, half-width 12.7062 * 0.35 / 2 = 2.2236
    assert by_metric["average accuracy"]["mean"] == pytest.approx(0.525)
    assert by_metric["average accuracy"]["low"] == pytest.approx(-1.6986, abs=1e-4)
    assert by_metric["model-size efficiency"]["low"] is None


def test_the_table_takes_a_curve_a_joint_run_and_the_scenario():
    two = {name: amounts[:2] for name, amounts in GROWTH.items()}
    accuracy = table([[0.1, 0.9, 0.7], [0.0, 0.2, 0.8]])
    joint = table([[0.1, 0.9, 0.9], [0.0, 0.2, 0.9]])
    curve = (UPDATES, CURVE[:1], ENDS)
    found = rows(accuracy=accuracy, **two, joint=joint, curve=curve, beta=0, class_incremental=True)
    assert found["minimum accuracy"]["mean"] == pytest.approx(0.3)
    assert found["worst-case accuracy"]["mean"] == pytest.approx(0.55)
    assert found["learning curve area"]["mean"] == pytest.approx(0.15)
    assert found["intransigence"]["mean"] == pytest.approx(0.05)  # (0 + 0.1) / 2
    assert found["forward transfer"]["mean"] is None


def test_the_table_takes_what_needs_further_runs():
    """Regained after 30 of 120 updates: 3/4 saved; with boundaries told at wrong times 0.7 becomes 0.35."""
    found = rows(relearned=([30.0], [120.0]), moved=A / 2)
    assert found["recovery time"]["mean"] == 30 and found["savings"]["mean"] == pytest.approx(0.75)
    assert found["boundary-jitter gap"]["mean"] == pytest.approx(0.35)


def test_the_table_of_one_task():
    one = {name: amounts[:1] for name, amounts in GROWTH.items()}
    found = rows(accuracy=table([[0.1, 0.9]]), **one)
    silent = {name for name, row in found.items() if row["mean"] is None}
    assert {"forgetting", "forward transfer", "backward transfer", "growth of bytes kept"} < silent
    assert found["average accuracy"]["mean"] == 0.9


def test_the_table_refuses_amounts_of_another_stream():
    with pytest.raises(ClkitError, match=r"\(2,\) is not \(3,\)"):
        rows(bytes_kept=[1, 2])
    with pytest.raises(ClkitError, match="flops must be > 0"):
        rows(flops=[1, 0, 1])


def test_metrics_are_light():
    code = "import sys, clkit.metrics; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    here = Path(metrics.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=here).returncode == 0


def test_the_forms_over_the_whole_matrix():
    """On and below the diagonal .9 .95 .8 .5 .9 .7; changes .05 -.4 .1; above it .3 .1 .4."""
    assert desiderata_module.accuracy_throughout(A) == pytest.approx([4.75 / 6])
    assert desiderata_module.backward_transfer_throughout(A) == pytest.approx([-0.25 / 3])
    assert desiderata_module.forward_transfer_throughout(A) == pytest.approx(
        [0.8 / 3]
    )  # row 0 is no part of it


def test_remembering_and_what_was_gained():
    """BWT = -0.15: 0.85 remembered, nothing gained; with task 1 at 0.99 in the end BWT is 0.095."""
    gained = A.copy()
    gained[0, 3, 0] = 0.99
    assert desiderata_module.remembering(A) == pytest.approx([0.85])
    assert desiderata_module.positive_backward_transfer(A) == pytest.approx([0.0])
    assert desiderata_module.remembering(gained) == pytest.approx([1.0])
    assert desiderata_module.positive_backward_transfer(gained) == pytest.approx([0.095])


def test_one_task_has_no_triangle():
    one = np.array([[[0.1], [0.8]]])
    assert desiderata_module.accuracy_throughout(one) == pytest.approx([0.8])
    for form in (
        desiderata_module.backward_transfer_throughout,
        desiderata_module.forward_transfer_throughout,
        desiderata_module.remembering,
        desiderata_module.positive_backward_transfer,
    ):
        assert np.isnan(form(one)).all()
