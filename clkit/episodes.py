"""Distributions of tasks for meta-learning, and the episodes drawn from them.

A task of an inner loop is a replica: M tasks for each of R replicas stand in one leading dimension R x M, the
tasks of replica 0 first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import pi
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from clkit.data import Dataset, load
from clkit.errors import ClkitError, counted, unknown
from clkit.replicas import Draws
from clkit.scenario import Scenario, scenario

PARTS = ("train", "validation", "test")  # of the tasks; no task belongs to two


@dataclass(frozen=True)
class Shots:
    """N examples of each of R x M tasks."""

    x: Tensor  # [R x M, N, ...]
    y: Tensor  # [R x M, N] class, or [R x M, N, 1] value
    error: Callable[[Tensor, Tensor], Tensor]  # (scores [R x M, N, C], y) -> [R x M, N], of each example

    def loss(self, scores: Tensor) -> Tensor:
        """Mean error of each task, [R x M]."""
        return self.error(scores, self.y).mean(1)

    def to(self, device: str) -> Shots:
        return replace(self, x=self.x.to(device), y=self.y.to(device))


@dataclass(frozen=True)
class Episode:
    """M tasks for each replica: what they may learn from, and other examples to judge them by."""

    support: Shots
    query: Shots

    def to(self, device: str) -> Episode:
        return Episode(self.support.to(device), self.query.to(device))


def squared_error(scores: Tensor, y: Tensor) -> Tensor:
    """[R x M, N, 1] twice -> [R x M, N]."""
    return F.mse_loss(scores, y, reduction="none").squeeze(-1)


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    """-log p(y) in nats: [R x M, N, C], [R x M, N] -> [R x M, N]."""
    return F.cross_entropy(scores.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)


def right(scores: Tensor, y: Tensor) -> Tensor:
    """1 where the highest score is the class, else 0: [R x M, N, C], [R x M, N] -> [R x M, N]."""
    return (scores.argmax(-1) == y).to(scores.dtype)


@dataclass(frozen=True, kw_only=True)
class Distribution(ABC):
    """Base of the distributions; `episode` draws tasks from it."""

    shots: int = 10  # K, support examples per task (per class, where there are classes)
    name: ClassVar[str] = ""
    metric: ClassVar[str] = ""  # what `measure` measures
    lower: ClassVar[bool] = True  # is a smaller metric better?

    def __post_init__(self) -> None:
        counted("shots", self.shots)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one input."""

    @abstractmethod
    def rule(self) -> Scenario:
        """The one set of outputs that answers for every task."""

    @abstractmethod
    def measure(self, scores: Tensor, y: Tensor) -> Tensor:
        """The metric of each example, [R x M, N, C] -> [R x M, N]."""

    @abstractmethod
    def episode(self, draws: Draws, tasks: int, counter: int, part: str = "train") -> Episode:
        """Number `counter` of the part "train", "validation" or "test": M = `tasks` new tasks per replica."""


@dataclass(frozen=True, kw_only=True)
class Sinusoids(Distribution):
    """Regression to y = a sin(x - b) on [-5, 5]; a task draws amplitude a in [0.1, 5], phase b in [0, pi].

    Held-out tasks are judged on 100 evenly spaced points. With `flip` half of the tasks are turned upside
    down: each has one that contradicts it, and the best single answer to all is y = 0.

    Source: Finn, Abbeel and Levine (2017), section 5.1; `flip` is ours.
    """

    queries: int = 10  # query examples per training task
    flip: bool = False  # is the sign of each task drawn, too?
    name: ClassVar[str] = "sinusoids"
    metric: ClassVar[str] = "mse"

    def __post_init__(self) -> None:
        super().__post_init__()
        counted("queries", self.queries)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    def rule(self) -> Scenario:
        return scenario("domain", (1,))

    def measure(self, scores: Tensor, y: Tensor) -> Tensor:
        return squared_error(scores, y)

    def episode(self, draws: Draws, tasks: int, counter: int, part: str = "train") -> Episode:
        drawn = draws.uniform(
            f"{part} tasks", (tasks, 3 + self.shots + self.queries), counter=counter
        ).flatten(0, 1)
        amplitude, phase = 0.1 + 4.9 * drawn[:, :1], pi * drawn[:, 1:2]
        sign = torch.where(drawn[:, 2:3] < 0.5, -1.0, 1.0) if self.flip else 1.0

        def points(x: Tensor) -> Shots:
            y = sign * amplitude * torch.sin(x - phase)
            return Shots(x[..., None].to(draws.dtype), y[..., None].to(draws.dtype), squared_error)

        x = 10 * drawn[:, 3:] - 5
        grid = torch.linspace(-5, 5, 100, dtype=x.dtype, device=x.device).expand(len(x), -1)
        return Episode(points(x[:, : self.shots]), points(x[:, self.shots :] if part == "train" else grid))


