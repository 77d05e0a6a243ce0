"""The registry of claims: verdicts fixed before the run, results stored whole, nothing invented."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clkit import claims
from clkit.claims import Claim, Outcome
from clkit.errors import ClkitError

SPEC = {*(f"T{n}" for n in range(1, 13)), "G1", "G3", "M1", "M2", "R2", "L5", "W1", "W2"}


def entry(smallest: float = 1.0, *, exact: bool = False, id: str = "X1") -> Claim:
    def measure(replicas: int) -> Outcome:
        return Outcome(np.array([1.0, 2.0, 3.0]))

    return Claim(id, "says", "memory", "control", "unit", smallest, exact, measure)


def test_verdicts_by_hand() -> None:
    """Effects 1, 2, 3: mean 2, sd 1, half-width 4.3027 / sqrt(3) = 2.484, so the interval is [-0.484, 4.484]."""
    effect = np.array([1.0, 2.0, 3.0])
    assert entry(-0.49).verdict(effect) == "supported"
    assert entry(-0.48).verdict(effect) == "mixed"
    assert entry(4.48).verdict(effect) == "mixed"
    assert entry(4.49).verdict(effect) == "not supported here"


def test_exact_claims_test_equality() -> None:
    """1e-12 is not 0: protected means equal, not small."""
    assert entry(0.0, exact=True).verdict(np.zeros(3)) == "supported"
    assert entry(0.0, exact=True).verdict(np.array([0.0, 0.0, 1e-12])) == "not supported here"


def test_measure_store_and_table(tmp_path: Path, monkeypatch) -> None:
    """What is stored is what was measured; the table joins it, and is null where nothing was."""
    entries = {id: entry(id=id) for id in ("X1", "X2")}
    monkeypatch.setattr(claims, "registered", lambda: entries)
    monkeypatch.setattr(claims, "CLAIMS", entries)
    result = claims.measure("X1", 3)
    assert result["effect"] == 2 and result["effects"] == [1, 2, 3] and result["verdict"] == "mixed"
    assert result["low"] == pytest.approx(-0.4841, abs=1e-4) and result["schema"] == claims.SCHEMA
    claims.store(result, tmp_path)
    assert claims.stored("X1", tmp_path) == json.loads(json.dumps(result))
    rows = claims.table(tmp_path)
    assert [row["verdict"] for row in rows] == ["mixed", None]
    assert rows[1]["effect"] is None and rows[1]["says"] == "says"


def test_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "X1.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(ClkitError, match="clkit claims --run X1"):
        claims.stored("X1", tmp_path)


def test_one_replica_has_no_interval_to_judge() -> None:
    with pytest.raises(ClkitError, match="replicas must be 2 or more"):
        claims.measure("T1", 1)


def test_the_claims_of_the_spine_are_registered_and_measured() -> None:
    """Each over at least ten replicas, with a verdict that follows from its own effects."""
    found = claims.registered()
    assert found.keys() >= SPEC
    for id in SPEC:
        result = claims.stored(id)
        assert result is not None and result["replicas"] >= 10, f"clkit claims --run {id}"
        effects = np.array(result["effects"])
        assert len(effects) == result["replicas"]
        assert result["effect"] == pytest.approx(effects.mean())
        assert result["verdict"] == found[id].verdict(effects)
        assert found[id].section in claims.CHAPTERS


@pytest.mark.slow
@pytest.mark.parametrize("id", sorted(SPEC))
def test_measured_again_a_claim_comes_out_the_same(id: str) -> None:
    """Same verdict, and an effect inside the stored interval widened by its own width (CPU models differ)."""
    old, new = claims.stored(id), claims.measure(id)
    assert old is not None and new["verdict"] == old["verdict"]
    slack = max(old["high"] - old["low"], 1e-9)
    assert old["low"] - slack <= new["effect"] <= old["high"] + slack
