"""What arrives, in which order: data -> tasks, one behind the other.

A `Stream` is a recipe of picklable settings; `stream.tasks(draws)` draws it for the replicas. Data are stored
once; replicas differ by index lists (class orders, subsets) and pixel orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from math import isfinite, prod
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from clkit.data import Dataset, load
from clkit.errors import ClkitError, counted, listed, unknown
from clkit.examples import Examples, Part, TaskData
from clkit.replicas import Draws
from clkit.scenario import Scenario, scenario


@dataclass(frozen=True)
class View:
    """How one task sees a data set."""

    x: Tensor  # [N, ...] the data in this task's guise
    local: Tensor  # [R, K] class of the data set -> class within the task, -1 where the task lacks it
    pixels: Tensor | None = None  # [R, d] order of the pixels


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Base of the streams; a subclass says what task t sees (`view`)."""

    dataset: str = "digits"  # a name of clkit.data
    length: int = 5  # tasks, T
    scenario: str = "domain"  # task, domain or class: which outputs may answer
    limit: tuple[int, ...] = ()  # training examples of each task; () = all
    boundaries: bool = True  # is a method told when a task begins and ends?
    storage: bool = True  # may a method keep examples?
    tried: int = 0  # > 0: the first tasks only, judged on validation data, to choose settings
    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        counted("length", self.length)
        listed("limit", self.limit)
        for size in self.limit:
            counted("limit", size)
        if self.limit and len(self.limit) != self.length:
            raise ClkitError(
                f"limit names {len(self.limit)} tasks but length is {self.length}: give one each."
            )
        if not 0 <= self.tried <= self.length:
            raise ClkitError(f"tried must be 0 to {self.length}, the tasks of the stream, not {self.tried}.")
        self.rule()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.source(0).x.shape[1:])

    def source(self, t: int) -> Dataset:
        """The data set behind task t."""
        return load(self.dataset)

    def sizes(self) -> tuple[int, ...]:
        """k_t, the classes of each task."""
        return (self.source(0).classes,) * self.length

    def rule(self) -> Scenario:
        """The scenario over this stream's tasks."""
        return scenario(self.scenario, self.sizes())

    def gives(self) -> frozenset[str]:
        """What a method may `need`."""
        rule = self.rule()
        given = {
            "task boundaries": self.boundaries,
            "task labels in training": self.boundaries,
            "task labels at test": rule.labels_at_test,
            "stored examples": self.storage,
            "past data": self.storage and self.boundaries,
            "new classes": rule.new_classes,
        }
        return frozenset(need for need, is_given in given.items() if is_given)

    def view(self, draws: Draws, t: int) -> View:
        """How task t shows the data, with draws on the CPU."""
        source = self.source(t)
        return View(source.x, torch.arange(source.classes).expand(draws.replicas, -1))

    def tasks(self, draws: Draws) -> list[TaskData]:
        """The tasks drawn for the replicas, on the draws' device."""
        return [self._task(draws, t) for t in range(self.tried or self.length)]

    def audit(self, draws: Draws) -> list[TaskData]:
        """The same tasks for an instrument that must look back; no method receives them."""
        return self.tasks(draws)

    def _task(self, draws: Draws, t: int) -> TaskData:
        source, rule, k = self.source(t), self.rule(), self.sizes()[t]
        view = self.view(draws.to("cpu"), t)

        def examples(rows: Tensor, limit: int | None = None) -> Examples:
            part = _part(source, view, rows, t, draws.to("cpu"), limit)
            part = replace(part, y=rule.label(part.y + rule.first(t), t))
            return Examples([part.to(draws.device)], draws.dtype)

        mean_size = len(source.train) * k / source.classes
        size = min(mean_size, self.limit[t]) if self.limit else mean_size
        test = source.validation if self.tried else source.test
        limit = self.limit[t] if self.limit else None
        return TaskData(examples(source.train, limit), examples(source.validation), examples(test), size)


