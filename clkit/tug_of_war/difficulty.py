"""Easy and hard examples: what each is to a network, and when it learns them.

R replicas, E looks, N training examples. Every run here is stationary: one task, shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor

from clkit.claims import Outcome
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import bands
from clkit.replicas import Draws
from clkit.streams import Stream
from clkit.training import Training
from clkit.tug_of_war.memorization import (
    RandomInputs,
    RandomLabels,
    Shuffled,
    gini,
    sensitivity,
    spread,
    spread_by_chance,
)

KNOWN = 0.2  # an example is known where its residual is smaller
UPDATES, EVERY = 1000, 5  # of a run: 29 passes through the digits; updates between looks
LONG = 12  # times as many updates, until random labels are memorised, too
LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)  # shares of the examples that are right
PARTNER = 10_000  # the seed of a replica's second network, beyond its own


def each_loss(method: Method, x: Tensor, y: Tensor) -> Tensor:
    """-log p(y | x) of each example, x [R, N, ...], y [R, N] -> [R, N]."""
    return F.cross_entropy(method.net(x).transpose(1, 2), y, reduction="none")


def residual(loss: Tensor) -> Tensor:
    """1 - p(y | x) from -log p(y | x); without the digits that 1 - exp loses near 0."""
    return -torch.expm1(-loss)  # eq: residual


def share_held(residuals: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Share of the summed residual that the hardest `share` of the examples hold, [..., N] -> [...]."""
    count = round(share * residuals.shape[-1])
    hardest = np.sort(residuals, -1)[..., -count:]
    return hardest.sum(-1) / residuals.sum(-1)  # eq: share-held


