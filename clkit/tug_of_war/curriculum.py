"""Curriculum learning: easy examples first (Bengio et al. 2009).

An order of the training set and a window on it: update n draws its batch, all alike likely, from the places
low[n] to high[n] of the sorted examples, as shares of them. A curriculum opens the window and closes it nowhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clkit import data
from clkit.claims import RESULTS
from clkit.errors import ClkitError, counted
from clkit.files import write_text
from clkit.nets import Build, Mlp
from clkit.record import versions
from clkit.replicas import Draws, generator
from clkit.scenario import scenario

Array = NDArray[np.float64]


class Window(NamedTuple):
    """Shares of the sorted training set, from 0 to 1, for each update [S]."""

    low: Array
    high: Array


def growing(updates: int, start: float = 0.2) -> Window:
    """From the first `start` of the examples to all of them, at an even pace: a curriculum."""
    pace = np.arange(updates) / max(1, updates - 1)  # lambda
    return Window(np.zeros(updates), start + (1 - start) * pace)  # eq: curriculum-pace


def whole(updates: int) -> Window:
    """All examples from the first update on: the order is without effect."""
    return Window(np.zeros(updates), np.ones(updates))


def in_turn(updates: int, blocks: int = 10) -> Window:
    """One block of the examples after the other, none of which comes back: not a curriculum."""
    block = np.arange(updates) * blocks // updates
    return Window(block / blocks, (block + 1) / blocks)


def joining(updates: int, blocks: int = 10) -> Window:
    """One block after the other joins, and stays."""
    return in_turn(updates, blocks)._replace(low=np.zeros(updates))


def weights(window: Window, examples: int) -> Array:
    """W [S, N], 0 or 1: may the example at each place of the order be drawn? (Bengio et al. 2009)"""
    place = (np.arange(examples) + 0.5) / examples
    inside = (window.low[:, None] <= place) & (place < window.high[:, None])  # eq: curriculum-weight
    return inside.astype(np.float64)


def entropy(W: Array) -> Array:
    """H [S] of the distribution Q that a draw has, proportional to W [S, N], in nats."""
    Q = W / W.sum(-1, keepdims=True)
    return -(Q * np.log(np.where(Q > 0, Q, 1))).sum(-1)  # eq: curriculum-entropy


def is_curriculum(W: Array) -> bool:
    """Do the entropy of Q and every single weight never fall? (after Bengio et al. 2009)

    Departs: in the paper the entropy must rise from stage to stage, we let it stay. So a pool may rest between two
    additions; and all examples from the start, whose entropy never rises, are the border case.
    """
    return bool((np.diff(entropy(W)) >= -1e-9).all() and (np.diff(W, axis=0) >= 0).all())


def batches(order: Tensor, window: Window, draws: Draws, batch: int) -> Tensor:
    """Positions [R, S, B] in the training set. order [R, N] holds positions, the easiest first.

    With the same draws all windows use the same random numbers, so that runs can be compared in pairs.
    """
    u = draws.uniform("curriculum", (len(window.low), batch))  # [R, S, B]
    low, high = (torch.as_tensor(end)[:, None] for end in window)
    place = ((low + u * (high - low)) * order.shape[1]).long().clamp(max=order.shape[1] - 1)
    return order.gather(1, place.flatten(1)).view_as(place)


@dataclass(frozen=True, eq=False)
class Noisy:
    """Images under noise, each with its own level: the more, the harder."""

    x: Tensor  # [R, N, pixels]
    y: Tensor  # [N]
    level: Tensor  # u [R, N], uniform from 0 to 1


def noisy(dataset: str, part: str, draws: Draws, *, most: float = 0.8, limit: int = 0) -> Noisy:
    """The images of `part` ("train" or "test"; the first `limit` of them, 0: all), plus most u times a standard normal.

    Noise and levels are a replica's own, and drawn once: an example is as noisy whenever it is met.
    """
    known = data.load(dataset)
    rows = {"train": known.train, "test": known.test}[part]
    rows = rows[:limit] if limit else rows
    x = known.x[rows].flatten(1) * known.scale
    level = draws.uniform(f"noise level of {part}", (len(rows),)).float()
    noise = draws.normal(f"noise of {part}", tuple(x.shape))
    return Noisy(x + most * level[..., None] * noise, known.y[rows], level)


def by_class(train: Noisy, draws: Draws) -> Tensor:
    """An order [R, N] in which the classes follow each other, in a sequence of each replica's own."""
    classes = int(train.y.max()) + 1
    rank = draws.permutation("sequence of classes", classes)  # [R, C]
    shuffled = draws.permutation("order in a class", len(train.y))
    return shuffled.gather(1, rank[:, train.y].gather(1, shuffled).argsort(dim=1, stable=True))