def _part(source: Dataset, view: View, rows: Tensor, t: int, draws: Draws, limit: int | None) -> Part:
    """The rows [n] that task t shows to each replica, labelled within the task, padded to the longest."""
    local = view.local[:, source.y[rows]]
    order = (local < 0).to(torch.int8).argsort(dim=1, stable=True)  # the task's own rows first
    sizes = (local >= 0).sum(1)
    if limit is not None:
        mixed = draws.permutation("limit", len(rows), t).argsort(1)
        order = torch.where(local >= 0, mixed, len(rows)).argsort(dim=1, stable=True)
        sizes = sizes.clamp(max=limit)
    longest = int(sizes.max())
    beyond = torch.arange(longest) >= sizes[:, None]
    index = rows[order[:, :longest]].masked_fill(beyond, -1)
    y = local.gather(1, order[:, :longest]).masked_fill(beyond, 0)
    return Part(view.x, index, y, tuple(sizes.tolist()), t, source.scale, view.pixels)


@dataclass(frozen=True, kw_only=True)
class Split(Stream):
    """The classes in groups, k = classes / length to a task, in an order of each replica's own."""

    scenario: str = "class"
    name: ClassVar[str] = "split"

    def sizes(self) -> tuple[int, ...]:
        classes = self.source(0).classes
        if classes % self.length:
            fit = [n for n in range(1, classes + 1) if classes % n == 0]
            raise ClkitError(
                f"length {self.length} does not divide the {classes} classes of {self.dataset}: use one of {fit}."
            )
        return (classes // self.length,) * self.length

    def view(self, draws: Draws, t: int) -> View:
        k = self.sizes()[t]
        source = self.source(t)
        local = draws.permutation("classes", source.classes).argsort(1) - t * k
        return View(source.x, torch.where((local >= 0) & (local < k), local, -1))


@dataclass(frozen=True, kw_only=True)
class Permuted(Stream):
    """Every task shuffles the pixels in an order of its own; the first shows them as they are."""

    name: ClassVar[str] = "permuted"

    def view(self, draws: Draws, t: int) -> View:
        plain = super().view(draws, t)
        return plain if t == 0 else replace(plain, pixels=draws.permutation("pixels", prod(self.shape), t))


@dataclass(frozen=True, kw_only=True)
class Rotated(Stream):
    """Task t shows the images rotated by t x `degrees`."""

    degrees: float = 20.0  # angle between neighbouring tasks
    name: ClassVar[str] = "rotated"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isfinite(self.degrees):
            raise ClkitError(f"degrees must be an angle, not {self.degrees}.")

    def view(self, draws: Draws, t: int) -> View:
        plain, angle = super().view(draws, t), t * self.degrees
        return replace(plain, x=_rotated(self.dataset, angle)) if angle else plain


@lru_cache(maxsize=16)
def _rotated(dataset: str, angle: float) -> Tensor:
    """Bilinear, about the centre, background black."""
    x = load(dataset).x.numpy()
    return torch.from_numpy(ndimage.rotate(x, angle, axes=(2, 1), reshape=False, order=1))


STREAMS: dict[str, type[Stream]] = {stream.name: stream for stream in (Split, Permuted, Rotated)}


def stream(name: str) -> type[Stream]:
    """The stream called `name`."""
    if name not in STREAMS:
        raise unknown("stream", name, STREAMS)
    return STREAMS[name]


Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Given(Stream):
    """A reader's own tasks, made by `from_arrays`."""

    sources: tuple[Dataset, ...]  # one data set per task
    dataset: str = "arrays"  # a name for the records
    content: str = ""  # digest of the arrays, so that a record or checkpoint of other arrays is told apart
    name: ClassVar[str] = "arrays"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.sources[0].x.shape[1:])

    def source(self, t: int) -> Dataset:
        return self.sources[t]

    def sizes(self) -> tuple[int, ...]:
        return tuple(source.classes for source in self.sources)


