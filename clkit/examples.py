"""Examples, the batches drawn from them, and a task as a method sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from clkit.errors import ClosedDataError
from clkit.scenario import Scenario


@dataclass(frozen=True)
class Batch:
    """The examples of one step; see the fields. `widen` may append columns to what the stream gives."""

    x: Tensor  # [R, B, ...]
    y: Tensor  # [R, B] class under the scenario
    weight: Tensor  # [R, B] the loss is sum(weight * l) / sum(weight)
    outputs: Tensor | None  # [R, B, C] which outputs compete for this example; None = all
    index: Tensor  # [R, B] position in the task's training set; -1 for an example that widen added
    fresh: int  # columns [:fresh] come from the training set, the rest from widen


@dataclass(frozen=True)
class Part:
    """Examples of one task: data stored once, and for every replica a list of its rows."""

    x: Tensor  # [N, ...] any dtype
    index: Tensor  # [R, n] rows of x, padded with -1
    y: Tensor  # [R, n] class under the scenario, padded with 0
    sizes: tuple[int, ...]  # examples of each replica
    task: int
    scale: float = 1.0  # x * scale is what a network sees
    pixels: Tensor | None = None  # [R, d] order of the pixels; None = as they are

    def take(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """x [R, B, ...] of the rows [R, B] of the stored data (already looked up in `index`)."""
        x = self.x.index_select(0, rows.flatten()).unflatten(0, rows.shape).to(dtype)
        x = x if self.scale == 1.0 else x * self.scale
        if self.pixels is None:
            return x
        order = self.pixels[:, None].expand(-1, rows.shape[1], -1)
        return x.flatten(2).gather(2, order).view(x.shape)

    def to(self, device: str) -> Part:
        pixels = None if self.pixels is None else self.pixels.to(device)
        return replace(
            self, x=_moved(self.x, device), index=self.index.to(device), y=self.y.to(device), pixels=pixels
        )


@lru_cache(maxsize=16)
def _moved(x: Tensor, device: str) -> Tensor:
    return x.to(device)  # a GPU, too, stores the data once, not once for every part


@dataclass
class Examples:
    """A list of parts seen as one set of examples 0..n_r-1 per replica; closed when its task is over."""

    parts: list[Part]
    dtype: torch.dtype = torch.float32
    closed: bool = False
    sources: tuple[Examples, ...] = ()  # of a union: closed when one of them is

    @property
    def sizes(self) -> list[int]:
        """Examples of each replica."""
        return [sum(sizes) for sizes in zip(*(part.sizes for part in self._open()), strict=True)]

    def _open(self) -> list[Part]:
        if self.closed or any(source.closed for source in self.sources):
            raise ClosedDataError(
                f"the data of task {self.parts[0].task} are closed: a method may touch them until its "
                "end_task returns. Keep copies of examples (needs 'stored examples') or declare needs "
                "'past data'."
            )
        return self.parts

    def bytes(self) -> int:
        """Bytes of the examples, x as stored and 8 for each label, of the replica that has most."""
        each = [part.x.element_size() * part.x[0].numel() + 8 for part in self._open()]
        sizes = zip(*(part.sizes for part in self.parts), strict=True)
        return max(sum(n * size for n, size in zip(mine, each, strict=True)) for mine in sizes)

    def __add__(self, other: Examples | None) -> Examples:
        if other is None:
            return self
        sources = (self, *self.sources, other, *other.sources)
        return Examples(self._open() + other._open(), self.dtype, sources=sources)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [R, B, ...], y [R, B], task [R, B] of positions `rows` [R, B]; -1: some example, of task -1."""
        rest, taken = rows, list[Tensor]()
        for part in self._open():
            sizes = torch.tensor(part.sizes, device=rows.device)[:, None]
            here = (rest >= 0) & (rest < sizes)
            inside = torch.where(here, rest, 0)
            x = part.take(part.index.gather(1, inside).clamp(min=0), self.dtype)
            found = [x, part.y.gather(1, inside), torch.where(here, part.task, -1)]
            taken = [_choose(here, a, b) for a, b in zip(found, taken, strict=True)] if taken else found
            rest = rest - sizes  # below 0 from here on: found already
        x, y, task = taken
        return x, y, task

    def batches(self, order: Tensor, size: int, scenario: Scenario, task: int) -> Iterator[Batch]:
        """Batches of `size` along `order` [R, updates * size] while `task` is the newest."""
        parts = self._open()
        only = parts[0] if len(parts) == 1 else None
        rows = order if only is None else only.index.gather(1, order)
        labels = None if only is None else only.y.gather(1, order)
        weight = torch.ones(order.shape[0], size, dtype=self.dtype, device=order.device)
        for start in range(0, order.shape[1], size):
            index = order[:, start : start + size]
            if only is None or labels is None:
                x, y, _ = self.take(index)
            else:
                x, y = only.take(rows[:, start : start + size], self.dtype), labels[:, start : start + size]
            yield Batch(x, y, weight, scenario.outputs(y, task), index, size)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All examples in order: x [R, b, ...], y [R, b], valid [R, b], `size` or fewer at a time."""
        longest, device = max(self.sizes), self.parts[0].index.device
        sizes = torch.tensor(self.sizes, device=device)[:, None]
        for start in range(0, longest, size):
            rows = torch.arange(start, min(start + size, longest), device=device).expand(len(sizes), -1)
            x, y, _ = self.take(rows)
            yield x, y, rows < sizes


def _choose(here: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(here.view(*here.shape, *[1] * (a.dim() - 2)), a, b)


@dataclass(frozen=True)
class TaskData:
    """One task as the stream holds it; only the runner sees the test set."""

    train: Examples
    validation: Examples
    test: Examples
    size: float  # training examples, mean over class orders: what epochs are counted in


@dataclass
class Task:
    """One task as a method sees it."""

    number: int
    classes: range  # its outputs under the scenario
    train: Examples
    validation: Examples
    updates: int  # steps of training that are to come
    batch: int  # examples per step
    epoch: int = 1  # steps of one pass over the data
    past: Examples | None = None  # training data of the tasks before, for methods that need 'past data'
