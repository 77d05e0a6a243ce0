"""The valleys that the page computes while the reader drags, against `clkit.bowls`."""

import random

import numpy as np
import pytest

from clkit.bowls import Wells, descend

JOINT, SEQUENTIAL = range(2)


def settings(seed):
    chance = random.Random(seed)

    def well():
        centre = [chance.uniform(-2, 2), chance.uniform(-1.5, 1.5)]
        return {"centre": centre, "depth": chance.uniform(0.5, 2)}

    return {
        "tasks": [[well()], [well(), well()]],
        "start": [chance.uniform(-2, 2), chance.uniform(-1.5, 1.5)],
        "width": chance.uniform(0.4, 1.2),
        "slope": chance.uniform(0.05, 0.3),
        "lr": chance.uniform(0.02, 0.2),
        "steps": 2 * chance.randint(1, 30),
        "method": seed % 2,
        "view": [[-2.4, 2.4], [-1.6, 1.6]],
        "grid": [4, 3],
        "fine": [5, 2],
    }


TWENTY = [settings(seed) for seed in range(20)]


def losses(s):
    return [
        Wells(
            np.array([well["centre"] for well in task]),
            np.array([well["depth"] for well in task]),
            s["width"],
            s["slope"],
        )
        for task in s["tasks"]
    ]


def path(s, start):
    old, new = losses(s)
    if s["method"] == JOINT:
        return descend(lambda w: old.gradient(w) + new.gradient(w), start, s["lr"], s["steps"])
    first = descend(old.gradient, start, s["lr"], s["steps"] // 2)
    second = descend(new.gradient, first[-1], s["lr"], s["steps"] // 2)
    return np.concatenate([first, second[1:]])


def close(found, expected):
    return np.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_it_computes_what_the_package_computes_on_twenty_settings(javascript):
    for s, found in zip(TWENTY, javascript("wells", TWENTY), strict=True):
        expected = path(s, s["start"])
        assert close(found["path"], expected), s
        assert close(found["losses"], [loss.loss(expected) for loss in losses(s)]), s
        assert close(
            found["starts"][:2], [[-1.8, -1.6 + 3.2 / 6], [-0.6, -1.6 + 3.2 / 6]]
        )  # middles of cells
        assert close(found["ends"], path(s, found["starts"])[-1]), s
        assert close(found["levels"], [loss.loss(np.array(found["fine"])) for loss in losses(s)]), s


def test_valleys_are_numbered_from_the_left_and_the_map_says_which_is_reached(javascript):
    long = [s | {"steps": 2000, "width": 0.7, "method": JOINT} for s in TWENTY]
    for found in javascript("wells", long):
        valleys = np.array(found["valleys"])
        assert (np.diff(valleys[:, 0]) >= 0).all()
        apart = np.linalg.norm(valleys[found["reached"]] - found["ends"], axis=1)
        assert (
            apart.max() < 0.15
            and found["own"] == np.linalg.norm(valleys - found["path"][-1], axis=1).argmin()
        )
    assert max(len(found["valleys"]) for found in javascript("wells", long)) > 1


@pytest.fixture
def drawn(interactive):
    """One well of task 1 and the nearer one of task 2 on the left, the other on the right; the start on the left."""
    tasks = [[{"centre": [-1, 0.5], "depth": 1.5}], [{"centre": [-0.7, -0.5], "depth": 1}]]
    tasks[1].append({"centre": [1.3, 0.3], "depth": 1.4})
    values = {"tasks": tasks, "start": [-2, 1.2], "width": 0.7, "slope": 0.1, "lr": 0.1, "steps": 200}
    values |= {"method": JOINT, "methods": ["both", "in sequence"], "view": [[-2.4, 2.4], [-1.6, 1.6]]}
    values |= {"grid": [12, 8], "fine": [30, 20], "alt": "valleys"}
    return interactive("wells", values)


def shown(page, label):
    return page.locator("dt", has_text=label).first.locator("xpath=../dd").text_content()


def test_the_start_decides(drawn):
    assert shown(drawn, "ends in valley") == "1 of 2, counted from the left"
    low = float(shown(drawn, "sum").replace("\u2212", "-"))
    drawn.get_by_label("start, first weight").fill("2")
    assert shown(drawn, "ends in valley") == "2 of 2, counted from the left"
    assert float(shown(drawn, "sum").replace("\u2212", "-")) > low + 0.5  # it serves task 2 alone
    assert "valley 2 of 2" in drawn.locator(".kit-drawing svg").first.get_attribute("aria-label")


def test_a_well_in_a_valley_hides_neither_its_ring_nor_its_mark(drawn):
    drawing = drawn.locator(".kit-drawing svg").first
    handle = drawing.locator(".kit-point .kit-outline").nth(3).bounding_box()  # second well of task 2
    ring = drawing.locator('circle[r="15"]').nth(1).bounding_box()
    mark = drawing.locator('path[transform$="scale(0.8)"]').nth(1).bounding_box()
    assert ring["x"] < handle["x"] and handle["x"] + handle["width"] < ring["x"] + ring["width"]
    assert handle["y"] > mark["y"] + mark["height"] or handle["x"] + handle["width"] < mark["x"]
