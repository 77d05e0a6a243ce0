"""What networks learn first, and what they must memorise (Arpit et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clkit.examples import Examples, TaskData
from clkit.method import Method
from clkit.replicas import Draws, generator
from clkit.streams import Stream, View


@dataclass(frozen=True, kw_only=True)
class Shuffled(Stream):
    """One task, all of the data: ordinary, stationary training."""

    length: int = 1
    name: ClassVar[str] = "shuffled"


@dataclass(frozen=True, kw_only=True)
class RandomLabels(Shuffled):
    """The same images; a share of the training labels is drawn anew, each class equally likely.

    All replicas see the same labels. The test set keeps its own.
    """

    share: float = 1.0  # of the training examples
    draw: int = 0  # another number, other labels
    name: ClassVar[str] = "random labels"

    def _task(self, draws: Draws, t: int) -> TaskData:
        data = super()._task(draws, t)
        (part,) = data.train.parts
        dice, n = generator(self.draw, "random labels"), part.y.shape[1]
        chosen = torch.from_numpy(dice.random(n) < self.share).to(part.y.device)
        labels = torch.from_numpy(dice.integers(self.source(t).classes, size=n)).to(part.y.device)
        mixed = replace(part, y=torch.where(chosen, labels, part.y))
        return replace(data, train=Examples([mixed], draws.dtype))


@dataclass(frozen=True, kw_only=True)
class RandomInputs(Shuffled):
    """The same labels; every image is Gaussian noise, each pixel with its own mean and deviation.

    All replicas see the same noise.
    """

    draw: int = 0  # another number, other noise
    name: ClassVar[str] = "random inputs"

    def view(self, draws: Draws, t: int) -> View:
        plain = super().view(draws, t)
        x = plain.x.float()
        noise = generator(self.draw, "random inputs").standard_normal(tuple(x.shape))
        return replace(plain, x=x.mean(0) + x.std(0) * torch.from_numpy(noise).float())


def spread(right: np.ndarray) -> np.ndarray:
    """Standard deviation over the examples of the share of networks that are right: [..., S, N] -> [...]."""
    return right.mean(-2).std(-1)  # eq: spread


def spread_by_chance(right: np.ndarray) -> np.ndarray:
    """What `spread` would be if no example were easier than another: [..., S, N] -> [...].

    A network that is right on a share p_s of the examples is then right on each with that probability. (Arpit et
    al. take one binomial for all networks; this is never larger, as it lets the networks differ.)
    """
    p = right.mean(-1)
    return np.sqrt((p * (1 - p)).sum(-1)) / p.shape[-1]  # eq: spread-by-chance


def sensitivity(method: Method, x: Tensor, y: Tensor) -> Tensor:
    """|d L / d x|_1 of the loss L of each example, x [R, N, ...], y [R, N] -> [R, N].

    Its mean along training is the loss sensitivity of Arpit et al. (2017).
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        total = F.cross_entropy(method.net(x).transpose(1, 2), y, reduction="sum")
        (g,) = torch.autograd.grad(total, x)  # of the sum: each example has its own x
    return g.flatten(2).abs().sum(2)  # eq: loss-sensitivity


def gini(values: np.ndarray) -> np.ndarray:
    """Gini coefficient of values >= 0, [..., N] -> [...]: 0 where all are equal, (N - 1) / N where one has all."""
    n = values.shape[-1]
    rank = np.arange(1, n + 1)
    return ((2 * rank - n - 1) * np.sort(values, -1)).sum(-1) / (n * values.sum(-1))  # eq: gini
