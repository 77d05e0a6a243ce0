"""Averaged gradient episodic memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from clkit.errors import counted
from clkit.examples import Batch, Task
from clkit.method import Beats, Method, stored_bytes
from clkit.nets import Build
from clkit.replicas import Draws, Feed
from clkit.scenario import Scenario
from clkit.streams import Rotated

Tensors = Sequence[Tensor]
# (loss on the memory [R], parameters, draws, counter that never repeats) -> r, one tensor per parameter
Reference = Callable[[Tensor, Tensors, Draws, int], Tensors]


def memory_gradient(loss: Tensor, parameters: Tensors, draws: Draws, counter: int) -> Tensors:
    """r: the gradient of the loss on stored examples of earlier tasks."""
    return torch.autograd.grad(loss.sum(), parameters)


def random_direction(loss: Tensor, parameters: Tensors, draws: Draws, counter: int) -> Tensors:
    """Ablation: r points anywhere."""
    return [draws.normal("agem direction", tuple(w.shape[1:]), i, counter) for i, w in enumerate(parameters)]


@torch.no_grad()
def project(gradient: Tensors, reference: Tensors) -> None:
    """g <- g - (g.r / r.r) r in each replica where g.r < 0, over all parameters as one vector, in place."""
    g, r = (torch.cat([part.flatten(1) for part in parts], 1) for parts in (gradient, reference))
    inner, square = (g * r).sum(1), r.square().sum(1)
    share = torch.where((inner < 0) & (square > 0), inner / square, 0.0)  # eq: agem-projection
    for part, along in zip(gradient, reference, strict=True):
        part -= share.view(-1, *[1] * (along.dim() - 1)) * along


@dataclass(kw_only=True, eq=False)
class AGEM(Method):
    """Averaged gradient episodic memory: takes out of each step what would raise the loss on stored examples.

    g <- g - (g.r / r.r) r where g.r < 0: the nearest vector to the gradient g that does not oppose r, the
    gradient of the mean loss on examples drawn from those stored of all earlier tasks.

    Reference: Chaudhry et al. (2019a), equation 11.
    Needs: task boundaries, stored examples.
    Keeps: 4 P + (tasks ended) per_task (4 D + 8) bytes: D numbers and a label for each example.
    Departs: draws the examples of a task at its end, uniformly and not so many per class (where a task has
        fewer than per_task, some are stored twice); several epochs, not one.
    """

    per_task: int = 50  # examples stored of each task (m)
    batch: int = 64  # stored examples of which r is the gradient, in each step
    reference: Reference = memory_gradient  # r, what a step must not oppose

    name: ClassVar[str] = "agem"
    chapter: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries", "stored examples"})
    off: ClassVar[dict[str, Any] | None] = {"per_task": 0}

    def __post_init__(self) -> None:
        counted("per_task", self.per_task, zero=True)
        counted("batch", self.batch)

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.memory: list[Tensor] = []  # x [R, M, ...] and y [R, M] of all tasks that ended
        self.picks = Feed(draws, "agem picks")
        self.ended = self.drawn = 0

    def shape_grads(self, batch: Batch) -> None:
        if not self.memory:
            return
        parameters = [w for w in self.parameters() if w.grad is not None]
        reference = self.reference(self.loss(self.remembered(batch)), parameters, self.draws, self.drawn)
        project([w.grad for w in parameters if w.grad is not None], reference)

    def remembered(self, batch: Batch) -> Batch:
        """Different stored examples, uniformly from all earlier tasks."""
        stored = self.memory[1].shape[1]
        rows = self.picks(self.drawn, stored).topk(min(self.batch, stored), dim=1).indices
        self.drawn += stored
        self.rehearsed += rows.shape[1]
        replica = torch.arange(len(rows), device=rows.device)[:, None]
        x, y = (kept[replica, rows] for kept in self.memory)
        outputs = self.scenario.rehearsed_outputs(y, batch.outputs)
        return Batch(x, y, torch.ones_like(y, dtype=batch.weight.dtype), outputs, torch.full_like(y, -1), 0)

    def end_task(self, task: Task) -> None:
        if self.per_task == 0:
            return
        rows = self.draws.shuffles("agem memory", task.train.sizes, self.per_task, self.ended)
        old, new = self.memory, list(task.train.take(rows)[:2])
        self.memory = [torch.cat(pair, 1) for pair in zip(old, new, strict=True)] if old else new
        self.ended += 1

    def bytes_examples(self) -> int:
        return stored_bytes(self.memory)

    def bytes_kept(self) -> int:
        return super().bytes_kept() + self.bytes_examples()

    @classmethod
    def beats(cls) -> Beats:
        return Beats(
            control=Method(),
            ablation=cls(reference=random_direction),
            stream=Rotated(),
            metric="average_accuracy",
            training={},
        )
