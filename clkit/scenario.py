"""Which outputs may answer: the three scenarios of continual learning (van de Ven et al. 2022).

Task t owns the k_t global classes first_t, ..., first_t + k_t - 1, the same range for every replica.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from clkit.errors import unknown
from clkit.layers import Linear
from clkit.replicas import Draws


@dataclass(frozen=True)
class Scenario:
    """Base of the three; `sizes` holds k_t, the number of classes of each task."""

    sizes: tuple[int, ...]
    name = ""
    labels_at_test = False  # is the task's number given with a test example?
    new_classes = True  # does a later task bring outputs of its own?
    foresees = True  # can the network answer for a task that it has not seen?

    def first(self, task: int) -> int:
        return sum(self.sizes[:task])

    @property
    def width(self) -> int:
        """Outputs of the network, C."""
        return sum(self.sizes)

    def label(self, y: Tensor, task: int) -> Tensor:
        """Global class -> class under the scenario."""
        return y

    def own(self, task: int) -> range:
        """The outputs of `task`."""
        return range(self.first(task), self.first(task) + self.sizes[task])

    def competing(self, task: int) -> range:
        """The outputs that compete for an example of `task` while that task is the newest."""
        return range(self.width)

    def outputs(self, y: Tensor, task: int) -> Tensor | None:
        """[R, B, C] True where an output competes, for labels y [R, B], `task` the newest; None = all."""
        mask = torch.zeros(self.width, dtype=torch.bool, device=y.device)
        span = self.competing(task)
        mask[span.start : span.stop] = True
        return mask.expand(*y.shape, -1)

    def rehearsed_outputs(self, y: Tensor, outputs: Tensor | None) -> Tensor | None:
        """The outputs for rehearsed labels y [R, B], beside a new batch with `outputs`."""
        return None if outputs is None else outputs[:, :1].expand(-1, y.shape[1], -1)

    def head(
        self, inputs: int, draws: Draws, *, task: int = 0, scale: float = 1.0, own: bool = False
    ) -> Head:
        """The output layer. `own`: of a network that serves `task` alone, with that task's outputs only."""
        del own
        return Head(Linear(inputs, self.width, draws, task=task, purpose="head", scale=scale), 0, self.width)


class Head(torch.nn.Module):
    """Output layer that answers for the outputs start..start+k-1 of C; the others score zero."""

    def __init__(self, linear: Linear, start: int, width: int) -> None:
        super().__init__()
        self.linear, self.pad = linear, (start, width - start - linear.bias.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        scores = self.linear(x)
        return scores if self.pad == (0, 0) else torch.nn.functional.pad(scores, self.pad)


class TaskIncremental(Scenario):
    """The task's number is given at test; only that task's outputs compete; a head per task."""

    name = "task"
    labels_at_test = True

    def competing(self, task: int) -> range:
        return self.own(task)

    def outputs(self, y: Tensor, task: int) -> Tensor:
        return _siblings(self.sizes, y.device)[y]

    def rehearsed_outputs(self, y: Tensor, outputs: Tensor | None) -> Tensor:
        return _siblings(self.sizes, y.device)[y]

    def head(
        self, inputs: int, draws: Draws, *, task: int = 0, scale: float = 1.0, own: bool = False
    ) -> Head:
        tasks = [task] if own else range(len(self.sizes))
        heads = [Linear(inputs, self.sizes[t], draws, task=t, purpose="head", scale=scale) for t in tasks]
        heads[0].weight = torch.nn.Parameter(torch.cat([h.weight.detach() for h in heads], dim=-1))
        heads[0].bias = torch.nn.Parameter(torch.cat([h.bias.detach() for h in heads], dim=-1))
        return Head(heads[0], self.first(task) if own else 0, self.width)


class DomainIncremental(Scenario):
    """Every task has the same classes in another guise; one shared head; no task number at test."""

    name = "domain"
    new_classes = False

    @property
    def width(self) -> int:
        return max(self.sizes)

    def label(self, y: Tensor, task: int) -> Tensor:
        return y - self.first(task)

    def own(self, task: int) -> range:
        return range(self.sizes[task])

    def outputs(self, y: Tensor, task: int) -> None:
        return None


class ClassIncremental(Scenario):
    """All classes seen so far compete, in training and at test; no task number at test."""

    name = "class"
    foresees = False

    def competing(self, task: int) -> range:
        return range(self.first(task) + self.sizes[task])


SCENARIOS: dict[str, type[Scenario]] = {
    s.name: s for s in (TaskIncremental, DomainIncremental, ClassIncremental)
}


def scenario(name: str, sizes: tuple[int, ...]) -> Scenario:
    """The scenario called `name` ("task", "domain" or "class") over tasks with `sizes` classes."""
    if name not in SCENARIOS:
        raise unknown("scenario", name, SCENARIOS)
    return SCENARIOS[name](sizes)


@lru_cache
def _siblings(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """[C, C]: row y is True at the outputs of the task that owns class y."""
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return (owner[:, None] == owner[None, :]).to(device)
