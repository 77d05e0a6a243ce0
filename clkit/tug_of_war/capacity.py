"""How many tasks fit into a network of fixed size, and what protecting the old ones costs the new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.claims import Outcome
from clkit.controls import L2, Joint
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import average_accuracy, bands, forgetting, intransigence, learned
from clkit.nets import Mlp
from clkit.record import Record
from clkit.report import whole
from clkit.streams import Permuted, Rotated, Stream
from clkit.training import Training

Array = NDArray[np.float64]

WIDTHS = {"1x": 10, "2x": 20, "4x": 40}  # hidden units: 1x is as many as there are digits
LENGTH, UPDATES, LONGER = 20, 300, 4  # tasks; updates for each; times as many in the check
EWC_STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0, 1e3, 1e4, 1e5, 1e6)
L2_STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)


def first_task(record: Record) -> Array:
    """Accuracy on task 1 after 1..T tasks, [R, T]: the first column of the accuracy matrix."""
    return record.matrix[:, 1:, 0]


def so_far(record: Record) -> Array:
    """Mean accuracy on the tasks seen after 1..T tasks, [R, T]: (1/t) sum over j <= t of A[t, j]."""
    seen = np.tri(record.matrix.shape[2])
    return np.asarray((record.matrix[:, 1:] * seen).sum(2) / seen.sum(1))  # eq: mean-so-far


def sequence(
    method: Method, width: int, length: int, updates: int, *, dataset: str = "digits", **how: Any
) -> Record:
    """`method` on `length` permuted tasks, `updates` for each, with one hidden layer of `width` units.

    how: further arguments of `run`.
    """
    training = Training(updates=(updates,) * length, network=Mlp(hidden=(width,)))
    return run(method, Permuted(dataset=dataset, length=length), training, progress=False, **how)


def longer_sequences(replicas: int, others: Mapping[str, type[Method]]) -> Outcome:
    """Accuracy on the first of ever more permuted tasks, for three widths.

    The effect is the drop of joint training, 1x, as it is: nothing is subtracted. Such a drop mixes a lack of room
    with a lack of training. Reported beside it: `LONGER` times as many updates, and, at equal updates and with the
    same seeds, how much more 1x loses than 4x and how far below 4x it ends.

    others: continual learners by name, with their own settings as they are.
    """
    methods: dict[str, type[Method]] = {"fine-tuning": Method, "joint": Joint, **others}
    arms = {f"{name}, {key}": (made, key, UPDATES) for name, made in methods.items() for key in WIDTHS}
    arms |= {f"joint, {key}, longer": (Joint, key, LONGER * UPDATES) for key in WIDTHS}
    records = {
        arm: sequence(made(), WIDTHS[key], LENGTH, updates, replicas=replicas)
        for arm, (made, key, updates) in arms.items()
    }
    reported, curves = whole(records), dict[str, Any](tasks=[*range(1, LENGTH + 1)])
    for arm, record in records.items():
        reported[f"drop on task 1: {arm}"] = first_task(record)[:, 0] - first_task(record)[:, -1]
        curves[arm] = {"first": bands(first_task(record)), "so far": bands(so_far(record))}
    narrow, *_, wide = WIDTHS
    for more in ("", ", longer"):
        few, many = (first_task(records[f"joint, {key}{more}"]) for key in (narrow, wide))
        reported[f"drop on task 1: joint, {narrow} minus {wide}{more}"] = (
            few[:, 0] - few[:, -1] - (many[:, 0] - many[:, -1])
        )
        reported[f"task 1 in the end: joint, {wide} minus {narrow}{more}"] = many[:, -1] - few[:, -1]
    return Outcome(reported["drop on task 1: joint, 1x"], reported, curves)


def sweep(made: type[Method], strengths: Sequence[float], stream: Stream, **how: Any) -> dict[float, Record]:
    """One run of the method at every strength; how: further arguments of `run`."""
    return {k: run(made(strength=k), stream, progress=False, **how) for k in strengths}  # type: ignore[call-arg]


def protection(replicas: int, methods: Mapping[str, type[Method]]) -> Outcome:
    """Forgetting and intransigence along the strength, rotated digits; the effect is of the first method.

    Intransigence is against cumulative joint training with the same seeds. Strength 0 is fine-tuning. The effect is
    read at the end of the grid, where hardly a weight can move; what it would be at every other strength is in
    `curves`, as "cost": intransigence minus that at strength 0, replica by replica.
    """
    stream = Rotated()
    free = run(Method(), stream, replicas=replicas, progress=False)
    joint = run(Joint(), stream, replicas=replicas, progress=False)
    reported, curves = whole({"joint": joint, "strength 0": free}), dict[str, Any]()
    costs = {}
    for name, made in {**methods, "l2": L2}.items():
        grid = L2_STRENGTHS if made is L2 else EWC_STRENGTHS
        records = {0.0: free, **sweep(made, grid, stream, replicas=replicas)}
        reported |= whole({f"{name}, strength {k:g}": record for k, record in records.items() if k})
        lost = {k: intransigence(r.matrix, joint.matrix) for k, r in records.items()}
        reported |= {f"intransigence: {name}, strength {k:g}": value for k, value in lost.items()}
        costs[name] = lost[grid[-1]] - lost[0.0]
        reported[f"intransigence at the largest strength minus at 0: {name}"] = costs[name]
        curves[name] = {"strength": [*records], **measures([*records.values()], joint)}
        curves[name]["cost"] = bands(np.stack([value - lost[0.0] for value in lost.values()], axis=1))
    curves["joint"] = measures([joint], joint)
    return Outcome(costs[next(iter(methods))], reported, curves)


def measures(records: Sequence[Record], joint: Record) -> dict[str, dict[str, list[float | None]]]:
    """Of every record, mean, low and high over the replicas: what the frontier and its interactive show."""
    found = {
        "forgetting": [forgetting(r.matrix) for r in records],
        "intransigence": [intransigence(r.matrix, joint.matrix) for r in records],
        "average accuracy": [average_accuracy(r.matrix) for r in records],
        "learned accuracy": [learned(r.matrix) for r in records],
    }
    return {name: bands(np.stack(values, axis=1)) for name, values in found.items()}
