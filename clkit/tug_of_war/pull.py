"""The pulls of two tasks along the training of real networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clkit.bowls import Array, Bowl, total
from clkit.claims import Outcome
from clkit.data import Dataset
from clkit.examples import Batch, TaskData
from clkit.instruments import Loss, cosines, efficiency, gradients, losses, norms
from clkit.loop import run
from clkit.method import Method, weighted_mean
from clkit.metrics import bands
from clkit.nets import Mlp
from clkit.record import Record
from clkit.replicas import Draws
from clkit.report import whole
from clkit.streams import Permuted, Rotated, Stream, View
from clkit.training import Training

UPDATES, EVERY = 1500, 50  # of joint training; between two looks at the gradients
WIDTHS = (3, 8, 30, 100)  # units in each of the two hidden layers; the last is the claim's
LONGER = 10  # times the updates, once more for the narrowest network
LARGE = 512  # examples in a large batch: sixteen times as many, a quarter of the jitter
HARDEST = 0.1  # share of a task's examples that are called hard: those with the largest loss
BOWLS = (
    Bowl(np.array([[3.0, 0.8], [0.8, 1.0]]), np.array([-1.2, 0.6])),
    Bowl(np.array([[1.0, -0.6], [-0.6, 2.5]]), np.array([1.0, -0.9])),
)


@dataclass(frozen=True, kw_only=True)
class Shuffled(Stream):
    """The tasks of another stream as one task: the data of all, shuffled together."""

    of: Stream = Permuted(length=2)
    length: int = 1
    name: ClassVar[str] = "shuffled"

    def source(self, t: int) -> Dataset:
        return self.of.source(t)

    def tasks(self, draws: Draws) -> list[TaskData]:
        parts = self.of.tasks(draws)
        train, validation, test = (
            reduce(add, sets)
            for sets in zip(*((part.train, part.validation, part.test) for part in parts), strict=True)
        )
        return [TaskData(train, validation, test, sum(part.size for part in parts))]


@dataclass(frozen=True, kw_only=True)
class Relabelled(Stream):
    """Every task shows the same images and wants another answer: digit d is called d + t, modulo the classes."""

    length: int = 2
    name: ClassVar[str] = "relabelled"

    def view(self, draws: Draws, t: int) -> View:
        plain = super().view(draws, t)
        return replace(plain, local=(plain.local + t) % plain.local.shape[1])


PAIRS: dict[str, Stream] = {
    "permuted": Permuted(length=2),
    "rotated": Rotated(length=2, degrees=40.0),
    "relabelled": Relabelled(),
}


@dataclass(frozen=True)
class Pulls:
    """What the tasks' full gradients were at N moments of R trainings; T = 2 tasks."""

    updates: list[int]  # [N] done by then
    lengths: Array  # [R, N, T] of each task's gradient
    left: Array  # [R, N] length of their sum
    cosine: Array  # [R, N] between the two
    efficiency: Array  # [R, N] length of the sum over the sum of the lengths
    losses: Array  # [R, N, T] on all training data of each task
    record: Record
    method: Method  # as training left it

    def named(self) -> dict[str, Array]:
        """[R, N] each."""
        both = {"pull of": self.lengths, "loss of": self.losses}
        each = {f"{what} task {t + 1}": v[..., t] for what, v in both.items() for t in range(2)}
        return {"cosine": self.cosine, "efficiency": self.efficiency, "sum of the pulls": self.left, **each}

    def curves(self) -> dict[str, Any]:
        """Mean and interval at each moment, rounded, as the figures draw them."""
        drawn: dict[str, Any] = {"updates": self.updates}
        for name, values in self.named().items():
            drawn[name] = bands(values, 5)
        return drawn


def follow(learned: Stream, tasks: Stream, training: Training, replicas: int) -> Pulls:
    """Train plainly on the stream `learned`, and look at the gradients of the `tasks` on the way.

    Every `training.every` updates. Each gradient is over all training data of its task, at the same weights.
    """
    seen: list[tuple[Tensor, ...]] = []
    updates: list[int] = []

    def look(method: Method, done: int) -> None:
        g = gradients(method, tasks)
        seen.append((norms(g), norms(g.sum(1)), cosines(g)[:, 0, 1], efficiency(g), losses(method, tasks)))
        updates.append(done)

    method = Method()
    record = run(method, learned, training, replicas=replicas, observe=look, progress=False)
    lengths, left, cosine, share, loss = (
        np.stack([v.double().numpy() for v in column], axis=1) for column in zip(*seen, strict=True)
    )
    return Pulls(updates, lengths, left, cosine, share, loss, record, method)


def joint(
    tasks: Stream, width: int, replicas: int, updates: int = UPDATES, every: int = EVERY, batch: int = 32
) -> Pulls:
    """Both tasks in one shuffle."""
    training = Training(updates=(updates,), batch=batch, every=every, network=Mlp(hidden=(width, width)))
    return follow(Shuffled(of=tasks), tasks, training, replicas)


