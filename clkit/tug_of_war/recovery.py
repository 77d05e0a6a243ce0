"""How fast a forgotten task comes back, and what is lost for a moment at a change of task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from clkit import instruments, metrics
from clkit.claims import Outcome
from clkit.controls import Joint
from clkit.examples import Batch, Task, TaskData
from clkit.loop import evaluate, run, take_step
from clkit.method import Method
from clkit.metrics import bands
from clkit.record import Record
from clkit.replicas import Draws
from clkit.report import whole
from clkit.streams import Permuted, Rotated, Stream, View
from clkit.training import Training

AGAIN = 400  # updates of learning task 1 again
SHOWN = 200  # of them in the curves
FRACTION = 0.9  # of the old accuracy: what counts as recovered
ANGLE = 80.0  # degrees between the two tasks of the stability gap
AROUND = (20, 120)  # updates before and after a change of task in the curves of the stability gap
MOMENTS = (0, 1, 2, 5, 10, 20, 40, 80)  # updates after it at which both tasks are looked at
SLOWER = 4  # by how much a smaller step size is smaller, with as many times the updates

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
            curves[f"again: fresh network on {stream.name}"] = bands(fresh[:, : SHOWN + 1 : 2], 4)
        again = relearn(method, data)
        reported |= {f"{what}: {label}": values for what, values in saved(again, fresh, before).items()}
        reported |= whole({label: record}) if own is stream else {}
        reported[f"accuracy on task 1 before it is learned again: {label}"] = again[:, 0]
        curves[f"again: {label}"] = bands(again[:, : SHOWN + 1 : 2], 4)


def change(method: Method, degrees: float, training: Training, **how: Any) -> Record:
    """Upright digits, then digits turned by `degrees`, evaluated after every update."""
    return run(method, Rotated(length=2, degrees=degrees), replace(training, every=1), progress=False, **how)


@dataclass(kw_only=True, eq=False)
class Growing(Method):
    """Training on both of two tasks; the share of the second in the batches grows in a straight line, from 0.

    While task 2 is trained, a coin for each place in the batch says whether its example stays or one of task 1
    takes the place: after a fraction p of the updates it stays with probability p times `share`. The examples of
    task 1 come in shuffles of their own.
    """

    share: float = 0.5  # of task 2 in the end
    name: ClassVar[str] = "growing"
    needs: ClassVar[frozenset[str]] = frozenset({"past data", "task boundaries"})
    listed: ClassVar[bool] = False

    def begin_task(self, task: Task) -> None:
        self.past, self.place = task.past, 0
        if task.past is not None:
            length = task.updates * task.batch
            self.order = self.draws.shuffles("growing", task.past.sizes, length, task.number)
            self.coins = self.draws.uniform("growing coins", (length,), task.number)

    def widen(self, batch: Batch) -> Batch:
        if self.past is None:
            return batch
        places = slice(self.place, self.place + batch.y.shape[1])
        x, y, _ = self.past.take(self.order[:, places])
        new = self.coins[:, places] < self.share * self.progress
        wide = new.view(*new.shape, *[1] * (x.dim() - 2))
        index = torch.where(new, batch.index, -1)
        return replace(batch, x=torch.where(wide, batch.x, x), y=torch.where(new, batch.y, y), index=index)

    def after_step(self, batch: Batch) -> None:
        self.place += batch.y.shape[1]


def pulled(
    method: Method, degrees: float, training: Training, moments: Collection[int], **how: Any
) -> tuple[Record, np.ndarray, np.ndarray]:
    """`change`, and both tasks `moments` updates after it, on all their training data.

    Losses [R, M, 2], inner products of the gradients [R, M, 2, 2].
    """
    stream, start = Rotated(length=2, degrees=degrees), training.updates[0]
    losses, products = list[np.ndarray](), list[np.ndarray]()

    def observe(method: Method, update: int) -> None:
        if update - start in moments:
            losses.append(instruments.losses(method, stream).numpy())
            products.append(instruments.interference(method, stream).numpy())

    record = change(method, degrees, training, observe=observe, **how)
    return record, np.stack(losses, 1), np.stack(products, 1)


def deepest(record: Record) -> np.ndarray:
    """The lowest accuracy [R] on task 1 after its end (De Lange et al. 2023): min-ACC of two tasks."""
    assert record.curve is not None
    return metrics.minimum_accuracy(record.curve_updates, record.curve, np.cumsum(record.updates))


def _gaps(replicas: int, others: Makers, reported: dict[str, np.ndarray], curves: dict[str, Any]) -> None:
    """Task 1 while task 2 is trained, for methods that keep its data; control: task 2 is task 1 again.

    Beside joint training: the pulls of both tasks after the change, a smaller step size, a share that grows.
    """
    training = Training(updates=(343, 343))
    slow = Training(updates=(343 * SLOWER,) * 2, lr=training.lr / SLOWER)
    arms = {"fine-tuning": Method} | dict(others)
    records = {name: change(make(), ANGLE, training, replicas=replicas) for name, make in arms.items()}
    records["joint"], losses, pulls = pulled(Joint(), ANGLE, training, MOMENTS, replicas=replicas)
    records["no new task"] = change(Method(), 0.0, training, replicas=replicas)
    start = training.updates[0]
    curves["gap updates"] = list(range(-AROUND[0], AROUND[1] + 1))
    for name, record in records.items():
        assert record.curve is not None
        near = record.curve[:, start - 1 - AROUND[0] : start + AROUND[1], 0]  # entry u - 1: after u updates
        curves[f"gap: {name}"] = bands(near, 4)
    records["joint, smaller steps"] = change(Joint(), ANGLE, slow, replicas=replicas)
    records["joint, growing share"] = change(Growing(), ANGLE, training, replicas=replicas)
    for name, record in records.items():
        reported[f"before the change: {name}"] = record.matrix[:, 1, 0]
        reported[f"lowest after the change: {name}"] = deepest(record)
        reported[f"in the end: {name}"] = record.matrix[:, 2, 0]
        reported[f"task 2 in the end: {name}"] = record.matrix[:, 2, 1]
    for m, moment in enumerate(MOMENTS):
        after = f"{moment} updates after the change"
        reported[f"loss of task 1, {after}"] = losses[:, m, 0]
        reported[f"gradient energy of task 1, {after}"] = pulls[:, m, 0, 0]
        reported[f"gradient energy of task 2, {after}"] = pulls[:, m, 1, 1]
        reported[f"inner product of the gradients, {after}"] = pulls[:, m, 0, 1]
    gap = reported["lowest after the change: no new task"] - reported["lowest after the change: joint"]
    reported["stability gap of joint training"] = gap
    for name in ("smaller steps", "growing share"):
        higher = reported[f"lowest after the change: joint, {name}"]
        reported[f"dip spared by {name}"] = higher - reported["lowest after the change: joint"]
