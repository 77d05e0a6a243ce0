"""Claims of the review's memory part, as experiments."""

from __future__ import annotations

from typing import Any

import numpy as np

from clkit.buffers import Recent
from clkit.claims import Outcome, claim
from clkit.controls import Joint
from clkit.loop import run
from clkit.memory.replay import Replay
from clkit.method import Method
from clkit.metrics import average_accuracy, forgetting, interval, learned
from clkit.record import Record
from clkit.streams import Rotated, Split

CAPACITIES = (10, 20, 50, 100, 200, 500)  # examples kept, of the curve
BATCHES = (8, 16, 32, 64)  # examples rehearsed per step, of the grid


def final(record: Record) -> np.ndarray:
    """Average accuracy after the last task [R]."""
    assert record.accuracy is not None
    return average_accuracy(record.accuracy)


def whole(records: dict[str, Record]) -> dict[str, np.ndarray]:
    """What every arm came to, per replica; operations relative to plain training."""
    found = {}
    for arm, record in records.items():
        accuracy, same = record.accuracy, np.ones(len(record.seeds))
        assert accuracy is not None
        found[f"average accuracy: {arm}"] = average_accuracy(accuracy)
        found[f"learned: {arm}"] = learned(accuracy)
        found[f"forgetting: {arm}"] = forgetting(accuracy)
        found[f"bytes kept: {arm}"] = record.bytes_kept[-1] * same
        found[f"operations: {arm}"] = sum(record.flops) / sum(record.flops_plain) * same
    return found


@claim(
    "R2",
    says="Rehearsing a few stored examples beside the new ones is simple and remarkably effective.",
    section="memory",
    control="fine-tuning",
    unit="average accuracy, fraction",
    smallest=0.1,  # "remarkably": well beyond the six points that l2, without any example, gains
)
def r2(replicas: int) -> Outcome:
    """Rotated digits, one stored example per class and task: average accuracy minus that of fine-tuning."""
    records: dict[str, Record] = {}
    curves: dict[str, Any] = {"capacity": [0, *CAPACITIES, "all"], "grid": grid(replicas)}
    for stream in (Rotated(), Split()):
        methods: dict[str, Method] = {f"replay, {m}": Replay(capacity=m) for m in CAPACITIES}
        methods |= {"fine_tuning": Method(), "joint": Joint(), "last 50": Replay(buffer=Recent)}
        arms = {
            arm: run(method, stream, replicas=replicas, progress=False) for arm, method in methods.items()
        }
        order = ["fine_tuning", *(f"replay, {m}" for m in CAPACITIES), "joint"]
        ends = [interval(final(arms[arm])) for arm in order]
        curves[stream.name] = {name: [getattr(end, name) for end in ends] for name in ("mean", "low", "high")}
        records |= {f"{stream.name}, {arm}": record for arm, record in arms.items()}
    gains = {
        "gain on rotated, 50 examples": ("rotated, replay, 50", "rotated, fine_tuning"),
        "gain on split, 10 examples": ("split, replay, 10", "split, fine_tuning"),
        "gain over the last 50 on rotated": ("rotated, replay, 50", "rotated, last 50"),
    }
    reported = {name: final(records[a]) - final(records[b]) for name, (a, b) in gains.items()}
    shown = [
        arm for arm in records if not arm.endswith(tuple(f" {m}" for m in CAPACITIES if m not in (10, 50)))
    ]
    effect = reported.pop("gain on rotated, 50 examples")
    return Outcome(effect, reported | whole({arm: records[arm] for arm in shown}), curves)


def grid(replicas: int) -> list[dict[str, Any]]:
    """Validation accuracy over the first three tasks for each size of the rehearsed batch."""
    stream = Rotated(tried=3)
    runs = {b: run(Replay(batch=b), stream, replicas=replicas, progress=False) for b in BATCHES}
    return [{"batch": b, "accuracy": interval(final(record)).to_json()} for b, record in runs.items()]