@dataclass(frozen=True, kw_only=True)
class LabelSwap(Distribution):
    """The ten digits, with the names of the classes in an order drawn per task: y = pi(class).

    Tasks show the same images under other labels, so they contradict each other, and no single answer to all
    is better than guessing: cross-entropy ln 10 = 2.30 nats. Training tasks show training images; validation
    and test tasks show images that no training task has shown.

    Source: the review's argument, after He et al. (2019), who permute the labels of MNIST.
    """

    shots: int = 5  # support images per class and task
    queries: int = 5  # query images per class and task, none of them in the support
    dataset: str = "digits"  # a name of clkit.data
    name: ClassVar[str] = "label_swap"
    metric: ClassVar[str] = "accuracy"
    lower: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        counted("queries", self.queries)
        for part in PARTS:
            fewest = int((self.pool(part) >= 0).sum(1).min())
            if self.shots + self.queries > fewest:
                raise ClkitError(
                    f"shots + queries is {self.shots + self.queries}, but one class has only {fewest} {part} "
                    "images: lower shots or queries."
                )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(load(self.dataset).x.shape[1:])

    def rule(self) -> Scenario:
        return scenario("domain", (load(self.dataset).classes,))

    def measure(self, scores: Tensor, y: Tensor) -> Tensor:
        return right(scores, y)

    def pool(self, part: str) -> Tensor:
        """[C, n] the images of each class in this part of the data, as rows of it; padded with -1."""
        return _pool(self.dataset, part)

    def rows(self, draws: Draws, tasks: int, counter: int, part: str) -> Tensor:
        """[R x M, C, shots + queries] rows of the data, all different within a task."""
        pool = self.pool(part).to(draws.device)
        sizes = (pool >= 0).sum(1)
        mixed = draws.uniform(f"{part} images", tuple(pool.shape), counter=counter).masked_fill(pool < 0, 2.0)
        order = mixed.argsort(-1)  # [R, C, n], the padding last
        # From a random place in its replica's order a task takes neighbours: a draw without replacement.
        start = draws.uniform(f"{part} starts", (tasks, len(pool)), counter=counter)
        place = (start * sizes).long()[..., None] + torch.arange(
            self.shots + self.queries, device=pool.device
        )
        chosen = order[:, None].expand(-1, tasks, -1, -1).gather(-1, place % sizes[:, None])
        return pool.expand(*chosen.shape[:2], -1, -1).gather(-1, chosen).flatten(0, 1)

    def episode(self, draws: Draws, tasks: int, counter: int, part: str = "train") -> Episode:
        data, rows = load(self.dataset), self.rows(draws, tasks, counter, part)
        labels = (
            draws.uniform(f"{part} labels", (tasks, data.classes), counter=counter).argsort(-1).flatten(0, 1)
        )

        def images(chosen: Tensor) -> Shots:
            x = data.x.to(draws.device)[chosen.flatten(1)].to(draws.dtype) * data.scale
            return Shots(x, labels[..., None].expand_as(chosen).flatten(1), cross_entropy)

        return Episode(images(rows[..., : self.shots]), images(rows[..., self.shots :]))


@lru_cache
def _pool(dataset: str, part: str) -> Tensor:
    data: Dataset = load(dataset)
    rows = {"train": data.train, "validation": data.validation, "test": data.test}[part]
    classes = [rows[data.y[rows] == c] for c in range(data.classes)]
    return torch.nn.utils.rnn.pad_sequence(classes, batch_first=True, padding_value=-1)


DISTRIBUTIONS: dict[str, type[Distribution]] = {d.name: d for d in (Sinusoids, LabelSwap)}


def distribution(name: str) -> type[Distribution]:
    """The distribution of tasks called `name`."""
    if name not in DISTRIBUTIONS:
        raise unknown("distribution of tasks", name, DISTRIBUTIONS)
    return DISTRIBUTIONS[name]
