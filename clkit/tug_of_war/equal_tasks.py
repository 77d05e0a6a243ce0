"""Equally hard tasks that one network learns at the same time, and a staircase of unequal ones.

Each task asks for the parity of three bits that no other task uses; the inputs are random. No task is easier than
another, and all are in every batch. In the staircase the tasks have one bit, two, three and four.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clkit.claims import Outcome
from clkit.layers import Linear
from clkit.metrics import first_reaching, interval
from clkit.replicas import Draws

Array = NDArray[np.float64]

BITS = (3, 3, 3, 3)  # of each task: inputs of 12 bits
STAIRS = (1, 2, 3, 4)  # the same, in the staircase
HIDDEN, LR, BATCH = 128, 0.003, 128  # units of each network, Adam's step size, examples per update
UPDATES, EVERY = 1500, 10  # updates of the claim, updates between evaluations
LEARNED = 0.9  # accuracy from which a task counts as learned


def parities(x: Tensor, bits: Sequence[int] = BITS) -> Tensor:
    """Labels [..., tasks], 0 or 1, of inputs [..., sum of bits] of -1 and 1: is their product in a group -1?"""
    return torch.stack([(part.prod(-1) < 0).to(x.dtype) for part in x.split(list(bits), -1)], dim=-1)


def inputs(count: int = sum(BITS)) -> Tensor:
    """All inputs [2^count, count] of -1 and 1."""
    places = torch.arange(count)
    return 1.0 - 2.0 * ((torch.arange(2 ** len(places))[:, None] >> places) & 1)


def begin(draws: Draws, bits: Sequence[int], hidden: int) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of one network [R, ...] with an output per task, and of a network per task [R * tasks, ...].

    All networks of a replica begin with the same hidden weights, and a task's output with the same weights in both
    arms: what differs is only which losses pull on them.
    """
    tasks = len(bits)
    hid, out = Linear(sum(bits), hidden, draws), Linear(hidden, tasks, draws, counter=1)
    shared = [p.detach() for p in (hid.weight, hid.bias, out.weight, out.bias)]
    own = [p.repeat_interleave(tasks, 0) for p in shared[:2]]
    own += [p.transpose(1, 2).flatten(0, 1)[..., None] for p in shared[2:]]
    return shared, [p.clone() for p in own]


def scores(x: Tensor, weights: list[Tensor]) -> Tensor:
    """[N, B, outputs] of networks with one hidden ReLU layer, on inputs [N, B, inputs]."""
    first, bias, second, shift = weights
    return torch.relu(torch.bmm(x, first) + bias) @ second + shift


def train(
    draws: Draws,
    updates: int = UPDATES,
    every: int = EVERY,
    bits: Sequence[int] = BITS,
    hidden: int = HIDDEN,
    lr: float = LR,
) -> tuple[Array, Array]:
    """Accuracy on all inputs [R, 1 + updates / every, tasks]: shared network, networks of their own.

    Both see the same fresh random inputs. The shared network takes the mean of the tasks' losses.
    """
    shared, own = begin(draws, bits, hidden)
    everything = inputs(sum(bits))
    optimizer = torch.optim.Adam([p.requires_grad_() for p in shared + own], lr=lr)
    seen: tuple[list[Tensor], list[Tensor]] = ([], [])
    for update in range(updates + 1):
        if update % every == 0:
            for found, each in zip(
                seen, answers(everything.expand(draws.replicas, -1, -1), shared, own), strict=True
            ):
                found.append(((each > 0) == (parities(everything, bits) > 0)).double().mean(1))
        if update < updates:
            x = everything[draws.integers("inputs", len(everything), (BATCH,), counter=update)]
            optimizer.zero_grad()
            loss(answers(x, shared, own), parities(x, bits)).backward()
            optimizer.step()
    return torch.stack(seen[0], 1).numpy(), torch.stack(seen[1], 1).numpy()


