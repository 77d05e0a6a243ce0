"""The closed form that the page computes while the reader drags, against networks that are really built."""

import random

import torch
from torch.utils.flop_counter import FlopCounterMode

from clkit.controls import Independent
from clkit.examples import Examples, Task
from clkit.method import Method
from clkit.modular.progressive import Progressive
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario

NONE, ADAPTERS, FULL = 0, 1, 2


def begun(method, *, inputs, outputs, width, tasks):
    rule, draws = scenario("task", (outputs,) * tasks), Draws((0,))
    method.start(Build(Mlp(hidden=(width, width)), (inputs,), rule, draws), draws, rule)
    for t in range(tasks):
        method.begin_task(Task(t, rule.own(t), Examples([]), Examples([]), 1, 1))
    return method


def operations(method, inputs, task):
    """Of one answer: 2 for every weight in a matrix product."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        method.predict(torch.ones(1, 1, inputs), task)
    return counter.get_total_flops()


def settings(seed, laterals):
    chance = random.Random(seed)
    return {
        "inputs": chance.randint(1, 80),
        "outputs": chance.randint(2, 12),
        "width": chance.randint(1, 60),  # of one unit too: a bottleneck is never empty
        "tasks": chance.randint(1, 9),
        "laterals": laterals,
    }


def test_it_counts_the_parameters_and_operations_of_the_networks_exactly(javascript):
    cases = [settings(seed, laterals) for seed in range(10) for laterals in (NONE, ADAPTERS)]
    for case, found in zip(cases, javascript("growth", cases), strict=True):
        laterals, shape = case["laterals"], {key: case[key] for key in ("inputs", "outputs", "width")}
        for t in range(1, case["tasks"] + 1):
            one = begun(Method(), tasks=t, **shape)
            independent = begun(Independent(), tasks=t, **shape)
            progressive = begun(Progressive(laterals=laterals == ADAPTERS), tasks=t, **shape)
            kept = [method.bytes_kept() / 4 for method in (one, independent, progressive)]
            assert [found[name][t - 1] for name in ("one", "independent", "progressive")] == kept, (case, t)
            spent = [operations(method, case["inputs"], t - 1) for method in (independent, progressive)]
            assert [found[name][t - 1] for name in ("alone", "columns")] == spent, (case, t)


def test_numbers_by_hand(javascript):
    # 64-100-100-10: 6 400 + 100 + 10 000 + 100 = 16 600 below the head, 1 010 in a head. An answer: 2 for each of
    # 6 400 + 10 000 + 1 000 weights. Full matrices: 100 x 100 + 100 x 10 = 11 000 for each pair of columns.
    (found,) = javascript(
        "growth", [{"inputs": 64, "outputs": 10, "width": 100, "tasks": 5, "laterals": FULL}]
    )
    assert found["one"] == [16600 + 1010 * t for t in range(1, 6)]
    assert found["independent"] == [17610 * t for t in range(1, 6)]
    pairs = [0, 1, 3, 6, 10]
    assert found["progressive"] == [17610 * t + 11000 * p for t, p in zip(range(1, 6), pairs, strict=True)]
    assert found["alone"] == [34800] * 5
    # for task t: t columns below the head, 10 000 weights for each pair among them, and one head that hears t - 1
    expected = [2 * (16400 * t + 10000 * p + 1000 * t) for t, p in zip(range(1, 6), pairs, strict=True)]
    assert found["columns"] == expected


def test_a_late_column_costs_about_as_much_as_an_early_one_only_with_adapters(javascript):
    # 400 units, without the adapters P = 26 000 + 160 400 + 4 010 = 190 410. Column 2: m = 200 reads 400 units into
    # 400, and 10: (1 + 80 000 + 200 + 80 000) + (1 + 80 000 + 200 + 2 000) = 242 402. Column 40: m = 10 reads 39 x 400:
    # (39 + 156 000 + 10 + 4 000) + (39 + 156 000 + 10 + 100) = 316 198. Full: 164 000 for each older column.
    same = {"inputs": 64, "outputs": 10, "width": 400, "tasks": 40}
    for laterals, early, late in ((NONE, 0, 0), (ADAPTERS, 242402, 316198), (FULL, 164000, 39 * 164000)):
        (found,) = javascript("growth", [same | {"laterals": laterals}])
        kept = found["progressive"]
        assert [kept[1] - kept[0], kept[39] - kept[38]] == [190410 + early, 190410 + late]
