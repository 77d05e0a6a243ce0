"""Leaving out what is known: for good, or as long as it is known.

R replicas, E looks, N training examples. Every run here is stationary: one task, shuffled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from clkit.claims import Outcome
from clkit.examples import Batch, Examples, Task
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import first_reaching, interval
from clkit.replicas import Feed
from clkit.training import Training
from clkit.tug_of_war.active_bias import emphasis
from clkit.tug_of_war.difficulty import EVERY, KNOWN, UPDATES, Watch, band, each_loss, residual
from clkit.tug_of_war.memorization import Shuffled
from clkit.tug_of_war.selfieboost import boosting

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)  # residuals below which examples are skipped


def skippable(residuals: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Share of the examples whose residual is below the threshold, and of the residual that they hold.

    residuals [..., N] -> two arrays [...].
    """
    below = residuals < threshold
    return below.mean(-1), (residuals * below).sum(-1) / residuals.sum(-1)


@dataclass(kw_only=True, eq=False)
class LeaveOut(Method):
    """Plain training in which, from some moment on, the examples that are known then leave the mix for good.

    The loss stays the sum over the batch divided by its size: the examples that remain pull as before. Controls:
    others leave than the known; or those that remain pull harder, so that the whole batch pulls as before.
    """

    moment: float = 0.2  # share of the training after which they leave
    replayed: float = 0.0  # share of their visits that take place all the same; 1: plain training
    classes: int = 0  # > 0: not the known leave, but all examples of the first so many classes
    drawn: bool = False  # not the known leave, but as many drawn by chance
    smaller: bool = False  # divide by the examples that remain: a smaller batch; else by the whole batch
    name: ClassVar[str] = "leave out"
    listed: ClassVar[bool] = False

    def begin_task(self, task: Task) -> Examples | None:
        rows = torch.arange(task.train.sizes[0], device=self.draws.device).expand(self.draws.replicas, -1)
        self.x, self.y, _ = task.train.take(rows)
        self.feed, self.visits = Feed(self.draws, "replayed"), 0
        self.left: Tensor | None = None  # [R, N], True = left out
        self.known_then: Tensor | None = None  # [R, N], True = known at that moment
        self.spared = torch.zeros(self.draws.replicas, device=self.draws.device)  # backward passes
        return None

    def loss(self, batch: Batch) -> Tensor:
        each = each_loss(self, batch.x, batch.y)
        if self.progress < self.moment:
            return each.mean(1)
        if self.left is None:
            with torch.no_grad():
                self.known_then = residual(each_loss(self, self.x, self.y)) < KNOWN  # eq: known
            self.left = self._leaving(self.known_then)
        size = batch.index.shape[1]
        chance = self.feed(self.visits, size)
        self.visits += size
        gone = self.left.gather(1, batch.index) & (chance >= self.replayed)
        self.spared += gone.sum(1)
        whole = (~gone).sum(1).clamp(min=1) if self.smaller else size
        return (each * ~gone).sum(1) / whole  # eq: left-out

    def _leaving(self, known: Tensor) -> Tensor:
        if self.classes:
            return self.y < self.classes
        if self.drawn:
            rank = self.draws.uniform("leaving", self.y.shape[1:]).argsort(1).argsort(1)
            return rank < known.sum(1, keepdim=True)
        return known


@dataclass(kw_only=True, eq=False)
class SkipKnown(Method):
    """Plain training without the backward pass of examples whose residual is small at that moment."""

    threshold: float = KNOWN  # residual; 0: plain training
    name: ClassVar[str] = "skip known"
    listed: ClassVar[bool] = False

    def begin_task(self, task: Task) -> Examples | None:
        self.passes: list[Tensor] = []  # [R] backward passes of each update
        return None

    def loss(self, batch: Batch) -> Tensor:
        each = each_loss(self, batch.x, batch.y)
        needed = residual(each.detach()) >= self.threshold
        self.passes.append(needed.sum(1))
        return (each * needed).mean(1)  # eq: skip-known


@dataclass(kw_only=True, eq=False)
class SkipRandom(Method):
    """The control: in every update as many examples are skipped as another run skipped, drawn by chance."""

    passes: list[Tensor] = field(default_factory=list)  # [R] examples of each update that are not skipped
    smaller: bool = False  # divide by the examples that remain: a smaller batch; else by the whole batch
    name: ClassVar[str] = "skip at random"
    listed: ClassVar[bool] = False

    def loss(self, batch: Batch) -> Tensor:
        size = batch.index.shape[1]
        number = round(self.progress * len(self.passes))
        rank = self.draws.uniform("skipped", (size,), counter=number).argsort(1).argsort(1)
        needed = rank < self.passes[number][:, None]
        whole = needed.sum(1).clamp(min=1) if self.smaller else size
        return (each_loss(self, batch.x, batch.y) * needed).sum(1) / whole


