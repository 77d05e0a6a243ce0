"""The seven desiderata of the review's Box 1 as numbers, each with its interval over replicas.

`accuracy` is A [R, T+1, T], fractions: A[r, i, j] = accuracy of replica r on task j after i tasks, row 0
before training. A dense curve is `updates` [E], `values` [R, E, T] (accuracy on each task after so many
updates of the whole run) and `ends` [T] (updates when each task was over). Metrics are fractions unless said
otherwise, one per replica [R]; what a single task cannot show (forgetting, transfer) is NaN there, never 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from clkit.errors import ClkitError

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean over replicas and its interval; low and high are None where there is none (one replica, NaN)."""

    mean: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """{mean, low, high}; a mean that is no number becomes None."""
        return {"mean": self.mean if np.isfinite(self.mean) else None, "low": self.low, "high": self.high}

    def rounded(self, digits: int) -> Interval:
        """The same to so many digits after the point."""
        ends = (None if end is None else round(end, digits) for end in (self.low, self.high))
        return Interval(round(self.mean, digits), *ends)


def interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean +- t(R - 1) sd / sqrt(R) of one value per replica [R] (Student 1908), sd over R - 1.

    It covers initialisation, order and stream draw, not the test sample.
    """
    numbers = _floats(values)
    if numbers.ndim != 1 or not numbers.size or not 0 < level < 1:
        raise ClkitError(f"interval needs values [R], 0 < level < 1; not {numbers.shape} and {level}.")
    if not np.isfinite(numbers).all():
        return Interval(float("nan"), None, None)
    mean, replicas = float(numbers.mean()), numbers.size
    if replicas == 1:
        return Interval(mean, None, None)
    half = float(stdtrit(replicas - 1, (1 + level) / 2) * numbers.std(ddof=1) / np.sqrt(replicas))
    return Interval(mean, mean - half, mean + half)


def difference(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Interval:
    """Paired interval of first minus second, both [R] of the same seeds in the same order."""
    same_shape("a paired difference", first, second)
    return interval(_floats(first) - _floats(second), level)


def bands(values: ArrayLike, digits: int | None = None) -> dict[str, list[float | None]]:
    """Of values [R, E]: {mean, low, high}, each [E], as a figure draws them and JSON holds them; or rounded."""
    found = [interval(column) for column in _floats(values).T]
    ends = [each if digits is None else each.rounded(digits) for each in found]
    return {end: [each.to_json()[end] for each in ends] for end in Interval._fields}


# Desiderata 3, 5 and 6: from the accuracy matrix


def average_accuracy(accuracy: ArrayLike) -> Array:
    """ACC = mean_j A[T, j] (Lopez-Paz and Ranzato 2017)."""
    return matrix_of(accuracy)[:, -1].mean(axis=1)


def learned(accuracy: ArrayLike) -> Array:
    """LA = mean_t A[t, t]: how well each task was known just after it (Riemer et al. 2019)."""
    return _own(matrix_of(accuracy)).mean(axis=1)


def forgetting(accuracy: ArrayLike) -> Array:
    """F = mean over j < T of (max over j <= i < T of A[i, j]) - A[T, j] (Chaudhry et al. 2018, RWalk).

    The maximum leaves the last row out: F < 0 where the last task lifts earlier ones above their best so far.
    Departs: the maximum starts when task j has been learned; theirs takes the rows before it as well.
    """
    after = matrix_of(accuracy)[:, 1:]
    known = np.where(np.tri(after.shape[2], dtype=bool), after, -np.inf)
    best = known[:, :-1].max(axis=1, initial=-np.inf)
    return _mean_of_earlier((best - after[:, -1])[:, :-1])


def backward_transfer(accuracy: ArrayLike) -> Array:
    """BWT = mean over j < T of A[T, j] - A[j, j] (Lopez-Paz and Ranzato 2017).

    It equals -F only where A[j, j] is the best of its column before the last row.
    """
    matrix = matrix_of(accuracy)
    return _mean_of_earlier((matrix[:, -1] - _own(matrix))[:, :-1])


def forward_transfer(accuracy: ArrayLike, *, class_incremental: bool = False) -> Array:
    """FWT = mean over 2 <= t <= T of A[t-1, t] - A[0, t] (Lopez-Paz and Ranzato 2017).

    NaN in the class-incremental scenario, where an unseen class cannot be the answer.
    Departs: the baseline is row 0 of the same seed, not a separate random network.
    """
    matrix = matrix_of(accuracy)
    before = np.diagonal(matrix[:, :-1], axis1=1, axis2=2)  # A[t-1, t]
    gain = _mean_of_earlier((before - matrix[:, 0])[:, 1:])
    return np.full_like(gain, np.nan) if class_incremental else gain


def intransigence(accuracy: ArrayLike, joint: ArrayLike) -> Array:
    """I = mean_t a*[t] - A[t, t] (Chaudhry et al. 2018, RWalk); the smaller, the more plastic.

    a*[t]: accuracy on task t of `joint`, run on tasks 1..t together with as many updates and the same seeds.
    """
    same_shape("intransigence", accuracy, joint)
    return learned(joint) - learned(accuracy)


# Desiderata 3, 4, 5 and 6: from curves


def minimum_accuracy(updates: ArrayLike, values: ArrayLike, ends: ArrayLike) -> Array:
    """min-ACC = mean over j < T of the lowest accuracy on task j after its end (De Lange et al. 2023)."""
    return _mean_of_earlier(_lowest(updates, values, ends)[:, :-1])


def worst_case_accuracy(updates: ArrayLike, values: ArrayLike, ends: ArrayLike) -> Array:
    """WC-ACC = A[T, T] / T + (1 - 1/T) min-ACC (De Lange et al. 2023)."""
    return _lowest(updates, values, ends).mean(axis=1)


def learning_curve_area(updates: ArrayLike, values: ArrayLike, ends: ArrayLike, beta: int = 10) -> Array:
    """LCA = mean over t, b = 0..beta of accuracy on task t after b updates on it (Chaudhry et al. 2019)."""
    steps, curve, over = _dense(updates, values, ends)
    wanted = np.append(0, over[:-1])[:, None] + np.arange(beta + 1)
    if beta < 0 or (wanted > over[:, None]).any() or not np.isin(wanted, steps).all():
        raise ClkitError(f"beta={beta}: the curve must hold updates 0..{beta} of every task; lower beta.")
    rows = np.searchsorted(steps, wanted)  # [T, beta + 1]
    return curve[:, rows, np.arange(len(over))[:, None]].mean(axis=(1, 2))


def learning_efficiency(values: ArrayLike, scratch: ArrayLike) -> Array:
    """Mean of a learning curve [R, E] minus a fresh network's at the same updates; > 0: faster (ours)."""
    same_shape("learning_efficiency", values, scratch)
    return (_floats(values) - _floats(scratch)).mean(axis=1)


