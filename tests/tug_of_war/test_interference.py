"""Forgetting by interference: rest changes nothing, and the laws that forgetting curves are compared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.record import Record
from clkit.streams import Rotated
from clkit.training import Training, momentum
from clkit.tug_of_war.interference import (
    LAWS,
    Idle,
    exponential,
    fit,
    floor,
    forgetting_curve,
    power,
    retained,
    two_tasks,
)

UPDATES = np.arange(0.0, 500, 10)


def weights_after(method: Method, updates: tuple[int, ...], **training: object) -> list[torch.Tensor]:
    stream = Rotated(length=len(updates))
    how = Training(updates=updates, network=Mlp(hidden=(4,)), **training)  # type: ignore[arg-type]
    run(method, stream, how, replicas=2, progress=False)
    return [w.detach().clone() for w in method.parameters()]


def test_rest_changes_nothing_bit_for_bit() -> None:
    """After 5 updates of task 1, 40 of rest: the weights are those of 5 updates, to the bit."""
    rested, before = weights_after(Idle(), (5, 40)), weights_after(Method(), (5,))
    assert all(torch.equal(a, b) for a, b in zip(rested, before, strict=True))
    busy = weights_after(Method(), (5, 40))
    assert not any(torch.equal(a, b) for a, b in zip(busy, before, strict=True))


def test_rest_leaves_the_whole_row_of_the_accuracy_matrix() -> None:
    record = two_tasks(Idle(), 20, 10, 5, network=Mlp(hidden=(8,)), replicas=2)
    np.testing.assert_array_equal(record.matrix[:, 2], record.matrix[:, 1])
    assert (record.matrix[:, 1] != record.matrix[:, 0]).any()  # task 1 was trained


def test_rest_is_a_step_of_the_optimiser_and_not_a_step_left_out() -> None:
    """With momentum a fresh optimiser has no velocity, so a rest of whole tasks changes nothing either."""
    rested = weights_after(Idle(), (5, 4), optimizer=momentum)
    before = weights_after(Method(), (5,), optimizer=momentum)
    assert all(torch.equal(a, b) for a, b in zip(rested, before, strict=True))


def test_the_curve_begins_at_the_end_of_task_1() -> None:
    """Evaluated at 2, 4 of 5 updates and 7, 9 of task 2's 4: the curve is A[1, 1], then the last two."""
    values = np.array([[[0.2, 0.1], [0.7, 0.1], [0.5, 0.4], [0.4, 0.6]]])
    accuracy = np.array([[[0.1, 0.1], [0.8, 0.1], [0.4, 0.6]]])
    record = Record("x", {}, [0], "permuted", accuracy=accuracy, curve=values)
    record.curve_updates, record.updates = [2, 4, 7, 9], [5, 4]
    updates, curve = forgetting_curve(record)
    np.testing.assert_array_equal(updates, [0, 2, 4])
    np.testing.assert_array_equal(curve, [[0.8, 0.5, 0.4]])


def test_retained_by_hand() -> None:
    """0.9 is 0.8 above guessing; 0.5 is 0.4 above, half of it; 0.1 is nothing."""
    np.testing.assert_allclose(retained(np.array([[0.9, 0.5, 0.1]])), [[1.0, 0.5, 0.0]])


def test_laws_by_hand() -> None:
    """eq: forgetting-power, eq: forgetting-exponential, eq: forgetting-floor; the base, then what a multiplies.

    s = 3: power with b = 1/2 is 4^-1/2 = 1/2; exponential with b = ln 2 is 1/8; to a floor a: 1/8 + a 7/8.
    """
    three = np.array([3.0])
    np.testing.assert_allclose(power(three, 0.5), [[0.0], [0.5]])
    np.testing.assert_allclose(exponential(three, np.log(2)), [[0.0], [0.125]])
    np.testing.assert_allclose(floor(three, np.log(2)), [[0.125], [0.875]])


@pytest.mark.parametrize(
    ("law", "a", "rate"),
    [("power law", 1.1, 0.3), ("exponential", 0.9, 0.004), ("exponential to a floor", 0.4, 0.02)],
)
def test_a_fit_finds_the_law_that_made_the_curve_and_prefers_it(law: str, a: float, rate: float) -> None:
    """eq: forgetting-amplitude."""
    base, shape = LAWS[law](UPDATES, rate)
    curve = base + a * shape
    found = fit(law, UPDATES, curve)
    assert found.a == pytest.approx(a, rel=1e-3) and found.rate == pytest.approx(rate, rel=1e-3)
    assert found.misfit < 1e-4
    np.testing.assert_allclose(found.curve, curve, atol=1e-3)
    assert all(fit(other, UPDATES, curve).misfit > 10 * found.misfit for other in LAWS if other != law)


def test_only_the_first_part_is_fitted_and_the_rest_is_judged() -> None:
    """A curve that breaks off after 200 updates: the fit of the first part does not see it, `beyond` does."""
    curve = np.exp(-0.005 * UPDATES)
    broken = np.where(UPDATES > 200, 0.0, curve)
    found = fit("exponential", UPDATES, broken, upto=200)
    assert found.rate == pytest.approx(0.005, rel=1e-3) and found.misfit < 1e-5
    assert found.beyond == pytest.approx(np.sqrt(np.mean(curve[UPDATES > 200] ** 2)), rel=1e-3)
    assert np.isnan(fit("exponential", UPDATES, broken).beyond)


def test_a_mean_of_exponentials_looks_like_a_power_law() -> None:
    """Why curves are fitted one by one: rates from 0.0003 to 0.3, each curve exponential, the mean is not."""
    many = np.stack([np.exp(-rate * UPDATES) for rate in np.geomspace(3e-4, 0.3, 10)])
    as_power, as_exponential = (
        fit(law, UPDATES, many.mean(0)).misfit for law in ("power law", "exponential")
    )
    assert as_power < 0.7 * as_exponential
    assert all(fit("exponential", UPDATES, one).misfit < 1e-4 for one in many)
