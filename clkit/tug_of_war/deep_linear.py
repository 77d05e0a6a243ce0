"""Exact dynamics of learning in deep linear networks (Saxe, McClelland and Ganguli 2014).

The network answers W2 W1 x. Its inputs are white (here one-hot), so all that it learns from is the correlation
S = U diag(s) V^T [features, items] of outputs with inputs. The strength of mode k is u_k^T W2 W1 v_k: 0 when
nothing is known of it, s_k when it is learned. Time t is updates times learning rate (the paper's tau = 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clkit import data
from clkit.claims import Outcome
from clkit.metrics import Interval, interval
from clkit.replicas import Draws

Array = NDArray[np.floating]

START, HIDDEN, LR, UPDATES, EVERY = 1e-3, 100, 0.002, 6000, 20  # of the claim; START: mean initial strength


def tree(depth: int = 3) -> Array:
    """Features [2^depth items, 2^(depth + 1) - 1 nodes] of a binary tree, 0 or 1, the coarsest first.

    An item, a leaf, has one feature for each node on its way to the root, both ends included.
    """
    levels = [np.repeat(np.eye(2**level), 2 ** (depth - level), axis=0) for level in range(depth + 1)]
    return np.concatenate(levels, axis=1)


def strength(s: Array, a0: Array, t: Array) -> Array:
    """Strength of a mode at time t, two layers, decoupled and balanced start (Saxe et al. 2014)."""
    return s / (1 + (s / a0 - 1) * np.exp(-2 * s * t))  # eq: mode-strength


def half_time(s: Array, a0: Array) -> Array:
    """When half of the mode is learned: `strength` = s / 2, solved for t."""
    return np.log(s / a0 - 1) / (2 * s)  # eq: mode-half-time


def shallow_strength(s: Array, a0: Array, t: Array) -> Array:
    """The same for one layer, y = W x: every mode closes its gap at the same rate, whatever its s."""
    return s + (a0 - s) * np.exp(-t)  # eq: shallow-strength


def pulls(weights: Sequence[Array], correlation: Array) -> list[Array]:
    """Minus the gradient of 1/2 |S - W|^2, W = W1 or W2 W1, for each matrix."""
    if len(weights) == 1:
        return [correlation - weights[0]]
    first, second = weights
    error = correlation - second @ first
    return [second.swapaxes(-1, -2) @ error, error @ first.swapaxes(-1, -2)]  # eq: deep-linear-pulls


def train(
    weights: Sequence[Array], correlation: Array, lr: float, updates: int, every: int
) -> tuple[list[Array], Array]:
    """Gradient descent on all items at once; the last weights, and the maps W seen [1 + updates / every, R, ...].

    weights: [R, features, items] for one layer; [R, hidden, items] and [R, features, hidden] for two.
    """
    now, seen = list(weights), []
    for update in range(updates + 1):
        if update % every == 0:
            seen.append(now[0] if len(now) == 1 else now[1] @ now[0])
        if update < updates:
            now = [w + lr * pull for w, pull in zip(now, pulls(now, correlation), strict=True)]
    return now, np.stack(seen)


def modes(correlation: Array) -> tuple[Array, Array, Array]:
    """U [features, K], s [K] falling, V [items, K] of the correlation."""
    u, s, v = np.linalg.svd(correlation, full_matrices=False)
    return u, s, v.T


def groups(s: Array) -> list[NDArray[np.intp]]:
    """Positions of equal singular values: only their sum of strengths does not depend on the choice of U and V."""
    return [np.flatnonzero(np.isclose(s, value)) for value in np.unique(s.round(6))[::-1]]


def strengths(maps: Array, correlation: Array) -> Array:
    """Mean strength of each group of equal modes [..., groups] in the maps W [..., features, items]."""
    u, s, v = modes(correlation)
    each = np.einsum("fk,...fi,ik->...k", u, maps, v)
    return np.stack([each[..., group].mean(-1) for group in groups(s)], axis=-1)


def decoupled(correlation: Array, a0: float, hidden: int, rank: int | None = None) -> list[Array]:
    """W1, W2 of one replica: the `rank` strongest modes at strength a0, each with a hidden unit of its own."""
    u, s, v = modes(correlation)
    units = np.eye(hidden)[:, : rank or len(s)]
    u, v = u[:, : units.shape[1]], v[:, : units.shape[1]]
    return [np.sqrt(a0) * (units @ v.T)[None], np.sqrt(a0) * (u @ units.T)[None]]


def random_start(draws: Draws, correlation: Array, a0: float, hidden: int) -> list[Array]:
    """W1, W2 of independent normal numbers, whose modes start at the mean strength a0 (`starting`)."""
    scale = np.sqrt(2 * a0 / hidden)
    features, items = correlation.shape
    first, second = (draws.normal(name, shape) for name, shape in _layers(features, hidden, items))
    return [scale * first.numpy(), scale * second.numpy()]


def _layers(features: int, hidden: int, items: int) -> tuple[tuple[str, tuple[int, int]], ...]:
    return ("first layer", (hidden, items)), ("second layer", (features, hidden))


def starting(weights: Sequence[Array], correlation: Array) -> list[Array]:
    """Initial strengths a0 of a coupled start, a list over groups of [R, size], from W1 and W2 alone.

    While little is learned, mode k obeys dp/dt = s q, dq/dt = s p with p = W1 v_k and q = W2^T u_k. Their half sum
    grows, their half difference dies out; so a0 is the squared length of the half sum. Among equal modes it is
    the eigenvalues of the half sums' Gram matrix, which no choice of U and V changes.
    """
    first, second = weights
    u, s, v = modes(correlation)
    grown = (first @ v + (u.T @ second).swapaxes(-1, -2)) / 2  # [R, hidden, K]  # eq: growing-half
    gram = grown.swapaxes(-1, -2) @ grown
    return [np.linalg.eigvalsh(gram[:, group][:, :, group]) for group in groups(s)]


def crossing(times: Array, values: Array, level: float) -> Array:
    """When rising `values` [E, R] reach `level`, between two evaluations by a straight line; [R]."""
    after = np.maximum(1, (values >= level).argmax(0))
    low, high = (np.take_along_axis(values, n[None], 0)[0] for n in (after - 1, after))
    return times[after - 1] + (times[after] - times[after - 1]) * (level - low) / (high - low)


def closed_form(replicas: int, seed: int = 0) -> Outcome:
    """The tree of eight items, from small random weights: how far measured strengths are from `strength`.

    The initial strength that goes into the closed form is read off the initial weights (`starting`); nothing is
    fitted. The effect is the largest gap over groups of modes and times, as a share of the mode: that of a shallow
    network, which starts from the same map W2 W1 with the same learning rate, minus that of the deep one.
    """
    draws = Draws(tuple(range(seed, seed + replicas)), dtype=torch.float64)
    correlation = tree().T
    sizes = modes(correlation)[1]
    s, times = np.array([sizes[group[0]] for group in groups(sizes)]), LR * np.arange(0, UPDATES + 1, EVERY)
    start = random_start(draws, correlation, START, HIDDEN)
    weights, maps = train(start, correlation, LR, UPDATES, EVERY)
    shallow = train([start[1] @ start[0]], correlation, LR, UPDATES, EVERY)[1]
    begun = starting(start, correlation)
    predicted = _predicted(s, begun, times)
    found = {"deep": strengths(maps, correlation), "shallow": strengths(shallow, correlation)}
    gaps = {name: (np.abs(each - predicted) / s).max((0, 2)) for name, each in found.items()}
    balance = [start[0] @ start[0].swapaxes(1, 2) - start[1].swapaxes(1, 2) @ start[1]]
    balance.append(weights[0] @ weights[0].swapaxes(1, 2) - weights[1].swapaxes(1, 2) @ weights[1])
    reported = {f"largest gap, {name}": gap for name, gap in gaps.items()}
    reported["largest gap, shallow with its own best time scale"] = _rescaled(
        found["shallow"], s, begun, times
    )
    reported["drift of the conserved difference"] = np.abs(balance[1] - balance[0]).max((1, 2))
    for k, value in enumerate(s):
        for name, each in (found | {"predicted": predicted}).items():
            reported[f"half-time of s = {value:.2f}, {name}"] = crossing(times, each[:, :, k], value / 2)
    curves = {name: _bands(each) for name, each in (found | {"predicted": predicted}).items()}
    shown = {"times": times[STORED].round(4).tolist(), "singular values": s.tolist()}
    return Outcome(gaps["shallow"] - gaps["deep"], reported, shown | curves)


def whitened(x: Array) -> Array:
    """Examples [N, D] -> [N, K] of mean 0 and covariance 1; directions in which they do not differ are left out."""
    left, sizes, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return np.sqrt(len(x)) * left[:, sizes > 1e-6 * sizes[0]]


def digits() -> tuple[Array, Array]:
    """Whitened training images [N, K] of the digits, and their labels [N, 10]: one-hot, less the mean, scaled.

    Their correlation is labels.T @ images / N. The scale makes its strongest mode as strong as that of `tree`, so
    that the settings of the claim serve here too; ours.
    """
    known = data.load("digits")
    images = whitened((known.x[known.train].flatten(1) * known.scale).double().numpy())
    labels = np.eye(10)[known.y[known.train].numpy()]
    labels -= labels.mean(0)
    strongest = modes(labels.T @ images / len(images))[1][0]
    return images, labels * modes(tree().T)[1][0] / strongest


def on_digits(replicas: int, seed: int = 0) -> dict[str, Array]:
    """The nine modes of whitened digits against the closed form.

    Ten labels that sum to 0 make nine modes. "gap, ...": largest, as a share of the mode, from a decoupled start [1]
    and from random weights [R]; "half-times" from random weights [R, 9]; "singular values" [9].
    """
    images, labels = digits()
    correlation, kinds = labels.T @ images / len(images), labels.shape[1] - 1
    s, times = modes(correlation)[1][:kinds], LR * np.arange(0, UPDATES // 3 + 1, EVERY)
    draws = Draws(tuple(range(seed, seed + replicas)), dtype=torch.float64)
    starts = {
        "decoupled": decoupled(correlation, START, HIDDEN, kinds),
        "random": random_start(draws, correlation, START, HIDDEN),
    }
    found: dict[str, Array] = {"singular values": s}
    for name, start in starts.items():
        seen = strengths(train(start, correlation, LR, UPDATES // 3, EVERY)[1], correlation)[..., :kinds]
        gap = np.abs(seen - _predicted(s, starting(start, correlation)[:kinds], times)) / s
        found[f"gap, {name}"] = gap.max((0, 2))
    found["half-times"] = np.stack([crossing(times, seen[:, :, k], s[k] / 2) for k in range(kinds)], axis=1)
    return found


STORED = slice(0, 151, 2)  # evaluations stored for the figures: every second up to time 6


def _predicted(s: Array, begun: list[Array], times: Array) -> Array:
    """[E, R, groups]: the closed form, its mean over equal modes."""
    each = [strength(value, a0, times[:, None, None]).mean(-1) for value, a0 in zip(s, begun, strict=True)]
    return np.stack(each, axis=-1)


def _rescaled(shallow: Array, s: Array, begun: list[Array], times: Array) -> Array:
    """The shallow network's largest gap if its time may run slower by the one factor that suits it best [R]."""
    gaps = [np.abs(shallow - _predicted(s, begun, factor * times)) / s for factor in np.geomspace(1, 10, 91)]
    return np.stack([gap.max((0, 2)) for gap in gaps]).min(0)


def _bands(values: Array) -> list[list[Interval]]:
    """[E, R, groups] -> for each group (mean, low, high) at the stored times."""
    return [[interval(row).rounded(4) for row in values[STORED, :, k]] for k in range(values.shape[2])]
