"""Records as tables, and numbers with the digits that their interval allows."""

import numpy as np
import pytest

from clkit import tables
from clkit.errors import ClkitError
from clkit.metrics import Interval
from clkit.record import Record


def record(**fields):
    return Record("fine_tuning", {}, [0, 1], "rotated", **fields)


# two replicas, one task: before training 0.1 and 0.3, after it 0.8 and 0.8
ACCURACY = np.array([[[0.1], [0.8]], [[0.3], [0.8]]])


def test_the_matrix_in_percent_with_its_interval():
    table = tables.accuracy_matrix(record(accuracy=ACCURACY))
    # mean 20; sd of (10, 30) is 14.142, t(1) = 12.706, half the interval 12.706 * 14.142 / sqrt(2) = 127.06
    assert table.loc[0].tolist() == pytest.approx([0, 1, 20, 20 - 127.06, 20 + 127.06], abs=0.01)
    assert table.loc[1].tolist() == pytest.approx([1, 1, 80, 80, 80])


def test_curves_start_before_training():
    curve = np.array([[[0.5], [0.8]], [[0.7], [0.8]]])
    table = tables.accuracy_curves(record(accuracy=ACCURACY, curve=curve, curve_updates=[5, 10]))
    assert table["update"].tolist() == [0, 5, 10]
    assert table["mean"].tolist() == pytest.approx([20, 60, 80])
    with pytest.raises(ClkitError, match=r"Training\(every="):
        tables.accuracy_curves(record(accuracy=ACCURACY))


@pytest.mark.parametrize(
    ("mean", "half", "shown"),
    [
        (0.57139, 0.0088, "57.1 ± 0.9 %"),
        (0.7721, 0.0443, "77 ± 4 %"),
        (0.19862, 0.00184, "19.9 ± 0.2 %"),
        (0.57139, 0.00096, "57.1 ± 0.1 %"),  # 0.096 rounds to 0.1: one digit, not 57.14 ± 0.10
        (0.5, 0.2, "50 ± 20 %"),
        (-0.00001, 0.01, "0 ± 1 %"),  # no minus zero
        (-0.4671, 0.0093, "−46.7 ± 0.9 %"),
        (0.98365, 0.0, "98.4 %"),
    ],
)
def test_percent_shows_the_digits_that_the_interval_allows(mean, half, shown):
    text = tables.percent(Interval(mean, mean - half, mean + half))
    assert text.replace("\u00a0", " ") == shown  # it does not break at the end of a line


def test_one_replica_and_no_number():
    assert tables.percent(Interval(0.5, None, None)) == "50\u00a0%"
    assert tables.with_interval(Interval(float("nan"), None, None)) == "n/a"
    assert (
        tables.with_interval(Interval(1 / 3, 1 / 3 - 1e-16, 1 / 3 + 1e-16)) == "0.333"
    )  # rounding, no interval
