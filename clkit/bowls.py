"""Losses of a few weights, on which every step of gradient descent can be drawn, and computed in closed form.

Weights are float64 arrays [..., P]; the book draws P = 2. Task 1 is the old task, task 2 the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clkit.errors import ClkitError, counted, positive

Array = NDArray[np.float64]
Rule = Callable[[Array], Array]  # weights [..., P] -> direction [..., P], against which the step goes


@dataclass(frozen=True, eq=False)
class Bowl:
    """A quadratic loss, L(w) = 1/2 (w - m)^T A (w - m)."""

    curvature: Array  # A [P, P], the Hessian: symmetric, positive definite
    minimum: Array  # m [P]

    def __post_init__(self) -> None:
        if not np.array_equal(self.curvature, self.curvature.T) or np.linalg.eigvalsh(self.curvature)[0] <= 0:
            raise ClkitError(
                "curvature must be symmetric with positive eigenvalues, else it has no lowest point."
            )

    def loss(self, w: Array) -> Array:
        """L at weights [..., P]."""
        away = w - self.minimum
        return 0.5 * (away * (away @ self.curvature)).sum(-1)  # eq: bowl-loss

    def gradient(self, w: Array) -> Array:
        """A (w - m) at weights [..., P]; its negative is the pull of the task."""
        return (w - self.minimum) @ self.curvature  # eq: bowl-gradient

    def after(self, steps: int, start: Array, lr: float) -> Array:
        """Where gradient descent stands after `steps` updates, without taking them."""
        shrink = np.linalg.matrix_power(np.eye(len(start)) - lr * self.curvature, steps)
        return self.minimum + shrink @ (start - self.minimum)  # eq: bowl-closed-form

    def axis(self) -> float:
        """Direction of the long axis of the ellipses, in degrees from the first weight, 0 to 180 (P = 2)."""
        (a, b), (_, c) = self.curvature
        return float(np.degrees(np.arctan2(2 * b, a - c)) / 2 + 90)  # eq: bowl-axis

    def turned(self, degrees: float) -> Bowl:
        """The same bowl, turned about its minimum, from the first weight towards the second (P = 2)."""
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.array([[cos, -sin], [sin, cos]])
        curvature = turn @ self.curvature @ turn.T  # eq: bowl-turned
        return Bowl((curvature + curvature.T) / 2, self.minimum)

    def stretched(self, power: float) -> Bowl:
        """The same axes and product of curvatures, the ratio of any two raised to `power`: 0 is round, 1 as it is."""
        sizes, axes = np.linalg.eigh(self.curvature)
        middle = np.exp(np.log(sizes).mean())
        curvature = axes @ np.diag(middle * (sizes / middle) ** power) @ axes.T  # eq: bowl-stretched
        return Bowl((curvature + curvature.T) / 2, self.minimum)

    def largest_lr(self) -> float:
        """The step size from which on gradient descent no longer comes to rest."""
        return float(2 / np.linalg.eigvalsh(self.curvature)[-1])  # eq: bowl-largest-lr


@dataclass(frozen=True, eq=False)
class Wells:
    """A loss with several valleys, L(w) = 1/2 rho |w|^2 - sum_j a_j exp(-|w - c_j|^2 / 2 s^2): wells in a wide bowl."""

    centres: Array  # c [J, P]
    depths: Array  # a [J], each > 0
    width: float  # s
    slope: float  # rho, curvature of the wide bowl about zero

    def __post_init__(self) -> None:
        positive("width", self.width)
        positive("slope", self.slope)
        if self.centres.ndim != 2 or self.depths.shape != self.centres.shape[:1] or (self.depths <= 0).any():
            raise ClkitError(
                "centres must be [wells, weights], and depths one number above zero for each well."
            )

    def loss(self, w: Array) -> Array:
        """L at weights [..., P]."""
        return self.slope / 2 * np.square(w).sum(-1) - self._shares(w)[0].sum(-1)  # eq: wells-loss

    def gradient(self, w: Array) -> Array:
        """rho w + sum_j a_j exp(-|w - c_j|^2 / 2 s^2) (w - c_j) / s^2 at weights [..., P]."""
        shares, away = self._shares(w)
        return self.slope * w + (shares[..., None] * away).sum(-2) / self.width**2  # eq: wells-gradient

    def _shares(self, w: Array) -> tuple[Array, Array]:
        """Depth of each well [..., J] as felt at w, and w - c_j [..., J, P]."""
        away = w[..., None, :] - self.centres
        return self.depths * np.exp(-np.square(away).sum(-1) / (2 * self.width**2)), away


def total(*bowls: Bowl) -> Bowl:
    """The sum of bowls: itself a bowl, but for a constant; its minimum is where their pulls cancel."""
    curvature = np.sum([bowl.curvature for bowl in bowls], axis=0)
    pulls = np.sum([bowl.curvature @ bowl.minimum for bowl in bowls], axis=0)
    return Bowl(curvature, np.linalg.solve(curvature, pulls))  # eq: bowls-balance


def descend(rule: Rule, start: ArrayLike, lr: float, steps: int) -> Array:
    """The path [steps + 1, ..., P] of `steps` updates against the direction that the rule gives."""
    positive("lr", lr)
    counted("steps", steps, zero=True)
    path = [np.asarray(start, dtype=np.float64)]
    for _ in range(steps):
        path.append(path[-1] - lr * rule(path[-1]))  # eq: bowl-step
    return np.stack(path)


def visit(bowls: Sequence[Bowl], order: ArrayLike, start: ArrayLike, lr: float) -> Array:
    """The path [steps + 1, R, P] of updates on one task at a time; order [R, steps] numbers the tasks from 0."""
    positive("lr", lr)
    tasks = np.asarray(order)
    path = [np.tile(np.asarray(start, dtype=np.float64), (len(tasks), 1))]
    for present in tasks.T:
        pulls = np.stack([bowl.gradient(path[-1]) for bowl in bowls])  # [tasks, R, P]
        path.append(path[-1] - lr * pulls[present, np.arange(len(tasks))])  # eq: bowls-in-turn
    return np.stack(path)


def spring(curvature: Array, at: Array, strength: float = 1.0) -> Bowl:
    """What EWC adds to the loss of the new task: a pull back to `at`, where the old one ended."""
    positive("strength", strength)
    return Bowl(strength * curvature, at)  # eq: bowl-spring


def project(gradient: Array, reference: Array) -> Array:
    """A-GEM in numpy: takes out of gradients [..., P] what opposes the references, g - (g.r / r.r) r where g.r < 0."""
    inner, square = ((reference * other).sum(-1, keepdims=True) for other in (gradient, reference))
    opposed = (inner < 0) & (square > 0)
    share = np.divide(inner, square, out=np.zeros_like(inner), where=opposed)  # eq: bowl-projection
    return gradient - share * reference


def surgery(one: Array, other: Array) -> Array:
    """PCGrad for two tasks: each gradient [..., P] loses what opposes the other; the sum of both [..., P].

    Yu et al. (2020), algorithm 1: each task is projected against the other's original gradient. For more than
    two tasks, whose order then matters, see `clkit.gradient.pcgrad`.
    """
    return project(one, other) + project(other, one)  # eq: bowl-surgery


def pareto(old: Bowl, new: Bowl, shares: ArrayLike) -> Array:
    """Where (1 - s) L_1 + s L_2 is lowest, for each share s [N] from 0 to 1: weights [N, P].

    There the pulls oppose each other exactly, but at the ends, the minima, where one of them is zero.
    """
    s = np.asarray(shares, dtype=np.float64)[:, None, None]
    curvature = (1 - s) * old.curvature + s * new.curvature
    pulls = (1 - s) * (old.curvature @ old.minimum)[:, None] + s * (new.curvature @ new.minimum)[:, None]
    places = np.linalg.solve(curvature, pulls)[..., 0]  # eq: bowls-pareto
    return np.asarray(places, dtype=np.float64)


def efficiency(gradients: Array) -> Array:
    """|g_1 + ... + g_T| / (|g_1| + ... + |g_T|) of gradients [..., T, P]: [...].

    The share of all pulls that moves the weights: 1 where the tasks pull one way, 0 where their pulls cancel
    (and where nothing pulls). The review says that balanced steps are inefficient; the measure is ours.
    """
    left, spent = _left_and_spent(gradients)
    return np.divide(left, spent, out=np.zeros_like(left), where=spent > 0)  # eq: bowls-efficiency


def efficiency_so_far(gradients: Array) -> Array:
    """The same share of everything pulled along a path so far; gradients [N, T, P] at N places in a row: [N]."""
    left, spent = (np.cumsum(each) for each in _left_and_spent(gradients))
    return np.divide(left, spent, out=np.zeros_like(left), where=spent > 0)  # eq: bowls-efficiency-so-far


def _left_and_spent(gradients: Array) -> tuple[Array, Array]:
    return np.linalg.norm(gradients.sum(-2), axis=-1), np.linalg.norm(gradients, axis=-1).sum(-1)
