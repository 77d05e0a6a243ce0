"""How fast a forgotten task comes back, and what is lost for a moment at a change of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clkit import metrics
from clkit.claims import Outcome
from clkit.controls import Joint
from clkit.examples import TaskData
from clkit.loop import evaluate, run, take_step
from clkit.method import Method
from clkit.record import Record
from clkit.replicas import Draws
from clkit.report import whole
from clkit.streams import Permuted, Rotated, Stream, View
from clkit.training import Training
from clkit.tug_of_war.absence import bands

AGAIN = 400  # updates of learning task 1 again
SHOWN = 200  # of them in the curves
FRACTION = 0.9  # of the old accuracy: what counts as recovered
ANGLE = 80.0  # degrees between the two tasks of the stability gap
AROUND = (20, 120)  # updates before and after a change of task in the curves of the stability gap

Makers = Mapping[str, Callable[[], Method]]
Arm = tuple[Method, Stream, Training]


class LaterRotated(Rotated):
    """The rotated tasks without the first: task t is task t + 1 of `Rotated`."""

    def view(self, draws: Draws, t: int) -> View:
        return super().view(draws, t + 1)


class LaterPermuted(Permuted):
    """The permuted tasks without the first: task t is task t + 1 of `Permuted`."""

    def view(self, draws: Draws, t: int) -> View:
        return super().view(draws, t + 1)


def relearn(method: Method, data: TaskData, updates: int = AGAIN, batch: int = 32) -> np.ndarray:
    """Accuracy [R, updates + 1] on one task while `method` is trained on it, before the first update and after each.

    The batches depend on the replica alone: networks that start from other weights see the same ones. Plain
    gradient descent with the step size that the method had last.
    """
    rule, lr = method.scenario, method.lr
    optimizer = Training().optimizer(method.parameters(), lr)
    order = method.draws.shuffles("relearning", data.train.sizes, updates * batch)
    values = [evaluate(method, [data], rule, 0)[:, 0]]
    for update, examples in enumerate(data.train.batches(order, batch, rule, 0)):
        take_step(method, examples, optimizer, update / updates, [])
        values.append(evaluate(method, [data], rule, 0)[:, 0])
    return np.stack(values, axis=1)


def untrained(method: Method) -> Method:
    """A plain network that no training has touched, with initial weights other than `method` had, and its lr."""
    fresh = Method()
    fresh.start(method.build, method.draws, method.scenario)
    fresh.net = method.build(task=len(method.scenario.sizes))
    fresh.lr = method.lr
    return fresh


def saved(again: np.ndarray, fresh: np.ndarray, before: np.ndarray) -> dict[str, np.ndarray]:
    """Updates [R] to FRACTION of the accuracy `before` [R] by the curves [R, E] again and fresh; the savings."""
    updates = np.arange(again.shape[1])
    tau, scratch = (metrics.recovery_time(updates, values, before, FRACTION) for values in (again, fresh))
    spared = metrics.savings(tau, scratch)
    return {"updates again": tau, "updates of a fresh network": scratch, "savings": spared}


def savings(replicas: int, others: Makers) -> Outcome:
    """Claim T11. After five tasks task 1 is learned again; savings against a fresh network on the same batches.

    Reported beside it: a network that was trained on the tasks 2 to 5 only and never saw task 1, one with half as
    many updates per task, the permuted tasks, and the methods `others`; then the stability gap.
    """
    reported: dict[str, np.ndarray] = {}
    curves: dict[str, Any] = {}
    half = Training(updates=(171,) * 5)
    for stream, later in ((Rotated(), LaterRotated(length=4)), (Permuted(), LaterPermuted(length=4))):
        arms: dict[str, Arm] = {
            "fine-tuning": (Method(), stream, Training()),
            "never saw task 1": (Method(), later, Training()),
        }
        if stream.name == "rotated":
            arms |= {"half the updates": (Method(), stream, half)}
            arms |= {name: (make(), stream, Training()) for name, make in others.items()}
        _learned_again(arms, stream, replicas, reported, curves)
        own, general = (reported[f"savings: {name} on {stream.name}"] for name in list(arms)[:2])
        reported[f"savings beyond a network that never saw task 1: {stream.name}"] = own - general
    _gaps(replicas, others, reported, curves)
    return Outcome(reported["savings: fine-tuning on rotated"], reported, curves)


def _learned_again(
    arms: dict[str, Arm],
    stream: Stream,
    replicas: int,
    reported: dict[str, np.ndarray],
    curves: dict[str, Any],
) -> None:
    """Train each arm and then task 1 of `stream` again. What counts is the old accuracy of the first arm."""
    before, fresh = np.empty(0), np.empty(0)
    for name, (method, own, training) in arms.items():
        record, label = (
            run(method, own, training, replicas=replicas, progress=False),
            f"{name} on {stream.name}",
        )
        data = stream.audit(method.draws)[0]
        if not before.size:
            before, fresh = record.matrix[:, 1, 0], relearn(untrained(method), data)
            reported[f"old accuracy on task 1: {label}"] = before
            curves[f"again: fresh network on {stream.name}"] = bands(fresh[:, : SHOWN + 1 : 2])
        again = relearn(method, data)
        reported |= {f"{what}: {label}": values for what, values in saved(again, fresh, before).items()}
        reported |= whole({label: record}) if own is stream else {}
        reported[f"accuracy on task 1 before it is learned again: {label}"] = again[:, 0]
        curves[f"again: {label}"] = bands(again[:, : SHOWN + 1 : 2])


def change(method: Method, degrees: float, training: Training, **how: Any) -> Record:
    """Upright digits, then digits turned by `degrees`, evaluated after every update."""
    return run(method, Rotated(length=2, degrees=degrees), replace(training, every=1), progress=False, **how)


def deepest(record: Record) -> np.ndarray:
    """The lowest accuracy [R] on task 1 after its end (De Lange et al. 2023): min-ACC of two tasks."""
    assert record.curve is not None
    return metrics.minimum_accuracy(record.curve_updates, record.curve, np.cumsum(record.updates))


def _gaps(replicas: int, others: Makers, reported: dict[str, np.ndarray], curves: dict[str, Any]) -> None:
    """Task 1 while task 2 is trained, for methods that keep its data; control: task 2 is task 1 again."""
    training = Training(updates=(343, 343))
    arms = {"joint": Joint, "fine-tuning": Method} | dict(others)
    records = {name: change(make(), ANGLE, training, replicas=replicas) for name, make in arms.items()}
    records["no new task"] = change(Method(), 0.0, training, replicas=replicas)
    start = training.updates[0]
    curves["gap updates"] = list(range(-AROUND[0], AROUND[1] + 1))
    for name, record in records.items():
        assert record.curve is not None
        reported[f"before the change: {name}"] = record.matrix[:, 1, 0]
        reported[f"lowest after the change: {name}"] = deepest(record)
        reported[f"in the end: {name}"] = record.matrix[:, 2, 0]
        near = record.curve[:, start - 1 - AROUND[0] : start + AROUND[1], 0]  # entry u - 1: after u updates
        curves[f"gap: {name}"] = bands(near)
    gap = reported["lowest after the change: no new task"] - reported["lowest after the change: joint"]
    reported["stability gap of joint training"] = gap
