"""Relation networks, and the concepts that they discover one after another (Raposo et al. 2017).

The review reads its sentence off learning curves of that paper, whose own subject is the architecture. The scenes
here are ours: six coloured points, and three questions about each scene that are asked at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clkit.layers import Linear
from clkit.metrics import first_reaching, interval
from clkit.replicas import Draws

Array = NDArray[np.float64]

CONCEPTS = (
    "one object",
    "two objects",
    "two objects, and colour",
)  # some x > 0.88; some two nearer than 0.13;
EDGE, NEAR, NEARBY = (
    0.88,
    0.13,
    0.3,
)  # some two of one colour nearer than 0.3. Each holds in about half of the scenes
OBJECTS, COLOURS = 6, 3
HIDDEN, LR, BATCH, TEST = 64, 0.002, 64, 1000  # units per layer of g and f, Adam's step size, scenes
UPDATES, EVERY = 2500, 100
FOUND = 0.75  # balanced accuracy from which a concept counts as found: half way from guessing to always right


class RelationNetwork(nn.Module):
    """f(sum over all ordered pairs i, j of g(o_i, o_j)); g and f have two layers each (Raposo et al. 2017).

    Takes scenes [R, B, objects, numbers], returns scores [R, B, outputs]. The first layer of f starts smaller by the
    number of pairs, so that a sum begins as large as one term.
    """

    def __init__(self, draws: Draws, outputs: int, hidden: int = HIDDEN, objects: int = OBJECTS) -> None:
        super().__init__()
        numbers, pairs = 2 + COLOURS, objects**2
        self.g = nn.ModuleList([Linear(2 * numbers, hidden, draws), Linear(hidden, hidden, draws, counter=1)])
        inner = Linear(hidden, hidden, draws, counter=2, scale=1 / pairs)
        self.f = nn.ModuleList([inner, Linear(hidden, outputs, draws, counter=3)])

    def forward(self, scenes: Tensor) -> Tensor:
        objects = scenes.shape[2]
        first = scenes[:, :, :, None].expand(-1, -1, -1, objects, -1)
        pairs = torch.cat([first, first.transpose(2, 3)], dim=-1).flatten(
            1, 3
        )  # [R, B * objects^2, 2 * numbers]
        for layer in self.g:
            pairs = torch.relu(layer(pairs))
        relations = pairs.unflatten(1, (-1, objects**2)).sum(2)  # eq: relation-sum
        return self.f[1](torch.relu(self.f[0](relations)))


class Plain(nn.Module):
    """The control: an MLP that reads the objects as one list of numbers, with more parameters."""

    def __init__(self, draws: Draws, outputs: int, hidden: int = 100) -> None:
        super().__init__()
        widths = (OBJECTS * (2 + COLOURS), hidden, hidden, outputs)
        pairs = enumerate(zip(widths, widths[1:], strict=False))
        self.layers = nn.ModuleList([Linear(a, b, draws, counter=i) for i, (a, b) in pairs])

    def forward(self, scenes: Tensor) -> Tensor:
        x = scenes.flatten(2)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def scenes(draws: Draws, purpose: str, count: int, counter: int = 0) -> tuple[Tensor, Tensor]:
    """Scenes [R, count, 6, 5]: x, y in 0..1 and a one-hot colour; labels [R, count, 3], 0 or 1."""
    places = draws.uniform(f"{purpose} places", (count, OBJECTS, 2), counter=counter)
    colour = draws.integers(f"{purpose} colours", COLOURS, (count, OBJECTS), counter=counter)
    found = torch.cat([places, nn.functional.one_hot(colour, COLOURS)], dim=-1).to(draws.dtype)
    return found, labels(places, colour)


def labels(places: Tensor, colour: Tensor) -> Tensor:
    """The three concepts [..., 3] of objects at places [..., objects, 2] with colours [..., objects]."""
    i, j = torch.triu_indices(places.shape[-2], places.shape[-2], offset=1)
    distance = (places[..., i, :] - places[..., j, :]).norm(dim=-1)
    same = colour[..., i] == colour[..., j]
    edge = (places[..., 0] > EDGE).any(-1)
    near, nearby = (distance < NEAR).any(-1), (same & (distance < NEARBY)).any(-1)
    return torch.stack([edge, near, nearby], dim=-1).float()


def balanced(scores: Tensor, y: Tensor) -> Array:
    """Balanced accuracy [R, concepts], the mean of those on scenes with and without it; chance is one half."""
    right = ((scores > 0) == (y > 0)).double()
    return sum((right * of).sum(1) / of.sum(1) for of in (y, 1 - y)).numpy() / 2  # type: ignore[union-attr]


def learn(
    network: nn.Module, draws: Draws, concepts: Sequence[int], updates: int = UPDATES, every: int = EVERY
) -> Array:
    """Balanced accuracy on held-out scenes [R, 1 + updates / every, concepts], trained on fresh scenes.

    The loss is the mean over the concepts asked for, one output each.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=LR)
    test, wanted = scenes(draws, "test", TEST)
    seen = []
    for update in range(updates + 1):
        if update % every == 0:
            with torch.no_grad():
                seen.append(balanced(network(test), wanted[..., concepts]))
        if update < updates:
            x, y = scenes(draws, "training", BATCH, update)
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(x), y[..., concepts], reduction="none"
            )
            loss.mean((1, 2)).sum().backward()
            optimizer.step()
    return np.stack(seen, axis=1)


