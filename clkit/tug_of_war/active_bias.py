"""Emphasis on examples whose prediction varies (Chang et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clkit.examples import Batch, Examples, Task
from clkit.loop import run
from clkit.method import Method
from clkit.training import Training
from clkit.tug_of_war.memorization import RandomLabels


@dataclass
class History:
    """What each example was given as probability of its label, at its visits: counts and sums, [R, N]."""

    count: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def empty(cls, replicas: int, examples: int, device: str = "cpu") -> History:
        """No visits yet; in double precision, since a variance is a small difference."""
        return cls(*torch.zeros(3, replicas, examples, dtype=torch.float64, device=device))

    def add(self, index: Tensor, p: Tensor) -> None:
        """Visits `index` [R, B] with probabilities p [R, B]; an example may come twice in a batch."""
        p = p.double()
        self.count.scatter_add_(1, index, torch.ones_like(p))
        self.total.scatter_add_(1, index, p)
        self.squares.scatter_add_(1, index, p.square())

    @property
    def mean(self) -> Tensor:
        return self.total / self.count.clamp(min=1)

    @property
    def variance(self) -> Tensor:
        return (self.squares / self.count.clamp(min=1) - self.mean.square()).clamp(min=0)


Score = Callable[[History], Tensor]


def deviation(history: History) -> Tensor:
    """sqrt(v + v^2 / (n - 1)), v the variance over n visits: prediction variance."""
    v = history.variance
    return (v + v.square() / (history.count - 1).clamp(min=1)).sqrt()  # eq: prediction-variance


def closeness(history: History) -> Tensor:
    """p (1 - p), p the mean over the visits: how close the example is to the threshold."""
    return history.mean * (1 - history.mean)  # eq: threshold-closeness


def hard(history: History) -> Tensor:
    """1 - p: the control that emphasises the hard."""
    return 1 - history.mean


def equal(history: History) -> Tensor:
    """All alike: plain training."""
    return torch.ones_like(history.mean)


def weights(score: Tensor) -> Tensor:
    """Score plus the mean score, divided to have mean 1: [R, N] -> [R, N]. Without scores, all are 1."""
    smoothed = score + score.mean(1, keepdim=True)  # no example is starved
    total = smoothed.mean(1, keepdim=True)
    return torch.where(total > 0, smoothed / total, 1.0)  # eq: active-weights


@dataclass(kw_only=True, eq=False)
class ActiveBias(Method):
    """Plain training whose loss weighs each example by what the network has said of it so far.

    Reference: Chang, Learned-Miller and McCallum (2017), the variants that weigh the loss. Departs: the history
    holds every visit, not a window of the last ones; the variance is that of the visits, not of a sample.
    """

    score: Score = deviation  # equal, deviation, closeness, hard
    burn_in: float = 0.25  # share of the training before the weights count
    name: ClassVar[str] = "active bias"
    listed: ClassVar[bool] = False

    def begin_task(self, task: Task) -> Examples | None:
        self.history = History.empty(self.draws.replicas, max(task.train.sizes), self.draws.device)
        return None

    def loss(self, batch: Batch) -> Tensor:
        each = F.cross_entropy(self.net(batch.x).transpose(1, 2), batch.y, reduction="none")
        self.said = (-each.detach()).exp()
        if self.progress < self.burn_in:
            return each.mean(1)
        weight = weights(self.score(self.history)).gather(1, batch.index)
        return (weight.to(each.dtype) * each).mean(1)  # eq: active-loss

    def after_step(self, batch: Batch) -> None:
        self.history.add(batch.index, self.said)


SCORES: dict[str, Score] = {"plain": equal, "variance": deviation, "threshold": closeness, "hard": hard}


def emphasis(replicas: int, epochs: float = 20) -> dict[str, np.ndarray]:
    """Test accuracy [R] of four ways to weigh 600 digits; labels right, or a fifth drawn at random."""
    training, found = Training(epochs=epochs), dict[str, np.ndarray]()
    for labels, share in {"clean labels": 0.0, "a fifth random labels": 0.2}.items():
        stream = RandomLabels(limit=(600,), share=share)
        for name, score in SCORES.items():
            record = run(ActiveBias(score=score), stream, training, replicas=replicas, progress=False)
            found[f"active bias, {labels}: {name}"] = record.matrix[:, -1, 0]
        for name in list(SCORES)[1:]:
            gain = found[f"active bias, {labels}: {name}"] - found[f"active bias, {labels}: plain"]
            found[f"active bias, {labels}: {name} minus plain"] = gain
        found[f"active bias, {labels}: variance minus hard"] = (
            found[f"active bias, {labels}: variance"] - found[f"active bias, {labels}: hard"]
        )
    return found
