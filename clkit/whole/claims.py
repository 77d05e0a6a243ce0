"""Claims of the review about all methods together."""

from __future__ import annotations

from typing import Any

import numpy as np

from clkit import metrics
from clkit.catalogue import methods
from clkit.claims import Outcome, claim
from clkit.desiderata import DESIDERATA, TASK_NEEDS, desiderata
from clkit.errors import UnfitError
from clkit.loop import run
from clkit.method import Method
from clkit.record import Record
from clkit.report import forward_transfer
from clkit.streams import Rotated, Split, Stream
from clkit.training import Training

EVERY, POINTS = (
    10,
    5,
)  # updates between two looks at the accuracies; looks after a task's start that count as fast
ROOM = {
    "icarl": {"capacity": 50}
}  # its default would leave some of the 50 classes in tasks without an exemplar
STREAMS: dict[str, tuple[Stream, Training]] = {
    "task": (Rotated(scenario="task"), Training(updates=(340,) * 5, every=EVERY)),
    "domain": (Rotated(), Training(updates=(340,) * 5, every=EVERY)),
    "class": (Split(), Training(updates=(90,) * 5, every=EVERY)),
}


def runs(stream: Stream, training: Training, replicas: int) -> dict[str, Record]:
    """A run of every method of the catalogue that can learn this stream, with its default settings but for ROOM."""
    found = {}
    for name, cls in methods().items():
        if issubclass(cls, Method):
            try:
                found[name] = run(
                    cls(**ROOM.get(name, {})), stream, training, replicas=replicas, progress=False
                )
            except UnfitError:
                continue  # it lacks something that the stream does not give
    return found


def curve(record: Record) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Updates [E], accuracies [R, E, T] with those before training in front, and the last update of each task."""
    assert record.curve is not None
    values = np.concatenate([record.matrix[:, :1], record.curve], axis=1)
    return np.array([0, *record.curve_updates]), values, np.cumsum(record.updates)


def speed(record: Record) -> np.ndarray:
    """[R]: mean accuracy on a new task over its first 50 updates, looked at every tenth."""
    updates, values, ends = curve(record)
    return metrics.learning_curve_area(updates // EVERY, values, ends // EVERY, POINTS)


def scores(record: Record) -> np.ndarray:
    """[7, R]: one number in [0, 1] or, for transfer, [-1, 1] for each desideratum of Box 1; more is better.

    NaN where the scenario gives an unseen task no score.
    """
    model = np.array(record.bytes_kept) - np.array(record.bytes_examples)
    alike = [
        metrics.stored_data_saving(record.bytes_examples, record.bytes_data),
        min(
            metrics.model_size_efficiency(model),
            metrics.computational_efficiency(record.flops, record.flops_plain),
        ),
        1 - sum(need in record.needs for need in TASK_NEEDS) / len(TASK_NEEDS),
    ]
    first, second, last = np.broadcast_to(np.array(alike)[:, None], (3, len(record.seeds)))
    kept = 1 - metrics.forgetting(record.matrix)
    new = metrics.learned(record.matrix)
    return np.stack([first, second, kept, speed(record), new, forward_transfer(record), last])


def shortfalls(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Method -> [7, R]: how far it falls short of the best method on each desideratum; NaN where not measured."""
    best = np.fmax.reduce(list(table.values()))
    return {name: best - own for name, own in table.items()}


def front(table: dict[str, np.ndarray]) -> list[str]:
    """The methods than which no other is at least as good on every desideratum, and better on one (means)."""
    means = {name: np.nan_to_num(own.mean(1), nan=-1.0) for name, own in table.items()}
    beaten = {
        a
        for a, one in means.items()
        for other in means.values()
        if (other >= one).all() and (other > one).any()
    }
    return [name for name in means if name not in beaten]


def full_table(record: Record, joint: Record) -> list[dict[str, object]]:
    """The table of one run, `clkit.desiderata`."""
    return desiderata(
        record.matrix,
        needs=record.needs,
        interactions=record.interactions,
        bytes_kept=record.bytes_kept,
        bytes_examples=record.bytes_examples,
        bytes_data=record.bytes_data,
        flops=record.flops,
        flops_plain=record.flops_plain,
        class_incremental=not record.foresees,
        joint=joint.matrix,
        curve=curve(record),
    )


@claim(
    "W1",
    says="The desiderata compete: no method has them all.",
    section="whole",
    control="on each desideratum, the best of all methods",
    unit="shortfall, fraction",
    smallest=0.1,  # ten points short of the best somewhere is more than a rounding of the comparison
)
def w1(replicas: int) -> Outcome:
    """The smallest, over methods, of the largest shortfall on any desideratum; domain-incremental rotated digits."""
    curves: dict[str, Any] = {"desiderata": list(DESIDERATA.values()), "scores": {}, "table": {}, "front": {}}
    effects: dict[str, np.ndarray] = {}
    for scenario, (stream, training) in STREAMS.items():
        records = runs(stream, training, replicas)
        table = {name: scores(record) for name, record in records.items()}
        worst = np.stack([np.nanmax(short, axis=0) for short in shortfalls(table).values()])
        effects[scenario] = worst.min(0)
        curves["scores"][scenario] = {name: _intervals(own) for name, own in table.items()}
        curves["table"][scenario] = {name: full_table(r, records["joint"]) for name, r in records.items()}
        curves["front"][scenario] = front(table)
    reported = {f"smallest worst shortfall: {name}": effects[name] for name in ("task", "class")}
    return Outcome(effects["domain"], reported, curves)


def _intervals(own: np.ndarray) -> list[dict[str, float | None]]:
    return [metrics.interval(values).to_json() for values in own]
