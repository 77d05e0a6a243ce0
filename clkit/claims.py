"""The review's measurable assertions: one registered experiment each, with a verdict fixed before the run.

A claim lives in `clkit/<chapter>/claims.py`; its result is stored in `clkit/results/<id>.json` and recomputed by
`clkit claims --run ID`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from clkit.errors import ClkitError, unknown
from clkit.files import write_text
from clkit.metrics import Interval, interval
from clkit.record import versions

CHAPTERS = ("tug_of_war", "gradient", "modular", "memory", "meta", "whole")
RESULTS = Path(__file__).parent / "results"
SCHEMA = 1
FEWEST = 10  # replicas of a stored result


@dataclass
class Outcome:
    """What an experiment measured. `effect` decides the verdict, the rest is reported beside it."""

    effect: (
        np.ndarray
    )  # [R] control minus treatment (or the other way): what `says` says, positive = as claimed
    reported: dict[str, np.ndarray] = field(default_factory=dict)  # name -> [R], stored as intervals
    curves: dict[str, Any] = field(default_factory=dict)  # plain lists and numbers for the figures


@dataclass(frozen=True)
class Claim:
    """A registered assertion of the review."""

    id: str
    says: str  # the assertion, in our words
    section: str  # the chapter
    control: str  # what it is compared with
    unit: str  # of the effect
    smallest: float  # the smallest effect of interest, in that unit; for an exact claim the value itself
    exact: bool  # must every replica show `smallest`, to the bit?
    measure: Callable[[int], Outcome]

    def verdict(self, effect: np.ndarray) -> str:
        """*supported*: wholly beyond `smallest`; *not supported here*: wholly short of it; else *mixed*."""
        if self.exact:
            return "supported" if bool((effect == self.smallest).all()) else "not supported here"
        low, high = _ends(interval(effect))
        if low >= self.smallest:
            return "supported"
        return "not supported here" if high < self.smallest else "mixed"


CLAIMS: dict[str, Claim] = {}


def claim(
    id: str, *, says: str, section: str, control: str, unit: str, smallest: float, exact: bool = False
) -> Callable[[Callable[[int], Outcome]], Callable[[int], Outcome]]:
    """Register the experiment `measure(replicas) -> Outcome` as the claim `id`."""

    def register(measure: Callable[[int], Outcome]) -> Callable[[int], Outcome]:
        CLAIMS[id] = Claim(id, says, section, control, unit, smallest, exact, measure)
        return measure

    return register


def registered() -> dict[str, Claim]:
    """All claims of all chapters, by id."""
    for chapter in CHAPTERS:
        import_module(f"clkit.{chapter}.claims")
    return dict(sorted(CLAIMS.items(), key=lambda item: _place(item[1])))


def _place(claim: Claim) -> tuple[int, str, int]:
    """Chapter by chapter, T2 before T10."""
    return CHAPTERS.index(claim.section), claim.id[0], int(claim.id[1:])


def find(id: str) -> Claim:
    """The claim called `id`."""
    if id not in registered():
        raise unknown("claim", id, CLAIMS)
    return CLAIMS[id]


def measure(id: str, replicas: int = 10) -> dict[str, Any]:
    """Run the experiment; the result as it is stored."""
    entry, began = find(id), time.perf_counter()
    if replicas < 2:
        raise ClkitError("replicas must be 2 or more: a claim is judged by its interval.")
    outcome = entry.measure(replicas)
    effect = np.asarray(outcome.effect, dtype=float)
    if not np.isfinite(effect).all():
        raise ClkitError(f"{id}: the effect is not finite in every replica: {effect.tolist()}.")
    return {
        "id": id,
        **_named("effect", interval(effect)),
        "effects": effect.tolist(),
        "replicas": replicas,
        "verdict": entry.verdict(effect),
        "reported": {k: interval(v).to_json() for k, v in outcome.reported.items()},
        "curves": outcome.curves,
        "seconds": round(time.perf_counter() - began, 1),
        "versions": versions(),
        "schema": SCHEMA,
    }


def store(result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write a result where the book finds it."""
    try:
        text = json.dumps(result, indent=1, allow_nan=False)
    except ValueError:
        raise ClkitError(
            f"{result['id']} holds numbers that are none (NaN, infinite): nothing is stored."
        ) from None
    return write_text(folder / f"{result['id']}.json", text + "\n")


def stored(id: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The stored result of a claim; None where it was not measured."""
    path = folder / f"{id}.json"
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    if result["schema"] != SCHEMA:
        raise ClkitError(f"{path.name} has another schema. Measure again: clkit claims --run {id}")
    return result


def table(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every registered claim joined with its stored result; null where not measured."""
    rows = []
    for entry in registered().values():
        result = stored(entry.id, folder) or {}
        row: dict[str, Any] = {"id": entry.id, "says": entry.says, "section": entry.section}
        row |= {name: result.get(name) for name in ("effect", "low", "high")}
        row |= {"unit": entry.unit, "smallest": entry.smallest, "replicas": result.get("replicas")}
        row |= {"control": entry.control} | {n: result.get(n) for n in ("verdict", "seconds", "schema")}
        rows.append(row)
    return rows


def _named(name: str, values: Interval) -> dict[str, Any]:
    return {name: values.mean, "low": values.low, "high": values.high}


def _ends(values: Interval) -> tuple[float, float]:
    assert values.low is not None and values.high is not None
    return values.low, values.high