def first_reaching(updates: ArrayLike, values: ArrayLike, threshold: ArrayLike) -> Array:
    """First of the `updates` [E] at which `values` [R, E] are >= `threshold` (number or [R]); inf: never."""
    steps, curve = _floats(updates), _floats(values)
    if curve.ndim != 2 or steps.shape != curve.shape[1:] or not curve.size or (np.diff(steps) <= 0).any():
        raise ClkitError(f"need rising updates [E] and values [R, E], not {steps.shape} and {curve.shape}.")
    # the slack: 0.9 * 0.8 is a rounding error above 0.72
    hit = curve >= np.broadcast_to(threshold, len(curve))[:, None] - 1e-12
    return np.where(hit.any(axis=1), steps[hit.argmax(axis=1)], np.inf)


def half_life(updates: ArrayLike, values: ArrayLike, chance: float = 0.0) -> Array:
    """First update at which `values` [R, E] above `chance` are down to half of the first; inf: never."""
    return first_reaching(updates, -_floats(values), -(chance + _floats(values)[:, 0]) / 2)


def recovery_time(updates: ArrayLike, values: ArrayLike, before: ArrayLike, fraction: float = 0.95) -> Array:
    """tau = updates of renewed training until values [R, E] >= fraction * `before` [R]; inf: never (ours)."""
    return first_reaching(updates, values, fraction * _floats(before))


def relative_learning_time(recovery: ArrayLike, scratch: ArrayLike) -> Array:
    """tau / tau_scratch [R], updates to the same accuracy, over those of a fresh network; < 1: faster (ours).

    NaN where the fresh network needs no update or never gets there.
    """
    same_shape("relative_learning_time", recovery, scratch)
    fresh = _floats(scratch)
    known = np.isfinite(fresh) & (fresh > 0)
    return np.divide(_floats(recovery), fresh, out=np.full_like(fresh, np.nan), where=known)


def savings(recovery: ArrayLike, scratch: ArrayLike) -> Array:
    """1 - tau / tau_scratch [R]: the part of the first learning that is spared (Ebbinghaus 1885)."""
    return 1 - relative_learning_time(recovery, scratch)


# Desiderata 1 and 2: from amounts [T] per task, equal for all replicas


def stored_data_saving(bytes_examples: ArrayLike, bytes_data: ArrayLike) -> float:
    """SSS = 1 - min(1, mean_t examples[t] / data[T]), 1 = none is kept (Diaz-Rodriguez et al. 2018).

    examples[t]: bytes of stored examples after task t; data[t]: bytes of all training data up to task t.
    """
    examples = amounts_of("bytes_examples", bytes_examples, zero=True)
    return 1 - min(1.0, float(examples.mean() / amounts_of("bytes_data", bytes_data)[-1]))


