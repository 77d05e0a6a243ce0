"""How a learner is meta-trained and tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from clkit.errors import ClkitError, counted, positive
from clkit.nets import Architecture, Mlp
from clkit.training import adam

GRID = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a learner is meta-trained and tested; the defaults are the book's quick profile."""

    iterations: int = 3000  # updates of the slow weights
    tasks: int = 25  # per replica and update, M
    lr: float = 0.003  # outer step size (beta)
    optimizer: Callable[[list[nn.Parameter], float], Optimizer] = adam
    network: Architecture = Mlp(hidden=(40, 40))
    every: int = 500  # iterations between two looks at the validation tasks
    steps: int = 10  # K, inner steps at test
    grid: tuple[float, ...] = GRID  # inner step sizes tried on the validation tasks
    validation_tasks: int = 100  # per replica
    test_tasks: int = 300  # per replica

    def __post_init__(self) -> None:
        for name in ("iterations", "tasks", "every", "validation_tasks", "test_tasks"):
            counted(name, getattr(self, name))
        positive("lr", self.lr)
        counted("steps", self.steps, zero=True)
        for lr in self.grid:
            positive("grid", lr)
        if not self.grid:
            raise ClkitError("grid is empty: name at least one inner step size.")
