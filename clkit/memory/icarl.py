"""iCaRL: exemplars chosen by herding, distillation, classification by the nearest mean."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clkit.errors import ClkitError, counted
from clkit.examples import Batch, Examples, Part, Task
from clkit.method import Beats, Method, stored_bytes, weighted_mean
from clkit.nets import Build
from clkit.replicas import Draws, Replicas
from clkit.scenario import Scenario
from clkit.streams import Split

CHUNK = 512  # examples of one pass when features are computed


def herding(features: Tensor, candidates: Tensor, size: int, draws: Draws, label: int) -> Tensor:
    """Ordered picks whose running mean stays close to the class mean, greedily, none twice.

    p_k = argmin over x of |mu - (psi(x) + sum_{j<k} psi(p_j)) / k|. The first m' of m picks are the m' picks.

    Args:
        features: psi [R, n, h].
        candidates: [R, n], True for the examples of the class.
        size: m, picks wanted.
        draws, label: for a selection at random; not used here.

    Returns:
        rows [R, min(m, n)]; those beyond a replica's number of candidates mean nothing.
    """
    wanted = candidates.unsqueeze(-1).to(features.dtype)
    mean = (features * wanted).sum(1) / wanted.sum(1).clamp(min=1)
    half = features.square().sum(-1) / 2
    left, total, picks = candidates.clone(), torch.zeros_like(mean), []
    for k in range(1, min(size, features.shape[1]) + 1):
        # k^2 |mu - (psi + S) / k|^2 / 2, without what is the same for every psi
        distance = half - torch.bmm(features, (k * mean - total).unsqueeze(-1)).squeeze(-1)  # eq: herding
        pick = distance.masked_fill(~left, float("inf")).argmin(1, keepdim=True)
        left.scatter_(1, pick, False)
        total += features.gather(1, pick.unsqueeze(-1).expand(-1, 1, features.shape[-1])).squeeze(1)
        picks.append(pick)
    return torch.cat(picks, dim=1)


def random_choice(features: Tensor, candidates: Tensor, size: int, draws: Draws, label: int) -> Tensor:
    """Ablation: examples of the class drawn at random; arguments and result as in `herding`."""
    chance = draws.uniform("memory", (candidates.shape[1],), label)
    return chance.masked_fill(~candidates, -1).argsort(dim=1, descending=True)[:, :size]


Select = Callable[[Tensor, Tensor, int, Draws, int], Tensor]


@dataclass(kw_only=True, eq=False)
class ICaRL(Method):
    """Trains on new examples and kept exemplars of old classes, holding old outputs to what they were before.

    Loss: mean over the batch of sum_{old c} BCE(s(f_c(x)), s(f*_c(x))) + sum_{new c} BCE(s(f_c(x)), [y = c]);
    s the sigmoid, f* the network before the task. Exemplars get the same targets as new examples.
    Prediction: argmin_c |psi(x) - mu_c|, psi the features scaled to length 1, mu_c their mean over the
    class's exemplars, scaled to length 1 again.

    Reference: Rebuffi et al. (2017), iCaRL, equations 1-2 and algorithms 1-5.
    Needs: task boundaries, stored examples, new classes in every task; a network with `features`.
    Keeps: 4 P + s (4 m d + 8) bytes: for each of the s classes seen, m = floor(K / s) exemplars of d inputs
    (all, if the task had fewer) and their number. The network before the task is held only during it.
    Departs: m is rounded down, so that all fit; as many updates as fine-tuning; no flipped copies in the
    means. A class without exemplars (its task still lasts) ranks behind all others.
    """

    capacity: int = 20  # exemplars kept in all (K)
    select: Select = herding  # which examples stand for a class; random_choice is the ablation
    distill: bool = True  # do old outputs learn from the previous network? False: from the labels

    name: ClassVar[str] = "icarl"
    chapter: ClassVar[str] = "memory"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries", "stored examples", "new classes"})
    default: ClassVar[tuple[str, str]] = ("split", "class")
    off: ClassVar[dict[str, Any] | None] = {"capacity": 0, "distill": False}
    equals: ClassVar[str] = "summed_binary_cross_entropy"

    def __post_init__(self) -> None:
        counted("capacity", self.capacity, zero=True)

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        if type(self.net) is Replicas:
            raise ClkitError("icarl needs a network with features(x): use Mlp() or Convnet().")
        if 0 < self.capacity < scenario.width:
            raise ClkitError(
                f"capacity {self.capacity} leaves some of {scenario.width} classes without an exemplar: "
                f"use {scenario.width} or more, or 0."
            )
        self.exemplars: list[Tensor] = []  # of each class seen [R, m, ...], the most telling first
        self.counts: list[Tensor] = []  # [R], how many of the m there are
        self.previous: nn.Module | None = None

    def begin_task(self, task: Task) -> Examples | None:
        self.old, self.seen = task.classes.start, task.classes.stop
        if self.distill and self.old:
            self.previous = deepcopy(self.net)
        return Examples([self._part()], self.draws.dtype) if self.exemplars else None

    def loss(self, batch: Batch) -> Tensor:
        scores = self.net(batch.x)[..., : self.seen]
        targets = F.one_hot(batch.y, self.seen).to(scores.dtype)
        if self.previous is not None:
            with torch.no_grad():
                targets[..., : self.old] = self.previous.eval()(batch.x)[..., : self.old].sigmoid()
        each = F.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(-1)  # eq: icarl-loss
        return weighted_mean(each, batch.weight)

    @torch.no_grad()
    def end_task(self, task: Task) -> None:
        self.previous = None
        m = self.capacity // self.seen
        if m == 0:
            return
        self.net.eval()
        chunks = [(self._unit(x), y.masked_fill(~valid, -1)) for x, y, valid in task.train.chunks(CHUNK)]
        self.net.train()
        features, y = (torch.cat(columns, dim=1) for columns in zip(*chunks, strict=True))
        self.exemplars = [x[:, :m].clone() for x in self.exemplars]
        self.counts = [n.clamp(max=m) for n in self.counts]
        for c in task.classes:
            rows = self.select(features, y == c, m, self.draws, c)
            self.exemplars.append(task.train.take(rows)[0])
            self.counts.append((y == c).sum(1).clamp(max=m))

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        scores = self.net(x)
        if not self.exemplars:
            return scores
        unit = self._unit(x)
        near = [-(unit - mean.unsqueeze(1)).square().sum(-1) for mean in self._means().unbind(1)]
        behind = scores.sigmoid() - 5  # unit vectors: no squared distance exceeds 4
        close = torch.stack(near, dim=-1)  # eq: nearest-mean
        seen = close.shape[-1]
        known = torch.stack(self.counts, dim=1).unsqueeze(1) > 0
        return torch.cat([torch.where(known, close, behind[..., :seen]), behind[..., seen:]], dim=-1)

    def _unit(self, x: Tensor) -> Tensor:
        """psi [R, B, h], by the present weights."""
        return F.normalize(self.net.features(x), dim=-1)  # type: ignore[operator]

    def _there(self) -> Tensor:
        """[R, exemplars] True where there is one, class after class."""
        places = [torch.arange(x.shape[1], device=x.device) for x in self.exemplars]
        return torch.cat([p < n.unsqueeze(1) for p, n in zip(places, self.counts, strict=True)], dim=1)

    def _means(self) -> Tensor:
        """mu [R, s, h], by the present weights; the direction of the sum is that of the mean."""
        each = self._unit(torch.cat(self.exemplars, dim=1)) * self._there().unsqueeze(-1)
        classes = each.split([x.shape[1] for x in self.exemplars], dim=1)
        return F.normalize(torch.stack([psi.sum(1) for psi in classes], dim=1), dim=-1)

    def _part(self) -> Part:
        """The exemplars as a part of the training set; of several tasks, so of none (-1)."""
        there, device = self._there(), self.draws.device
        order = (~there).to(torch.int8).argsort(dim=1, stable=True)  # those that are there first
        beyond = ~there.gather(1, order)
        rows = order + there.shape[1] * torch.arange(len(there), device=device).unsqueeze(1)
        labels = torch.cat([torch.full(x.shape[1:2], c, device=device) for c, x in enumerate(self.exemplars)])
        x, sizes = torch.cat(self.exemplars, dim=1).flatten(0, 1), tuple(there.sum(1).tolist())
        return Part(x, rows.masked_fill(beyond, -1), labels[order].masked_fill(beyond, 0), sizes, task=-1)

    def networks(self) -> list[nn.Module]:
        return [self.net] if self.previous is None else [self.net, self.previous]

    def bytes_examples(self) -> int:
        return stored_bytes([*self.exemplars, *self.counts])

    def bytes_kept(self) -> int:
        return super().bytes_kept() + self.bytes_examples()

    @classmethod
    def beats(cls) -> Beats:
        return Beats(Method(), cls(select=random_choice), Split(), "average_accuracy", {})