def train(
    examples: Noisy,
    test: Noisy,
    order: Tensor,
    window: Window,
    draws: Draws,
    *,
    network: Mlp | None = None,  # hidden layers; None: 100 and 100
    batch: int = 32,
    lr: float = 0.05,
    every: int = 50,  # updates from one test to the next
) -> Array:
    """Accuracy on the test examples [R, 1 + S // every], before training and every so many updates of SGD."""
    counted("every", every)
    rule = scenario("domain", (int(examples.y.max()) + 1,))
    net = Build(network or Mlp(), tuple(examples.x.shape[2:]), rule, draws)()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    chosen, rows = batches(order, window, draws, batch), torch.arange(len(order))[:, None]
    found = [_accuracy(net, test)]
    for step in range(len(window.low)):
        index = chosen[:, step]
        scores = net(examples.x[rows, index])
        loss = torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), examples.y[index].flatten(), reduction="sum"
        )
        optimizer.zero_grad()
        (loss / batch).backward()  # a mean for each replica
        optimizer.step()
        if (step + 1) % every == 0:
            found.append(_accuracy(net, test))
    return np.stack(found, axis=1)


def _accuracy(net: torch.nn.Module, test: Noisy) -> Array:
    with torch.no_grad():
        return (net(test.x).argmax(-1) == test.y).double().mean(1).numpy()


def by_difficulty(
    seeds: Sequence[int], updates: int = 600, dataset: str = "digits", limit: int = 0
) -> dict[str, Array]:
    """Accuracy in percent [R, E] of four orders of the same noisy images, at as many updates."""
    draws = Draws(tuple(seeds))
    known, test = noisy(dataset, "train", draws, limit=limit), noisy(dataset, "test", draws, limit=limit)
    easy = known.level.argsort(dim=1)
    arms = {
        "all from the start": (easy, whole(updates)),
        "easy first": (easy, growing(updates)),
        "any first": (draws.permutation("any order", len(known.y)), growing(updates)),
        "hard first": (easy.flip(1), growing(updates)),
    }
    return {name: 100 * train(known, test, *arm, draws) for name, arm in arms.items()}


def in_sequence(
    seeds: Sequence[int], updates: int = 600, dataset: str = "digits", limit: int = 0
) -> dict[str, Array]:
    """The same for orders in which examples stay away again, and for those in which they stay."""
    draws = Draws(tuple(seeds))
    known, test = noisy(dataset, "train", draws, limit=limit), noisy(dataset, "test", draws, limit=limit)
    easy, classes = known.level.argsort(dim=1), by_class(known, draws)
    arms = {
        "all from the start": (easy, whole(updates)),
        "classes join": (classes, joining(updates)),
        "noise levels in turn": (easy, in_turn(updates)),
        "classes in turn": (classes, in_turn(updates)),
    }
    return {name: 100 * train(known, test, *arm, draws) for name, arm in arms.items()}


def store(replicas: int = 40, folder: Path = RESULTS) -> Path:
    """Run `by_difficulty` on the digits with so many seeds, and write curriculum.json, which the book draws."""
    began, found = time.perf_counter(), by_difficulty(range(replicas))
    result = {
        "percent": {name: np.round(values, 6).tolist() for name, values in found.items()},
        "replicas": replicas,
        "seconds": round(time.perf_counter() - began, 1),
        "versions": versions(),
        "schema": 1,
    }
    return write_text(folder / "curriculum.json", json.dumps(result) + "\n")


def stored(folder: Path = RESULTS) -> dict[str, Array]:
    """What `by_difficulty` gave when it was stored: percent [R, E], tested every 50 updates."""
    result = json.loads((folder / "curriculum.json").read_text())
    return {name: np.array(values) for name, values in result["percent"].items()}


class Toy(NamedTuple):
    """Points for a perceptron: x [R, N, D], y [R, N] of -1 and 1, and two scores of difficulty [R, N]."""

    x: Array
    y: Array
    irrelevant: Array  # how many inputs that do not matter are switched on
    margin: Array  # minus the distance to the border: the closer, the harder


def toy(seeds: Sequence[int], examples: int, purpose: str = "train", relevant: int = 10) -> Toy:
    """Sign of a weighted sum of `relevant` inputs in (-1, 1), among as many that do not matter.

    Ours, after a toy problem of the paper: in each example a number of the inputs that do not
    matter, from none to all, is switched on; the others are 0.
    """
    if relevant < 1:
        raise ClkitError("a toy needs at least one input that matters.")
    parts = []
    for seed in seeds:
        truth = generator(seed, "toy rule").standard_normal(relevant)
        draw = generator(seed, f"toy {purpose}")
        x = draw.uniform(-1, 1, (examples, 2 * relevant))
        count = draw.integers(relevant + 1, size=examples)
        x[:, relevant:] *= np.arange(relevant) < count[:, None]
        height = x[:, :relevant] @ truth / np.linalg.norm(truth)
        parts.append((x, np.sign(height), count.astype(float), -np.abs(height)))
    return Toy(*(np.stack(part) for part in zip(*parts, strict=True)))


def perceptron(x: Array, y: Array, score: Array) -> Array:
    """Weights [R, D] after one pass in the order of `score` [R, N], lowest first (Rosenblatt 1958)."""
    order, rows = np.argsort(score, axis=1, kind="stable"), np.arange(len(x))
    w = np.zeros((len(x), x.shape[2]))
    for n in range(x.shape[1]):
        here, label = x[rows, order[:, n]], y[rows, order[:, n]]
        wrong = label * (here * w).sum(1) <= 0
        w += np.where(wrong, label, 0)[:, None] * here  # eq: perceptron
    return w


def toy_error(w: Array, test: Toy) -> Array:
    """Share of test points on the wrong side [R]."""
    return ((test.x @ w[:, :, None])[..., 0] * test.y <= 0).mean(1)
