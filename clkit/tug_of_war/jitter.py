"""Task boundaries announced at wrong moments, while the data change at the right ones (desideratum 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from clkit.errors import ClkitError
from clkit.examples import Batch, Examples, Part, Task
from clkit.loop import Shield, evaluate, shielded, take_step
from clkit.method import Method
from clkit.nets import Build
from clkit.replicas import Draws
from clkit.streams import Stream
from clkit.training import Training


def announced(
    method: Method,
    stream: Stream,
    training: Training,
    shifts: Sequence[int],
    *,
    seeds: Sequence[int],
    thin: int = 1,
) -> np.ndarray:
    """Accuracy [R, T+1, T] of a run in which the end of task t is announced `shifts[t]` updates late; < 0: early.

    Data and their order are those of `clkit.run`. A task that is announced as over shows, as its data, the
    examples that were learned from since the last announcement; of every `thin` batches the first, to save time.
    For domain-incremental streams, and optimisers that remember nothing.
    Departs from `clkit.run`, where the shifts are 0: there a task that ends shows its training set, each example
    once; here an example counts as often as it was drawn.

    Args:
        shifts: T - 1 numbers of updates, each smaller than half a task.

    Raises:
        ClkitError: a wrong number of shifts, one too large, a method that looks back at past data or joins
            examples to a task, another scenario.
    """
    draws, rule = Draws(tuple(seeds)), stream.rule()
    tasks = stream.tasks(draws)
    lengths = [training.steps(data, t) for t, data in enumerate(tasks)]
    if len(shifts) != len(tasks) - 1 or 2 * max(map(abs, shifts), default=0) >= min(lengths):
        raise ClkitError(f"shifts must be {len(tasks) - 1} numbers below half of {min(lengths)} updates.")
    if stream.scenario != "domain" or "past data" in method.needs:
        raise ClkitError("use a domain-incremental stream, and a method that does not need past data.")
    # eq: announcements
    ends = [int(end) + shift for end, shift in zip(np.cumsum(lengths), [*shifts, 0], strict=True)]
    method.start(Build(training.network, stream.shape, rule, draws), draws, rule)
    rows, seen = [evaluate(method, tasks, rule, -1)], list[Batch]()
    told, began, done = (
        -1,
        0,
        0,
    )  # the newest task that was announced, and after how many updates; updates so far
    shield: Shield = []
    optimizer = training.optimizer(method.parameters(), training.lr)

    def task(t: int, train: Examples) -> Task:
        return Task(t, rule.own(t), train, tasks[t].validation, lengths[t], training.batch)

    for t, data in enumerate(tasks):
        order = draws.shuffles("order", data.train.sizes, lengths[t] * training.batch, t)
        for batch in data.train.batches(order, training.batch, rule, t):
            if done == (0 if told < 0 else ends[told]):
                if told >= 0:
                    method.end_task(task(told, _together(seen, told)))
                told, began, seen = told + 1, done, []
                if method.begin_task(task(told, tasks[told].train)) is not None:
                    raise ClkitError(
                        f"{method.name} joins kept examples to a task: that is not announced here."
                    )
                shield = shielded(method)
            if len(seen) * thin <= done - began:
                seen.append(batch)
            take_step(method, batch, optimizer, (done - began) / (ends[told] - began), shield)
            done += 1
        rows.append(evaluate(method, tasks, rule, t))
    return np.stack(rows, axis=1)


def _together(batches: list[Batch], t: int) -> Examples:
    """The examples of the batches, in their order, as the training set of task t."""
    x, y = torch.cat([b.x for b in batches], 1), torch.cat([b.y for b in batches], 1)
    index = torch.arange(y.numel()).view(y.shape)
    return Examples([Part(x.flatten(0, 1), index, y, (y.shape[1],) * len(y), t)], x.dtype)
