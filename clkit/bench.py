"""Speed as ratios measured in one run: the kit's whole path against a plain PyTorch loop of one network.

One thread, CPU time, interleaved rounds, so that a busy machine slows both sides alike; the median ratio counts.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from clkit import catalogue
from clkit.episodes import Sinusoids
from clkit.errors import counted
from clkit.learner import Schedule
from clkit.loop import run, take_step
from clkit.meta.maml import MAML
from clkit.method import Method
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.streams import Given, from_arrays, stream
from clkit.training import Training, sgd

Timed = Callable[[], None]
UPDATES = 20  # of MAML in a round


def bench(rounds: int = 9) -> list[dict[str, Any]]:
    """Rows {name, ratio, low, high, bound, direction, holds}; the interval is the median's, by order statistics."""
    counted("rounds", rounds)
    torch.set_num_threads(1)
    rows = []
    groups = [
        _steps(64, 100, 32, 200, (1.4, 3.8)),
        _steps(784, 400, 128, 10, (1.15, 10.5)),
        _maml(),
        _methods(),
    ]
    if torch.cuda.is_available():
        groups.append(_gpu_steps())
    for base, cases, inverted in tqdm(groups, desc="bench", disable=None):
        actions = [base, *(action for _, action, _ in cases)]
        for action in actions:
            action()
        seconds = np.array([[_seconds(action) for action in actions] for _ in range(rounds)])
        for i, (name, _, bound) in enumerate(cases, start=1):
            ratios = seconds[:, 0] / seconds[:, i] if inverted else seconds[:, i] / seconds[:, 0]
            rows.append(_row(name, ratios, bound, ">=" if inverted else "<="))
    rows.append(_row("peak memory of this process, GB", np.array([_peak_gigabytes()]), 1.5, "<="))
    return rows