def answers(x: Tensor, shared: list[Tensor], own: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Scores [R, B, tasks] of both arms on inputs [R, B, bits]."""
    tasks = len(own[0]) // len(x)
    alone = scores(x.repeat_interleave(tasks, 0), own)  # [R * tasks, B, 1]
    return scores(x, shared), alone.squeeze(-1).unflatten(0, (-1, tasks)).transpose(1, 2)


def loss(each: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    """Mean over tasks for the shared network, one loss each for the others; summed over replicas and arms."""
    together, alone = (
        torch.nn.functional.binary_cross_entropy_with_logits(a, y, reduction="none") for a in each
    )
    return together.mean((1, 2)).sum() + alone.mean(1).sum()


def spread(times: Array) -> Array:
    """(Last - first) / mean of the learning times [R, tasks]."""
    return np.ptp(times, axis=1) / times.mean(1)


def times(updates: NDArray[np.integer], accuracy: Array) -> Array:
    """First update at which each task is learned, [R, tasks]; the last update where it is not."""
    reached = [first_reaching(updates, one, LEARNED) for one in np.moveaxis(accuracy, 2, 0)]
    return np.minimum(np.stack(reached, axis=1), updates[-1])


def learned_in_turn(replicas: int) -> Outcome:
    """Spread of the times at which four parities reach 90 % accuracy: one network for all minus one for each.

    Narrower networks are reported beside it. They were looked at after the effect was known and decide nothing.
    """
    draws = Draws(tuple(range(replicas)))
    updates = np.arange(0, UPDATES + 1, EVERY)
    curves: dict[str, Any] = {"updates": updates.tolist()}
    reported, spreads = {}, {}
    for name, accuracy in zip(ARMS, train(draws), strict=True):
        found = times(updates, accuracy)
        spreads[name] = spread(found)
        reported[f"spread of learning times, {name}, {HIDDEN} hidden units"] = spreads[name]
        for place in range(len(BITS)):
            reported[f"updates to learn number {place + 1}, {name}"] = np.sort(found, 1)[:, place]
        order = found.argsort(1, kind="stable")
        ranked = np.take_along_axis(accuracy, order[:, None], 2)  # in the order of learning of each replica
        curves[name] = [
            [interval(row).rounded(4) for row in ranked[:, :, place].T] for place in range(len(BITS))
        ]
    for hidden in NARROW:
        updates = np.arange(0, NARROW_UPDATES + 1, 2 * EVERY)
        arms = train(draws, NARROW_UPDATES, 2 * EVERY, hidden=hidden)
        for name, accuracy in zip(ARMS, arms, strict=True):
            learned = (accuracy >= LEARNED).any(1).sum(1)
            reported[f"spread of learning times, {name}, {hidden} hidden units"] = spread(
                times(updates, accuracy)
            )
            reported[f"tasks learned, {name}, {hidden} hidden units"] = learned.astype(float)
        gap = np.subtract(
            *(reported[f"spread of learning times, {name}, {hidden} hidden units"] for name in ARMS)
        )
        reported[f"spread, shared minus independent, {hidden} hidden units"] = gap
    return Outcome(spreads["shared"] - spreads["independent"], reported | staircase(draws), curves)


def staircase(draws: Draws) -> dict[str, Array]:
    """Updates until each step of the staircase is learned [R]: in one network, in one for each, and the difference.

    Alone, a parity takes as long as it is hard; what the shared network needs beyond that is the price of company.
    """
    updates, reported = np.arange(0, STAIRS_UPDATES + 1, EVERY), {}
    for name, accuracy in zip(ARMS, train(draws, STAIRS_UPDATES, bits=STAIRS), strict=True):
        found = times(updates, accuracy)
        for bits, each, curve in zip(STAIRS, found.T, np.moveaxis(accuracy, 2, 0), strict=True):
            reported[f"updates to learn a parity of {bits}, {name}"] = each
            reported[f"replicas that learn a parity of {bits}, {name}"] = (
                (curve >= LEARNED).any(1).astype(float)
            )
    for bits in STAIRS:
        both = (reported[f"updates to learn a parity of {bits}, {name}"] for name in ARMS)
        reported[f"updates to learn a parity of {bits}, shared minus independent"] = np.subtract(*both)
    return reported


ARMS = ("shared", "independent")
NARROW, NARROW_UPDATES = (64, 32, 16), 4000  # hidden units and updates of the narrower networks
STAIRS_UPDATES = 3000
