"""The frontier of the page against Python: interpolation, the cheapest strength, and which runs are on it."""

from __future__ import annotations

import numpy as np
import pytest

ENDS = ("mean", "low", "high")


def settings(seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 11))
    columns = {
        name: {end: rng.uniform(-10, 60, size).round(1).tolist() for end in ENDS}
        for name in ("forgetting", "intransigence", "average accuracy")
    }
    columns["kept"] = rng.uniform(1, 300, size).tolist()
    place = float(rng.integers(0, size)) if seed % 3 == 0 else float(rng.uniform(0, size - 1))
    strengths = [0.0, *np.sort(10 ** rng.uniform(-3, 6, size - 1)).tolist()]
    return {"strengths": strengths, "columns": columns, "place": place, "price": float(rng.uniform())}


def on_front(forgetting: np.ndarray, intransigence: np.ndarray) -> list[bool]:
    """Sorted by forgetting, then intransigence: a run counts if it is below all runs with less forgetting."""
    found, values = [], list(zip(forgetting, intransigence, strict=True))
    for f, i in values:
        found.append(
            min((y for x, y in values if x < f), default=np.inf) > i
            and min(y for x, y in values if x == f) >= i
        )
    return found


def test_it_agrees_with_python_on_twenty_random_tables(javascript) -> None:
    cases = [settings(seed) for seed in range(20)]
    for case, found in zip(cases, javascript("frontier", cases), strict=True):
        places = np.arange(len(case["strengths"]))
        for name in ("forgetting", "intransigence", "average accuracy"):
            expected = [np.interp(case["place"], places, case["columns"][name][end]) for end in ENDS]
            np.testing.assert_allclose(found["row"][name], expected, atol=1e-6)
        above = places[1:] if case["place"] else places
        nearest = above[np.abs(above - case["place"]).argmin()]
        assert found["row"]["kept"] == [case["columns"]["kept"][nearest]]
        forgetting, intransigence = (
            np.array(case["columns"][n]["mean"]) for n in ("forgetting", "intransigence")
        )
        cost = case["price"] * forgetting + (1 - case["price"]) * intransigence
        assert found["best"] == int(cost.argmin())
        assert found["front"] == on_front(forgetting, intransigence)
        first, last = int(np.floor(case["place"])), int(np.ceil(case["place"]))
        w, strengths = case["place"] - first, case["strengths"]
        geometric = strengths[first] ** (1 - w) * strengths[last] ** w if first else w * strengths[last]
        assert found["strength"] == pytest.approx(geometric, rel=1e-6, abs=1e-9)


def test_numbers_by_hand(javascript) -> None:
    """Strengths 0, 1, 100; halfway between the last two: 10. Runs (40, 0), (10, 10), (10, 30): the last is beaten.

    Costs at price 1/2: 20, 10, 20. At price 0 only intransigence counts: the first. Past the end: the last row.
    What is kept, 1, 5 and 6, is never interpolated: from just above 0 on it is that of strength 1, at 0 of fine-tuning.
    """
    columns = {
        "forgetting": {"mean": [40, 10, 10], "low": [30, 8, 9], "high": [50, 12, 11]},
        "intransigence": {"mean": [0, 10, 30], "low": [0, 10, 30], "high": [0, 10, 30]},
    }
    same = {"strengths": [0, 1, 100], "columns": columns | {"kept": [1, 5, 6]}}
    middle, free, beyond, little, none = javascript(
        "frontier",
        [
            same | {"place": 1.5, "price": 0.5},
            same | {"place": 0.5, "price": 0},
            same | {"place": 7, "price": 0.5},
            same | {"place": 0.1, "price": 0.5},
            same | {"place": 0, "price": 0.5},
        ],
    )
    assert middle["strength"] == pytest.approx(10)
    assert middle["row"]["forgetting"] == pytest.approx([10, 8.5, 11.5])
    assert middle["best"] == 1 and middle["front"] == [True, True, False]
    assert [found["row"]["kept"] for found in (middle, free, beyond, little, none)] == [
        [6],
        [5],
        [6],
        [5],
        [1],
    ]
    assert free["strength"] == pytest.approx(0.5) and free["best"] == 0
    assert beyond["strength"] == pytest.approx(100) and beyond["row"]["intransigence"] == pytest.approx(
        [30, 30, 30]
    )


def test_equal_runs_do_not_beat_each_other(javascript) -> None:
    columns = {name: {end: [5, 5] for end in ENDS} for name in ("forgetting", "intransigence")}
    (found,) = javascript("frontier", [{"strengths": [0, 1], "columns": columns, "place": 0, "price": 1}])
    assert found["front"] == [True, True] and found["best"] == 0