def _row(name: str, ratios: np.ndarray, bound: float | None, direction: str) -> dict[str, Any]:
    ratio, (low, high) = float(np.median(ratios)), _median_interval(ratios)
    holds = None if bound is None else (ratio <= bound if direction == "<=" else ratio >= bound)
    return {
        "name": name, "ratio": ratio, "low": low, "high": high, "bound": bound, "direction": direction, "holds": holds
    }  # fmt: skip


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of a median: order statistics; the extremes where there are too few values for it."""
    from scipy.stats import binom

    ordered, n = np.sort(values), len(values)
    k = int(binom.ppf(0.025, n, 0.5))
    k = k if binom.cdf(k - 1, n, 0.5) <= 0.025 else k - 1
    return float(ordered[max(k - 1, 0)]), float(ordered[min(n - k, n - 1)])


def _seconds(action: Timed) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def _peak_gigabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _arrays(inputs: int, n: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.random((n, inputs), dtype=np.float32), np.arange(n) % 10


def _task(inputs: int) -> Given:
    x, y = _arrays(inputs)
    return from_arrays([(x, y)], [(x, y)], [(x, y)])


def _plain(inputs: int, hidden: int, batch: int, updates: int, device: str) -> Timed:
    """One network in plain PyTorch: shuffle, gather, forward, backward, step."""
    x, y = (torch.from_numpy(a).to(device) for a in _arrays(inputs))
    layers = [
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    ]
    net = nn.Sequential(*layers).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)

    def action() -> None:
        for u in range(updates):
            start = u * batch % len(y)
            if start == 0:
                order = torch.randperm(len(y), device=device)
            rows = order[start : start + batch]
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()

    return action


def _kit(inputs: int, hidden: int, batch: int, updates: int, replicas: int, device: str) -> Timed:
    """The same through the kit: draws, batches, verbs."""
    given, draws, method = _task(inputs), Draws(tuple(range(replicas)), device), Method()
    data = given.tasks(draws)[0]
    method.start(Build(Mlp(hidden=(hidden, hidden)), given.shape, given.rule(), draws), draws, given.rule())
    optimizer = sgd(method.parameters(), 0.05)

    def action() -> None:
        order = draws.shuffles("order", data.train.sizes, updates * batch)
        for batch_now in data.train.batches(order, batch, given.rule(), 0):
            take_step(method, batch_now, optimizer, 0.0, [])

    return action


Group = tuple[Timed, list[tuple[str, Timed, float | None]], bool]


def _steps(inputs: int, hidden: int, batch: int, updates: int, bounds: tuple[float, float]) -> Group:
    shape = f"{inputs}-{hidden}-{hidden}-10"
    cases: list[tuple[str, Timed, float | None]] = [
        (f"step of {shape}, R = {r}", _kit(inputs, hidden, batch, updates, r, "cpu"), bound)
        for r, bound in zip((1, 10), bounds, strict=True)
    ]
    return _plain(inputs, hidden, batch, updates, "cpu"), cases, False


def _gpu_steps() -> Group:
    def synchronised(action: Timed) -> Timed:
        def both() -> None:
            action()
            torch.cuda.synchronize()

        return both

    cases: list[tuple[str, Timed, float | None]] = [
        (f"step of 64-100-100-10 on CUDA, R = {r}", synchronised(_kit(64, 100, 32, 200, r, "cuda")), bound)
        for r, bound in ((10, 1.3), (100, 3.0))
    ]
    return synchronised(_plain(64, 100, 32, 200, "cuda")), cases, False


def _maml() -> Group:
    """25 sinusoid tasks, one second-order inner step: a plain loop over tasks against tasks as replicas.

    The tasks are drawn before the clock starts, the same for both.
    """
    draws, learner, tasks, schedule = Draws((0,)), MAML(), Sinusoids(), Schedule()
    learner.start(Build(schedule.network, tasks.shape, tasks.rule(), draws), draws)
    optimizer = sgd(learner.parameters(), 0.001)
    sizes = (1, 40, 40, 1)
    weights = [torch.randn(a, b).requires_grad_() for a, b in zip(sizes, sizes[1:], strict=False)]
    biases = [torch.zeros(b, requires_grad=True) for b in sizes[1:]]
    plain_optimizer = torch.optim.SGD([*weights, *biases], lr=1e-6)

    def net(w: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        for i in range(3):
            x = F.linear(x, w[i].T, w[i + 3])
            x = x.relu() if i < 2 else x
        return x

    episodes = [tasks.episode(draws, 25, i) for i in range(UPDATES)]

    def loop() -> None:
        for episode in episodes:
            losses = []
            for t in range(25):
                fast = [*weights, *biases]
                loss = F.mse_loss(net(fast, episode.support.x[t]), episode.support.y[t])
                grads = torch.autograd.grad(loss, fast, create_graph=True)
                fast = [w - 0.003 * g for w, g in zip(fast, grads, strict=True)]
                losses.append(F.mse_loss(net(fast, episode.query.x[t]), episode.query.y[t]))
            plain_optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            plain_optimizer.step()

    def kit() -> None:
        for episode in episodes:
            optimizer.zero_grad()
            learner.outer_loss(episode).sum().backward()
            optimizer.step()

    return loop, [("MAML update over a loop of 25 sinusoid tasks", kit, 8.0)], True


def _methods() -> Group:
    """Two small tasks from start to end, boundaries included, each method on its default stream, over fine-tuning."""
    training = Training(updates=(60, 60))

    def whole(method: Method, scenario: str, name: str) -> Timed:
        length = 5 if name == "split" else 2
        given = stream(name)(scenario=scenario, length=length, limit=(200,) * length, tried=2)
        steps = training if length == 2 else Training(updates=(60,) * length)

        def action() -> None:
            run(method, given, steps, progress=False)

        return action

    cases: list[tuple[str, Timed, float | None]] = []
    for name, cls in catalogue.methods().items():
        if issubclass(cls, Method) and cls is not Method:
            cases.append(
                (f"{name} over fine_tuning, two tasks", whole(cls(), cls.default[1], cls.default[0]), None)
            )
    return whole(Method(), "domain", "rotated"), cases, False
