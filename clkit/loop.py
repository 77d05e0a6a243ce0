"""The loop: run(method, stream) -> Record."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import index
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from clkit.errors import ClkitError, NonFiniteError, counted
from clkit.examples import Batch, Examples, Task, TaskData
from clkit.files import write_whole
from clkit.method import Method, cross_entropy
from clkit.nets import Build
from clkit.record import Record, concatenate
from clkit.replicas import Draws
from clkit.scenario import Scenario
from clkit.streams import Rotated, Stream
from clkit.training import Training, describe

CHUNK = 512  # test examples scored at once
Result = TypeVar("Result")
Observe = Callable[[Method, int], None]


def run(
    method: Method,
    stream: Stream | None = None,
    training: Training | None = None,
    *,
    replicas: int = 10,
    seeds: Sequence[int] | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    chunk: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
    threads: int = 1,
    observe: Observe | None = None,
) -> Record:
    """Train `method` on `stream`, task after task, and evaluate on all tasks after each.

    Args:
        replicas: R, with seeds 0..R-1; or give `seeds`.
        device: "cpu" or "cuda"; the draws are the same.
        chunk: replicas trained at once; 0 = all. Does not change results.
        checkpoint: a file written after each task; if it exists, the run goes on from there, bit for bit. It
            is unpickled: use your own files only.
        progress: show a bar; None = where the output is a terminal.
        threads: of torch, per process. Several threads on a busy machine can be far slower than one.
        observe: observe(method, updates done), called before training and wherever the curve is evaluated,
            every `training.every` updates: for the instruments. It must not change the method.

    Raises:
        UnfitError: the stream lacks something that the method needs.
        NonFiniteError: weights or scores became NaN or infinite; names replica, task and settings.
        ClkitError: another setting is wrong; the message names it.
    """
    stream = Rotated() if stream is None else stream
    training = Training() if training is None else training
    _kinds(method, stream, training, dtype)
    counted("replicas", replicas)
    counted("chunk", chunk, zero=True)
    counted("threads", threads)
    seeds = whole_seeds(range(replicas) if seeds is None else seeds)
    _check(method, stream, training, device)
    torch.set_num_threads(threads)
    size = 1 if not method.batched else chunk or len(seeds)
    parts = [seeds[i : i + size] for i in range(0, len(seeds), size)]
    records = []
    for i, part in enumerate(parts):
        file = checkpoint if checkpoint is None or len(parts) == 1 else f"{checkpoint}.{i}"
        draws = Draws(tuple(part), device, dtype)
        records.append(_run(method, stream, training, draws, file, progress, observe))
    return concatenate(records)


def _kinds(method: object, stream: object, training: object, dtype: object) -> None:
    """What is most easily mixed up: a class for an object, a name for what it names."""
    wanted = {"method": (method, Method), "stream": (stream, Stream), "training": (training, Training)}
    for name, (value, kind) in {**wanted, "dtype": (dtype, torch.dtype)}.items():
        if not isinstance(value, kind):
            example = {"method": "EWC()", "stream": "Rotated()", "training": "Training()"}.get(
                name, "torch.float64"
            )
            raise ClkitError(f"{name} must be an object such as {example}, not {value!r}.")


def whole_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Seeds as Python numbers, all different."""
    try:
        chosen = tuple(index(seed) for seed in seeds)
    except TypeError:
        raise ClkitError(f"seeds must be whole numbers, for example seeds=(0, 1), not {seeds!r}.") from None
    if not chosen or len(set(chosen)) < len(chosen):
        raise ClkitError(f"seeds must be different numbers, at least one, not {list(chosen)}.")
    return chosen


def _check(method: Method, stream: Stream, training: Training, device: str) -> None:
    if training.updates and len(training.updates) != stream.length:
        raise ClkitError(f"updates names {len(training.updates)} tasks, the stream has {stream.length}.")
    check_device(device)
    method.refuse(stream)


def check_device(device: str) -> None:
    """Raise where the device is not there."""
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ClkitError(f"unknown device {device!r}: use 'cpu' or 'cuda'.") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ClkitError(
            "device 'cuda' asked for, but torch sees no CUDA GPU: use device='cpu' (--device cpu)."
        )


