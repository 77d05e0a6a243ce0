"""Tables and numbers for pages: records as the frames that figures draw, intervals as a reader sees them."""

from __future__ import annotations

from math import floor, log10

import numpy as np
import pandas as pd

from clkit.errors import ClkitError
from clkit.metrics import Interval, interval
from clkit.record import Record


def accuracy_matrix(record: Record) -> pd.DataFrame:
    """The accuracy matrix in percent, a row per entry: `after` (tasks), `task`, `mean`, `low`, `high`."""
    if record.accuracy is None:
        raise ClkitError(
            f"{record.method} is an episodic learner, without an accuracy matrix: use its by_step."
        )
    return _entries(record.accuracy, "after", list(range(record.accuracy.shape[1])))


def accuracy_curves(record: Record) -> pd.DataFrame:
    """Accuracy in training, in percent, a row per point and task: `update`, `task`, `mean`, `low`, `high`."""
    if record.accuracy is None or record.curve is None:
        raise ClkitError("the record holds no curve: run with Training(every=...), a number of updates.")
    values = np.concatenate([record.accuracy[:, :1], record.curve], axis=1)
    return _entries(values, "update", [0, *record.curve_updates])


def _entries(values: np.ndarray, name: str, places: list[int]) -> pd.DataFrame:
    rows = [
        (place, task + 1, *(np.nan if end is None else 100 * end for end in interval(values[:, i, task])))
        for i, place in enumerate(places)
        for task in range(values.shape[2])
    ]
    return pd.DataFrame(rows, columns=[name, "task", "mean", "low", "high"])


def percent(value: Interval, unit: str = "\u00a0%") -> str:
    """A fraction and its interval in percent, with the digits that the interval allows: 57.1 ± 0.9 %."""
    return with_interval(Interval(*(None if end is None else 100 * end for end in value)), unit)  # type: ignore[arg-type]


def with_interval(value: Interval, unit: str = "") -> str:
    """Mean ± half the interval, whose first digit that is not zero is the last one shown; or n/a."""
    if not np.isfinite(value.mean):
        return "n/a"
    half = 0.0 if value.high is None else value.high - value.mean
    if half <= 1e-9 * abs(value.mean):  # nothing but rounding
        return f"{value.mean:.3g}{unit}".replace("-", "−")
    digits = max(0, -floor(log10(float(f"{half:.1g}"))))  # 0.096 is shown as 0.1
    mean = round(value.mean, digits) + 0.0  # no -0
    return f"{mean:.{digits}f}\u00a0±\u00a0{half:.{digits}f}{unit}".replace("-", "−")
