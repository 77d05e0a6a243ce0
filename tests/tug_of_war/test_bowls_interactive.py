"""The two bowls that the page computes while the reader drags, against `clkit.bowls`."""

import random

import numpy as np
import pytest

from clkit.bowls import Bowl, descend, efficiency, project, spring, surgery, total, visit
from clkit.plots import ASSETS

SEQUENTIAL, JOINT, IN_TURN, EWC, DIAGONAL, AGEM, PCGRAD = range(7)


def task(chance):
    a, b, c = chance.uniform(0.5, 2), chance.uniform(-1, 1), chance.uniform(0.5, 1.5)  # A = C C^T
    curvature = [[a * a, a * b], [a * b, b * b + c * c]]
    return {"curvature": curvature, "minimum": [chance.uniform(-2, 2), chance.uniform(-2, 2)]}


def settings(seed):
    """Every method at least twice; the step size such that some paths diverge, as the slider allows."""
    chance = random.Random(seed)
    return {
        "tasks": [task(chance), task(chance)],
        "start": [chance.uniform(-3, 3), chance.uniform(-2, 2)],
        "lr": chance.uniform(0.02, 0.6),
        "steps": chance.randint(1, 20),
        "method": seed % 7,
        "angle": chance.uniform(0, 180),
        "stretch": chance.uniform(0, 2),
        "strength": chance.uniform(0, 4),
    }


TWENTY = [settings(seed) for seed in range(20)]


def bowls(s):
    """The two bowls, the second turned until its long axis is so many degrees from that of the first, and stretched."""
    old, new = (Bowl(np.array(task["curvature"]), np.array(task["minimum"])) for task in s["tasks"])
    return [old, new.turned(old.axis() + s["angle"] - new.axis()).stretched(s["stretch"])]


def second_phase(s, old, new, w):
    """The rule for task 2, after task 1 has ended at w."""
    if s["method"] == AGEM:
        return lambda v: project(new.gradient(v), old.gradient(v))
    if s["method"] in (EWC, DIAGONAL):
        kept = np.diag(np.diag(old.curvature)) if s["method"] == DIAGONAL else old.curvature
        return total(new, spring(kept, w, s["strength"])).gradient
    return new.gradient


def path(s):
    (old, new), steps = bowls(s), s["steps"]
    if s["method"] == JOINT:
        return descend(total(old, new).gradient, s["start"], s["lr"], 2 * steps)
    if s["method"] == IN_TURN:
        return visit((old, new), [[0, 1] * steps], s["start"], s["lr"])[:, 0]
    if s["method"] == PCGRAD:
        return descend(lambda w: surgery(old.gradient(w), new.gradient(w)), s["start"], s["lr"], 2 * steps)
    first = descend(old.gradient, s["start"], s["lr"], steps)
    second = descend(second_phase(s, old, new, first[-1]), first[-1], s["lr"], steps)
    return np.concatenate([first, second[1:]])


def limit(s):
    old, new = bowls(s)
    if s["method"] in (IN_TURN, AGEM, PCGRAD):
        return None
    if s["method"] == JOINT:
        return total(old, new).largest_lr()
    kept = np.diag(np.diag(old.curvature)) if s["method"] == DIAGONAL else old.curvature
    after = new if s["method"] == SEQUENTIAL else total(new, spring(kept, old.minimum, s["strength"]))
    return min(old.largest_lr(), after.largest_lr())


def close(found, expected):
    return np.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_it_computes_what_the_package_computes_on_twenty_settings(javascript):
    for s, found in zip(TWENTY, javascript("bowls", TWENTY), strict=True):
        expected, both = path(s), bowls(s)
        assert close(found["path"], expected), s
        assert close(found["pulls"], [-bowl.gradient(expected) for bowl in both]), s
        assert close(found["curvatures"], [bowl.curvature for bowl in both]), s
        pulls = np.stack([bowl.gradient(expected) for bowl in both], axis=1)
        assert close(found["efficiency"], efficiency(pulls)), s
        assert close(found["losses"], [bowl.loss(expected) for bowl in both]), s
        assert close(found["balance"], total(*both).minimum), s
        assert found["limit"] == (None if limit(s) is None else pytest.approx(limit(s), rel=1e-6)), s
        steps = np.diff(expected, axis=0)
        assert close(s["lr"] * np.array(found["moves"][:-1]), steps), s
        assert len(found["moves"]) == len(expected)


