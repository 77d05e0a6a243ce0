"""The closed form that the page computes while the reader drags, against the package and against descent."""

from __future__ import annotations

import random

import numpy as np
import pytest

from clkit.tug_of_war import deep_linear as d


def settings(seed: int) -> dict:
    chance = random.Random(seed)
    return {
        "values": [chance.uniform(0.5, 4.5) for _ in range(4)],
        "start": 10 ** chance.uniform(-6, -1),
        "lr": chance.uniform(0.0005, 0.01),
        "deep": seed % 2,
        "updates": 4000,
        "points": 50,
    }


def test_it_agrees_with_the_package(javascript) -> None:
    cases = [settings(seed) for seed in range(20)]
    for case, found in zip(cases, javascript("modes", cases), strict=True):
        s, t = np.array(case["values"]), case["lr"] * np.linspace(0, 4000, 51)[:, None]
        form = d.strength if case["deep"] else d.shallow_strength
        np.testing.assert_allclose(np.transpose(found["strengths"]), form(s, case["start"], t), rtol=1e-6)
        halves = case["lr"] * np.array(found["halves"])  # the strength at its half-time is half
        np.testing.assert_allclose(form(s, case["start"], halves), s / 2, rtol=1e-6)
        if case["deep"]:
            np.testing.assert_allclose(halves, d.half_time(s, case["start"]), rtol=1e-6)


def test_numbers_by_hand(javascript) -> None:
    # s = 2, a0 = 0.2, lr = 0.01: ln(9) / 4 / 0.01 = 54.93 updates with two layers, ln(2 * 0.9) / 0.01 = 58.78 with one
    same = {"values": [2.0], "start": 0.2, "lr": 0.01, "updates": 100, "points": 2}
    two, one = javascript("modes", [same | {"deep": 1}, same | {"deep": 0}])
    assert two["halves"][0] == pytest.approx(100 * np.log(9) / 4)
    assert one["halves"][0] == pytest.approx(100 * np.log(1.8))
    assert two["updates"] == [0, 50, 100] and two["strengths"][0][0] == pytest.approx(0.2)


def test_it_is_what_gradient_descent_does(javascript) -> None:
    """The tree's four values, decoupled start: within the error of a step of 0.002."""
    correlation = d.tree().T
    values = np.sqrt([15, 7, 3, 1]).tolist()
    case = {"values": values, "start": 1e-3, "lr": 0.002, "deep": 1, "updates": 3000, "points": 30}
    (found,) = javascript("modes", [case])
    maps = d.train(d.decoupled(correlation, 1e-3, 8), correlation, 0.002, 3000, 100)[1]
    measured = d.strengths(maps, correlation)[:, 0].T
    assert (np.abs(measured - found["strengths"]) / np.array(values)[:, None]).max() < 0.01
