"""How every task is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from clkit.errors import counted, listed, positive
from clkit.examples import TaskData
from clkit.method import plain
from clkit.nets import Architecture, Mlp


def sgd(parameters: list[nn.Parameter], lr: float) -> Optimizer:
    """Plain stochastic gradient descent."""
    return torch.optim.SGD(parameters, lr=lr)


def momentum(parameters: list[nn.Parameter], lr: float) -> Optimizer:
    """Stochastic gradient descent with momentum 0.9."""
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def adam(parameters: list[nn.Parameter], lr: float) -> Optimizer:
    """Adam, in torch's fused form."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


OPTIMIZERS = {"sgd": sgd, "momentum": momentum, "adam": adam}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every task is trained; the defaults are the book's quick profile."""

    epochs: float = 10  # passes over a task's data, turned into updates
    updates: tuple[int, ...] = ()  # steps of each task, instead of epochs
    batch: int = 32  # examples per step
    lr: float = 0.05  # step size
    optimizer: Callable[[list[nn.Parameter], float], Optimizer] = sgd
    network: Architecture = Mlp()
    every: int = 0  # > 0: also evaluate every so many updates

    def __post_init__(self) -> None:
        positive("epochs", self.epochs)
        counted("batch", self.batch)
        positive("lr", self.lr)
        listed("updates", self.updates)
        for count in self.updates:
            counted("updates", count)
        counted("every", self.every, zero=True)

    def steps(self, data: TaskData, t: int) -> int:
        """Updates of task t."""
        return self.updates[t] if self.updates else max(1, round(self.epochs * data.size / self.batch))


def describe(setting: Any) -> dict[str, Any]:
    """The fields of a stream, a training or an architecture as JSON holds them."""
    named = {f.name: getattr(setting, f.name) for f in fields(setting)}
    kept = {k: v for k, v in named.items() if k != "sources"}
    return {k: describe(v) if isinstance(v, Architecture) else plain(v) for k, v in kept.items()}