def in_sequence(
    tasks: Stream, width: int, replicas: int, updates: int = UPDATES, every: int = EVERY
) -> Pulls:
    """Half of the updates on task 1, then half on task 2."""
    halves = (updates // 2, updates - updates // 2)
    training = Training(updates=halves, every=every, network=Mlp(hidden=(width, width)))
    return follow(tasks, tasks, training, replicas)


def part(hard: bool) -> Loss:
    """The part of a task's mean loss [R] that its hardest tenth has, or the others; the two add up to the whole.

    The task must come in one chunk: the digits do, 1097 a task.
    """

    def loss(scores: Tensor, batch: Batch) -> Tensor:
        each = cross_entropy(scores.transpose(1, 2), batch.y, reduction="none")  # [R, B]
        most = each.detach().topk(round(HARDEST * each.shape[1]), dim=1).indices
        mine = torch.zeros_like(each).scatter_(1, most, 1.0)
        return weighted_mean(each * (mine if hard else 1 - mine), batch.weight)

    return loss


def hard_and_easy(pulls: Pulls, tasks: Stream) -> dict[str, Array]:
    """Where training ended, [R] each: are the gradients of the hard examples opposed, and not those of the others?

    Cosine between the two tasks' gradients over the hardest tenth of each, and over the others; and the share of
    both losses that the hardest tenth carries.
    """
    hard, easy = (
        cosines(gradients(pulls.method, tasks, loss=part(which)))[:, 0, 1].double().numpy()
        for which in (True, False)
    )
    carried = losses(pulls.method, tasks, loss=part(True)).sum(1).double().numpy()
    return {
        "cosine over the hardest tenth": hard,
        "cosine over the other examples": easy,
        "share of the loss on the hardest tenth": carried / pulls.losses[:, -1].sum(1),
    }


def equilibrium(replicas: int) -> Outcome:
    """Minus the cosine of the two full gradients at the end of joint training on two permuted tasks, width 100.

    Reported: the same for narrower networks, one of them trained longer, for rotated tasks, for tasks that want
    different answers to the same images, for training in sequence, and for two bowls, where it is exact. Added
    after the first measurement: large batches, to see what the jitter does, once with ten times the updates; at
    the end of both, the cosine over the hardest tenth of the examples and over the others.
    """
    arms: dict[str, Pulls] = {}
    for name, tasks in PAIRS.items():
        for width in WIDTHS if name == "permuted" else WIDTHS[-1:]:
            arms[f"joint, {name}, width {width}"] = joint(tasks, width, replicas)
        arms[f"in sequence, {name}, width {WIDTHS[-1]}"] = in_sequence(tasks, WIDTHS[-1], replicas)
    long = joint(PAIRS["permuted"], WIDTHS[0], replicas, LONGER * UPDATES, LONGER * EVERY)
    arms[f"joint, permuted, width {WIDTHS[0]}, longer"] = long
    for width in (WIDTHS[0], WIDTHS[-1]):
        calm = joint(PAIRS["permuted"], width, replicas, batch=LARGE)
        arms[f"joint, permuted, width {width}, large batches"] = calm
    late = joint(PAIRS["permuted"], WIDTHS[-1], replicas, LONGER * UPDATES, LONGER * EVERY, LARGE)
    arms[f"joint, permuted, width {WIDTHS[-1]}, large batches, longer"] = late
    reported: dict[str, np.ndarray] = {}
    for arm in (f"joint, permuted, width {WIDTHS[-1]}, large batches{end}" for end in ("", ", longer")):
        halves = hard_and_easy(arms[arm], PAIRS["permuted"])
        reported |= {f"{what} at the end, {arm}": values for what, values in halves.items()}
    for arm, pulls in arms.items():
        for what, values in pulls.named().items():
            reported |= {
                f"{what} at the beginning, {arm}": values[:, 0],
                f"{what} at the end, {arm}": values[:, -1],
            }
    reported |= whole({arm: pulls.record for arm, pulls in arms.items() if arm.startswith("in sequence")})
    reported |= {
        f"test accuracy on both tasks, {arm}": pulls.record.matrix[:, -1].mean(-1)
        for arm, pulls in arms.items()
    }
    reported |= {name: np.full(replicas, value) for name, value in _two_bowls().items()}
    curves = {arm: pulls.curves() for arm, pulls in arms.items()}
    return Outcome(-arms[f"joint, permuted, width {WIDTHS[-1]}"].cosine[:, -1], reported, curves)


def _two_bowls() -> dict[str, float]:
    rest = total(*BOWLS).minimum
    one, other = (bowl.gradient(rest) for bowl in BOWLS)
    lengths = [float(np.linalg.norm(g)) for g in (one, other)]
    return {
        "minus the cosine, two bowls": -float(one @ other) / lengths[0] / lengths[1],
        "pull of task 1 at the end, two bowls": lengths[0],
        "pull of task 2 at the end, two bowls": lengths[1],
        "sum of the pulls at the end, two bowls": float(np.linalg.norm(one + other)),
    }
