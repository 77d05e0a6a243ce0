"""What the page draws while the reader drags, against the memories of the package, fed with the same coins."""

import random
from math import comb

import pytest
import torch

from clkit.buffers import Recent, Reservoir
from clkit.replicas import Draws


def coins(skipped):
    """x <- 48271 x mod 2^31 - 1 from 1, over the modulus, after `skipped` of them (Park and Miller 1988)."""
    state = pow(48271, skipped, 2**31 - 1)
    drawn = []

    def take(start, length):
        nonlocal state
        while len(drawn) < start + length:
            state = 48271 * state % (2**31 - 1)
            drawn.append(state / (2**31 - 1))
        return torch.tensor([drawn[start : start + length]], dtype=torch.float64)

    return take


def tasks_in(kind, case):
    """The task in every slot of the package's memory after the examples seen."""
    labels = [task for task, size in enumerate(case["sizes"]) for _ in range(size)]
    memory = kind(case["capacity"], Draws((0,)))
    memory.coins = coins(case["draw"] * len(labels))
    y = torch.tensor([labels[: case["seen"]]])
    for part in y.split(7, dim=1):
        memory.add(part[..., None].float(), part)
    return memory.kept[1][0, : memory.filled].tolist()


def settings(seed):
    chance = random.Random(seed)
    sizes = [chance.randint(1, 150) for _ in range(chance.randint(1, 10))]
    return {
        "sizes": sizes,
        "capacity": chance.randint(1, 60),
        "seen": chance.randint(1, sum(sizes)),
        "draw": chance.randint(0, 49),
    }


def test_it_holds_what_the_memories_of_the_package_hold(javascript):
    cases = [settings(seed) for seed in range(20)]
    assert len({case["seen"] > case["capacity"] for case in cases}) == 2  # full, and not yet full
    for case, found in zip(cases, javascript("reservoir", cases), strict=True):
        slots, ring = tasks_in(Reservoir, case), tasks_in(Recent, case)
        assert found["slots"] == slots  # slot for slot
        for name, held in (("reservoir", slots), ("ring", ring)):
            assert found[name] == [held.count(task) for task in range(len(case["sizes"]))], case


def test_expected_counts_and_the_chance_of_none(javascript):
    """A uniform choice of M among n: M a / n of a task with a examples; none in C(n - a, M) of C(n, M) choices."""
    cases = [settings(seed) for seed in range(20, 40)]
    for case, found in zip(cases, javascript("reservoir", cases), strict=True):
        n, kept, passed = case["seen"], min(case["seen"], case["capacity"]), 0
        for task, size in enumerate(case["sizes"]):
            own = max(0, min(size, n - passed))
            assert found["expected"][task] == pytest.approx(kept * own / n, abs=1e-9)
            assert found["missing"][task] == pytest.approx(comb(n - own, kept) / comb(n, kept), abs=1e-9)
            passed += size
        assert sum(found["expected"]) == pytest.approx(kept)


def test_by_hand(javascript):
    # one place; the first coins: 48271 / (2^31 - 1) = 2e-5, then 48271^2 mod (2^31 - 1) = 182605794, 0.085.
    # Example 1 goes to the slot; of example 2, floor(2 x 0.085) = 0: it takes the slot.
    first, second = javascript(
        "reservoir", [{"sizes": [1, 1], "capacity": 1, "seen": n, "draw": 0} for n in (1, 2)]
    )
    assert first == {"slots": [0], "reservoir": [1, 0], "ring": [1, 0], "expected": [1, 0], "missing": [0, 1]}
    assert second == {
        "slots": [1],
        "reservoir": [0, 1],
        "ring": [0, 1],
        "expected": [0.5, 0.5],
        "missing": [0.5, 0.5],
    }


def test_over_many_draws_the_mean_is_the_expectation_and_one_draw_is_not(javascript):
    sizes = [100] * 10
    cases = [{"sizes": sizes, "capacity": 20, "seen": 1000, "draw": draw} for draw in range(50)]
    held = torch.tensor([found["reservoir"] for found in javascript("reservoir", cases)]).double()
    # of each task 2 are expected, variance 20 x 0.1 x 0.9 x 980 / 999 = 1.77: 0.19 of a mean of 50
    assert held.mean(0).tolist() == pytest.approx([2] * 10, abs=0.75)
    assert held.var() == pytest.approx(1.77, abs=0.5)
    assert len({tuple(row) for row in held.tolist()}) == 50  # no draw is another's
