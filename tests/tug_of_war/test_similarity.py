"""Forgetting against the angle between two tasks."""

from __future__ import annotations

import numpy as np
import torch

from clkit.metrics import interval
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.streams import Rotated
from clkit.training import Training
from clkit.tug_of_war.similarity import by_digit, measured, right_by_class, table, turned

SMALL = Training(updates=(150, 150), network=Mlp(hidden=(40,)))


def test_the_same_task_again_is_not_forgotten_and_a_turn_by_ninety_degrees_is() -> None:
    """At 0 degrees both tasks hold the same images: more training, no loss, and task 2 is known before its turn."""
    found = table(measured((0.0, 90.0), SMALL, replicas=3)).set_index(["angle", "measure"])
    lost, seen = "forgetting of task 1", "accuracy on task 2"
    assert found.loc[(0.0, lost), "mean"] < 1 and found.loc[(0.0, seen), "mean"] > 85
    assert found.loc[(90.0, lost), "low"] > 10 and found.loc[(90.0, seen), "mean"] < 40


def test_the_table_is_that_of_the_runs() -> None:
    """In percent, forgetting is A[1, 1] - A[2, 1] with two tasks: the row before the last holds the one maximum."""
    found = table(measured((30.0,), SMALL, replicas=3))
    A = turned(30.0, SMALL, replicas=3).accuracy
    assert A is not None
    expected = [interval(A[:, 1, 0] - A[:, 2, 0]), interval(A[:, 1, 1])]
    np.testing.assert_allclose(found[["mean", "low", "high"]], 100 * np.array(expected), rtol=1e-12)


def test_angles_are_paired_by_replica() -> None:
    """Until task 1 ends nothing knows the angle: a replica has the same accuracy on it, whatever comes next."""
    one, other = (turned(angle, SMALL, replicas=2).matrix[:, 1, 0] for angle in (30.0, 90.0))
    np.testing.assert_array_equal(one, other)


def test_half_a_turn_twice_is_a_whole_turn() -> None:
    """Why 180 degrees is special: that rotation moves every pixel to a pixel, without interpolation."""
    upright, half = (task.test.take(torch.arange(9)[None])[0] for task in _tasks(180.0))
    torch.testing.assert_close(half, upright.flip(2, 3))


def _tasks(degrees: float) -> list:
    return Rotated(length=2, degrees=degrees).tasks(Draws((0,)))


def test_right_by_class_by_hand_and_in_sum() -> None:
    """A rule that answers 3 to everything is right on all threes and on nothing else."""
    data = _tasks(0.0)[0]

    def three(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.full(x.shape[:2], 3), 10).float()

    np.testing.assert_array_equal(right_by_class(three, data, 10), [[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]])


def test_the_classes_make_up_the_accuracy() -> None:
    """Weighted by how often each digit occurs, accuracy by digit is the accuracy of the run."""
    digits = by_digit((180.0,), SMALL, seeds=(0,))
    run = turned(180.0, SMALL, seeds=(0,)).accuracy
    y = next(iter(_tasks(0.0)[0].test.chunks(512)))[1][0]
    counts = np.bincount(y.numpy(), minlength=10)
    assert run is not None
    np.testing.assert_allclose((digits["mean"] * counts).sum() / counts.sum(), 100 * run[0, 2, 0], rtol=1e-6)


def test_a_replica_depends_on_its_own_seed_only() -> None:
    one, two = turned(40.0, SMALL, seeds=(5,)).matrix, turned(40.0, SMALL, seeds=(2, 5)).matrix
    np.testing.assert_allclose(one[0], two[1], atol=0.0021)  # one test image of 500
