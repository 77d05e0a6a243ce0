"""What the page shows of a run at any update, against the measures of the package on the run cut off there."""

import numpy as np
import pytest

from clkit import metrics

NAMES = {
    "average": metrics.average_accuracy,
    "forgetting": metrics.forgetting,
    "backward": metrics.backward_transfer,
}
STUDENT = {3: 4.302652729749464, 10: 2.2621571628540993}  # 97.5 % of Student's t with R - 1 degrees


def setting(seed):
    """A run of random accuracies: R replicas, T tasks, evaluated every 5 updates of tasks of 10, 15 or 20."""
    rng = np.random.default_rng(seed)
    replicas, tasks = (3, 10)[seed % 2], int(rng.integers(2, 6))
    ends = np.cumsum(rng.choice([10, 15, 20], tasks))
    updates = np.arange(0, ends[-1] + 1, 5)
    curve = rng.uniform(0, 1, (replicas, len(updates), tasks))
    at = int(rng.integers(1, len(updates))) if seed else len(updates) - 1
    return {
        "curve": curve.tolist(),
        "updates": updates.tolist(),
        "ends": ends.tolist(),
        "at": at,
        "t": STUDENT[replicas],
    }


def cut(s):
    """The accuracy matrix [R, k + 1, k] of the run, had it ended at this update: its k tasks are those begun."""
    curve, updates, ends = (np.array(s[name]) for name in ("curve", "updates", "ends"))
    now = updates[s["at"]]
    begun = int((np.append(0, ends[:-1]) < now).sum())
    rows = [0, *np.searchsorted(updates, ends[: begun - 1]), s["at"]]
    return curve[:, rows][:, :, :begun], curve


def test_the_measures_are_those_of_the_run_cut_off_at_the_update(javascript):
    cases = [setting(seed) for seed in range(20)]
    for s, found in zip(cases, javascript("scrub", cases), strict=True):
        A, curve = cut(s)
        assert found["begun"] == A.shape[2]
        for name, measure in NAMES.items():
            if A.shape[2] == 1 and name != "average":
                assert found[name] is None  # nothing earlier that could be lost
                continue
            expected = metrics.interval(measure(A))
            assert found[name]["mean"] == pytest.approx(expected.mean, abs=1e-6)
            assert found[name]["half"] == pytest.approx(expected.high - expected.mean, abs=1e-6)
        np.testing.assert_allclose(found["now"], curve[:, s["at"]].mean(0), atol=1e-6)


def test_rows_appear_when_their_task_is_over(javascript):
    """Tasks end at 10 and 20: at update 10 the second has not begun, at 15 row 2 is still empty."""
    curve = [[[0.1, 0.2], [0.5, 0.2], [0.9, 0.3], [0.6, 0.7], [0.4, 0.8]]]
    base = {"curve": curve, "updates": [0, 5, 10, 15, 20], "ends": [10, 20], "t": 0}
    start, early, first, middle, end = javascript("scrub", [base | {"at": at} for at in range(5)])
    assert [f["begun"] for f in (start, early, first, middle, end)] == [0, 1, 1, 2, 2]
    assert start["average"] is None and start["matrix"] == [[0.1, 0.2], None, None]
    assert early["matrix"] == [[0.1, 0.2], None, None] and early["average"]["mean"] == 0.5
    assert first["matrix"] == [[0.1, 0.2], [0.9, 0.3], None] and first["forgetting"] is None
    # at 15 task 1 stands at 0.6: 0.3 below its best after its own row, and as much below that row
    assert middle["matrix"][2] is None and middle["forgetting"]["mean"] == pytest.approx(0.3)
    assert end["matrix"][2] == [0.4, 0.8] and end["backward"]["mean"] == pytest.approx(-0.5)
    assert end["average"]["mean"] == pytest.approx(0.6)


def test_the_numbers_in_words_have_one_decimal(javascript):
    """Two replicas, averages 0.5982 and 0.6002 at 20: mean 59.92, half 1 x sd / sqrt(2) = 0.1; task 1 fell by 0.05."""
    run = [[0.1, 0.2], [0.9, 0.3], [0.85, 0.3464]]
    other = [[0.1, 0.2], [0.9, 0.3], [0.85, 0.3504]]
    base = {"curve": [run, other], "updates": [0, 10, 20], "ends": [10, 20], "t": 1}
    start, end = javascript("scrub", [base | {"at": at} for at in (0, 2)])
    assert start["words"] == ["none yet"] * 3
    assert end["words"] == ["59.9 ± 0.1 %", "5.0 ± 0.0", "−5.0 ± 0.0"]
    kept = base | {"curve": [[[0.1, 0.2], [0.9, 0.3], [0.8997, 0.3]]], "at": 2}
    assert javascript("scrub", [kept])[0]["words"][2] == "0.0 ± 0.0"  # not minus 0
