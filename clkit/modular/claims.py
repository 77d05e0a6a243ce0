"""Claims of the review's modular part, as experiments."""

from __future__ import annotations

from typing import Any

import numpy as np

from clkit.claims import Outcome, claim
from clkit.controls import Independent
from clkit.loop import evaluate, run
from clkit.method import Method
from clkit.metrics import bands, forgetting, growth_exponent, learned
from clkit.modular.progressive import Progressive
from clkit.nets import Build, Mlp
from clkit.record import Record
from clkit.replicas import Draws
from clkit.report import whole
from clkit.streams import Rotated, Stream
from clkit.training import Training

EVERY = 20  # updates between two points of the learning curve


def later(record: Record) -> np.ndarray:
    """Learned accuracy on the tasks from the second on [R]."""
    return learned(record.matrix[:, 1:, 1:])


def growth(records: dict[str, Record]) -> dict[str, Any]:
    """Parameters, and operations of an update, after each task."""
    return {
        "parameters": {arm: [kept // 4 for kept in record.bytes_kept] for arm, record in records.items()},
        "operations per update": {
            arm: [flops // updates for flops, updates in zip(record.flops, record.updates, strict=True)]
            for arm, record in records.items()
        },
    }


def fresh(stream: Stream, training: Training, replicas: int) -> np.ndarray:
    """Accuracy on each task [R, T] of a network that has seen that task alone, in a loop of its own."""
    draws, rule = Draws(tuple(range(replicas))), stream.rule()
    tasks, method = stream.tasks(draws), Method()
    build = Build(training.network, stream.shape, rule, draws)
    method.start(build, draws, rule)
    found = np.zeros((replicas, len(tasks)))
    for t, data in enumerate(tasks):
        method.net, updates = build(task=t, own=True), training.steps(data, t)
        optimizer = training.optimizer(method.parameters(), training.lr)
        order = draws.shuffles("order", data.train.sizes, updates * training.batch, t)
        for batch in data.train.batches(order, training.batch, rule, t):
            method.step(batch, optimizer)
        found[:, t] = evaluate(method, tasks, rule, t)[:, t]
    return found


@claim(
    "M1",
    says="Disjoint networks forget nothing, grow without bound and transfer nothing.",
    section="modular",
    control="one network for all tasks, with a head for each",
    unit="forgetting, fraction",
    smallest=0.0,  # exactly: a network that nobody touches answers alike to the bit
    exact=True,
)
def m1(replicas: int) -> Outcome:
    """Rotated digits, the task known: forgetting of one network per task; the same for one shared network."""
    stream = Rotated(scenario="task")
    methods: dict[str, Method] = {"independent": Independent(), "one network": Method()}
    records = {arm: run(method, stream, replicas=replicas, progress=False) for arm, method in methods.items()}
    alone = fresh(stream, Training(), replicas)
    own = {arm: np.diagonal(record.matrix[:, 1:], axis1=1, axis2=2) for arm, record in records.items()}
    reported = {
        "learned on tasks 2-5, independent minus a fresh network": (own["independent"] - alone)[:, 1:].mean(
            1
        ),
        "largest difference of a task from a fresh network": np.abs(own["independent"] - alone).max(1),
        "learned on tasks 2-5, one network minus a fresh network": (own["one network"] - alone)[:, 1:].mean(
            1
        ),
    }
    for arm, record in records.items():
        reported[f"growth exponent: {arm}"] = np.full(replicas, growth_exponent(record.bytes_kept))
    return Outcome(forgetting(records["independent"].matrix), reported | whole(records), growth(records))


@claim(
    "M2",
    says="Adding capacity while reusing frozen features protects old tasks and speeds up new ones.",
    section="modular",
    control="independent networks; frozen columns that were never trained",
    unit="learned accuracy on tasks 2-5, fraction",
    smallest=0.05,  # less would not be worth columns of twice the size
)
def m2(replicas: int) -> Outcome:
    """Rotated digits, tasks 2-5 of 60 examples and 20 updates: progressive minus independent (and at 300)."""
    stream = Rotated(scenario="task", limit=(1097, 60, 60, 60, 60))
    methods: dict[str, Method] = {
        "progressive": Progressive(),
        "independent": Independent(),
        "random columns": Progressive(reuse=False),
        "independent, 150 units": Independent(),
    }
    reported, found = {}, {}
    for updates in (20, 300):
        records = {}
        for arm, method in methods.items():
            network = Mlp(hidden=(150, 150)) if arm.endswith("150 units") else Mlp()
            training = Training(updates=(343, *[updates] * 4), every=EVERY, network=network)
            records[arm] = run(method, stream, training, replicas=replicas, progress=False)
        for arm in methods:
            if arm != "progressive":
                name = f"{updates} updates: progressive minus {arm}"
                reported[name] = later(records["progressive"]) - later(records[arm])
        found[updates] = records
    effect = reported.pop("20 updates: progressive minus independent")
    for updates, records in found.items():
        reported |= {f"{updates} updates, {name}": values for name, values in whole(records).items()}
        for arm, record in records.items():
            reported[f"{updates} updates, learned on tasks 2-5: {arm}"] = later(record)
    curves = {"updates": list(range(EVERY, 301, EVERY))}
    lines = {arm: learning(record) for arm, record in found[300].items()}
    return Outcome(effect, reported, curves | {"learned on tasks 2-5": lines} | growth(found[20]))


def learning(record: Record) -> dict[str, Any]:
    """Accuracy on the present task every 20 updates, mean over tasks 2-5, as intervals."""
    assert record.curve is not None
    points, ends = np.array(record.curve_updates), np.cumsum(record.updates)
    each = [
        record.curve[:, (points > start) & (points <= end), t]
        for t, (start, end) in enumerate(zip(ends, ends[1:], strict=False), start=1)
    ]
    return bands(np.mean(each, axis=0))