def test_a_number_by_hand(javascript):
    # L1 = w1^2 + w2^2 / 2 about (0, 0), L2 = w1^2 / 2 + w2^2 about (2, 2); start (1, 0), step size 0.5. The pulls
    # are (-2, 0) and (1, 4), their sum (-1, 4); a joint step leads to (0.5, 2). Balance: 3 w1 = 2, 3 w2 = 4.
    two = [
        {"curvature": [[2, 0], [0, 1]], "minimum": [0, 0]},
        {"curvature": [[1, 0], [0, 2]], "minimum": [2, 2]},
    ]
    s = {"tasks": two, "start": [1, 0], "lr": 0.5, "steps": 1, "method": JOINT, "strength": 1}
    s |= {"angle": 90, "stretch": 1}  # as they are
    (found,) = javascript("bowls", [s])
    assert close([found["pulls"][0][0], found["pulls"][1][0], found["moves"][0]], [[-2, 0], [1, 4], [-1, 4]])
    assert close(found["path"][1], [0.5, 2])
    assert close([found["losses"][0][0], found["losses"][1][0]], [1, 4.5])
    assert found["efficiency"][0] == pytest.approx(
        17**0.5 / (2 + 17**0.5)
    )  # |(-1, 4)| of |(-2, 0)| + |(1, 4)|
    assert found["balance"] == pytest.approx([2 / 3, 4 / 3]) and found["limit"] == pytest.approx(2 / 3)


def test_a_spring_without_strength_is_plain_training_and_every_second_phase_begins_where_task_1_ended(
    javascript,
):
    plain, loose = ([s | {"method": m, "strength": 0} for s in TWENTY] for m in (SEQUENTIAL, EWC))
    pairs = zip(javascript("bowls", plain), javascript("bowls", loose), strict=True)
    assert all(close(a["path"], b["path"]) for a, b in pairs)
    for method in (SEQUENTIAL, EWC, DIAGONAL, AGEM):
        cases = [s | {"method": method} for s in TWENTY]
        for s, a, b in zip(TWENTY, javascript("bowls", plain), javascript("bowls", cases), strict=True):
            assert close(a["path"][: s["steps"] + 1], b["path"][: s["steps"] + 1])


@pytest.fixture
def drawn(interactive):
    """A page with the interactive, both minima in one place, joint training, looked at where it has ended."""
    same = {"curvature": [[2, 0], [0, 1]], "minimum": [0, 0]}
    values = {"tasks": [same, same], "start": [1, 0], "lr": 0.1, "steps": 60, "method": JOINT, "strength": 1}
    values |= {
        "methods": list("abcdefg"),
        "angle": 0,
        "stretch": 1,
        "look": 120,
        "scale": 0.35,
        "alt": "two bowls",
    }
    return interactive("bowls", values)


def shown(page, label):
    return page.locator("dt", has_text=label).locator("xpath=../dd").text_content()


def test_pulls_that_are_shown_as_nothing_have_no_angle(drawn):
    assert shown(drawn, "pull of task 1") == "0.00" and shown(drawn, "angle between the pulls") == "–"
    look = drawn.get_by_label("look at step n")
    look.fill("0")  # at the start both pull straight to (0, 0)
    assert shown(drawn, "angle between the pulls") == "0°"


def test_a_minimum_typed_beyond_the_drawing_stays_at_its_edge(drawn):
    field = drawn.get_by_label("minimum of task 2, first weight")
    field.fill("7")  # the drawing ends at 3
    handle = drawn.locator(".kit-point").nth(1)
    at_edge = handle.get_attribute("transform")
    assert (field.get_attribute("min"), field.get_attribute("max")) == ("-3", "3")
    field.press("Enter")
    assert field.input_value() == "3.00"
    field.fill("3")
    assert handle.get_attribute("transform") == at_edge


def test_the_curves_of_the_losses_have_a_key(drawn):
    keys = drawn.locator(".kit-key").all_text_contents()
    assert any("loss of task 1" in key and "loss of task 2" in key for key in keys)


def test_the_second_bowl_can_be_made_round(drawn):
    stretch = drawn.get_by_label("steep against flat")
    assert stretch.get_attribute("aria-valuetext") == "2.0 to 1"  # curvatures 2 and 1, as they are
    stretch.fill("0")
    assert stretch.get_attribute("aria-valuetext") == "1.0 to 1"
    # both tasks: 2 + sqrt 2 is the largest curvature of the sum, and 2 over it the largest step size
    assert shown(drawn, "largest step size") == f"{2 / (2 + 2**0.5):.2f}"