def _run(
    method: Method,
    stream: Stream,
    training: Training,
    draws: Draws,
    checkpoint: str | Path | None,
    progress: bool | None,
    observe: Observe | None,
) -> Record:
    now = _State(method, _record(method, stream, training, draws))
    rule, tasks = stream.rule(), stream.tasks(draws)
    if not (checkpoint is not None and now.resume(checkpoint, draws)):
        method.start(Build(training.network, stream.shape, rule, draws), draws, rule)
        now.rows.append(evaluate(method, tasks, rule, -1))
        if observe is not None:
            observe(method, 0)
    total = sum(training.steps(data, t) for t, data in enumerate(tasks))
    hidden = None if progress is None else not progress
    with tqdm(total=total, initial=sum(now.record.updates), desc=method.name, disable=hidden) as bar:
        for t in range(len(now.record.updates), len(tasks)):
            _learn(now, tasks, t, stream, training, bar, observe)
            now.rows.append(evaluate(method, tasks, rule, t))
            now.clock()
            if checkpoint is not None:
                now.save(checkpoint)
    now.record.accuracy = np.stack(now.rows, axis=1)
    now.record.curve = np.stack(now.curve, axis=1) if now.curve else None
    now.clock()
    return now.record


def _learn(
    now: _State,
    tasks: list[TaskData],
    t: int,
    stream: Stream,
    training: Training,
    bar: tqdm[Any],
    observe: Observe | None,
) -> None:
    """One task, start to end: the loop."""
    method, data, rule, record = now.method, tasks[t], stream.rule(), now.record
    updates = training.steps(data, t)
    train, validation = (Examples(part.parts, part.dtype) for part in (data.train, data.validation))
    epoch = max(1, round(data.size / training.batch))
    task = Task(t, rule.own(t), train, validation, updates, training.batch, epoch, _past(method, tasks[:t]))
    method.competing = rule.competing(t)
    told = stream.boundaries or t == 0
    joined, flops = _counted(method, lambda: method.begin_task(task)) if told else (None, 0)
    if told or now.optimizer is None:
        now.optimizer = training.optimizer(method.parameters(), training.lr)
    shield = shielded(method)
    examples = train + joined
    order = method.draws.shuffles("order", examples.sizes, updates * training.batch, t)
    old = max(1 - own / every for own, every in zip(train.sizes, examples.sizes, strict=True))
    joined_met, rehearsed = round(updates * training.batch * old), method.rehearsed
    for u, batch in enumerate(examples.batches(order, training.batch, rule, t)):
        # Where boundaries are hidden, progress runs through the whole stream: it must not tell them.
        progress = u / updates if stream.boundaries else (sum(record.updates) + u) / bar.total
        step = partial(take_step, method, batch, now.optimizer, progress, shield)
        if u < updates - 1:
            step()
        else:  # the last step stands for all: a memory that the first one would find empty is in use
            record.flops_plain.append(updates * _plain_flops(method, batch))
            flops += updates * _counted(method, step)[1]
        if (u + 1) % epoch == 0:
            check_finite(method, t)
        if training.every and (u + 1) % training.every == 0:
            now.curve.append(evaluate(method, tasks, rule, t))
            record.curve_updates.append(sum(record.updates) + u + 1)
            if observe is not None:
                observe(method, record.curve_updates[-1])
        bar.update()
    if stream.boundaries:
        with _optimizer_steps() as extra:
            flops += _counted(method, lambda: method.end_task(task))[1]
        updates += len(extra)
    train.closed = validation.closed = True
    record.interactions.append(joined_met + (method.rehearsed - rehearsed if t else 0))
    record.updates.append(updates)
    record.flops.append(flops)
    record.bytes_kept.append(method.bytes_kept())
    record.bytes_examples.append(method.bytes_examples())
    record.bytes_data.append(_together(tasks[: t + 1]).bytes())


Shield = list[tuple[nn.Parameter, Tensor, Tensor]]


def shielded(method: Method) -> Shield:
    """What must not change from now on, as it is."""
    return [(p, mask, p.detach().clone()) for p, mask in method.protected()]


def take_step(method: Method, batch: Batch, optimizer: Optimizer, progress: float, shield: Shield) -> None:
    """One update of the method, then what it protects is put back."""
    method.lr, method.progress = optimizer.param_groups[0]["lr"], progress
    method.step(batch, optimizer)
    for weights, mask, before in shield:  # whatever the optimiser did: protected means unchanged
        weights.data.copy_(torch.where(mask, before, weights.data))


@contextmanager
def _optimizer_steps() -> Iterator[list[None]]:
    """One entry for every optimiser's step meanwhile: a method may train at the end of a task, too."""
    steps: list[None] = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(None))
    try:
        yield steps
    finally:
        hook.remove()


def _past(method: Method, tasks: list[TaskData]) -> Examples | None:
    return _together(tasks) if tasks and "past data" in method.needs else None


def _together(tasks: list[TaskData]) -> Examples:
    return Examples([part for data in tasks for part in data.train.parts], tasks[0].train.dtype)


