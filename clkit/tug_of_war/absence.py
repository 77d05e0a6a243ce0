"""What becomes of a task that is absent for a while: after a mixture, by block length, by its share of the mixture.

Two tasks show the same digits, task 2 with the pixels in another, fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from clkit import instruments
from clkit.claims import Outcome
from clkit.data import load
from clkit.errors import ClkitError
from clkit.examples import Batch, Task
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import bands, half_life
from clkit.nets import Build
from clkit.record import Record
from clkit.replicas import Draws, generator
from clkit.scenario import Scenario
from clkit.streams import Given, from_arrays
from clkit.training import Training

FIRST, SECOND, BOTH = (0,), (1,), (0, 1)  # the tasks that a phase shows
BEFORE, AFTER, EVERY = 600, 800, 10  # updates of the two phases, updates between evaluations
LONG = 10  # times as long an absence, reported
TOTAL = 1600  # updates of a run with blocks or shares
LENGTHS = (1, 5, 20, 100, 400, 800)  # updates in a block
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.0)  # of task 2 in every batch


def two_phases(before: tuple[int, ...], after: tuple[int, ...], dataset: str = "digits") -> Given:
    """A stream of two phases, each training on the tasks named; tested on task 1 and on task 2."""
    data = load(dataset)
    x, y = data.x.flatten(1).numpy(), data.y.numpy()
    guises = (x, x[:, generator(0, "pixels").permutation(x.shape[1])])
    train, validation, test = (
        [(guise[rows.numpy()], y[rows.numpy()]) for guise in guises]
        for rows in (data.train, data.validation, data.test)
    )
    phases = [
        (np.concatenate([train[t][0] for t in tasks]), np.concatenate([train[t][1] for t in tasks]))
        for tasks in (before, after)
    ]
    return from_arrays(phases, test, validation, dataset=f"{dataset}, plain and permuted")


def energies(method: Method, stream: Given) -> np.ndarray:
    """Squared norm [R, T] of the full gradient of each task's training loss at the method's weights."""
    return instruments.norms(instruments.gradients(method, stream)).square().numpy()  # eq: gradient-energy


@dataclass(kw_only=True, eq=False)
class Scheduled(Method):
    """Fine-tuning on two tasks, of which the second has a share in every batch that is set for every update.

    The training set must hold the examples of task 1, then as many of task 2 (`two_phases(BOTH, BOTH)`). Each
    task's examples come in shuffle after shuffle of its own; a coin for each place in the batch says which task.
    """

    shares: Sequence[float]  # of task 2, one for each update of the whole run
    name: ClassVar[str] = "scheduled"
    listed: ClassVar[bool] = False

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.done = 0  # updates of the whole run

    def begin_task(self, task: Task) -> None:
        self.task, self.begun, length = task, self.done, task.updates * task.batch
        if self.done + task.updates > len(self.shares):
            raise ClkitError(f"shares has {len(self.shares)} entries: give one for each update of the run.")
        half, purposes = (
            [size // 2 for size in task.train.sizes],
            ("schedule of task 1", "schedule of task 2"),
        )
        first, second = (self.draws.shuffles(p, half, length, task.number) for p in purposes)
        shares = torch.tensor(self.shares[self.done : self.done + task.updates], device=first.device)
        coins = self.draws.uniform("schedule", (length,), task.number)
        self.order = torch.where(coins < shares.repeat_interleave(task.batch), second + half[0], first)

    def widen(self, batch: Batch) -> Batch:
        place = (self.done - self.begun) * self.task.batch
        index = self.order[:, place : place + self.task.batch]
        x, y, _ = self.task.train.take(index)
        return replace(batch, x=x, y=y, index=index)

    def after_step(self, batch: Batch) -> None:
        self.done += 1


def blocks(length: int, total: int = TOTAL) -> tuple[float, ...]:
    """The share of task 2 at every update when the two tasks take turns for `length` updates each."""
    return tuple(float(update // length % 2) for update in range(total))


def scheduled(shares: Sequence[float], *, every: int = 0, **how: Any) -> Record:
    """A run on the two tasks with these shares of task 2; `how` goes to `clkit.run`."""
    half = len(shares) // 2
    training = Training(updates=(half, len(shares) - half), every=every)
    return run(Scheduled(shares=shares), two_phases(BOTH, BOTH), training, progress=False, **how)


def absent(replicas: int) -> Outcome:
    """Claim T2. Half-life of task 1 with both tasks present, minus with task 1 absent; the length where not reached.

    Reported beside it: a network that saw no mixture, but task 1 alone before task 2 alone; a ten times longer
    absence; the accuracy of the task that is absent in the last block, and of one with a small share.
    """
    reported: dict[str, np.ndarray] = {}
    curves: dict[str, Any] = {"updates": list(range(0, AFTER + 1, EVERY))}
    arms = {"both present": (BOTH, BOTH), "task 1 absent": (BOTH, SECOND), "never mixed": (FIRST, SECOND)}
    lives = {
        name: _absence(name, two_phases(*phases), replicas, reported, curves) for name, phases in arms.items()
    }
    _long_absence(replicas, reported, curves)
    _by_schedule(replicas, reported, curves)
    return Outcome(lives["both present"] - lives["task 1 absent"], reported, curves)


def _absence(
    name: str, stream: Given, replicas: int, reported: dict[str, np.ndarray], curves: dict[str, Any]
) -> np.ndarray:
    """One arm of T2: its half-life [R]; what else it came to goes into `reported` and `curves`."""
    looked: dict[int, np.ndarray] = {}
    apart = two_phases(FIRST, SECOND)

    def observe(method: Method, update: int) -> None:
        if update in (BEFORE, BEFORE + AFTER):
            looked[update] = energies(method, apart)

    training = Training(updates=(BEFORE, AFTER), every=EVERY)
    record = run(Method(), stream, training, replicas=replicas, progress=False, observe=observe)
    assert record.curve is not None
    curve = record.curve[:, BEFORE // EVERY - 1 :]
    updates = np.array(curves["updates"])
    lives = np.minimum(half_life(updates, curve[:, :, 0], chance=0.1), AFTER)
    reported[f"half-life, {name}"] = lives
    for task in (0, 1):
        reported[f"accuracy on task {task + 1} at the end, {name}"] = curve[:, -1, task]
        for when, update in {"at the change": BEFORE, "at the end": BEFORE + AFTER}.items():
            reported[f"gradient energy of task {task + 1} {when}, {name}"] = looked[update][:, task]
    curves[name] = curve.mean(0).tolist()
    curves[f"{name}: bands"] = [bands(curve[:, :, task], 4) for task in (0, 1)]
    return lives


def _long_absence(replicas: int, reported: dict[str, np.ndarray], curves: dict[str, Any]) -> None:
    """The mixture, then task 1 absent for `LONG` times as many updates."""
    every = 10 * EVERY
    training = Training(updates=(BEFORE, LONG * AFTER), every=every)
    record = run(Method(), two_phases(BOTH, SECOND), training, replicas=replicas, progress=False)
    assert record.curve is not None
    curve = record.curve[:, BEFORE // every - 1 :, 0]
    reported["accuracy on task 1 at the end, absent for long"] = curve[:, -1]
    curves["absent for long"] = {"updates": list(range(0, LONG * AFTER + 1, every)), "bands": bands(curve, 4)}


def _by_schedule(replicas: int, reported: dict[str, np.ndarray], curves: dict[str, Any]) -> None:
    """Runs with blocks of each length, and with a share of each size in every batch."""
    every = TOTAL // 80
    curves["schedule updates"] = [0, *range(every, TOTAL + 1, every)]
    for length in LENGTHS:
        record = scheduled(blocks(length), every=every, replicas=replicas)
        assert record.accuracy is not None and record.curve is not None
        reported[f"absent in the last block, blocks of {length}"] = record.accuracy[:, -1, 0]
        reported[f"present in the last block, blocks of {length}"] = record.accuracy[:, -1, 1]
        if length >= every:
            curve = np.concatenate([record.accuracy[:, :1], record.curve], axis=1)
            curves[f"blocks of {length}"] = [bands(curve[:, :, task], 4) for task in (0, 1)]
    for share in SHARES:
        record = scheduled((share,) * TOTAL, replicas=replicas)
        assert record.accuracy is not None
        reported[f"task 2 in the end, share {share:g}"] = record.accuracy[:, -1, 1]
        reported[f"task 1 in the end, share of task 2 {share:g}"] = record.accuracy[:, -1, 0]
