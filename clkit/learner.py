"""Episodic learners, and their loop: run_meta(learner, distribution) -> Record.

    distribution --episode--> outer_loss --backward--> optimizer        meta-training, the slow weights
                                  |
                          adapt(support), predict(query)                one task, the fast weights

The slow weights are [R, ...]. A task of an inner loop is a replica: the fast weights are [R x M, ...], and
one call adapts M tasks of every replica.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from clkit.adaptation import CHUNK, adaptation, check_finite
from clkit.episodes import Distribution, Episode, Shots, distribution
from clkit.errors import ClkitError, UnfitError, counted, positive
from clkit.files import write_whole
from clkit.loop import check_device, whole_seeds
from clkit.method import Beats, plain, stored_bytes
from clkit.nets import Build
from clkit.record import Record
from clkit.replicas import Draws
from clkit.schedule import Schedule
from clkit.training import describe

VERBS = ("adapt", "predict", "outer_loss")
Weights = dict[str, Tensor]  # name of the parameter -> [R x M, ...]


@dataclass(kw_only=True, eq=False)
class Learner:
    """Base of the learners: the outer loop trains slow weights, the inner loop descends from them."""

    inner_lr: float = 0.003  # step size of the inner loop (alpha), for sinusoids; label swaps want about 3

    name: ClassVar[str] = ""
    chapter: ClassVar[str] = "meta"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries", "task labels in training"})
    default: ClassVar[str] = "sinusoids"  # distribution of the command line
    off: ClassVar[dict[str, Any] | None] = None  # settings that switch the idea off
    equals: ClassVar[str] = "joint_pretraining"  # what it then equals, bit for bit
    listed: ClassVar[bool] = False  # in the catalogue?

    def __post_init__(self) -> None:
        positive("inner_lr", self.inner_lr, zero=True)

    def start(self, build: Callable[[], nn.Module], draws: Draws) -> None:
        """Called once, before the first episode."""
        self.draws = draws
        self.net = build()

    def expand(self, rows: int) -> Weights:
        """The slow weights [R, ...], once for each task: [R x M, ...], rows = R x M."""
        return {
            name: w[:, None].expand(-1, rows // len(w), *w.shape[1:]).flatten(0, 1)
            for name, w in self.net.named_parameters()
        }

    def adapt(
        self, support: Shots, steps: int, *, lr: float | None = None, weights: Weights | None = None
    ) -> Weights:
        """Fast weights after `steps` on the support set, from `weights` (default: the slow ones).

        lr: step size, by default the learner's own.
        """
        weights = self.expand(len(support.x)) if weights is None else weights
        lr = self.inner_lr if lr is None else lr
        for _ in range(steps):
            loss = support.loss(self.predict(weights, support.x))
            gradients = torch.autograd.grad(loss.sum(), [*weights.values()])
            weights = descend(weights, gradients, lr)
        return weights

    def predict(self, weights: Weights, x: Tensor) -> Tensor:
        """Scores [R x M, N, C] of inputs [R x M, N, ...] under fast weights."""
        return functional_call(self.net, weights, (x,), tie_weights=False)

    def outer_loss(self, episode: Episode) -> Tensor:
        """What the outer loop minimises, [R]; here the query loss without any adaptation."""
        return self.query_loss(self.expand(len(episode.query.x)), episode)

    def query_loss(self, weights: Weights, episode: Episode) -> Tensor:
        """Mean over each replica's tasks, [R]."""
        each = episode.query.loss(self.predict(weights, episode.query.x))
        return each.unflatten(0, (self.draws.replicas, -1)).mean(1)

    def parameters(self) -> list[nn.Parameter]:
        """The slow weights, each [R, ...]."""
        return list(self.net.parameters())

    def bytes_kept(self) -> int:
        """Bytes per replica of everything that persists between tasks; fast weights do not."""
        return stored_bytes(self.parameters())

    @classmethod
    def beats(cls) -> Beats | None:
        """The control and the ablation that it beats, by the metric after its own number of steps."""
        return None

    @classmethod
    def defines(cls) -> frozenset[str]:
        """The verbs that the class defines: its place in the taxonomy."""
        return frozenset(v for v in VERBS if getattr(cls, v) is not getattr(Learner, v))

    def verbs(self) -> frozenset[str]:
        """The verbs that this object defines."""
        return self.defines()

    def settings(self) -> dict[str, Any]:
        """Settings by name, plain enough for JSON."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    def refuse(self, given: object) -> None:
        """Raise UnfitError where what is given has no episodes."""
        if not isinstance(given, Distribution):
            raise UnfitError(
                f"{self.name} needs episodes of many tasks, not a stream: use sinusoids or label_swap "
                "(--stream sinusoids), or a method for streams: replay or ewc."
            )


@dataclass(kw_only=True, eq=False)
class JointPretraining(Learner):
    """Joint pretraining: one network is trained on all tasks mixed together, and adapts only at test.

    Outer loss: J(w) = mean over tasks of L(w; query), MAML's without any inner step.

    Reference: Finn, Abbeel and Levine (2017), section 5.1, the network pretrained on all tasks.
    Needs: task boundaries (at test: it must be told that a new task begins).
    Keeps: 4 P bytes, the network's P float32 parameters.
    Departs: nothing; the step size at test is its own, as in the paper (`clkit.adaptation`).
    """

    name: ClassVar[str] = "joint_pretraining"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries"})
    off: ClassVar[dict[str, Any] | None] = {}
    listed: ClassVar[bool] = True


def descend(weights: Weights, gradients: Sequence[Tensor], lr: float) -> Weights:
    """w - lr g, out of place, so that a graph behind the weights survives."""
    return {n: w.sub(g, alpha=lr) for (n, w), g in zip(weights.items(), gradients, strict=True)}


def run_meta(
    learner: Learner,
    tasks: Distribution | None = None,
    schedule: Schedule | None = None,
    *,
    replicas: int = 10,
    seeds: Sequence[int] | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    checkpoint: str | Path | None = None,
    progress: bool | None = None,
    threads: int = 1,
) -> Record:
    """Meta-train `learner` on a distribution of tasks, then adapt it to held-out ones (`by_step`).

    Args:
        replicas: R, with seeds 0..R-1; or give `seeds`.
        device: "cpu" or "cuda"; the draws are the same.
        checkpoint: a file written at every look at the validation tasks; if it exists, the run goes on from
            there, bit for bit. It is unpickled: use your own files only.
        progress: show a bar; None = where the output is a terminal.
        threads: of torch, per process. Several threads on a busy machine can be far slower than one.

    Raises:
        UnfitError: `tasks` is no distribution of tasks.
        NonFiniteError: weights or losses became NaN or infinite; names replica, iteration and settings.
        ClkitError: another setting is wrong; the message names it.
    """
    tasks, schedule = tasks or distribution(learner.default)(), schedule or Schedule()
    counted("replicas", replicas)
    chosen = whole_seeds(range(replicas) if seeds is None else seeds)
    check_device(device)
    learner.refuse(tasks)
    torch.set_num_threads(threads)
    draws = Draws(chosen, device, dtype)
    now = _State(learner, _record(learner, tasks, schedule, draws))
    if not (checkpoint is not None and now.resume(checkpoint)):
        learner.start(Build(schedule.network, tasks.shape, tasks.rule(), draws), draws)
        now.optimizer = schedule.optimizer(learner.parameters(), schedule.lr)
    _train(now, tasks, schedule, checkpoint, None if progress is None else not progress)
    began = time.perf_counter()
    now.record.by_step = adaptation(learner, tasks, schedule).metric
    now.record.seconds += time.perf_counter() - began
    return now.record


def _train(
    now: _State, tasks: Distribution, schedule: Schedule, checkpoint: str | Path | None, hidden: bool | None
) -> None:
    """The loop."""
    learner, record, draws, optimizer = now.learner, now.record, now.learner.draws, now.optimizer
    assert optimizer is not None
    first, began = sum(record.updates), time.perf_counter()
    with tqdm(total=schedule.iterations, initial=first, desc=learner.name, disable=hidden) as bar:
        for i in range(first, schedule.iterations):
            episode = tasks.episode(draws, schedule.tasks, i)
            if i == 0:
                _count(now, episode, schedule.iterations)
            optimizer.zero_grad()
            learner.outer_loss(episode).sum().backward()
            optimizer.step()
            bar.update()
            if (i + 1) % schedule.every == 0 or i + 1 == schedule.iterations:
                now.look(tasks, schedule, i + 1)
                record.seconds += time.perf_counter() - began
                began = time.perf_counter()
                if checkpoint is not None:
                    now.save(checkpoint)


def _count(now: _State, episode: Episode, iterations: int) -> None:
    """Operations per replica in all iterations; plain: every example forward and backward once."""

    def plain_pass() -> None:
        weights = now.learner.expand(len(episode.query.x))
        for shots in (episode.support, episode.query):
            shots.loss(now.learner.predict(weights, shots.x)).sum().backward()

    def whole() -> None:
        now.learner.outer_loss(episode).sum().backward()

    for counts, action in ((now.record.flops, whole), (now.record.flops_plain, plain_pass)):
        with FlopCounterMode(display=False) as counter:
            action()
        counts.append(iterations * counter.get_total_flops() // now.learner.draws.replicas)


def _record(learner: Learner, tasks: Distribution, schedule: Schedule, draws: Draws) -> Record:
    settings = {
        "method": learner.settings(),
        "stream": describe(tasks),
        "training": describe(schedule),
        "dtype": str(draws.dtype),
    }
    needs, seeds = sorted(learner.needs), list(draws.seeds)
    return Record(
        learner.name, settings, seeds, tasks.name, None, needs, metric=tasks.metric, bytes_examples=[0]
    )


@dataclass
class _State:
    """What a checkpoint holds."""

    learner: Learner
    record: Record
    optimizer: Optimizer | None = None
    curve: list[np.ndarray] = field(default_factory=list)

    def look(self, tasks: Distribution, schedule: Schedule, done: int) -> None:
        """The outer loss on validation tasks, and whether all is still finite."""
        learner, total = self.learner, np.zeros(self.learner.draws.replicas)
        for weights in learner.parameters():
            check_finite(learner, weights.detach().cpu().numpy(), f"weights after {done} iterations")
        for counter, begin in enumerate(range(0, schedule.validation_tasks, CHUNK)):
            count = min(CHUNK, schedule.validation_tasks - begin)
            episode = tasks.episode(learner.draws, count, counter, "validation")
            total += count * learner.outer_loss(episode).detach().cpu().numpy()
        check_finite(learner, total, f"validation losses after {done} iterations")
        self.curve.append(total / schedule.validation_tasks)
        self.record.curve, self.record.updates = np.stack(self.curve, axis=1)[..., None], [done]
        self.record.curve_updates.append(done)
        self.record.bytes_kept = [learner.bytes_kept()]

    def save(self, path: str | Path) -> None:
        write_whole(path, lambda file: torch.save(self, file))

    def resume(self, path: str | Path) -> bool:
        """Go on from the checkpoint at `path`, if there is one."""
        if not Path(path).exists():
            return False
        try:
            old = torch.load(path, weights_only=False)
            mine, theirs = ((r.method, r.settings, r.seeds, r.stream) for r in (self.record, old.record))
        except (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
            raise ClkitError(
                f"{path} is no checkpoint of clkit ({error}): remove it, or name another file."
            ) from None
        if mine != theirs:
            raise ClkitError(f"{path} is the checkpoint of another run: remove it, or name another file.")
        self.learner.__dict__.update(old.learner.__dict__)
        self.record, self.optimizer, self.curve = old.record, old.optimizer, old.curve
        return True
