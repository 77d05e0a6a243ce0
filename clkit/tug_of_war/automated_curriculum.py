"""A bandit that chooses the next task by learning progress (Graves et al. 2017).

The learner is a menu of linear regressions, each with weights of its own. So teaching one changes no other, and
what is left to learn is known exactly. Arrays: R replicas, K tasks, D inputs of the widest, B examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from clkit.errors import ClkitError
from clkit.replicas import generator

Array = NDArray[np.float64]


def policy(weights: Array, epsilon: float) -> Array:
    """pi [..., K], the chance of each task: softmax of the weights, mixed with a share epsilon of all alike."""
    soft = np.exp(weights - weights.max(-1, keepdims=True))
    soft = soft / soft.sum(-1, keepdims=True)
    return (1 - epsilon) * soft + epsilon / weights.shape[-1]  # eq: bandit-policy


def rescale(signal: Array, history: Array) -> Array:
    """The reward [R], from -1 to 1: where the signal [R] lies between the 20 and 80 % quantiles of [R, n].

    0 where the quantiles are equal: nothing can be said of more or less. Departs: the paper keeps a sample of
    the history (a reservoir), we keep all of it, and each task costs the same time, so we do not divide by it.
    """
    low, high = np.quantile(history, (0.2, 0.8), axis=-1)
    spread = np.where(high > low, high - low, 1)
    reward = np.clip(2 * (signal - low) / spread - 1, -1, 1)  # eq: bandit-reward
    return np.where(high > low, reward, 0)


def keep_zero(signal: Array, history: Array) -> Array:
    """Another reward [R], ours: no progress is reward 0, whatever else has been seen; four fifths lie in (-1, 1)."""
    unit = np.quantile(np.abs(history), 0.8, axis=-1)
    return np.clip(signal / np.where(unit > 0, unit, 1), -1, 1)  # eq: bandit-zero


def exp3s(weights: Array, pi: Array, action: NDArray[np.int64], reward: Array, step: int, lr: float) -> Array:
    """Exp3.S: the log-weights [R, K] after task `action` [R], drawn from pi [R, K], gave `reward` [R].

    step counts from 1; lr is the paper's eta. Everything stays in logarithms, so no weight overflows. The
    paper's bonus beta, 0 there, is left out (Graves et al. 2017, after Auer et al. 2002).
    """
    K = weights.shape[-1]
    chosen = action[:, None] == np.arange(K)
    estimate = np.where(chosen, reward[:, None], 0) / pi  # eq: bandit-estimate
    grown = weights + lr * estimate
    others = np.where(np.eye(K, dtype=bool), -np.inf, grown[:, None, :])  # [R, K, K]: all but itself
    others = np.logaddexp.reduce(others, axis=-1)
    share = 1 / step
    with np.errstate(divide="ignore"):  # at step 1 the first part is e^-inf = 0
        return np.logaddexp(np.log(1 - share) + grown, np.log(share / (K - 1)) + others)  # eq: exp3s


class Gains(NamedTuple):
    """By how much one update lowered three losses of the task taught, each [R]."""

    trained: Array  # on the batch it was made from: the paper's prediction gain, about lr |g|^2
    fresh: Array  # on a second batch of that task: its self-prediction gain
    exact: Array  # on all examples there could be: known in a simulation only


class Teacher(Protocol):
    """Chooses the task of the next update."""

    def policy(self, left: Array) -> Array:
        """left [R, K]: what is left to learn, for those who may know. Returns chances [R, K]."""

    def learn(self, pi: Array, action: NDArray[np.int64], gains: Gains) -> None:
        """What came of the choice."""


class Uniform:
    """Every task with the same chance."""

    def policy(self, left: Array) -> Array:
        return np.full_like(left, 1 / left.shape[1])

    def learn(self, pi: Array, action: NDArray[np.int64], gains: Gains) -> None:
        pass


class Oracle(Uniform):
    """Always the task with most left to learn: a control, for nobody knows it."""

    def policy(self, left: Array) -> Array:
        return np.eye(left.shape[1])[left.argmax(1)]


@dataclass
class Bandit:
    """Exp3.S on a signal of progress."""

    signal: Callable[[Gains], Array]  # of one update, [R]
    lr: float = 0.05  # of the log-weights; eta
    epsilon: float = 0.05  # share of uniform choices
    reward: Callable[[Array, Array], Array] = rescale  # of a signal [R] and its history [R, n]
    weights: Array | None = field(default=None, init=False)  # w [R, K]
    history: Array | None = field(default=None, init=False)  # of signals [R, n]

    def policy(self, left: Array) -> Array:
        self.weights = np.zeros_like(left) if self.weights is None else self.weights
        return policy(self.weights, self.epsilon)

    def learn(self, pi: Array, action: NDArray[np.int64], gains: Gains) -> None:
        assert self.weights is not None, "policy comes first"
        signal = self.signal(gains)
        known = np.empty((len(signal), 0)) if self.history is None else self.history
        self.history = np.column_stack([known, signal])
        reward = self.reward(signal, self.history)
        self.weights = exp3s(self.weights, pi, action, reward, self.history.shape[1], self.lr)


def play(signals: Array, u: Array, lr: float, epsilon: float) -> tuple[Array, NDArray[np.int64]]:
    """Exp3.S without a learner: signals [R, S, K] are what each task would give at each step.

    u [R, S], uniform from 0 to 1, decides the draws. Returns the policies [R, S + 1, K] and the tasks [R, S].
    """
    bandit, none = Bandit(lambda gains: gains.trained, lr, epsilon), np.zeros(len(u))
    pis, actions = [bandit.policy(signals[:, 0])], []
    for step in range(u.shape[1]):
        actions.append(_drawn(pis[-1], u[:, step]))
        heard = signals[np.arange(len(u)), step, actions[-1]]
        bandit.learn(pis[-1], actions[-1], Gains(heard, none, none))
        pis.append(bandit.policy(signals[:, 0]))
    return np.stack(pis, axis=1), np.stack(actions, axis=1)


@dataclass(frozen=True, kw_only=True)
class Menu:
    """Regressions y = w* x + noise, inputs and true weights standard normal, all learners starting at 0."""

    inputs: tuple[int, ...] = (1,) * 8 + (30,) * 2  # of each task
    unlearnable: int = 0  # how many of them, the last, have targets as large, but drawn without the inputs
    noise: float = 0.1  # standard deviation in the targets of the others
    batch: int = 10  # examples of an update
    lr: float = 0.03  # of the learner

    def __post_init__(self) -> None:
        if len(self.inputs) < 2 or not 0 <= self.unlearnable < len(self.inputs):
            raise ClkitError("a menu needs at least two tasks, and one that can be learned.")


class Lessons(NamedTuple):
    """What happens: excess [R, S + 1, K], the loss above the lowest one; actions [R, S], the tasks taught."""

    excess: Array
    actions: NDArray[np.int64]


def teach(menu: Menu, teacher: Teacher, seeds: Sequence[int], steps: int) -> Lessons:
    """Let the teacher choose the task of each update. With the same seeds all teachers meet the same draws."""
    K, D, R = len(menu.inputs), max(menu.inputs), len(seeds)
    used = np.arange(D) < np.array(menu.inputs)[:, None]  # [K, D]
    rules = np.arange(K) < K - menu.unlearnable  # is there a rule to learn?
    spread = np.where(rules, menu.noise, np.sqrt(np.array(menu.inputs)))
    each = [generator(seed, "menu").standard_normal((K, D)) for seed in seeds]
    truth = np.stack(each) * used * rules[:, None]  # [R, K, D]
    draws = [_draws(seed, steps, menu.batch, D) for seed in seeds]
    w, rows = np.zeros_like(truth), np.arange(R)
    excess, actions = np.empty((R, steps + 1, K)), np.empty((R, steps), np.int64)
    excess[:, 0] = _left(w, truth)
    for step in range(steps):
        pi = teacher.policy(excess[:, step])
        u, x, e = (np.stack(parts) for parts in zip(*(draw(step) for draw in draws), strict=True))
        actions[:, step] = action = _drawn(pi, u)
        x = x * used[action][:, None, None]  # [R, 2, B, D]: the batch, and a fresh one
        y = (x @ truth[rows, action][:, None, :, None])[..., 0] + e * spread[action][:, None, None]
        old = w[rows, action]
        new = old - menu.lr * _gradient(old, x[:, 0], y[:, 0])
        w[rows, action] = new
        excess[:, step + 1] = _left(w, truth)
        gain = _loss(old, x, y) - _loss(new, x, y)  # eq: prediction-gain
        true = (excess[:, step] - excess[:, step + 1]).sum(1)
        teacher.learn(pi, action, Gains(gain[:, 0], gain[:, 1], true))
    return Lessons(excess, actions)


def _drawn(pi: Array, u: Array) -> NDArray[np.int64]:
    """One task for each replica: pi [R, K], u [R] -> [R]."""
    return np.minimum((pi.cumsum(1) <= u[:, None]).sum(1), pi.shape[1] - 1)


def _draws(seed: int, steps: int, batch: int, inputs: int) -> Callable[[int], tuple[Any, Any, Any]]:
    """A replica's chance, step by step: which task, inputs of two batches, noise in their targets."""
    made = generator(seed, "lessons")
    u = generator(seed, "choices").random(steps)
    x = made.standard_normal((steps, 2, batch, inputs + 1), dtype=np.float32)
    return lambda step: (u[step], x[step, ..., :-1], x[step, ..., -1])


def _left(w: Array, truth: Array) -> Array:
    """Expected loss above that of the true weights, for standard normal inputs: half their squared distance."""
    return 0.5 * ((w - truth) ** 2).sum(-1)  # eq: menu-excess


def _loss(w: Array, x: Array, y: Array) -> Array:
    """Half the mean square error: w [R, D], x [R, 2, B, D], y [R, 2, B] -> [R, 2]."""
    return 0.5 * (((x @ w[:, None, :, None])[..., 0] - y) ** 2).mean(-1)


def _gradient(w: Array, x: Array, y: Array) -> Array:
    """Of the loss on one batch: x [R, B, D], y [R, B] -> [R, D]."""
    error = (x @ w[..., None])[..., 0] - y
    return (error[:, :, None] * x).mean(1)
