"""What the page computes while the reader drags, against the package."""

import numpy as np
import pytest

from clkit.tug_of_war.skipping import THRESHOLDS, skippable


def settings(seed):
    dice = np.random.default_rng(seed)
    return {
        "residuals": dice.beta(0.3, 1.0, size=int(dice.integers(1, 200))).tolist(),
        "threshold": float(dice.random()),
        "thresholds": [0, *THRESHOLDS],  # 0: plain training
    }


def test_it_agrees_with_the_package(javascript):
    cases = [settings(seed) for seed in range(20)]
    for case, found in zip(cases, javascript("skipping", cases), strict=True):
        skipped, held = skippable(np.array(case["residuals"]), case["threshold"])
        assert found["skipped"] == pytest.approx(skipped, abs=1e-6)
        assert found["held"] == pytest.approx(held, abs=1e-6)
        nearest = np.abs(np.array([0, *THRESHOLDS]) - case["threshold"]).argmin()
        assert found["nearest"] == nearest


def test_numbers_by_hand(javascript):
    # 0.1, 0.1, 0.3, 0.5: below 0.3, not at it, are two of four, with 0.2 of 1.0. At 0 nobody is, at 1 all are.
    same = {"residuals": [0.5, 0.1, 0.3, 0.1], "thresholds": [0.2, 0.4, 0.7]}
    found = javascript("skipping", [same | {"threshold": t} for t in (0.3, 0, 1)])
    assert [(f["skipped"], pytest.approx(f["held"])) for f in found] == [(0.5, 0.2), (0, 0), (1, 1)]
    assert [f["nearest"] for f in found] == [0, 0, 2]  # halfway between two, the first


def test_at_threshold_zero_the_run_is_plain_training(javascript):
    # 0.004 is nearer to 0, where nothing is skipped, and 0.006 to 0.01.
    same = {"residuals": [0.1, 0.3], "thresholds": [0, 0.01, 0.02]}
    found = javascript("skipping", [same | {"threshold": t} for t in (0, 0.004, 0.006, 0.02)])
    assert [f["nearest"] for f in found] == [0, 0, 1, 2]


def test_residuals_of_zero_hold_nothing(javascript):
    (found,) = javascript("skipping", [{"residuals": [0, 0], "threshold": 0.5, "thresholds": [0.2]}])
    words = ["100\u00a0%", "0\u00a0%"]
    assert found == {"skipped": 1, "held": 0, "nearest": 0, "words": words}


def test_all_and_none_are_shown_only_where_it_is_all_or_none(javascript):
    """One of 300 stays, with nearly all of the residual: not 100 % are skipped, and not 0 % is lost with them."""
    case = {"residuals": [0.9] + 299 * [1e-6], "thresholds": [0.2]}
    one, all_of_them, none = javascript("skipping", [case | {"threshold": t} for t in (0.5, 1, 0)])
    assert one["words"] == ["> 99\u00a0%", "< 1\u00a0%"]
    assert all_of_them["words"] == ["100\u00a0%", "100\u00a0%"] and none["words"] == ["0\u00a0%", "0\u00a0%"]
