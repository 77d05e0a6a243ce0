"""The order in which the levels of a hierarchy are learned, by a network that is not linear.

Items are one-hot; an item has a feature for every node of a binary tree above it. The network has one hidden ReLU
layer, no biases (an output bias would be a shallow path to the mean), and small initial weights.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clkit.claims import Outcome
from clkit.metrics import first_reaching, interval
from clkit.replicas import Draws
from clkit.tug_of_war.deep_linear import tree

Array = NDArray[np.float64]

DEPTH, HIDDEN, START = 3, 100, 1e-3  # levels below the root, hidden units, initial strength as in deep_linear
LR, UPDATES, EVERY = 0.01, 2000, 2  # of the claim
LEFT = 0.1  # share of its squared error that is left when a level counts as learned


def level_of(depth: int = DEPTH) -> NDArray[np.intp]:
    """The level of each feature of `tree`, 0 for the root."""
    return np.repeat(np.arange(depth + 1), 2 ** np.arange(depth + 1))


def shuffled(features: Tensor, draws: Draws) -> Tensor:
    """[R, items, features]: each feature dealt to other items, by a shuffle of its own: no hierarchy.

    Each feature keeps the number of its items.
    """
    items, count = features.shape
    orders = [draws.permutation("features", items, counter=feature) for feature in range(count)]
    return torch.stack([features[order, feature] for feature, order in enumerate(orders)], dim=2)


def errors(
    draws: Draws, targets: Tensor, updates: int = UPDATES, every: int = EVERY, lr: float = LR
) -> Array:
    """Squared error of each feature over the items, [R, 1 + updates / every, features], along training.

    targets: [R, items, features]. Gradient descent on half the squared error, summed over items and features.
    """
    items, features = targets.shape[1:]
    scale = (2 * START / HIDDEN) ** 0.5
    first, second = (
        draws.normal("first layer", (items, HIDDEN)),
        draws.normal("second layer", (HIDDEN, features)),
    )
    weights = [(scale * part).requires_grad_() for part in (first, second)]
    seen = []
    for update in range(updates + 1):
        error = targets - torch.relu(weights[0]) @ weights[1]  # the items are one-hot: x W1 = W1
        if update % every == 0:
            seen.append(error.detach().square().sum(1))
        if update < updates:
            grads = torch.autograd.grad(error.square().sum() / 2, weights)
            weights = [(w - lr * g).detach().requires_grad_() for w, g in zip(weights, grads, strict=True)]
    return torch.stack(seen, dim=1).numpy()


def left(squares: Array, level: NDArray[np.intp]) -> Array:
    """Share of each level's first error that is left, [R, evaluations, levels], from that of each feature."""
    total = np.stack([squares[:, :, level == one].sum(2) for one in np.unique(level)], axis=2)
    return total / total[:, :1]


def times(updates: NDArray[np.integer], shares: Array) -> Array:
    """First of the updates at which a level is learned, [R, levels]."""
    return np.stack([first_reaching(updates, -share, -LEFT) for share in np.moveaxis(shares, 2, 0)], axis=1)


def levels_in_turn(replicas: int, seed: int = 0) -> Outcome:
    """Doublings of time from the first level learned to the finest: log2 of the ratio, tree minus shuffled.

    The coarsest level is the root's: a feature that all items have, in both arms.
    """
    draws = Draws(tuple(range(seed, seed + replicas)))
    features, updates = torch.from_numpy(tree(DEPTH)).float(), np.arange(0, UPDATES + 1, EVERY)
    arms = {"tree": features.expand(replicas, -1, -1), "shuffled": shuffled(features, draws)}
    reported, curves, doublings = {}, {"updates": updates[::STORED].tolist()}, {}
    for name, targets in arms.items():
        shares = left(errors(draws, targets), level_of())
        reached = times(updates, shares)
        doublings[name] = np.log2(reached[:, -1] / reached[:, 0])
        reported[f"doublings from the coarsest level to the finest, {name}"] = doublings[name]
        reported[f"replicas that learn the levels in order, {name}"] = (
            (np.diff(reached) > 0).all(1).astype(float)
        )
        for level in range(DEPTH + 1):
            reported[f"updates to learn level {level}, {name}"] = reached[:, level]
        curves[name] = [
            [interval(row).rounded(4) for row in each.T[::STORED]] for each in np.moveaxis(shares, 2, 0)
        ]
    return Outcome(doublings["tree"] - doublings["shuffled"], reported, curves)


STORED = 8  # of the evaluations, every eighth is stored for the figures
