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
from clkit.metrics import bands, interval
from clkit.record import Record
from clkit.report import MEASURES, whole
from clkit.streams import Rotated, Split

CAPACITIES = (10, 20, 50, 100, 200, 500)  # examples kept, of the curve
BATCHES = (8, 16, 32, 64)  # examples rehearsed per step, of the grid


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
        curves[stream.name] = bands(np.stack([MEASURES["average_accuracy"](arms[arm]) for arm in order], 1))
        records |= {f"{stream.name}, {arm}": record for arm, record in arms.items()}
    gains = {
        "gain on rotated, 50 examples": ("rotated, replay, 50", "rotated, fine_tuning"),
        "gain on split, 10 examples": ("split, replay, 10", "split, fine_tuning"),
        "gain over the last 50 on rotated": ("rotated, replay, 50", "rotated, last 50"),
    }
    reported = {
        name: MEASURES["average_accuracy"](records[a]) - MEASURES["average_accuracy"](records[b])
        for name, (a, b) in gains.items()
    }
    shown = [
        arm for arm in records if not arm.endswith(tuple(f" {m}" for m in CAPACITIES if m not in (10, 50)))
    ]
    effect = reported.pop("gain on rotated, 50 examples")
    return Outcome(effect, reported | whole({arm: records[arm] for arm in shown}), curves)


def grid(replicas: int) -> list[dict[str, Any]]:
    """Validation accuracy over the first three tasks for each size of the rehearsed batch."""
    stream = Rotated(tried=3)
    runs = {b: run(Replay(batch=b), stream, replicas=replicas, progress=False) for b in BATCHES}
    return [
        {"batch": b, "accuracy": interval(MEASURES["average_accuracy"](record)).to_json()}
        for b, record in runs.items()
    ]
