"""Emphasis on examples whose prediction varies (Chang et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from clkit.examples import Batch, Examples, Task
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import first_reaching
from clkit.training import Training
from clkit.tug_of_war.difficulty import EVERY, everything
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


def easy(history: History) -> Tensor:
    """p: the control that emphasises the easy, and with wrong labels whoever the network can believe."""
    return history.mean


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

    Reference: Chang, Learned-Miller and McCallum (2017), the variants that weigh the loss. The history holds all
    visits. Not checked against the paper: that those of the burn-in count, and that v is divided by n, not n - 1.
    """

    score: Score = deviation  # equal, deviation, closeness, hard, easy
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


SCORES: dict[str, Score] = {
    "plain": equal,
    "variance": deviation,
    "threshold": closeness,
    "hard": hard,
    "easy": easy,
}
PAIRS = (("variance", "hard"), ("variance", "easy"), ("threshold", "easy"))


def emphasis(replicas: int, epochs: float = 20) -> dict[str, np.ndarray]:
    """Five ways to weigh 600 digits; labels right, or a fifth drawn at random. Numbers [R].

    Test accuracy; updates to the accuracy that plain training ends with, less half a point (an arm that never gets
    there is charged with all updates); rank correlation over the examples of each score with the mean of p; mean
    weight of the examples with wrong labels, by the scores at the end of the arm's own run.
    """
    training, found = Training(epochs=epochs, every=EVERY), dict[str, np.ndarray]()
    clean = RandomLabels(limit=(600,), share=0.0)
    for labels, share in {"clean labels": 0.0, "a fifth random labels": 0.2}.items():
        stream, about = replace(clean, share=share), f"active bias, {labels}"
        ends, needed = dict[str, np.ndarray](), dict[str, np.ndarray]()
        for name, score in SCORES.items():
            method = ActiveBias(score=score)
            record = run(method, stream, training, replicas=replicas, progress=False)
            assert record.curve is not None
            ends[name], looks = record.matrix[:, -1, 0], record.curve_updates
            updates = first_reaching(looks, record.curve[:, :, 0], ends["plain"] - 0.005)
            needed[name] = np.minimum(updates, looks[-1])
            found |= {
                f"{about}: {name}": ends[name],
                f"{about}, target reached: {name}": np.isfinite(updates).astype(float),
                f"{about}, updates to the target: {name}": needed[name],
                f"{about}, updates spared to the target: {name}": 1 - needed[name] / needed["plain"],
            }
            if share:
                wrong = everything(stream, method.draws)[1] != everything(clean, method.draws)[1]
                weight = (weights(score(method.history)) * wrong).sum(1) / wrong.sum(1)
                found[f"{about}, weight of the wrong labels: {name}"] = weight.cpu().numpy()
            if name in ("variance", "threshold"):
                found[f"{about}, rank correlation with the mean: {name}"] = _rank_correlation(
                    score(method.history), method.history.mean
                )
        for first, second in [(name, "plain") for name in list(SCORES)[1:]] + list(PAIRS):
            found[f"{about}: {first} minus {second}"] = ends[first] - ends[second]
    return found


def _rank_correlation(a: Tensor, b: Tensor) -> np.ndarray:
    """Spearman's, over the examples: [R, N] and [R, N] -> [R]."""
    pairs = zip(a.cpu().numpy(), b.cpu().numpy(), strict=True)
    return np.array([spearmanr(x, y).statistic for x, y in pairs])