def dropping_the_easy(replicas: int, updates: int = UPDATES) -> Outcome:
    """T5: arms that are alike until a fifth of the run; then the known leave, or stay, or are replayed a little.

    Contrasts beside them: as many examples leave, drawn by chance, also with a pull that is not smaller; and about as
    many leave, but all that there are of seven digits.
    """
    reported: dict[str, np.ndarray] = {}
    curves: dict[str, Any] = {}
    on_left, training = {}, Training(updates=(updates,), every=4 * EVERY)
    arms = {"kept": LeaveOut(replayed=1.0), "left out": LeaveOut(), "a few replayed": LeaveOut(replayed=0.05)}
    arms |= {
        "left at random": LeaveOut(drawn=True),
        "left at random, others pull harder": LeaveOut(drawn=True, smaller=True),
        "seven digits left out": LeaveOut(classes=7),
    }
    test, stayed = (
        dict[str, np.ndarray](),
        np.array(0),
    )  # [R, N] after the loop's first arm: right where all are kept
    for arm, method in arms.items():
        watch = Watch(Shuffled())
        record = run(method, Shuffled(), training, replicas=replicas, progress=False, observe=watch)
        assert method.left is not None and method.known_then is not None and record.curve is not None
        left, known = method.left.cpu().numpy(), method.known_then.cpu().numpy()
        on, others = _share(watch.right, left[:, None]), _share(watch.right, ~left[:, None])  # [R, E]
        pull = watch.residuals[:, np.searchsorted(watch.updates, method.moment * updates)]
        stayed = watch.right[:, -1] if arm == "kept" else stayed
        on_left[arm], test[arm] = on[:, -1], record.matrix[:, -1, 0]
        spared = method.spared.cpu().numpy() / (updates * training.batch)
        reported |= {
            f"accuracy on the examples left out: {arm}": on[:, -1],
            f"accuracy on them, had they stayed: {arm}": _share(stayed, left),
            f"no longer known, of the known that left: {arm}": _share(
                watch.residuals[:, -1] >= KNOWN, left & known
            ),
            f"share of the residual that left: {arm}": (pull * left).sum(1) / pull.sum(1),
            f"accuracy on the other training examples: {arm}": others[:, -1],
            f"test accuracy: {arm}": test[arm],
            f"backward passes spared: {arm}": spared,
            f"operations, of plain training: {arm}": 1 - spared,  # no forward pass either
            f"bytes kept: {arm}": np.full(replicas, record.bytes_kept[-1] + (left.shape[1] + 7) // 8),
        }
        stay = [((~left) & (method.y.cpu().numpy() == c)).sum(1) for c in range(10)]
        reported[f"share of the examples left out: {arm}"] = left.mean(1)
        reported[f"examples that stay of the digit with fewest: {arm}"] = np.min(stay, axis=0).astype(float)
        if method.drawn:
            new = left & ~known
            reported |= {
                f"accuracy on those not yet known that left: {arm}": _share(watch.right[:, -1], new),
                f"accuracy on those not yet known, had they stayed: {arm}": _share(stayed, new),
                f"test accuracy, kept minus {arm}": test["kept"] - test[arm],
                f"test accuracy, left out minus {arm}": test["left out"] - test[arm],
            }
        curves["updates"] = watch.updates
        curves[arm] = {
            "left out": band(on),
            "others": band(others),
            "test": band(record.curve[:, :, 0]),
        }
    return Outcome(on_left["kept"] - on_left["left out"], reported, curves)


def _share(right: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Share of the examples `of` that are right, [..., N] and [..., N] -> [...]; 0 where there are none."""
    return (right & of).sum(-1) / np.maximum(of.sum(-1), 1)


def fewer_passes(replicas: int, updates: int = UPDATES) -> Outcome:
    """W2: updates to the test accuracy that plain training ends with, less half a point; a look costs a whole batch.

    What skipping the known spares is counted up to the target; where it never gets there it is charged with all of
    plain training. What a control spares is reported only if each of its replicas gets there. A backward pass counts
    as two operations, a forward pass as one; the controls need no forward pass of what they skip. Skipping only
    takes pull away, and so can hardly spare updates. Active bias and SelfieBoost, which make some pull harder, are
    reported beside it, with their updates to targets of their own.
    """
    training, stream = Training(updates=(updates,), every=EVERY), Shuffled()
    looks, size = np.arange(EVERY, updates + 1, EVERY), training.batch
    reported: dict[str, np.ndarray] = {}
    curves: dict[str, Any] = {"updates": looks.tolist(), "thresholds": list(THRESHOLDS)}

    def arm(method: Method) -> np.ndarray:
        record = run(method, stream, training, replicas=replicas, progress=False)
        assert record.curve is not None
        return record.curve[:, :, 0]

    full = np.broadcast_to(looks * size, (replicas, len(looks)))
    accuracy = {"plain": arm(Method())}
    passes, grid = {"plain": full}, dict[float, SkipKnown]()
    for threshold in THRESHOLDS:
        grid[threshold] = SkipKnown(threshold=threshold)
        found = arm(grid[threshold])
        spent = _spent(grid[threshold])
        curves[f"threshold {threshold}"] = {
            "test accuracy": _one(found[:, -1]),
            "backward passes": _one(spent[:, -1] / (updates * size)),
        }
        if threshold == KNOWN:
            accuracy["skip known"], passes["skip known"] = found, spent[:, looks - 1]
    for name, smaller in {"skip at random": False, "smaller batches": True}.items():
        accuracy[name] = arm(SkipRandom(passes=grid[KNOWN].passes, smaller=smaller))
        passes[name] = passes["skip known"]
    target = accuracy["plain"][:, -1] - 0.005
    needed = {name: _until(accuracy[name], passes[name], target, full[:, -1]) for name in accuracy}
    work = dict[str, np.ndarray]()
    for name, found in accuracy.items():
        share = passes[name][:, -1] / full[:, -1]
        looked = 1.0 if name == "skip known" else share  # forward passes
        reached = np.isfinite(first_reaching(looks, found, target))
        visits = _updates(found, looks, target, updates) * size  # until the target
        work[name] = 2 * needed[name] + (visits if name == "skip known" else needed[name])
        reported |= {
            f"test accuracy at the end: {name}": found[:, -1],
            f"target reached: {name}": reached.astype(float),
            f"backward passes in all, of plain training: {name}": share,
            f"forward passes in all, of plain training: {name}": looked + 0 * share,
            f"operations in all, of plain training: {name}": (looked + 2 * share) / 3,
            f"accuracy at equal backward passes: {name}": _at_equal(
                found, passes[name], passes["skip known"]
            ),
        }
        if reached.all() or name == "skip known":
            reported |= {
                f"backward passes to the target: {name}": needed[name],
                f"spared to the target: {name}": 1 - needed[name] / needed["plain"],
                f"operations spared to the target: {name}": 1 - work[name] / work["plain"],
            }
        curves[name] = {"test accuracy": band(found), "backward passes": passes[name].mean(0).tolist()}
    slow, quick = (_updates(accuracy[name], looks, target, updates) for name in ("plain", "skip known"))
    reported |= {"updates to the target: plain": slow, "updates to the target: skip known": quick}
    for what, cost in {"backward passes": needed, "operations": work}.items():
        gap = (cost["smaller batches"] - cost["skip known"]) / cost["plain"]
        reported[f"{what} spared, skip known minus smaller batches"] = gap
    ends = {name: found[:, -1] for name, found in accuracy.items()}
    for name in ("plain", "skip at random", "smaller batches"):
        reported[f"test accuracy, skip known minus {name}"] = ends["skip known"] - ends[name]
    reported |= emphasis(replicas)
    curves["boosting"], more = boosting(replicas)
    return Outcome(1 - quick / slow, reported | more, curves)


def _spent(method: SkipKnown) -> np.ndarray:
    """Backward passes done after each update, [R, updates]."""
    return torch.stack(method.passes, 1).cumsum(1).cpu().numpy()


def _until(accuracy: np.ndarray, passes: np.ndarray, target: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Backward passes [R] when the accuracy [R, E] first reaches the target [R]; `most` where it never does."""
    hit = accuracy >= target[:, None] - 1e-12
    then = np.take_along_axis(passes, hit.argmax(1)[:, None], 1)[:, 0]
    return np.where(hit.any(1), then, most).astype(float)


def _updates(accuracy: np.ndarray, looks: np.ndarray, target: np.ndarray, most: int) -> np.ndarray:
    return np.minimum(first_reaching(looks, accuracy, target), most)


def _at_equal(accuracy: np.ndarray, passes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Accuracy [R] of an arm when it has done as many passes as the `other` in all."""
    at = (passes <= other[:, -1:]).sum(1) - 1
    return np.take_along_axis(accuracy, at[:, None], 1)[:, 0]


def _one(values: np.ndarray) -> dict[str, float | None]:
    return interval(values).to_json()
