"""The two clocks that the page computes while the reader drags, against numpy and the package's MAML."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from clkit.bowls import Bowl
from clkit.episodes import Episode, Shots
from clkit.meta.maml import MAML
from clkit.replicas import Draws


def task(chance):
    at = [chance.uniform(-3, 3), chance.uniform(-2, 2)]
    steep, flat = chance.uniform(0.5, 1), chance.uniform(0.1, 0.4)
    return {"at": at, "angle": chance.uniform(0, 180), "steep": steep, "flat": flat}


def settings(seed):
    chance = random.Random(seed)
    tasks = [task(chance) for _ in range(chance.choice((3, 4)))]
    start = [chance.uniform(-3, 3), chance.uniform(-2, 2)]
    return {"tasks": tasks, "lr": chance.uniform(0, 0.8), "steps": chance.randint(0, 5), "start": start}


TWENTY = [settings(seed) for seed in range(20)]


def bowl(task):
    c, s = math.cos(math.radians(task["angle"])), math.sin(math.radians(task["angle"]))
    turn = np.array([[c, -s], [s, c]])
    curvature = turn @ np.diag([task["steep"], task["flat"]]) @ turn.T
    return Bowl((curvature + curvature.T) / 2, np.array(task["at"]))


def optimum(bowls, matrices):
    """Where sum_t M_t (w - m_t) = 0."""
    right = sum(m @ b.minimum for b, m in zip(bowls, matrices, strict=True))
    return np.linalg.solve(sum(matrices), right)


def starts(bowls, lr, steps):
    """What the outer losses choose: joint A, MAML M A M, first order A M, with M = (I - lr A)^K."""
    shrink = [np.linalg.matrix_power(np.eye(2) - lr * b.curvature, steps) for b in bowls]
    pairs = [(m, b.curvature) for m, b in zip(shrink, bowls, strict=True)]
    choices = ([a for _, a in pairs], [m.T @ a @ m for m, a in pairs], [a @ m for m, a in pairs])
    return [optimum(bowls, matrices) for matrices in choices]


def close(found, expected):
    return np.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_it_computes_what_numpy_computes_on_twenty_settings(javascript):
    for s, found in zip(TWENTY, javascript("clocks", TWENTY), strict=True):
        bowls, lr, steps = [bowl(task) for task in s["tasks"]], s["lr"], s["steps"]
        paths = [[b.after(k, np.array(s["start"]), lr) for k in range(steps + 1)] for b in bowls]
        chosen = starts(bowls, lr, steps)
        assert close(found["starts"], chosen), s
        assert close(found["paths"], paths), s
        assert close(
            found["losses"], [b.loss(np.array(path)) for b, path in zip(bowls, paths, strict=True)]
        ), s
        assert close(
            found["after"], [np.mean([b.loss(b.after(steps, w, lr)) for b in bowls]) for w in chosen]
        ), s


class Point(nn.Module):
    """The weights themselves are the answer: w [1, 1, 2]."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64)[None, None])

    def forward(self, x):
        return self.w.expand(-1, x.shape[1], -1)


@pytest.mark.parametrize("number", range(5))
def test_at_the_starts_the_outer_gradients_of_the_package_vanish(javascript, number):
    s = TWENTY[number]
    (found,) = javascript("clocks", [s])
    bowls = [bowl(task) for task in s["tasks"]]
    hessian = torch.tensor(np.stack([b.curvature for b in bowls]))
    shots = Shots(
        torch.zeros(len(bowls), 1, 1, dtype=torch.float64),
        torch.tensor(np.stack([b.minimum for b in bowls]))[:, None],
        lambda w, at: ((w - at) @ hessian * (w - at)).sum(-1) / 2,
    )
    for start, steps, first_order in zip(
        found["starts"], (0, s["steps"], s["steps"]), (False, False, True), strict=True
    ):
        learner = MAML(steps=steps, inner_lr=s["lr"], first_order=first_order)
        learner.start(lambda start=start: Point(start), Draws((0,), dtype=torch.float64))
        (gradient,) = torch.autograd.grad(learner.outer_loss(Episode(shots, shots)), learner.parameters())
        assert gradient.abs().max() < 1e-12


def test_numbers_by_hand(javascript):
    # Task 1: minimum (0, 0), curvature 1 across and 0.5 up. Task 2: (2, 2), 0.5 across and 1 up. One step of 0.5
    # shrinks a distance by 0.5 where the curvature is 1 and by 0.75 where it is 0.5. Across, in A: (0 + 0.5 x 2)
    # / 1.5; in M A M: 0.25 of task 1, 0.75 x 0.5 x 0.75 = 0.28125 of task 2, 0.5625 / 0.53125; in A M: 0.5 and 0.375.
    turned = [
        {"at": [0, 0], "angle": 0, "steep": 1, "flat": 0.5},
        {"at": [2, 2], "angle": 90, "steep": 1, "flat": 0.5},
    ]
    (found,) = javascript("clocks", [{"tasks": turned, "lr": 0.5, "steps": 1, "start": [1, 1]}])
    across = [1 / 1.5, 0.5625 / 0.53125, 0.75 / 0.875]
    assert close(found["starts"], [[x, 2 - x] for x in across])
    assert close(found["paths"], [[[1, 1], [0.5, 0.75]], [[1, 1], [1.25, 1.5]]])
    assert close(found["losses"], [[0.75, (0.25 + 0.5 * 0.5625) / 2]] * 2)


def test_without_steps_or_with_equal_shapes_all_starts_are_one(javascript):
    still = [s | {"steps": 0} for s in TWENTY]
    equal = [s | {"tasks": [s["tasks"][0] | {"at": task["at"]} for task in s["tasks"]]} for s in TWENTY]
    for s, found in zip(still + equal, javascript("clocks", still + equal), strict=True):
        assert close(found["starts"], [found["starts"][0]] * 3), s
    for s, found in zip(equal, javascript("clocks", equal), strict=True):  # the mean of the minima
        assert close(found["starts"][1], np.mean([task["at"] for task in s["tasks"]], axis=0))


def test_the_start_of_maml_is_the_best_after_the_steps(javascript):
    # It minimises the mean loss after K steps: no other start is better, and joint is worse on different shapes.
    for s, found in zip(TWENTY, javascript("clocks", TWENTY), strict=True):
        own = np.mean([losses[-1] for losses in found["losses"]])
        assert found["after"][1] <= min(*found["after"], own) + 1e-12
        assert s["steps"] == 0 or found["after"][0] > found["after"][1]
