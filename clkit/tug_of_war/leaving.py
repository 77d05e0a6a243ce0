"""Leaving out for good what is known.

R replicas, E looks, N training examples. Every run here is stationary: one task, shuffled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from clkit.claims import Outcome
from clkit.examples import Batch, Examples, Task
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import bands
from clkit.record import Record
from clkit.replicas import Feed
from clkit.training import Training
from clkit.tug_of_war.difficulty import EVERY, KNOWN, UPDATES, Watch, each_loss, residual
from clkit.tug_of_war.memorization import Shuffled


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


def arms() -> dict[str, LeaveOut]:
    """Alike until a fifth of the run; then the known leave, or stay, or are replayed a little.

    Contrasts: as many examples leave, drawn by chance, also with a pull that is not smaller; and about as many
    leave, but all that there are of seven digits.
    """
    return {
        "kept": LeaveOut(replayed=1.0),
        "left out": LeaveOut(),
        "a few replayed": LeaveOut(replayed=0.05),
        "left at random": LeaveOut(drawn=True),
        "left at random, others pull harder": LeaveOut(drawn=True, smaller=True),
        "seven digits left out": LeaveOut(classes=7),
    }


@dataclass
class _Run:
    """One arm, done: who left and what became of them."""

    method: LeaveOut
    watch: Watch
    record: Record

    def __post_init__(self) -> None:
        assert self.method.left is not None and self.method.known_then is not None
        self.left = self.method.left.cpu().numpy()  # [R, N]
        self.known = self.method.known_then.cpu().numpy()
        self.test = self.record.matrix[:, -1, 0]  # [R]

    def reported(self, arm: str, stayed: np.ndarray, passes: int) -> dict[str, np.ndarray]:
        """stayed [R, N]: who is right in the end where all are kept; passes: visits of the whole run."""
        watch, left, updates = self.watch, self.left, self.watch.updates[-1]
        pull = watch.residuals[:, np.searchsorted(watch.updates, self.method.moment * updates)]
        spared = self.method.spared.cpu().numpy() / passes
        bits = (left.shape[1] + 7) // 8  # who left
        stay = [((~left) & (self.method.y.cpu().numpy() == c)).sum(1) for c in range(10)]
        forgotten = watch.residuals[:, -1] >= KNOWN
        return {
            f"accuracy on the examples left out: {arm}": share(watch.right[:, -1], left),
            f"accuracy on them, had they stayed: {arm}": share(stayed, left),
            f"no longer known, of the known that left: {arm}": share(forgotten, left & self.known),
            f"share of the residual that left: {arm}": (pull * left).sum(1) / pull.sum(1),
            f"accuracy on the other training examples: {arm}": share(watch.right[:, -1], ~left),
            f"test accuracy: {arm}": self.test,
            f"backward passes spared: {arm}": spared,
            f"operations, of plain training: {arm}": 1 - spared,  # no forward pass either
            f"bytes kept: {arm}": np.full(len(left), self.record.bytes_kept[-1] + bits),
            f"share of the examples left out: {arm}": left.mean(1),
            f"examples that stay of the digit with fewest: {arm}": np.min(stay, axis=0).astype(float),
        }

    def of_the_unknown(self, arm: str, stayed: np.ndarray) -> dict[str, np.ndarray]:
        """What was not yet known and left all the same."""
        new = self.left & ~self.known
        return {
            f"accuracy on those not yet known that left: {arm}": share(self.watch.right[:, -1], new),
            f"accuracy on those not yet known, had they stayed: {arm}": share(stayed, new),
        }

    def curve(self) -> dict[str, Any]:
        assert self.record.curve is not None
        right, left = self.watch.right, self.left[:, None]
        on, others, test = share(right, left), share(right, ~left), self.record.curve[:, :, 0]
        return {"left out": bands(on), "others": bands(others), "test": bands(test)}


def dropping_the_easy(replicas: int, updates: int = UPDATES) -> Outcome:
    """T5: accuracy in the end on the examples that leave, kept minus left out."""
    training, runs = Training(updates=(updates,), every=4 * EVERY), dict[str, _Run]()
    for arm, method in arms().items():
        watch = Watch(Shuffled())
        record = run(method, Shuffled(), training, replicas=replicas, progress=False, observe=watch)
        runs[arm] = _Run(method, watch, record)
    kept, stayed = runs["kept"], runs["kept"].watch.right[:, -1]
    reported: dict[str, np.ndarray] = {}
    for arm, one in runs.items():
        reported |= one.reported(arm, stayed, updates * training.batch)
        if one.method.drawn:
            reported |= one.of_the_unknown(arm, stayed)
            for other in ("kept", "left out"):
                reported[f"test accuracy, {other} minus {arm}"] = runs[other].test - one.test
    curves = {"updates": kept.watch.updates, **{arm: one.curve() for arm, one in runs.items()}}
    on_them = "accuracy on the examples left out"
    return Outcome(reported[f"{on_them}: kept"] - reported[f"{on_them}: left out"], reported, curves)


def share(right: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Share of the examples `of` that are right, [..., N] and [..., N] -> [...]; 0 where there are none."""
    return (right & of).sum(-1) / np.maximum(of.sum(-1), 1)