def _counted(method: Method, action: Callable[[], Result]) -> tuple[Result, int]:
    """What an action returns, and its floating-point operations per replica."""
    with FlopCounterMode(display=False) as counter:
        result = action()
    return result, counter.get_total_flops() // method.draws.replicas


def _plain_flops(method: Method, batch: Batch) -> int:
    """One forward and backward pass of the batch through a fresh network."""
    net = method.build(task=0)
    return _counted(method, lambda: cross_entropy(net(batch.x), batch).sum().backward())[1]


@torch.no_grad()
def evaluate(method: Method, tasks: list[TaskData], rule: Scenario, newest: int) -> np.ndarray:
    """Accuracy [R, T] on the test sets while task `newest` is the newest (-1: before training)."""
    check_finite(method, newest)
    replicas = method.draws.replicas
    result = np.zeros((replicas, len(tasks)))
    method.train(False)
    for j, data in enumerate(tasks):
        if j > newest and not rule.foresees:
            continue
        right = torch.zeros(replicas, device=method.draws.device)
        for x, y, valid in data.test.chunks(CHUNK):
            scores = method.predict(x, j if rule.labels_at_test else None)
            _check_scores(scores, (*y.shape, rule.width), method, j)
            outputs = rule.outputs(y, newest)
            if outputs is not None:
                scores = scores.masked_fill(~outputs, float("-inf"))
            right += ((scores.argmax(-1) == y) & valid).sum(1)
        result[:, j] = right.cpu().numpy() / np.array(data.test.sizes)
    method.train(True)
    return result


def check_finite(method: Method, t: int) -> None:
    """Raise where a replica's weights are no longer numbers."""
    for weights in method.parameters():
        _all_finite(weights.detach(), "weights", method, t)


def _check_scores(scores: Tensor, shape: tuple[int, ...], method: Method, t: int) -> None:
    if scores.shape != shape:
        raise ClkitError(
            f"{method.name}: predict must return scores [replicas, examples, outputs], here {list(shape)}, "
            f"not {list(scores.shape)}."
        )
    closed = scores == float("-inf")  # an output that may not answer
    _all_finite(scores.masked_fill(closed, 0.0), "scores", method, t)


def _all_finite(values: Tensor, what: str, method: Method, t: int) -> None:
    good = torch.isfinite(values).reshape(len(values), -1).all(1)
    if not bool(good.all()):
        seeds = [s for s, ok in zip(method.draws.seeds, good.tolist(), strict=True) if not ok]
        raise NonFiniteError(
            f"{method.name}: the {what} of replica(s) with seed {seeds} are not finite in task {t + 1}. "
            f"Lower a setting of the method ({method.settings()}) or lr ({method.lr})."
        )


def _record(method: Method, stream: Stream, training: Training, draws: Draws) -> Record:
    rule = stream.rule()
    settings = {
        "method": method.settings(),
        "stream": describe(stream),
        "training": describe(training),
        "dtype": str(draws.dtype),
    }
    return Record(
        method.name,
        settings,
        list(draws.seeds),
        stream.name,
        rule.name,
        sorted(method.needs),
        foresees=rule.foresees,
    )


@dataclass
class _State:
    """What a checkpoint holds."""

    method: Method
    record: Record
    rows: list[np.ndarray] = field(default_factory=list)  # of the accuracy matrix
    curve: list[np.ndarray] = field(default_factory=list)
    optimizer: Optimizer | None = None
    began: float = field(default_factory=time.perf_counter)

    def clock(self) -> None:
        """Add the seconds since the last call to the record."""
        now = time.perf_counter()
        self.record.seconds += now - self.began
        self.began = now

    def save(self, path: str | Path) -> None:
        try:
            write_whole(path, lambda file: torch.save(self, file))
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise ClkitError(
                f"checkpoint: the run holds what cannot be stored ({error}). Define classes and functions at "
                "the top of a module, not inside a function and not as lambda; or run without checkpoint."
            ) from error

    def resume(self, path: str | Path, draws: Draws) -> bool:
        """Go on from the checkpoint at `path`, if there is one."""
        if not Path(path).exists():
            return False
        try:
            old = torch.load(path, weights_only=False)
            identity = old.record.method, old.record.stream, old.record.settings, old.method.draws
        except Exception as error:  # a damaged pickle can raise anything
            raise ClkitError(
                f"{path} is no checkpoint that can be read ({error}): remove it, or name another file."
            ) from None
        if identity != (self.record.method, self.record.stream, self.record.settings, draws):
            raise ClkitError(f"{path} is the checkpoint of another run: remove it, or name another file.")
        self.method.__dict__.update(old.method.__dict__)
        self.record, self.rows, self.curve, self.optimizer = old.record, old.rows, old.curve, old.optimizer
        return True
