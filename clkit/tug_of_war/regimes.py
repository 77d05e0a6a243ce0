"""The five regimes of the review's Figure 2, produced by training, and transfer between related tasks (T12)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from clkit import metrics
from clkit.claims import Outcome
from clkit.controls import L2, Independent, Joint
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import interval
from clkit.record import Record
from clkit.report import whole
from clkit.streams import Permuted, Rotated, Stream
from clkit.training import Training

EPOCHS, BATCH = 15, 32
FULL = 1097  # training images of the digits
FEW, LITTLE = 60, 80  # images of a task that has few
STRENGTH = 100.0  # of the pull in regime B, so strong that the old weights cannot be left


def passes(*sizes: int) -> tuple[int, ...]:
    """Updates of each task that make `EPOCHS` passes through so many images."""
    return tuple(round(EPOCHS * size / BATCH) for size in sizes)


OWN = passes(FULL, FULL, FULL)
LATE = passes(FULL, FULL + FEW, FULL + 2 * FEW)  # through all images seen so far, where these are replayed
SMALL = passes(LITTLE, 2 * LITTLE, 3 * LITTLE)
LONG = tuple(10 * updates for updates in SMALL)
PERMUTED, APART = Permuted(length=3), Permuted(length=3, scenario="task")
SCARCE = Rotated(length=3, degrees=15, limit=(FULL, FEW, FEW))
CLOSE = Rotated(length=3, degrees=10, limit=(LITTLE,) * 3)
UNRELATED = Permuted(length=3, limit=(LITTLE,) * 3)
HALF_IMAGE = 0.1  # points: half of one of the 500 test images, the least by which accuracies can differ

MORE = "accuracy on task 1 in the end minus after as many updates on task 1 alone"

Setting = tuple[Method, Stream, Training]


def settings() -> dict[str, Setting]:
    """What is trained for each panel, A to E, and for its controls.

    Whoever has a network for each task is told the task at the test (task-incremental), the others are not.
    """

    def trained(updates: tuple[int, ...], every: int) -> Training:
        return Training(updates=updates, batch=BATCH, every=every)

    alone, first = replace(SCARCE, scenario="task"), replace(CLOSE, length=1, limit=(LITTLE,))
    return {
        "A": (Method(), PERMUTED, trained(OWN, 57)),
        "B": (L2(strength=STRENGTH), PERMUTED, trained(OWN, 57)),
        "C": (Independent(), APART, trained(OWN, 57)),
        "D": (Joint(), SCARCE, trained(LATE, 14)),
        "D, a network for each task": (Independent(), alone, trained(passes(FULL, FEW, FEW), 14)),
        "D, a network for each task, as many updates": (Independent(), alone, trained(LATE, 14)),
        "E": (Joint(), CLOSE, trained(SMALL, 5)),
        "E, nothing replayed": (Method(), CLOSE, trained(SMALL, 5)),
        "E, a network for each task": (Independent(), replace(CLOSE, scenario="task"), trained(SMALL, 5)),
        "E, task 1 only": (Method(), first, trained((sum(SMALL),), 5)),
        "E, ten times the updates": (Joint(), CLOSE, trained(LONG, 50)),
        "E on permutations, ten times the updates": (Joint(), UNRELATED, trained(LONG, 50)),
        "E, task 1 only, ten times the updates": (Method(), first, trained((sum(LONG),), 50)),
    }


def train(names: list[str], replicas: int) -> dict[str, Record]:
    """The records of the settings called `names`."""
    return {name: run(*settings()[name], replicas=replicas, progress=False) for name in names}


def related_tasks(replicas: int) -> Outcome:
    """T12: forward transfer on close rotations minus on permutations, with all that was seen replayed.

    Forward transfer decides. Backward transfer is reported: as such, and as the gain of task 1 over as many updates
    on it alone; each for both streams, and the difference. Little data and the updates of regime E on both streams.
    Curves: the panels of the figure, and in how many replicas each of its assertions holds.
    """
    panels = train(list(settings()), replicas)
    training, streams = settings()["E"][2], {"close rotations": CLOSE, "permutations": UNRELATED}
    reported: dict[str, np.ndarray] = {}
    forward = {}
    repeated = panels["E, task 1 only"].matrix[:, 1, 0]
    for where, stream in streams.items():
        arms = {"joint": Joint(), "fine-tuning": Method(), "independent": Independent()}
        told = {"joint": stream, "fine-tuning": stream, "independent": replace(stream, scenario="task")}
        records = {
            arm: run(arms[arm], told[arm], training, replicas=replicas, progress=False) for arm in arms
        }
        reported |= whole({f"{arm}, {where}": record for arm, record in records.items()})
        forward[where] = metrics.forward_transfer(records["joint"].matrix)
        reported[f"{MORE}: joint, {where}"] = records["joint"].matrix[:, -1, 0] - repeated
        for arm in ("joint", "fine-tuning"):
            ahead = learned_faster(records[arm], records["independent"])
            reported[f"lead over a fresh network along the learning curve: {arm}, {where}"] = ahead
    reported |= whole({name: record for name, record in panels.items() if record.matrix.shape[2] > 1})
    for what in ("backward transfer", MORE):
        near, far = (reported[f"{what}: joint, {where}"] for where in streams)
        reported[f"{what}: joint, close rotations minus permutations"] = near - far
    for arm in ("E, ", "E on permutations, "):
        longer = panels[f"{arm}ten times the updates"], panels["E, task 1 only, ten times the updates"]
        reported[f"{MORE}: {arm}ten times the updates"] = (
            longer[0].matrix[:, -1, 0] - longer[1].matrix[:, -1, 0]
        )
    curves = {
        "panels": {name: _panel(record) for name, record in panels.items()},
        "replicas in which it holds": {name: int((v >= 0).sum()) for name, v in margins(panels).items()},
    }
    return Outcome(forward["close rotations"] - forward["permutations"], reported, curves)


def learned_faster(record: Record, fresh: Record) -> np.ndarray:
    """Mean over tasks 2.. of the lead [R] in accuracy over a fresh network, along the updates of the task.

    The learning-efficiency half of forward transfer; both runs are evaluated after the same updates.
    """
    assert record.curve is not None and fresh.curve is not None
    ends, updates = np.cumsum(record.updates), np.array(record.curve_updates)
    leads = []
    for t in range(1, len(ends)):
        during = (updates > ends[t - 1]) & (updates <= ends[t])
        # eq: learning-lead
        leads.append(metrics.learning_efficiency(record.curve[:, during, t], fresh.curve[:, during, t]))
    return np.mean(leads, axis=0)


def margins(panels: dict[str, Record]) -> dict[str, np.ndarray]:
    """What the specification of the five regimes asks [R], written so that it holds where it is >= 0.

    In percentage points; A[i, j] is the accuracy on task j after i tasks. Where more is asked than equality, one
    test image more is.
    """
    A = {name: 100 * record.matrix for name, record in panels.items()}
    backward = {name: 100 * metrics.backward_transfer(panels[name].matrix) for name in "ACDE"}
    alone = A["D, a network for each task"]
    return {
        "A forgets: backward transfer <= -25": -25 - backward["A"],
        "B keeps task 1: A[3, 1] >= 90": A["B"][:, 3, 0] - 90,
        "B does not learn task 2: A[2, 2] <= 25": 25 - A["B"][:, 2, 1],
        "B does not learn task 3: A[3, 3] <= 25": 25 - A["B"][:, 3, 2],
        "C forgets nothing: backward transfer = 0": 0 - np.abs(backward["C"]),
        "D is ahead of a network for each task: A[2, 2] by >= 25": A["D"][:, 2, 1] - alone[:, 2, 1] - 25,
        "D transfers before training: A[1, 2] - A[0, 2] >= 30": A["D"][:, 1, 1] - A["D"][:, 0, 1] - 30,
        "D keeps: |backward transfer| <= 5": 5 - np.abs(backward["D"]),
        "E improves the past: backward transfer >= 3": backward["E"] - 3,
        "E improves task 1: A[3, 1] > A[1, 1]": A["E"][:, 3, 0] - A["E"][:, 1, 0] - HALF_IMAGE,
    }


def _panel(record: Record) -> dict[str, Any]:
    """What a figure draws: the matrix [T+1, T] and the curves [E, T], means and intervals."""
    assert record.curve is not None
    values = np.concatenate([record.matrix[:, :1], record.curve], axis=1)
    return {
        "ends": np.cumsum(record.updates).tolist(),
        "updates": [0, *record.curve_updates],
        "curve": _ends(values),
        "matrix": _ends(record.matrix),
    }


def _ends(values: np.ndarray) -> dict[str, Any]:
    found = np.array(
        [[interval(values[:, i, j]) for j in range(values.shape[2])] for i in range(values.shape[1])]
    )
    return {end: found[..., n].round(4).tolist() for n, end in enumerate(("mean", "low", "high"))}
