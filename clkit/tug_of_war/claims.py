"""Claims of the review's first half: why networks trained by gradient descent forget."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clkit.claims import Outcome, claim
from clkit.controls import Joint
from clkit.data import load
from clkit.loop import run
from clkit.method import Method, cross_entropy
from clkit.metrics import half_life
from clkit.record import Record
from clkit.replicas import generator
from clkit.report import MEASURES, whole
from clkit.streams import Given, Permuted, Rotated, Split, from_arrays
from clkit.training import Training


@claim(
    "T1",
    says="Trained on a sequence of tasks instead of a shuffle of all, a network forgets catastrophically.",
    section="tug_of_war",
    control="cumulative joint training: same data, same number of updates",
    unit="average accuracy",
    smallest=0.10,  # ten points: a loss that a user would notice on any task
)
def t1(replicas: int) -> Outcome:
    """Joint minus sequential, rotated digits; the other streams are reported."""
    reported: dict[str, np.ndarray] = {}
    curves: dict[str, Any] = {}
    gaps = {}
    for stream in (Rotated(), Permuted(), Split(), Split(scenario="domain"), Split(scenario="task")):
        label = f"{stream.name}, {stream.scenario}-incremental"
        sequence, shuffle = (run(m, stream, replicas=replicas, progress=False) for m in (Method(), Joint()))
        average = MEASURES["average_accuracy"]
        gaps[label] = average(shuffle) - average(sequence)
        for record in (sequence, shuffle):
            reported |= whole({f"{record.method} on {label}": record})
            curves[f"{label}: {record.method}"] = _costs(record)
        reported[f"{label}: joint minus sequential"] = gaps[label]
    return Outcome(gaps["rotated, domain-incremental"], reported, curves)


def _costs(record: Record) -> dict[str, Any]:
    assert record.accuracy is not None
    return {
        "accuracy": record.accuracy.mean(0).tolist(),
        "bytes_kept": record.bytes_kept,
        "flops": record.flops,
        "updates": record.updates,
    }


BEFORE, AFTER, EVERY = 600, 800, 10  # updates of the two phases, updates between evaluations


@claim(
    "T2",
    says="Once one task is absent, the other takes over all parameters quickly.",
    section="tug_of_war",
    control="the same network while both tasks stay in the mixture",
    unit="updates until half of the task-1 accuracy above chance is gone",
    smallest=500,  # half of it gone within 300 of the 800 updates, half as many as the training before
)
def t2(replicas: int) -> Outcome:
    """Half-life of task 1 with both tasks present, minus with task 1 absent; the length where not reached.

    Reported beside it: a network that saw no mixture, but task 1 alone before task 2 alone.
    """
    updates = np.arange(0, AFTER + 1, EVERY)
    reported, curves, lives = {}, {"updates": updates.tolist()}, {}
    arms = {"both present": (BOTH, BOTH), "task 1 absent": (BOTH, SECOND), "never mixed": (FIRST, SECOND)}
    for name, phases in arms.items():
        method = Method()
        training = Training(updates=(BEFORE, AFTER), every=EVERY)
        record = run(method, _two_phases(*phases), training, replicas=replicas, progress=False)
        assert record.curve is not None
        curve = record.curve[:, BEFORE // EVERY - 1 :]
        energy = gradient_energy(method, _two_phases(FIRST, SECOND))
        lives[name] = np.minimum(half_life(updates, curve[:, :, 0], chance=0.1), AFTER)
        reported[f"half-life, {name}"] = lives[name]
        for task in (0, 1):
            reported[f"accuracy on task {task + 1} at the end, {name}"] = curve[:, -1, task]
            reported[f"gradient energy of task {task + 1} at the end, {name}"] = energy[:, task]
        curves[name] = curve.mean(0).tolist()
    return Outcome(lives["both present"] - lives["task 1 absent"], reported, curves)


FIRST, SECOND, BOTH = (0,), (1,), (0, 1)  # the tasks that a phase shows


def _two_phases(before: tuple[int, ...], after: tuple[int, ...]) -> Given:
    """A stream of two phases, each with the tasks named; tested on task 1 and on task 2.

    Task 1 shows the digits as they are, task 2 with their pixels in another, fixed order.
    """
    digits, order = load("digits"), generator(0, "pixels").permutation(64)
    x, y = digits.x.flatten(1).numpy(), digits.y.numpy()
    guises = (x, x[:, order])
    train, validation, test = (
        [(guise[rows.numpy()], y[rows.numpy()]) for guise in guises]
        for rows in (digits.train, digits.validation, digits.test)
    )
    phases = [
        (np.concatenate([train[t][0] for t in tasks]), np.concatenate([train[t][1] for t in tasks]))
        for tasks in (before, after)
    ]
    return from_arrays(phases, test, validation, dataset="digits, plain and permuted")


def gradient_energy(method: Method, stream: Given) -> np.ndarray:
    """Squared norm [R, T] of each task's full gradient at the method's weights."""
    energies = []
    for data in stream.audit(method.draws):
        everything = torch.arange(data.train.sizes[0]).expand(method.draws.replicas, -1)
        batch = next(data.train.batches(everything, everything.shape[1], stream.rule(), 0))
        grads = torch.autograd.grad(cross_entropy(method.net(batch.x), batch).sum(), method.parameters())
        energies.append(sum(g.flatten(1).square().sum(1) for g in grads))
    return torch.stack(energies, dim=1).numpy()  # type: ignore[arg-type]