def model_size_efficiency(bytes_model: ArrayLike) -> float:
    """MS = min(1, mean_t bytes[1] / bytes[t]), 1 = no growth (Diaz-Rodriguez et al. 2018).

    The model is all that persists but the examples: weights, importances, old copies.
    """
    sizes = amounts_of("bytes_model", bytes_model)
    return min(1.0, float((sizes[0] / sizes).mean()))


def computational_efficiency(flops: ArrayLike, flops_plain: ArrayLike, epsilon: float = 1.0) -> float:
    """CE = min(1, mean_t epsilon plain[t] / flops[t]), 1 = no extra work (Diaz-Rodriguez et al. 2018).

    plain[t]: operations of a forward and backward pass per example of task t; flops[t]: of all that was done.
    """
    return min(
        1.0, epsilon * float((amounts_of("flops_plain", flops_plain) / amounts_of("flops", flops)).mean())
    )


def growth_exponent(amounts: ArrayLike) -> float:
    """a in amount[t] ~ t^a, least squares in logarithms (ours): 0 = constant, 1 = proportional to tasks."""
    sizes = amounts_of("amounts", amounts)
    time = np.log(np.arange(1, len(sizes) + 1))
    time -= time.mean()
    return float(time @ np.log(sizes) / (time @ time)) if len(sizes) > 1 else float("nan")


# Desideratum 7: declared in `needs`, and tested


def boundary_jitter_gap(given: ArrayLike, moved: ArrayLike) -> Array:
    """ACC with true task boundaries minus ACC with announcements off by up to 20 % of a task (ours)."""
    return average_accuracy(given) - average_accuracy(moved)


def ignores_labels(accuracy: ArrayLike, permuted: ArrayLike) -> bool:
    """Does a run with permuted task labels give the same bits? It must where `needs` names none (ours)."""
    return np.array_equal(matrix_of(accuracy), matrix_of(permuted))


def _floats(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def same_shape(what: str, first: ArrayLike, second: ArrayLike) -> None:
    if np.shape(first) != np.shape(second):
        raise ClkitError(f"{what} needs equal seeds and tasks: {np.shape(first)} is not {np.shape(second)}.")


def matrix_of(accuracy: ArrayLike) -> Array:
    matrix = _floats(accuracy)
    if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2] + 1 or not matrix.size:
        raise ClkitError(f"accuracy must be [R, T+1, T], row 0 before training, not {matrix.shape}.")
    wrong = np.argwhere(~((matrix >= 0) & (matrix <= 1)))  # NaN too
    if len(wrong):
        r, i, j = wrong[0]
        raise ClkitError(
            f"accuracy must be fractions 0..1, not {matrix[r, i, j]} (replica {r}, A[{i}, {j + 1}])."
        )
    return matrix


def _own(matrix: Array) -> Array:
    """A[t, t], [R, T]."""
    return np.diagonal(matrix[:, 1:], axis1=1, axis2=2)


def _mean_of_earlier(each: Array) -> Array:
    """Mean over the T - 1 columns, [R]; NaN if there is none."""
    return each.mean(axis=1) if each.shape[1] else np.full(len(each), np.nan)


def _dense(updates: ArrayLike, values: ArrayLike, ends: ArrayLike) -> tuple[Array, Array, Array]:
    steps, curve, over = _floats(updates), _floats(values), _floats(ends)
    shapes = steps.shape, curve.shape, over.shape
    if curve.ndim != 3 or shapes[0] + shapes[2] != curve.shape[1:] or not curve.size:
        raise ClkitError(f"a curve is updates [E], values [R, E, T], ends [T], not {shapes}.")
    if (np.diff(steps) <= 0).any() or (np.diff(over) <= 0).any() or not np.isfinite(curve).all():
        raise ClkitError("a curve needs updates and ends that rise, and values without NaN.")
    if steps[-1] < over[-1]:
        raise ClkitError(f"the curve ends at update {steps[-1]:.0f}, the last task at {over[-1]:.0f}.")
    return steps, curve, over


def _lowest(updates: ArrayLike, values: ArrayLike, ends: ArrayLike) -> Array:
    """[R, T]: the lowest accuracy on each task after its end; of the last task, its last accuracy."""
    steps, curve, over = _dense(updates, values, ends)
    lowest = np.where(steps[:, None] > over, curve, np.inf).min(axis=1)
    lowest[:, -1] = curve[:, -1, -1]
    return lowest


def amounts_of(name: str, amounts: ArrayLike, *, zero: bool = False) -> Array:
    sizes = _floats(amounts)
    good = np.isfinite(sizes) & (sizes >= 0 if zero else sizes > 0)
    if sizes.ndim != 1 or not sizes.size or not good.all():
        raise ClkitError(f"{name} must be {'>= 0' if zero else '> 0'}, one per task, not {sizes.tolist()}.")
    return sizes
