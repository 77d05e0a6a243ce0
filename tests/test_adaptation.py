"""Held-out tasks: step sizes are chosen on validation tasks, and a divergence that shows is not taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from clkit.adaptation import CHUNK, adaptation, held_out
from clkit.episodes import Distribution, Episode, Shots, Sinusoids
from clkit.learner import JointPretraining
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.schedule import Schedule


class Point(nn.Module):
    """One weight per replica, 0 at first; every input is answered with it."""

    def __init__(self, replicas):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(replicas, 1, 1, dtype=torch.float64))

    def forward(self, x):
        return self.w.expand(-1, x.shape[1], -1)


@dataclass(frozen=True, kw_only=True)
class Parabolas(Distribution):
    """Loss (A/2) (w - c)^2 with curvature A and targets 1 (support) and `query`; A depends on the part."""

    validation: float = 1.0
    test: float = 1.0
    query: float = 1.0
    metric: ClassVar[str] = "loss"
    shape: ClassVar[tuple[int, ...]] = (1,)

    def rule(self):
        return scenario("domain", (1,))

    def measure(self, scores, y):
        return -(scores - y).square().sum(-1)

    def episode(self, draws, tasks, counter, part="train"):
        curvature = {"validation": self.validation, "test": self.test}[part]
        x = torch.zeros(draws.replicas * tasks, 1, 1, dtype=draws.dtype)

        def error(scores, y):
            return curvature / 2 * (scores - y).square().sum(-1)

        return Episode(Shots(x, x + 1, error), Shots(x, x + self.query, error))


def started(replicas=2):
    learner, draws = JointPretraining(), Draws(tuple(range(replicas)), dtype=torch.float64)
    learner.start(lambda: Point(replicas), draws)
    return learner


def test_steps_by_hand():
    # A = 1, w = 0: each step of size 1/2 halves the distance 1 to the target: losses 1/2, 1/8, 1/32.
    loss, metric = held_out(started(), Parabolas(), 0.5, 2, 3, "test")
    assert np.allclose(loss, [[1 / 2, 1 / 8, 1 / 32]] * 2, rtol=1e-12)
    assert np.allclose(metric, [[-1, -1 / 4, -1 / 16]] * 2, rtol=1e-12)  # distances squared


def test_a_step_that_worsens_the_support_set_is_not_taken():
    # Steps of size 3 on A = 1 go from 0 to 3: the support loss grows from 1/2 to 2, so the task stays at 0.
    loss, _ = held_out(started(), Parabolas(query=2.0), 3.0, 4, 1, "test")
    assert np.allclose(loss, 2.0)  # (0 - 2)^2 / 2 throughout, though 3 would have been nearer to 2
    # Step size 2 on A = 1 goes to and fro between 0 and 2 and leaves the support loss as it was: it is taken.
    loss, _ = held_out(started(), Parabolas(query=2.0), 2.0, 2, 1, "test")
    assert np.allclose(loss, [2.0, 0.0, 2.0])


def test_the_step_size_is_chosen_on_validation_tasks():
    # Validation (A = 1) is solved by a step of 1. On test tasks (A = 2) that steps from 0 to 2 and gains
    # nothing, while 1/2 would solve them: choosing on test tasks would give 0.
    schedule = Schedule(steps=1, grid=(0.5, 1.0, 3.0), validation_tasks=2, test_tasks=2)
    found = adaptation(started(), Parabolas(test=2.0), schedule)
    assert found.validation.shape == (3, 2, 2)
    assert np.allclose(found.validation[:, 0], [[0.5, 0.125], [0.5, 0.0], [0.5, 0.5]])
    assert (found.chosen == 1).all()
    assert np.allclose(found.loss, 1.0) and np.allclose(found.metric, -1.0)


def test_every_number_of_steps_has_its_own_step_size():
    # Support target 1, query target 3/2, A = 1: a step of 1.5 goes to w = 1.5, exactly right; two go to 0.75.
    # Two steps of 0.5 end at 0.75 as well, two of 0.9 at 0.99, nearest to 1.5.
    schedule = Schedule(steps=2, grid=(0.5, 0.9, 1.5), validation_tasks=1, test_tasks=1)
    found = adaptation(started(), Parabolas(query=1.5), schedule)
    assert found.chosen.tolist() == [[2, 2, 1]] * 2
    assert np.allclose(found.loss, [[1.125, 0.0, (1.5 - 0.99) ** 2 / 2]] * 2)


def test_chunks_are_means_over_all_tasks():
    # 30 tasks in chunks of 20 and 10 weigh alike: compare with the two parts drawn by hand.
    tasks, draws, learner = Sinusoids(), Draws((0, 1), dtype=torch.float64), JointPretraining()
    learner.start(Build(Mlp(hidden=(4,)), tasks.shape, tasks.rule(), draws), draws)
    loss, _ = held_out(learner, tasks, 0.01, 0, CHUNK + 10, "test")
    each = []
    for counter, count in enumerate((CHUNK, 10)):
        query = tasks.episode(draws, count, counter, "test").query
        each.append(query.loss(learner.predict(learner.expand(2 * count), query.x)).detach().view(2, count))
    assert np.allclose(loss[:, 0], torch.cat(each, 1).mean(1).numpy(), rtol=1e-12)


def test_adaptation_leaves_the_slow_weights_alone():
    learner = started()
    held_out(learner, Parabolas(), 0.5, 2, 3, "test")
    assert torch.equal(learner.net.w.detach(), torch.zeros(2, 1, 1, dtype=torch.float64))
    assert learner.net.w.grad is None
