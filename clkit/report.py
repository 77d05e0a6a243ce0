"""Results as the command line gives them: JSON with fixed keys, and tables that a person reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from clkit import metrics
from clkit.metrics import difference, interval
from clkit.record import Record

NONE = {"mean": None, "low": None, "high": None}


def forward_transfer(record: Record) -> np.ndarray:
    """[R], NaN where the scenario gives an unseen task no score."""
    return metrics.forward_transfer(record.matrix, class_incremental=not record.foresees)


MEASURES: dict[str, Callable[[Record], np.ndarray]] = {
    "average_accuracy": lambda record: metrics.average_accuracy(record.matrix),
    "learned": lambda record: metrics.learned(record.matrix),
    "forgetting": lambda record: metrics.forgetting(record.matrix),
    "backward_transfer": lambda record: metrics.backward_transfer(record.matrix),
    "forward_transfer": forward_transfer,
}


def whole(records: dict[str, Record]) -> dict[str, np.ndarray]:
    """What every arm of a claim came to [R]: accuracies, bytes, operations as a multiple of plain training."""
    found: dict[str, np.ndarray] = {}
    for arm, record in records.items():
        found |= {f"{name.replace('_', ' ')}: {arm}": measure(record) for name, measure in MEASURES.items()}
        found[f"bytes kept: {arm}"] = np.full(len(record.seeds), record.bytes_kept[-1])
        found[f"operations: {arm}"] = np.full(len(record.seeds), sum(record.flops) / sum(record.flops_plain))
    return found


def run_json(record: Record) -> dict[str, Any]:
    """One run, means and intervals over replicas; what does not apply is null."""
    tasks = record.accuracy is not None
    steps = (
        [interval(column).to_json() for column in record.by_step.T] if record.by_step is not None else None
    )
    return {
        "method": record.method,
        "stream": record.stream,
        "scenario": record.scenario,
        "settings": {**record.settings, "seeds": record.seeds},
        "accuracy": record.accuracy.mean(0).tolist() if record.accuracy is not None else None,
        **{
            name: interval(measure(record)).to_json() if tasks else NONE for name, measure in MEASURES.items()
        },
        "metric": record.metric,
        "by_step": None if steps is None else {end: [step[end] for step in steps] for end in NONE},
        "bytes_kept": record.bytes_kept[-1],
        "interactions": sum(record.interactions),
        "seconds": round(record.seconds, 3),
        "versions": record.versions,
        "schema": record.schema,
    }


def differences(records: list[Record], names: list[str]) -> list[dict[str, Any]]:
    """Paired differences a - b of every pair over the common seeds, of every measure that both have."""
    rows = []
    for i, a in enumerate(records):
        for j in range(i + 1, len(records)):
            b = records[j]
            values: dict[str, tuple[np.ndarray, np.ndarray]] = {}
            if a.accuracy is not None and b.accuracy is not None:
                values = {name: (measure(a), measure(b)) for name, measure in MEASURES.items()}
            elif a.by_step is not None and b.by_step is not None:
                values = {
                    f"{a.metric} after {s} steps": (a.by_step[:, s], b.by_step[:, s]) for s in _common(a, b)
                }
            for name, (of_a, of_b) in values.items():
                rows.append(
                    {"a": names[i], "b": names[j], "metric": name, **difference(of_a, of_b).to_json()}
                )
    return rows


def _common(a: Record, b: Record) -> range:
    assert a.by_step is not None and b.by_step is not None
    return range(min(a.by_step.shape[1], b.by_step.shape[1]))


def percent(cell: dict[str, Any], scale: float = 100.0) -> str:
    """mean [low, high] in percent."""
    if cell["mean"] is None:
        return "-"
    mean = f"{cell['mean'] * scale:.1f}"
    return mean if cell["low"] is None else f"{mean} [{cell['low'] * scale:.1f}, {cell['high'] * scale:.1f}]"


def run_text(record: Record) -> str:
    """The run as a page of text."""
    found = run_json(record)
    scenario = f", {record.scenario}-incremental" if record.scenario else ""
    lines = [
        f"{record.method} on {record.stream}{scenario}, {len(record.seeds)} replicas, {record.seconds:.1f} s"
    ]
    if record.accuracy is not None:
        count = record.accuracy.shape[2]
        matrix = pd.DataFrame(
            record.accuracy.mean(0) * 100,
            index=["before", *(f"after {t + 1}" for t in range(count))],
            columns=[f"task {t + 1}" for t in range(count)],
        )
        lines += ["", "accuracy, percent, mean over replicas", matrix.round(1).to_string(), ""]
        lines += [f"{name.replace('_', ' '):18} {percent(found[name])}" for name in MEASURES]
    else:
        per = found["by_step"]
        scale = 100.0 if record.metric == "accuracy" else 1.0
        lines += ["", f"{record.metric} after each inner step"]
        lines += [
            f"{s:4d}  {percent({end: per[end][s] for end in NONE}, scale)}" for s in range(len(per["mean"]))
        ]
    lines += [f"{'bytes kept':18} {record.bytes_kept[-1]:,}"]
    if record.bytes_examples:
        lines += [f"{'of it, examples':18} {record.bytes_examples[-1]:,}"]
    if any(record.interactions):
        lines += [f"{'interactions':18} {sum(record.interactions):,} past or stored examples met"]
    lines += [f"{'operations':18} {sum(record.flops) / sum(record.flops_plain):.2f} times plain training"]
    return "\n".join(lines)


def compare_text(records: list[Record], names: list[str]) -> str:
    """Several runs side by side, then their paired differences."""
    found = [run_json(record) for record in records]
    episodic = found[0]["accuracy"] is None
    if episodic:
        rows = {
            n: {"last step": f["by_step"]["mean"][-1], "bytes kept": f["bytes_kept"]}
            for n, f in zip(names, found, strict=True)
        }
    else:
        rows = {
            n: {
                **{m.replace("_", " "): percent(f[m]) for m in MEASURES},
                "bytes kept": f"{f['bytes_kept']:,}",
            }
            for n, f in zip(names, found, strict=True)
        }
    table = pd.DataFrame(rows).T.to_string()
    pairs = [
        f"{d['a']} - {d['b']}: {d['metric'].replace('_', ' ')} {percent(d, 1.0 if episodic else 100.0)}"
        for d in differences(records, names)
        if d["mean"] is not None
    ]
    return "\n".join([table, "", "paired differences (a - b), 95 % interval", *pairs])
