"""The five regimes of Figure 2 by real training, and what T12 measures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clkit import metrics
from clkit.controls import Independent
from clkit.loop import run
from clkit.record import Record
from clkit.tug_of_war import regimes
from clkit.tug_of_war.claims import t12

REPLICAS = 2


@pytest.fixture(scope="module")
def panels() -> dict[str, Record]:
    return regimes.train([name for name in regimes.settings() if "ten times" not in name], REPLICAS)


def test_updates_are_fifteen_passes_through_all_that_is_seen() -> None:
    # 15 x 80 / 32 = 37.5, 75, 112.5, rounded to even; 15 x 1097 / 32 = 514.2
    assert regimes.SMALL == (38, 75, 112)
    assert regimes.OWN == (514, 514, 514) and regimes.LATE == (514, 542, 570)


def test_the_five_regimes_are_what_the_figure_says(panels: dict[str, Record]) -> None:
    """Every assertion holds on the mean of the replicas; in C in each, to the bit."""
    found = regimes.margins(panels)
    assert len(found) == 10
    for name, values in found.items():
        assert values.shape == (REPLICAS,) and values.mean() >= 0, name
    assert (found["C forgets nothing: backward transfer = 0"] == 0).all()
    assert (metrics.forward_transfer(panels["C"].matrix) == 0).all()


def test_a_margin_is_negative_where_the_regime_is_not_there(panels: dict[str, Record]) -> None:
    """Panels exchanged: a network that keeps all is no A, one that forgets is neither B, C, D nor E."""
    told = dict.fromkeys(panels, panels["A"]) | {"A": panels["C"]}
    for name, values in regimes.margins(told).items():
        if not name.startswith("B does not learn"):
            assert (values < 0).all() or "B keeps" in name, name
    assert (regimes.margins(panels | {"B": panels["A"]})["B keeps task 1: A[3, 1] >= 90"] < 0).all()
    learned = regimes.margins(panels | {"B": panels["C"]})
    assert (learned["B does not learn task 2: A[2, 2] <= 25"] < -50).all()


def test_more_is_asked_than_equality() -> None:
    """Task 1 as good in the end as after its turn: E has not improved it. One image of 500 better: it has."""
    name = "E improves task 1: A[3, 1] > A[1, 1]"
    for images, holds in ((450, False), (451, True)):
        matrix = np.full((1, 4, 3), 0.5)
        matrix[0, 1, 0], matrix[0, 3, 0] = 450 / 500, images / 500
        record = Record("m", {}, [0], "s", accuracy=matrix)
        told = dict.fromkeys([*"ABCDE", "D, a network for each task"], record)
        assert (regimes.margins(told)[name] >= 0).item() is holds


def test_the_stricter_controls_see_the_same_images(panels: dict[str, Record]) -> None:
    """Row 1 of D is one training, whatever follows; so is E up to its first boundary."""
    for arm in ("D, a network for each task", "D, a network for each task, as many updates"):
        np.testing.assert_array_equal(panels["D"].matrix[:, 1, 0], panels[arm].matrix[:, 1, 0])
    short, alone = panels["E"], panels["E, task 1 only"]
    assert sum(short.updates) == sum(alone.updates)
    assert short.curve is not None and alone.curve is not None
    # the order of the data depends on the number of updates only beyond what both have seen: 35 updates
    np.testing.assert_array_equal(short.curve[:, 6, 0], alone.curve[:, 6, 0])


def test_the_lead_is_zero_against_itself_and_known_by_hand() -> None:
    """eq: learning-lead. Points at updates 2, 4 of each task; the point at the end of task 1 is not task 2's."""

    def record(rows: list[list[float]]) -> Record:
        curve = np.array(rows)[None]
        return Record("m", {}, [0], "s", curve=curve, curve_updates=[2, 4, 6, 8], updates=[4, 4])

    first = record([[0.5, 0.1], [0.9, 0.9], [0.5, 0.4], [0.5, 0.8]])
    second = record([[0.9, 0.1], [0.9, 0.1], [0.9, 0.2], [0.9, 0.6]])
    assert regimes.learned_faster(first, first) == pytest.approx([0.0])
    # task 2: ((0.4 - 0.2) + (0.8 - 0.6)) / 2; with the end of task 1 it would be (0.8 + 0.2 + 0.2) / 3
    assert regimes.learned_faster(first, second) == pytest.approx([0.2])


def test_a_fresh_network_has_no_lead(panels: dict[str, Record]) -> None:
    name = "E, a network for each task"
    again = run(Independent(), *regimes.settings()[name][1:], replicas=REPLICAS, progress=False)
    assert (regimes.learned_faster(panels[name], again) == 0).all()


def test_replicas_do_not_know_of_each_other(panels: dict[str, Record]) -> None:
    """The second of two equals the second alone; float32, so a test image or two may tip over."""
    alone = run(*regimes.settings()["E"], seeds=(1,), progress=False)
    np.testing.assert_allclose(panels["E"].matrix[1:], alone.matrix, atol=0.005)


def test_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thirtieth of the updates: shapes, and quantities that belong together."""
    shortened = {
        name: (
            method,
            stream,
            replace(training, updates=tuple(max(1, n // 30) for n in training.updates), every=1),
        )
        for name, (method, stream, training) in regimes.settings().items()
    }
    monkeypatch.setattr(regimes, "settings", lambda: shortened)
    found = t12(2)
    told = found.reported
    forward = [told[f"forward transfer: joint, {where}"] for where in ("close rotations", "permutations")]
    np.testing.assert_array_equal(found.effect, forward[0] - forward[1])
    assert (told["forward transfer: independent, permutations"] == 0).all()
    for what in ("backward transfer", regimes.MORE):
        near, far = (told[f"{what}: joint, {where}"] for where in ("close rotations", "permutations"))
        np.testing.assert_array_equal(told[f"{what}: joint, close rotations minus permutations"], near - far)
    longer = [told[f"{regimes.MORE}: {arm}ten times the updates"] for arm in ("E, ", "E on permutations, ")]
    assert all(values.shape == (2,) for values in longer)
    # the same run under two names: panel E and the arm of the claim
    np.testing.assert_array_equal(told["learned: E"], told["learned: joint, close rotations"])
    panels, holds = found.curves["panels"], found.curves["replicas in which it holds"]
    assert holds["C forgets nothing: backward transfer = 0"] == 2  # of 2
    assert holds["A forgets: backward transfer <= -25"] == 0  # so short a training learns little to forget
    assert set(panels) == set(shortened)
    for name, panel in panels.items():
        tasks = len(panel["ends"])
        assert np.shape(panel["matrix"]["mean"]) == (tasks + 1, tasks), name
        assert np.shape(panel["curve"]["low"]) == (len(panel["updates"]), tasks), name
        assert panel["curve"]["mean"][-1] == panel["matrix"]["mean"][-1], name