def from_arrays(
    train: Sequence[Arrays],
    test: Sequence[Arrays],
    validation: Sequence[Arrays] | None = None,
    *,
    scenario: str = "domain",
    boundaries: bool = True,
    storage: bool = True,
    dataset: str = "arrays",
) -> Given:
    """A stream of a reader's own arrays.

    Args:
        train, test: for each task a pair (x [n, ...], y [n]). x float, taken as it is, or uint8 pixels, of
            which a network sees x / 255. y whole numbers, any labels; the classes of a task are the labels of
            its training set, in ascending order. In the domain scenario every task has as many.
        validation: the same; by default every sixth training example is set aside.
        scenario: task, domain or class.
        boundaries, storage: whether methods hear of task changes and may keep examples.
        dataset: a name for the records.

    Raises:
        ClkitError: an empty task, shapes or types that differ, NaN, labels that are no whole numbers or no
            class of the task.
    """
    if len(train) != len(test) or (validation is not None and len(validation) != len(train)):
        raise ClkitError(
            f"train has {len(train)} tasks but test or validation has another number: give one each."
        )
    if not train:
        raise ClkitError("train is empty: give at least one task (x, y).")
    sources = []
    for t, (fit, exam) in enumerate(zip(train, test, strict=True)):
        held = validation[t] if validation is not None else None
        sources.append(_source(dataset, t, fit, exam, held))
    shapes = {tuple(source.x.shape[1:]) for source in sources}
    if len(shapes) > 1:
        raise ClkitError(
            f"x has different shapes in different tasks: {sorted(shapes)}. All tasks need the same."
        )
    if scenario == "domain" and len({source.classes for source in sources}) > 1:
        raise ClkitError(
            "scenario 'domain' needs the same number of classes in every task; use 'task' or 'class'."
        )
    return Given(
        sources=tuple(sources),
        length=len(sources),
        scenario=scenario,
        boundaries=boundaries,
        storage=storage,
        dataset=dataset,
        content=_digest(sources),
    )


def _digest(sources: Sequence[Dataset]) -> str:
    digest = blake2b(digest_size=8)
    for source in sources:
        for tensor in (source.x, source.y, source.train, source.test):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _source(name: str, t: int, train: Arrays, test: Arrays, validation: Arrays | None) -> Dataset:
    sets = [_checked(f"train[{t}]", train), _checked(f"test[{t}]", test)]
    if validation is None:
        held = np.arange(len(sets[0][1])) % 6 == 5
        if not held.any():
            raise ClkitError(
                f"train[{t}] has {len(held)} examples, too few to set some aside: pass validation."
            )
        sets = [(sets[0][0][~held], sets[0][1][~held]), (sets[0][0][held], sets[0][1][held]), sets[1]]
    else:
        sets.insert(1, _checked(f"validation[{t}]", validation))
    classes = np.unique(np.asarray(train[1]))
    for which, (_, y) in zip(("train", "validation", "test"), sets, strict=True):
        if not np.isin(y, classes).all():
            outside = sorted(set(y.tolist()) - set(classes.tolist()))
            raise ClkitError(f"{which}[{t}] has labels {outside} outside the classes of its training set.")
    if len({(x.shape[1:], x.dtype) for x, _ in sets}) > 1:
        raise ClkitError(f"task {t}: x has another shape or type in train than in validation or test.")
    ends = np.cumsum([0] + [len(y) for _, y in sets])
    inputs = torch.from_numpy(np.concatenate([x for x, _ in sets]))
    labels = torch.from_numpy(np.searchsorted(classes, np.concatenate([y for _, y in sets])))
    rows = [torch.arange(a, b) for a, b in zip(ends, ends[1:], strict=False)]
    scale = 1 / 255 if inputs.dtype == torch.uint8 else 1.0
    return Dataset(name, inputs, labels, scale, len(classes), *rows)


def _checked(which: str, arrays: Arrays) -> Arrays:
    try:
        x, y = (np.asarray(a) for a in arrays)
        if x.dtype.kind not in "fiub":
            raise TypeError(f"x is {x.dtype}")
        x = x if x.dtype == np.uint8 else x.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ClkitError(f"{which} is no pair (x, y) of arrays of numbers: {error}.") from None
    if y.size == 0:
        raise ClkitError(f"{which} is empty: every task needs examples.")
    if y.ndim != 1 or x.shape[:1] != y.shape:
        raise ClkitError(
            f"{which}: x {x.shape} and y {y.shape} do not match; y needs one label per row of x."
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise ClkitError(f"{which}: y is {y.dtype}; labels must be whole numbers (y.astype(int)).")
    if x.size == 0:
        raise ClkitError(f"{which}: x {x.shape} has no features; every example needs at least one number.")
    if x.ndim < 2:
        raise ClkitError(f"{which}: x {x.shape} needs a dimension for the features; x[:, None] adds one.")
    if not np.isfinite(x).all():
        raise ClkitError(f"{which}: x holds NaN or infinite values; remove or replace them first.")
    return x, y.astype(np.int64)