def test_sliders_and_points_say_the_same(drawn):
    apart = drawn.get_by_label("distance of the minima")
    fields = [drawn.get_by_label(f"minimum of task 2, {axis} weight") for axis in ("first", "second")]
    assert apart.input_value() == "0"
    apart.fill("1.5")  # from one place: to the right
    assert [field.input_value() for field in fields] == ["1.50", "0.00"]
    fields[1].fill("1.5")
    assert float(apart.input_value()) == pytest.approx(4.5**0.5, abs=0.01)
    apart.fill("0")
    assert [float(field.input_value()) for field in fields] == [0, 0]
    apart.fill("5")  # along the same diagonal as far as the drawing goes, 1.7 upwards
    assert [field.input_value() for field in fields] == ["1.70", "1.70"]
    assert float(apart.input_value()) == pytest.approx(1.7 * 2**0.5, abs=0.01)


def test_a_path_that_runs_away_says_so(drawn):
    drawing = drawn.locator(".kit-drawing svg").first
    assert "runs away" not in drawing.text_content()
    drawn.get_by_role("slider", name="step size").fill(
        "0.6"
    )  # 2 over the largest curvature of both, 4, is 0.5
    assert "This path runs away" in drawing.text_content()
    assert "the path runs away" in drawing.get_attribute("aria-label")


def test_the_efficiency_is_shown_where_something_pulls(drawn):
    assert shown(drawn, "efficiency, if both pulled") == "–"
    drawn.get_by_label("look at step n").fill("0")
    assert shown(drawn, "efficiency, if both pulled") == "100.0 %" and shown(drawn, "cosine") == "1.00"


def test_neither_dots_nor_the_path_hide_what_does_not_act(drawn):
    # 121 points of the path lie within 1 of 6 units of weight, on 402 units of the drawing: 67, a dot each 5 at most
    assert 5 < drawn.locator(".kit-drawing svg").first.locator('circle[r="2"]').count() <= 67 / 5 + 1
    drawn.get_by_label("a", exact=True).check()  # task 1, then task 2: one pull at a time
    drawn.get_by_label("look at step n").fill("0")
    group = drawn.locator(".kit-drawing svg").first.locator('g[opacity="0.7"]')
    under = group.locator("xpath=preceding-sibling::*[1]")
    assert group.count() == 1 and "background" in under.get_attribute("stroke")


THE_TWO = [  # of the page
    {"curvature": [[3.0, 0.8], [0.8, 1.0]], "minimum": [-1.2, 0.6]},
    {"curvature": [[1.0, -0.6], [-0.6, 2.5]], "minimum": [1.0, -0.9]},
]
TOUCHED = """() => {  // how many arrows and heads reach into the box of the label
  const label = [...document.querySelectorAll("text")].find(e => e.textContent === "w*"), box = label.getBBox();
  return [...label.parentNode.querySelectorAll("g path")].filter(path => [...Array(101).keys()].some(i => {
    const v = path.getPointAtLength(i / 100 * path.getTotalLength());
    return v.x > box.x && v.x < box.x + box.width && v.y > box.y && v.y < box.y + box.height;
  })).length;
}"""


@pytest.mark.parametrize("look", [1, 2, 3, 4, 5, 7, 20, 60, 64, 120])
def test_no_arrow_touches_the_name_of_the_equilibrium(drawn, look):
    values = {"tasks": THE_TWO, "start": [-2.0, -1.8], "lr": 0.08, "steps": 60, "strength": 1, "look": look}
    values |= {"methods": list("abcdefg"), "angle": 90, "stretch": 1, "scale": 0.35, "alt": "two bowls"}
    drawn.set_viewport_size({"width": 390, "height": 900})  # where letters are largest
    drawn.add_style_tag(path=ASSETS / "kit.css")
    for method in range(7):
        drawn.evaluate(
            "values => { const root = document.getElementById('root'); root.textContent = ''; "
            "kit.start('bowls', root, values); }",
            values | {"method": method},
        )
        assert drawn.locator("text", has_text="w*").count() == 1
        assert drawn.evaluate(TOUCHED) == 0, method
