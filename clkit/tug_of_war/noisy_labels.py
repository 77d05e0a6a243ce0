"""Memorising wrong labels: test accuracy rises, and falls again (Arpit et al. 2017).

R replicas, E looks. The digits with a share of random labels, for networks of several widths and with drop-out.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from clkit.claims import RESULTS
from clkit.examples import Batch, Examples, Task
from clkit.files import write_text
from clkit.layers import Dropout
from clkit.loop import run
from clkit.method import Method, cross_entropy
from clkit.metrics import bands, interval
from clkit.nets import MLP, Mlp
from clkit.record import versions
from clkit.training import Training
from clkit.tug_of_war import critical_samples
from clkit.tug_of_war.memorization import RandomLabels

SHARES = (0.0, 0.4, 0.8)  # of the training labels, drawn anew
WIDTHS = (20, 100, 200)  # units in each of two hidden layers
RATES = (0.0, 0.25, 0.5)  # of drop-out, at the middle width
UPDATES, EVERY = 8000, 100


@dataclass(kw_only=True, eq=False)
class DropOut(Method):
    """Plain training in which every hidden unit is left out with some probability, anew in each update."""

    rate: float = 0.5  # the probability; 0: plain training
    name: ClassVar[str] = "drop-out"
    listed: ClassVar[bool] = False

    def begin_task(self, task: Task) -> Examples | None:
        assert isinstance(self.net, MLP)
        self.drops = [Dropout(self.rate, self.draws, layer=k) for k in range(len(self.net.body))]
        return None

    def loss(self, batch: Batch) -> Tensor:
        assert isinstance(self.net, MLP)
        x = batch.x.flatten(2)
        for layer, drop in zip(self.net.body, self.drops, strict=True):
            x = drop(torch.relu(layer(x)))  # eq: drop-out
        return cross_entropy(self.net.head(x), batch)


@dataclass
class Held:
    """Observer for `run`: accuracy on all training examples, with the labels they are given, and on validation."""

    stream: RandomLabels
    train: list[Tensor] = field(default_factory=list)  # [R] each
    validation: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def __call__(self, method: Method, updates: int) -> None:
        if not updates:
            data = self.stream.audit(method.draws)[0]
            self.sets = [next(part.chunks(max(part.sizes)))[:2] for part in (data.train, data.validation)]
        for seen, (x, y) in zip((self.train, self.validation), self.sets, strict=True):
            seen.append(_right(method.net, x, y))


def _right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (net(x).argmax(2) == y).double().mean(1)


def stopped(validation: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Test accuracy at the first look with the highest validation accuracy, both [R, E] -> [R].

    The highest *test* accuracy of a run would be chosen with the very images that it is to be judged by.
    """
    return np.take_along_axis(test, validation.argmax(1)[:, None], 1)[:, 0]  # eq: stopped


def sweep(replicas: int, updates: int = UPDATES) -> dict[str, Any]:
    """For each share, width and rate of drop-out: accuracy along training, at the best look, and at the end."""
    arms = [(width, 0.0) for width in WIDTHS] + [(WIDTHS[1], rate) for rate in RATES[1:]]
    return {
        f"{share}, width {width}, drop-out {rate}": one_arm(share, width, rate, replicas, updates)
        for share in SHARES
        for width, rate in arms
    }


def one_arm(share: float, width: int, rate: float, replicas: int, updates: int = UPDATES) -> dict[str, Any]:
    """One share of random labels, width and rate of drop-out: what `sweep` holds of each."""
    guise = RandomLabels(share=share)
    watch = Held(guise)
    training = Training(updates=(updates,), every=EVERY, network=Mlp(hidden=(width, width)))
    record = run(DropOut(rate=rate), guise, training, replicas=replicas, progress=False, observe=watch)
    assert record.curve is not None
    test = record.curve[:, :, 0]
    fitted, validation = (torch.stack(seen[1:], 1).cpu().numpy() for seen in (watch.train, watch.validation))
    best = stopped(validation, test)
    shown = slice(1, None, 2)  # every second look is stored
    return {
        "updates": record.curve_updates[shown],
        "test": bands(test[:, shown]),
        "at the best look": interval(best).to_json(),
        "at the end": interval(test[:, -1]).to_json(),
        "best minus end": interval(best - test[:, -1]).to_json(),
        "update of the best look": interval(EVERY * (1.0 + validation.argmax(1))).to_json(),
        "labels fitted at the end": interval(fitted[:, -1]).to_json(),
    }


def store(replicas: int = 10, folder: Path = RESULTS) -> Path:
    """Run `sweep` and the search for critical samples, and write memorization.json, which the book draws."""
    began = time.perf_counter()
    result = {
        "noisy labels": sweep(replicas),
        "critical samples": critical_samples.along_training(replicas),
        "replicas": replicas,
        "seconds": round(time.perf_counter() - began, 1),
        "versions": versions(),
        "schema": 1,
    }
    return write_text(folder / "memorization.json", json.dumps(result) + "\n")


def stored(folder: Path = RESULTS) -> dict[str, Any]:
    """What `store` wrote."""
    found: dict[str, Any] = json.loads((folder / "memorization.json").read_text())
    return found
