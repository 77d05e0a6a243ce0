"""Losses with several valleys, and bowls made rounder: by hand, and against differences."""

import numpy as np
import pytest

from clkit.bowls import Bowl, Wells, descend
from clkit.errors import ClkitError

TWO = Wells(np.array([[1.0, 0.0], [-1.0, 2.0]]), np.array([2.0, 1.0]), width=0.5, slope=0.2)


def test_loss_and_gradient_by_hand():
    """eq: wells-loss, eq: wells-gradient. One well of depth 2 and width 1 in (1, 0), slope 0.5, at w = (1, 1).

    L = 0.25 (1 + 1) - 2 exp(-1/2); gradient (0.5, 0.5) + 2 exp(-1/2) (0, 1).
    """
    one, w = Wells(np.array([[1.0, 0.0]]), np.array([2.0]), width=1.0, slope=0.5), np.array([1.0, 1.0])
    assert one.loss(w) == pytest.approx(0.5 - 2 * np.exp(-0.5))
    assert one.gradient(w) == pytest.approx([0.5, 0.5 + 2 * np.exp(-0.5)])


def test_the_gradient_is_that_of_the_loss():
    w, h = np.random.default_rng(0).normal(size=(50, 2)), 1e-6
    for i in range(2):
        shift = h * np.eye(2)[i]
        slope = (TWO.loss(w + shift) - TWO.loss(w - shift)) / (2 * h)
        assert TWO.gradient(w)[:, i] == pytest.approx(slope, abs=1e-7)


def test_the_start_decides_in_which_valley_it_ends():
    ends = descend(TWO.gradient, [[1.5, 0.0], [-1.5, 2.2]], 0.05, 500)[-1]
    assert np.abs(TWO.gradient(ends)).max() < 1e-9
    assert np.linalg.norm(ends - TWO.centres, axis=1).max() < 0.2
    assert TWO.loss(ends[0]) < TWO.loss(ends[1])  # the deeper one is not found from everywhere


@pytest.mark.parametrize(
    "centres, depths, width, slope, message",
    [
        ([[0.0, 0.0]], [1.0, 2.0], 1.0, 0.1, "one number above zero for each well"),
        ([[0.0, 0.0]], [-1.0], 1.0, 0.1, "one number above zero for each well"),
        ([[0.0, 0.0]], [1.0], 0.0, 0.1, "width"),
        ([[0.0, 0.0]], [1.0], 1.0, -0.1, "slope"),
    ],
)
def test_bad_wells_are_refused(centres, depths, width, slope, message):
    with pytest.raises(ClkitError, match=message):
        Wells(np.array(centres), np.array(depths), width, slope)


def test_a_stretched_bowl_by_hand():
    """eq: bowl-stretched. Curvatures 8 and 2, product 16: round they are 4 and 4, squared in ratio 16 and 1."""
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    bowl = Bowl(turn @ np.diag([8.0, 2.0]) @ turn.T, np.array([1.0, 2.0]))
    assert bowl.stretched(0).curvature == pytest.approx(4 * np.eye(2))
    assert bowl.stretched(1).curvature == pytest.approx(bowl.curvature)
    assert bowl.stretched(2).curvature == pytest.approx(turn @ np.diag([16.0, 1.0]) @ turn.T)
    assert (
        bowl.stretched(2).axis() == pytest.approx(bowl.axis()) and bowl.stretched(2).minimum is bowl.minimum
    )
