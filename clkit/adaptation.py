"""How well a learner adapts to held-out tasks, each learner with a step size of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from clkit.episodes import Distribution, Episode
from clkit.errors import NonFiniteError
from clkit.schedule import Schedule

if TYPE_CHECKING:
    from clkit.learner import Learner, Weights

CHUNK = 20  # held-out tasks per replica adapted at once


@dataclass(frozen=True)
class Adaptation:
    """Held-out tasks after 0..K inner steps, for each k with the step size that validation tasks chose."""

    grid: tuple[float, ...]  # [G] step sizes tried
    validation: np.ndarray  # [G, R, K+1] loss on validation tasks
    chosen: np.ndarray  # [R, K+1] positions in the grid
    loss: np.ndarray  # [R, K+1] on test tasks
    metric: np.ndarray  # [R, K+1] on test tasks


def adaptation(learner: Learner, tasks: Distribution, schedule: Schedule) -> Adaptation:
    """Adapt to test tasks, with step sizes chosen on validation tasks from one grid for all learners.

    A control judged with another learner's step size can overshoot or diverge where its own serves it well.
    """
    replicas, steps = learner.draws.replicas, schedule.steps
    validation = np.stack(
        [
            held_out(learner, tasks, lr, steps, schedule.validation_tasks, "validation")[0]
            for lr in schedule.grid
        ]
    )
    chosen = validation.argmin(0)
    chosen[:, 0] = chosen[:, min(1, steps)]  # before the first step all are equal
    test = np.full((2, len(schedule.grid), replicas, steps + 1), np.nan)
    for i in np.unique(chosen):
        test[:, i] = held_out(learner, tasks, schedule.grid[i], steps, schedule.test_tasks, "test")
    loss, metric = np.take_along_axis(test, chosen[None, None], axis=1)[:, 0]
    check_finite(learner, loss, "losses on test tasks")
    return Adaptation(schedule.grid, validation, chosen, loss, metric)


def held_out(
    learner: Learner, tasks: Distribution, lr: float, steps: int, count: int, part: str
) -> np.ndarray:
    """Loss and metric [2, R, K+1] after 0..K inner steps of size `lr`: means over `count` tasks per replica.

    A step that leaves a task's support set worse than it was before the first step is not taken: whoever
    adapts sees such a divergence, and with it one task in hundreds would decide the mean.
    """
    replicas, device = learner.draws.replicas, learner.draws.device
    totals = torch.zeros(2, replicas, steps + 1, dtype=torch.float64, device=device)
    for counter, begin in enumerate(range(0, count, CHUNK)):
        episode = tasks.episode(learner.draws, min(CHUNK, count - begin), counter, part)
        weights = _leaves(learner.adapt(episode.support, 0))
        before = _fit(learner, weights, episode)
        for k in range(steps + 1):
            if k > 0:
                new = _leaves(learner.adapt(episode.support, 1, lr=lr, weights=weights))
                weights = _leaves(_where(_fit(learner, new, episode) <= before, new, weights))
            with torch.no_grad():
                scores = learner.predict(weights, episode.query.x)
                both = torch.stack(
                    [episode.query.loss(scores), tasks.measure(scores, episode.query.y).mean(1)]
                )
            totals[:, :, k] += both.unflatten(1, (replicas, -1)).sum(2)
    return (totals / count).cpu().numpy()


def _leaves(weights: Weights) -> Weights:
    """The same values without the graph behind them."""
    return {name: w.detach().requires_grad_() for name, w in weights.items()}


@torch.no_grad()
def _fit(learner: Learner, weights: Weights, episode: Episode) -> torch.Tensor:
    """Support loss of each task, [R x M]."""
    return episode.support.loss(learner.predict(weights, episode.support.x))


def _where(taken: torch.Tensor, new: Weights, old: Weights) -> Weights:
    """Task by task the new weights or the old ones."""
    return {n: torch.where(taken.view(-1, *[1] * (w.dim() - 1)), new[n], w) for n, w in old.items()}


def check_finite(learner: Learner, values: np.ndarray, what: str) -> None:
    """Raise where a replica's values [R, ...] are no longer numbers."""
    good = np.isfinite(values.reshape(len(values), -1)).all(1)
    if not good.all():
        seeds = [s for s, ok in zip(learner.draws.seeds, good, strict=True) if not ok]
        raise NonFiniteError(
            f"{learner.name}: the {what} of replica(s) with seed {seeds} are not finite. "
            f"Lower the outer step size (lr of the schedule) or a setting: {learner.settings()}."
        )
