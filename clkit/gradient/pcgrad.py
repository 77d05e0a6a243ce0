"""Projecting conflicting gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from clkit.examples import Batch, Examples, Task
from clkit.method import Beats, Method
from clkit.nets import Build
from clkit.replicas import Draws, Feed
from clkit.scenario import Scenario
from clkit.streams import Rotated

# gradients [R, K, P], order [R, K, K], draws, counter that never repeats -> direction [R, P]
Surgery = Callable[[Tensor, Tensor, Draws, int], Tensor]


def surgery(gradients: Tensor, order: Tensor, draws: Draws, counter: int) -> Tensor:
    """The sum of the gradients after each has lost what opposes the others."""
    return projected(gradients, order).sum(1)


def projected(gradients: Tensor, order: Tensor) -> Tensor:
    """h [R, K, P]: each gradient meets the others in turn, h <- h - (h.g_j / g_j.g_j) g_j where h.g_j < 0.

    order [R, K, K]: row i is the order in which gradient i meets the others, who stay as they were.
    """
    h, square = gradients.clone(), gradients.square().sum(-1)  # [R, K, P], [R, K]
    own = torch.arange(h.shape[1], device=h.device)
    for met in order.unbind(-1):  # [R, K]: whom each gradient meets now
        other = gradients.gather(1, met[..., None].expand_as(h))
        inner, length = (h * other).sum(-1), square.gather(1, met)
        opposed = (inner < 0) & (length > 0) & (met != own)
        h = h - torch.where(opposed, inner / length, 0.0)[..., None] * other  # eq: pcgrad
    return h


def summed(gradients: Tensor, order: Tensor, draws: Draws, counter: int) -> Tensor:
    """Off: the sum, which joint training follows."""
    return gradients.sum(1)


def rescaled(gradients: Tensor, order: Tensor, draws: Draws, counter: int) -> Tensor:
    """Ablation: the direction of the sum, as long as the surgery's result."""
    total = gradients.sum(1)
    length = torch.linalg.vector_norm(projected(gradients, order).sum(1), dim=1)
    before = torch.linalg.vector_norm(total, dim=1).clamp(min=torch.finfo(total.dtype).tiny)
    return (length / before)[:, None] * total


def random_projection(gradients: Tensor, order: Tensor, draws: Draws, counter: int) -> Tensor:
    """Ablation: each gradient becomes as short as by the surgery, but by a projection that knows no other task.

    g loses its part along a random direction that lies as near to it as makes it so short: with c the share of
    the length that stays, and u a random unit vector across g, h = c (c g - sqrt(1 - c^2) |g| u).
    """
    tiny = torch.finfo(gradients.dtype).tiny
    size = torch.linalg.vector_norm(gradients, dim=-1, keepdim=True)
    own = gradients / size.clamp(min=tiny)
    stays = torch.linalg.vector_norm(projected(gradients, order), dim=-1, keepdim=True) / size.clamp(min=tiny)
    c = stays.clamp(max=1)
    u = draws.normal("pcgrad direction", tuple(gradients.shape[1:]), counter=counter)
    u = F.normalize(u - (u * own).sum(-1, keepdim=True) * own, dim=-1)
    return (c * size * (c * own - (1 - c.square()).sqrt() * u)).sum(1)


@dataclass(kw_only=True, eq=False)
class PCGrad(Method):
    """Gradient surgery: joint training in which each task's gradient loses what opposes the other tasks.

    d = sum_i h_i, where h_i starts as g_i, the part that task i has in the gradient, and meets the others j in
    random order: h_i <- h_i - (h_i.g_j / g_j.g_j) g_j where h_i.g_j < 0. Of two tasks neither then loses, to
    first order; of three or more, one still may. d also has another length than the sum, and so takes another
    step: compare with `rescaled`. Costs a forward and a backward pass for each task beside the batch's own.

    Reference: Yu et al. (2020), algorithm 1.
    Needs: past data, task boundaries, task labels in training.
    Keeps: 4 P + all training data so far (bytes of x as stored, 8 for each label) + 8 for each task.
    Departs: g_i is the share of task i in the gradient of the mean over one shuffled batch, not a batch of its
        own, so that the sum is joint training's; the projections do not depend on the lengths. With drop-out
        each share has a mask of its own.
    """

    surgery: Surgery = surgery  # what becomes of the gradients

    name: ClassVar[str] = "pcgrad"
    chapter: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[str]] = frozenset({"past data", "task boundaries", "task labels in training"})
    default: ClassVar[tuple[str, str]] = ("rotated", "domain")
    off: ClassVar[dict[str, Any] | None] = {"surgery": summed}
    equals: ClassVar[str] = "joint"

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.orders = Feed(draws, "pcgrad order")
        self.data_bytes = self.drawn = 0

    def begin_task(self, task: Task) -> Examples | None:
        parts = (task.train + task.past).parts
        sizes = torch.tensor([part.sizes for part in parts], device=self.draws.device)
        self.ends = sizes.T.cumsum(1)  # [R, K]: where each task's examples end in the training set
        return task.past

    def shape_grads(self, batch: Batch) -> None:
        tasks = self.ends.shape[1]
        if tasks == 1:
            return
        weights = [w for w in self.parameters() if w.grad is not None]
        gradients = torch.stack([self._share(batch, task, weights) for task in range(tasks)], 1)
        order = self.orders(self.drawn, tasks**2).unflatten(1, (tasks, tasks)).argsort(-1)
        self.drawn += tasks**2
        change = self.surgery(gradients, order, self.draws, self.drawn) - gradients.sum(1)
        for w, part in zip(weights, change.split([w[0].numel() for w in weights], 1), strict=True):
            assert w.grad is not None
            w.grad += part.view_as(w)

    def _share(self, batch: Batch, task: int, weights: list[torch.nn.Parameter]) -> Tensor:
        """What the examples of one task have in the gradient of the batch, [R, P]."""
        mine = (batch.index[..., None] >= self.ends[:, None]).sum(-1) == task
        weight = batch.weight * mine
        share = weight.sum(1) / batch.weight.sum(1)
        alone = torch.where(share[:, None] > 0, weight, batch.weight)  # none here: share 0 of whatever
        loss = share * self.loss(replace(batch, weight=alone))
        return torch.cat([g.flatten(1) for g in torch.autograd.grad(loss.sum(), weights)], 1)

    def end_task(self, task: Task) -> None:
        self.data_bytes = (task.train + task.past).bytes()

    def bytes_examples(self) -> int:
        return self.data_bytes

    def bytes_kept(self) -> int:
        return super().bytes_kept() + self.data_bytes + 8 * self.ends.shape[1]

    @classmethod
    def beats(cls) -> Beats:
        return Beats(
            control=cls(surgery=summed),
            ablation=cls(surgery=rescaled),
            stream=Rotated(degrees=60, limit=(1000, *(60,) * 4)),  # one task dominates the sum
            metric="average_accuracy",
            training={"updates": (100,) * 5},
        )