def times(updates: Sequence[int], accuracy: Array) -> Array:
    """First of the updates [E] at which each concept is found [R, concepts]; the last one where it is not.

    accuracy: balanced [R, E, concepts].
    """
    reached = [first_reaching(updates, one, FOUND) for one in np.moveaxis(accuracy, 2, 0)]
    return np.minimum(np.stack(reached, axis=1), updates[-1])


def three_concepts(replicas: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """What T6 reports beside the tree: (reported, curves) of the three concepts.

    Asked together of a relation network and of an MLP; and each asked alone of a relation network, because a concept
    that comes late may just be hard. How late a concept is alone, behind the first one alone, is its intrinsic delay;
    what company adds to this is the rest. All arms of a replica see the same scenes and begin with the same g, so
    they are compared in pairs.
    """
    draws = Draws(tuple(range(replicas)))
    everything = range(len(CONCEPTS))
    alone = [learn(RelationNetwork(draws, 1), draws, [k]) for k in everything]
    arms = {
        "together": learn(RelationNetwork(draws, len(CONCEPTS)), draws, everything),
        "alone": np.concatenate(alone, axis=2),
        "MLP": learn(Plain(draws, len(CONCEPTS)), draws, everything),
    }
    curves: dict[str, Any] = {"scene updates": list(range(0, UPDATES + 1, EVERY))}
    reported, reached = {}, {}
    for arm, accuracy in arms.items():
        reached[arm] = times(curves["scene updates"], accuracy)
        for k, concept in enumerate(CONCEPTS):
            reported[f"balanced accuracy in the end, {concept}, {arm}"] = accuracy[:, -1, k]
            reported[f"updates to find it, {concept}, {arm}"] = reached[arm][:, k]
            found = np.any(accuracy[:, :, k] >= FOUND, axis=1)
            reported[f"replicas that find it, {concept}, {arm}"] = found.astype(float)
            curves[f"{concept}, {arm}"] = [interval(row).rounded(4) for row in accuracy[:, :, k].T]
    late = {arm: reached[arm] - reached[arm][:, :1] for arm in ("alone", "together")}
    lost = arms["alone"][:, -1] - arms["together"][:, -1]
    for k, concept in enumerate(CONCEPTS):
        reported[f"balanced accuracy in the end, {concept}, alone minus together"] = lost[:, k]
        for arm in late:
            reported[f"updates behind the first concept, {concept}, {arm}"] = late[arm][:, k]
        reported[f"updates behind the first concept, {concept}, together minus alone"] = (
            late["together"] - late["alone"]
        )[:, k]
    return reported, curves