def first_learned(right: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """The first of the `updates` [E] at which an example is right, [R, E, N] -> [R, N]; inf: never."""
    return np.where(right.any(1), updates[right.argmax(1)], np.inf)


def learned_for_good(right: np.ndarray, updates: np.ndarray) -> np.ndarray:
    """The first of the `updates` from which on an example stays right, [R, E, N] -> [R, N]; inf: never."""
    kept = np.logical_and.accumulate(right[:, ::-1], axis=1)[:, ::-1]
    return first_learned(kept, updates)


def held_when_right(residuals: np.ndarray, right: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """`share_held` at the first look at which such a share of the examples is right; nan: never.

    residuals and right [R, E, N] -> [R, L], one column for each of the `levels`.
    """
    held, reached = share_held(residuals), right.mean(2)[..., None] >= np.asarray(levels)  # [R, E], [R, E, L]
    first = np.take_along_axis(held, reached.argmax(1), 1)
    return np.where(reached.any(1), first, np.nan)  # eq: held-when-right


@dataclass
class Watch:
    """Observer for `run`: looks at all training examples of the one task, with drop-out off."""

    stream: Stream
    updates: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    correct: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def __call__(self, method: Method, updates: int) -> None:
        if not self.updates:
            self.x, self.y = everything(self.stream, method.draws)
        scores = method.net(self.x)
        self.updates.append(updates)
        self.losses.append(F.cross_entropy(scores.transpose(1, 2), self.y, reduction="none"))
        self.correct.append(scores.argmax(-1) == self.y)

    @property
    def residuals(self) -> np.ndarray:
        """[R, E, N]"""
        return residual(torch.stack(self.losses, 1)).cpu().numpy()

    @property
    def right(self) -> np.ndarray:
        """[R, E, N]"""
        return torch.stack(self.correct, 1).cpu().numpy()


def everything(stream: Stream, draws: Draws) -> tuple[Tensor, Tensor]:
    """All training examples of the first task, x [R, N, ...] and y [R, N]."""
    train = stream.audit(draws)[0].train
    rows = torch.arange(train.sizes[0], device=draws.device).expand(draws.replicas, -1)
    return train.take(rows)[:2]


def learned_early(replicas: int, updates: int = UPDATES) -> Outcome:
    """T4: the first update at which each training example is right; the unit of T5 and W2, known, beside it.

    Reported besides: the share held at equal shares of right examples, from runs `LONG` times as long.
    """
    reported: dict[str, np.ndarray] = {}
    early, curves = {}, dict[str, Any]()
    for guise in (Shuffled(), RandomLabels(), RandomInputs()):
        seen, twin, pulls = _watched(guise, replicas, updates)
        looks, right = np.array(seen.updates), seen.right
        first, stays = first_learned(right, looks), learned_for_good(right, looks)
        tenth, name = updates / 10, guise.name
        early[name] = (first <= tenth).mean(1)
        reported |= {
            f"first learned in the first tenth: {name}": early[name],
            f"learned for good in the first tenth: {name}": (stays <= tenth).mean(1),
            f"right at the end: {name}": right[:, -1].mean(1),
            f"median update first learned: {name}": np.median(np.minimum(first, updates), 1),
            f"99th percentile of the update first learned: {name}": np.quantile(
                np.minimum(first, updates), 0.99, 1
            ),
            f"visits to examples already learned: {name}": _visits_to_learned(first, replicas, updates),
            f"share held by the hardest tenth at the end: {name}": share_held(seen.residuals[:, -1]),
            f"rank correlation of difficulty, two networks: {name}": _agreement(
                seen.residuals, twin.residuals
            ),
            f"the same within a label: {name}": _within(
                seen.residuals, twin.residuals, seen.y[0].cpu().numpy()
            ),
            f"Gini coefficient of loss sensitivity: {name}": gini(np.mean(pulls, 0)),
        }
        curves[name] = {
            "updates": looks.tolist(),
            "first learned": bands(np.stack([(first <= u).mean(1) for u in looks], 1)),
            "learned for good": bands(np.stack([(stays <= u).mean(1) for u in looks], 1)),
            "share held": bands(share_held(seen.residuals)),
        }
        held, at_last = _to_the_end(guise, seen, replicas, updates)
        reported |= {
            f"right at the end of the long run: {name}": at_last,
            f"share held by the hardest tenth at the end of the long run: {name}": held[:, -1],
        }
        reached = np.flatnonzero(np.isfinite(held[:, :-1]).all(0))
        curves[name]["right"] = [LEVELS[k] for k in reached]
        curves[name]["share held when right"] = bands(held[:, reached])
        chances = right_after_one_epoch(guise, replicas)  # [R, S, N]
        reported[f"spread of the share of networks that are right: {name}"] = spread(chances)
        reported[f"the same by chance alone: {name}"] = spread_by_chance(chances)
        times = chances.sum(1)  # [R, N], of S networks
        spread_out = [np.bincount(t, minlength=chances.shape[1] + 1) / len(t) for t in times]
        curves[name]["networks right"] = bands(np.stack(spread_out))
    return Outcome(early["shuffled"] - early["random labels"], reported, curves)


def _watched(guise: Stream, replicas: int, updates: int) -> tuple[Watch, Watch, list[np.ndarray]]:
    """One run of each replica and one of its partner, and the sensitivities [R, N] at every fiftieth update."""
    pulls: list[np.ndarray] = []
    watches = Watch(guise), Watch(guise)

    def look(method: Method, at: int) -> None:
        watches[0](method, at)
        if at % 50 == 0:
            pulls.append(sensitivity(method, watches[0].x, watches[0].y).cpu().numpy())

    training = Training(updates=(updates,), every=EVERY)
    run(Method(), guise, training, replicas=replicas, progress=False, observe=look)
    seeds = range(PARTNER, PARTNER + replicas)
    run(
        Method(),
        guise,
        Training(updates=(updates,), every=50),
        seeds=seeds,
        progress=False,
        observe=watches[1],
    )
    return *watches, pulls


def _to_the_end(guise: Stream, seen: Watch, replicas: int, updates: int) -> tuple[np.ndarray, np.ndarray]:
    """Share held at each of the `LEVELS` and, in the last column, at the end [R, L + 1]; share right at the end [R].

    The run that was seen already, and the same run for longer, at fewer looks.
    """
    watch = Watch(guise)
    training = Training(updates=(LONG * updates,), every=updates // 10)
    run(Method(), guise, training, replicas=replicas, progress=False, observe=watch)
    later = np.array(watch.updates) > updates
    residuals = np.concatenate([seen.residuals, watch.residuals[:, later]], 1)
    right = np.concatenate([seen.right, watch.right[:, later]], 1)
    held = held_when_right(residuals, right, LEVELS)
    return np.column_stack([held, share_held(residuals[:, -1])]), right[:, -1].mean(1)


def _visits_to_learned(first: np.ndarray, replicas: int, updates: int) -> np.ndarray:
    """Share of the visits that came to an example which had been right before, [R]."""
    batch, size = Training().batch, first.shape[1]
    order = Draws(tuple(range(replicas))).shuffles("order", [size] * replicas, updates * batch, 0).numpy()
    return (np.take_along_axis(first, order, 1) <= np.arange(updates * batch) // batch).mean(1)


def _agreement(mine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation [R] of the mean residuals along training, [R, E, N] each."""
    ranks = (rankdata(r.mean(1), axis=1) for r in (mine[:, :: 50 // EVERY], other))
    a, b = (r - r.mean(1, keepdims=True) for r in ranks)
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


def _within(mine: np.ndarray, other: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The same among the examples of each label alone, where the frequency of the labels cannot act.

    labels [N]; the mean over the labels, each with as much weight as it has examples.
    """
    counts = np.bincount(labels)
    each = [_agreement(mine[..., labels == c], other[..., labels == c]) for c in range(len(counts))]
    return np.average(each, axis=0, weights=counts)  # eq: within-label


def right_after_one_epoch(guise: Stream, replicas: int, networks: int = 20) -> np.ndarray:
    """[R, S, N]: is network s of replica r right on the example, after one pass through the data?"""
    watch = Watch(guise)
    passes = Training(epochs=1, every=round(len(guise.source(0).train) / Training().batch))
    run(Method(), guise, passes, seeds=range(replicas * networks), progress=False, observe=watch)
    return watch.right[:, -1].reshape(replicas, networks, -1)
