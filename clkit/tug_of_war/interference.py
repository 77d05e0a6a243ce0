"""Forgetting as interference, not as decay: what was learned since counts, not the time (Wixted 2004)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch.optim import Optimizer

from clkit.examples import Batch
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.record import Record
from clkit.streams import Permuted
from clkit.training import Training

Array = NDArray[np.float64]
CHANCE = 0.1  # accuracy of guessing among ten digits


@dataclass(kw_only=True, eq=False)
class Idle(Method):
    """Fine-tuning that rests: from task 2 on, no example arrives, and the optimiser's steps have no gradient.

    Reference: the delay of Wixted (2004), with nothing learned meanwhile.
    Needs: task boundaries.
    Keeps: 4 P bytes.
    Departs: a network has no other activity than its training, so rest is the absence of examples.
    """

    name: ClassVar[str] = "idle"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries"})
    listed: ClassVar[bool] = False

    def start(self, *given: Any) -> None:
        super().start(*given)
        self.tasks_ended = 0

    def step(self, batch: Batch, optimizer: Optimizer) -> None:
        if not self.tasks_ended:
            super().step(batch, optimizer)
            return
        for weights in self.parameters():
            weights.grad = torch.zeros_like(weights)  # no example, no pull
        optimizer.step()

    def end_task(self, task: object) -> None:
        self.tasks_ended += 1


def two_tasks(
    method: Method,
    first: int,
    second: int,
    every: int,
    *,
    dataset: str = "digits",
    network: Mlp | None = None,
    **how: Any,
) -> Record:
    """Digits, then the same digits with their pixels permuted: two tasks whose inputs have nothing in common.

    first, second: updates of the two tasks; every: updates between evaluations; how: further arguments of `run`.
    """
    training = Training(updates=(first, second), every=every, network=network or Mlp())
    return run(method, Permuted(dataset=dataset, length=2), training, progress=False, **how)


def forgetting_curve(record: Record) -> tuple[Array, Array]:
    """Updates of task 2 [E], from 0, and accuracy on task 1 after them [R, E]."""
    assert record.curve is not None
    updates = np.asarray(record.curve_updates) - record.updates[0]
    since = updates > 0
    return (
        np.append(0.0, updates[since]),
        np.concatenate([record.matrix[:, 1:2, 0], record.curve[:, since, 0]], axis=1),
    )


def retained(accuracy: Array) -> Array:
    """Share of the accuracy above guessing that is left, [..., E]; 1 where the curve begins."""
    above = accuracy - CHANCE
    return np.asarray(above / above[..., :1])


@dataclass(frozen=True)
class Fit:
    """A law of two numbers, fitted to one curve that begins at 1."""

    a: float  # of the three laws the number that is not a rate
    rate: float  # b, per update
    misfit: float  # root mean square of curve minus law, where it was fitted
    beyond: float  # the same where it was not; NaN where all was fitted
    curve: Array  # [E] the law


def power(updates: Array, rate: float) -> tuple[Array, Array]:
    """a (1 + s)^-b: from 10 to 100 updates the same share is lost as from 100 to 1000."""
    shape = (1 + updates) ** -rate  # eq: forgetting-power
    return np.zeros_like(shape), shape


def exponential(updates: Array, rate: float) -> tuple[Array, Array]:
    """a e^-bs: each update takes the same share of what is left."""
    shape = np.exp(-rate * updates)  # eq: forgetting-exponential
    return np.zeros_like(shape), shape


def floor(updates: Array, rate: float) -> tuple[Array, Array]:
    """a + (1 - a) e^-bs: the share a is never lost."""
    shape = np.exp(-rate * updates)  # eq: forgetting-floor
    return shape, 1 - shape


LAWS = {"power law": power, "exponential": exponential, "exponential to a floor": floor}


def fit(law: str, updates: Array, left: Array, upto: float | None = None) -> Fit:
    """Least squares of left [E] = base + a shape, both given by b, on the updates up to `upto` (None: all).

    For a given b the best a is known, so only b is searched: on a grid of its logarithm, then around the best.
    Fitted curve by curve, as a mean of exponentials with different rates looks like a power law (Wixted 2004).
    """
    here = updates <= (updates[-1] if upto is None else upto)

    def best(log_rate: float) -> tuple[float, Array]:
        base, shape = LAWS[law](updates, float(np.exp(log_rate)))
        a = float(shape[here] @ (left - base)[here] / (shape[here] @ shape[here]))  # eq: forgetting-amplitude
        return a, base + a * shape

    def size(values: Array) -> float:
        return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")

    def misfit(log_rate: float) -> float:
        return size((left - best(log_rate)[1])[here])

    grid = np.linspace(np.log(1e-6), np.log(10.0), 81)
    near = grid[int(np.argmin([misfit(x) for x in grid]))] + np.array([-0.2, 0.2])
    found = float(minimize_scalar(misfit, bounds=tuple(near), method="bounded").x)
    a, curve = best(found)
    return Fit(a, float(np.exp(found)), misfit(found), size((left - curve)[~here]), curve)
