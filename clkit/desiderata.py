"""The table of one run: the seven desiderata of the review's Box 1, each by its metrics.

Beside it the forms of Diaz-Rodriguez et al. (2018), which average over the whole accuracy matrix and not over its
last row; the book reports the forms of `clkit.metrics`.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike

from clkit import metrics
from clkit.metrics import amounts_of, interval, matrix_of, same_shape

DESIDERATA = {
    1: "little access to earlier tasks",
    2: "bounded capacity and computation",
    3: "little forgetting and interference",
    4: "fast adaptation and recovery",
    5: "kept plasticity",
    6: "forward and backward transfer",
    7: "no task labels or boundaries",
}
TASK_NEEDS = ("task boundaries", "task labels in training", "task labels at test")


def desiderata(
    accuracy: ArrayLike,
    *,
    needs: Collection[str],  # what the method declares
    interactions: ArrayLike,  # [T] past or stored examples met in the updates of each task
    bytes_kept: ArrayLike,  # [T] of all that persists after each task
    bytes_examples: ArrayLike,  # [T] of these, stored examples
    bytes_data: ArrayLike,  # [T] of all training data up to each task
    flops: ArrayLike,  # [T] spent on each task, its boundary included
    flops_plain: ArrayLike,  # [T] one forward and backward pass per example
    class_incremental: bool = False,
    joint: ArrayLike | None = None,  # accuracy [R, T+1, T] of a joint run with the same seeds
    curve: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,  # updates [E], values [R, E, T], ends [T]
    beta: int | None = None,  # updates per task in the learning curve area; None leaves it out
    relearned: tuple[ArrayLike, ArrayLike] | None = None,  # updates [R] to regain a task; of a fresh network
    moved: ArrayLike | None = None,  # accuracy [R, T+1, T] of a run whose boundaries are told at wrong times
) -> list[dict[str, object]]:
    """The table of one run: rows {number, desideratum, metric, mean, low, high, unit}.

    None where not measured; what all replicas share (bytes, operations, flags) has no low and high.
    """
    for amounts in (interactions, bytes_kept, bytes_examples, bytes_data, flops, flops_plain):
        same_shape("a row of bytes or operations", amounts, matrix_of(accuracy)[0, 0])
    model = np.asarray(bytes_kept) - np.asarray(bytes_examples)
    per_step = amounts_of("flops", flops) / amounts_of("flops_plain", flops_plain)
    none: ArrayLike = [np.nan]
    area = none if curve is None or beta is None else metrics.learning_curve_area(*curve, beta)
    again, fresh = (none, none) if relearned is None else relearned
    gap = none if moved is None else metrics.boundary_jitter_gap(accuracy, moved)
    met = amounts_of("interactions", interactions, zero=True).sum()
    rows: list[tuple[int, str, ArrayLike, str]] = [
        (1, "stored-data saving", [metrics.stored_data_saving(bytes_examples, bytes_data)], "fraction"),
        (1, "interaction count", [met], "examples"),
        (2, "model-size efficiency", [metrics.model_size_efficiency(model)], "fraction"),
        (2, "growth of bytes kept", [metrics.growth_exponent(bytes_kept)], "exponent"),
        (2, "computational efficiency", [metrics.computational_efficiency(flops, flops_plain)], "fraction"),
        (2, "growth of operations per step", [metrics.growth_exponent(per_step)], "exponent"),
        (3, "average accuracy", metrics.average_accuracy(accuracy), "fraction"),
        (3, "forgetting", metrics.forgetting(accuracy), "fraction"),
        (3, "minimum accuracy", none if curve is None else metrics.minimum_accuracy(*curve), "fraction"),
        (
            3,
            "worst-case accuracy",
            none if curve is None else metrics.worst_case_accuracy(*curve),
            "fraction",
        ),
        (4, "learning curve area", area, "fraction"),
        (4, "recovery time", again, "updates"),
        (4, "savings", none if relearned is None else metrics.savings(again, fresh), "fraction"),
        (5, "learned accuracy", metrics.learned(accuracy), "fraction"),
        (5, "intransigence", none if joint is None else metrics.intransigence(accuracy, joint), "fraction"),
        (
            6,
            "forward transfer",
            metrics.forward_transfer(accuracy, class_incremental=class_incremental),
            "fraction",
        ),
        (6, "backward transfer", metrics.backward_transfer(accuracy), "fraction"),
        (7, "boundary-jitter gap", gap, "fraction"),
        *((7, f"needs {need}", [float(need in needs)], "flag") for need in TASK_NEEDS),
    ]
    return [
        {"number": n, "desideratum": DESIDERATA[n], "metric": metric, **interval(v).to_json(), "unit": unit}
        for n, metric, v, unit in rows
    ]


def remembering(accuracy: ArrayLike) -> metrics.Array:
    """REM = 1 - |min(BWT, 0)|: 1 = nothing was lost (Diaz-Rodriguez et al. 2018)."""
    return 1 + np.minimum(metrics.backward_transfer(accuracy), 0)


def positive_backward_transfer(accuracy: ArrayLike) -> metrics.Array:
    """BWT+ = max(BWT, 0): what later tasks improved (Diaz-Rodriguez et al. 2018)."""
    return np.maximum(metrics.backward_transfer(accuracy), 0)


def accuracy_throughout(accuracy: ArrayLike) -> metrics.Array:
    """Mean of A[i, j] over i >= j: after every task, on all tasks so far (Diaz-Rodriguez et al. 2018)."""
    return _mean_over(matrix_of(accuracy)[:, 1:], below=0)


def backward_transfer_throughout(accuracy: ArrayLike) -> metrics.Array:
    """Mean of A[i, j] - A[j, j] over i > j (Diaz-Rodriguez et al. 2018); NaN for one task."""
    after = matrix_of(accuracy)[:, 1:]
    return _mean_over(after - np.diagonal(after, axis1=1, axis2=2)[:, None], below=-1)


def forward_transfer_throughout(accuracy: ArrayLike) -> metrics.Array:
    """Mean of A[i, j] over i < j, with no baseline (Diaz-Rodriguez et al. 2018); NaN for one task."""
    return _mean_over(matrix_of(accuracy)[:, 1:].transpose(0, 2, 1), below=-1)


def _mean_over(values: metrics.Array, below: int) -> metrics.Array:
    """[R]: mean over the triangle on and below the diagonal number `below`."""
    rows, columns = np.tril_indices(values.shape[1], below)
    return values[:, rows, columns].mean(axis=1) if len(rows) else np.full(len(values), np.nan)
