"""Skipping what is known, as long as it is known.

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
from clkit.metrics import bands, first_reaching, interval
from clkit.training import Training
from clkit.tug_of_war.active_bias import emphasis
from clkit.tug_of_war.difficulty import EVERY, KNOWN, UPDATES, each_loss, residual
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


@dataclass
class _Arm:
    """One way of training: test accuracy and backward passes done at each look, [R, E]."""

    accuracy: np.ndarray
    passes: np.ndarray
    looks: np.ndarray  # [E] updates
    forward: bool = False  # does it look at every example, also at those that it skips?

    def reported(self, name: str, plain: _Arm, other: _Arm, size: int) -> dict[str, np.ndarray]:
        """Against plain training, up to its accuracy in the end less half a point; size: of a batch."""
        target, most = plain.target(), plain.passes[:, -1]
        share = self.passes[:, -1] / most
        looked = np.ones_like(share) if self.forward else share
        reached = np.isfinite(first_reaching(self.looks, self.accuracy, target))
        found = {
            f"test accuracy at the end: {name}": self.accuracy[:, -1],
            f"target reached: {name}": reached.astype(float),
            f"backward passes in all, of plain training: {name}": share,
            f"forward passes in all, of plain training: {name}": looked,
            f"operations in all, of plain training: {name}": (looked + 2 * share) / 3,
            f"accuracy at equal backward passes: {name}": _at_equal(self.accuracy, self.passes, other.passes),
        }
        if reached.all() or self.forward:
            spent, work = self.needed(plain), self.work(plain, size)
            found |= {
                f"backward passes to the target: {name}": spent,
                f"spared to the target: {name}": 1 - spent / plain.needed(plain),
                f"operations spared to the target: {name}": 1 - work / plain.work(plain, size),
            }
        return found

    def target(self) -> np.ndarray:
        return np.asarray(self.accuracy[:, -1] - 0.005)

    def needed(self, plain: _Arm) -> np.ndarray:
        """Backward passes to plain training's target; all of plain training's where it is not reached."""
        return _until(self.accuracy, self.passes, plain.target(), plain.passes[:, -1])

    def updates(self, plain: _Arm) -> np.ndarray:
        """Updates to plain training's target; all where it is not reached."""
        return np.minimum(first_reaching(self.looks, self.accuracy, plain.target()), self.looks[-1])

    def work(self, plain: _Arm, size: int) -> np.ndarray:
        """Operations to the target: a backward pass counts as two, a forward pass as one."""
        needed = self.needed(plain)
        return 2 * needed + (self.updates(plain) * size if self.forward else needed)


def fewer_passes(replicas: int, updates: int = UPDATES) -> Outcome:
    """W2: updates to the test accuracy that plain training ends with, less half a point; a look costs a whole batch.

    What skipping the known spares is counted up to the target; where it never gets there it is charged with all of
    plain training. What a control spares is reported only if each of its replicas gets there. The controls need no
    forward pass of what they skip. Skipping only takes pull away, and so can hardly spare updates. Active bias and
    SelfieBoost, which make some pull harder, are reported beside it, with their updates to targets of their own.
    """
    arms, curves = _trained(replicas, Training(updates=(updates,), every=EVERY))
    plain, known, smaller = (arms[name] for name in ("plain", "skip known", "smaller batches"))
    size, reported = Training().batch, dict[str, np.ndarray]()
    for name, arm in arms.items():
        reported |= arm.reported(name, plain, known, size)
        curves[name] = {"test accuracy": bands(arm.accuracy), "backward passes": arm.passes.mean(0).tolist()}
        if name != "skip known":
            reported[f"test accuracy, skip known minus {name}"] = known.accuracy[:, -1] - arm.accuracy[:, -1]
    for name, arm in {"plain": plain, "skip known": known}.items():
        reported[f"updates to the target: {name}"] = arm.updates(plain)
    ahead = {
        "backward passes": (smaller.needed(plain) - known.needed(plain)) / plain.needed(plain),
        "operations": (smaller.work(plain, size) - known.work(plain, size)) / plain.work(plain, size),
    }
    reported |= {f"{what} spared, skip known minus smaller batches": gap for what, gap in ahead.items()}
    reported |= emphasis(replicas)
    curves["boosting"], more = boosting(replicas)
    return Outcome(1 - known.updates(plain) / plain.updates(plain), reported | more, curves)


def _trained(replicas: int, training: Training) -> tuple[dict[str, _Arm], dict[str, Any]]:
    """All arms, and what every threshold does."""
    updates, size = training.updates[0], training.batch
    looks = np.arange(EVERY, updates + 1, EVERY)
    curves: dict[str, Any] = {"updates": looks.tolist(), "thresholds": list(THRESHOLDS)}

    def accuracy(method: Method) -> np.ndarray:
        record = run(method, Shuffled(), training, replicas=replicas, progress=False)
        assert record.curve is not None
        return record.curve[:, :, 0]

    full = np.broadcast_to(looks * size, (replicas, len(looks)))
    arms = {"plain": _Arm(accuracy(Method()), full, looks)}
    for threshold in THRESHOLDS:
        method = SkipKnown(threshold=threshold)
        found, spent = accuracy(method), _spent(method)
        curves[f"threshold {threshold}"] = {
            "test accuracy": _one(found[:, -1]),
            "backward passes": _one(spent[:, -1] / (updates * size)),
        }
        if threshold == KNOWN:
            drawn = method.passes
            arms["skip known"] = _Arm(found, spent[:, looks - 1], looks, forward=True)
    for name, smaller in {"skip at random": False, "smaller batches": True}.items():
        found = accuracy(SkipRandom(passes=drawn, smaller=smaller))
        arms[name] = _Arm(found, arms["skip known"].passes, looks)
    return arms, curves


def _spent(method: SkipKnown) -> np.ndarray:
    """Backward passes done after each update, [R, updates]."""
    return torch.stack(method.passes, 1).cumsum(1).cpu().numpy()


def _until(accuracy: np.ndarray, passes: np.ndarray, target: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Backward passes [R] when the accuracy [R, E] first reaches the target [R]; `most` where it never does."""
    hit = accuracy >= target[:, None] - 1e-12
    then = np.take_along_axis(passes, hit.argmax(1)[:, None], 1)[:, 0]
    return np.where(hit.any(1), then, most).astype(float)


def _at_equal(accuracy: np.ndarray, passes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Accuracy [R] of an arm when it has done as many passes as the `other` in all."""
    at = (passes <= other[:, -1:]).sum(1) - 1
    return np.take_along_axis(accuracy, at[:, None], 1)[:, 0]


def _one(values: np.ndarray) -> dict[str, float | None]:
    return interval(values).to_json()
