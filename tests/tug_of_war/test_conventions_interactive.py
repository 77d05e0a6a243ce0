"""The measures that the page computes from the reader's matrix, against the package."""

import numpy as np
import pytest

from clkit import desiderata, metrics

EXAMPLE = [[10, 8, 12], [90, 62, 30], [94, 58, 46], [70, 66, 74]]


def expected(matrix):
    """Percent; what the package does not have (other people's conventions) is written out."""
    A = np.array(matrix) / 100
    T, one = A.shape[1], A[None]
    earlier = range(T - 1)
    forward = metrics.forward_transfer(one)[0]
    found = {
        "average": metrics.average_accuracy(one)[0],
        "learned": metrics.learned(one)[0],
        "forgetting": metrics.forgetting(one)[0],
        "backward": metrics.backward_transfer(one)[0],
        "forward": forward,
        "forgetting_before": np.mean([A[1:T, j].max() - A[T, j] for j in earlier]),
        "forgetting_last": np.mean([A[j + 1 :, j].max() - A[T, j] for j in earlier]),
        "forward_over_all": forward * (T - 1) / T,
        "forward_plain": forward + A[0, 1:].mean(),
        "average_throughout": desiderata.accuracy_throughout(one)[0],
        "backward_throughout": desiderata.backward_transfer_throughout(one)[0],
        "forward_throughout": desiderata.forward_transfer_throughout(one)[0],
    }
    return {name: 100 * value for name, value in found.items()}


def test_it_computes_what_the_package_computes(javascript):
    chance = np.random.default_rng(0)
    matrices = [
        (100 * chance.random((tasks + 1, tasks))).tolist() for tasks in (2, 3, 4, 5) for _ in range(6)
    ]
    found = javascript("conventions", [{"matrix": matrix} for matrix in matrices])
    for matrix, answer in zip(matrices, found, strict=True):
        assert answer == pytest.approx(expected(matrix), abs=1e-6)


def test_numbers_by_hand(javascript):
    (found,) = javascript("conventions", [{"matrix": EXAMPLE}])
    assert found == pytest.approx(
        {
            "average": 70,  # (70 + 66 + 74) / 3
            "learned": 74,  # (90 + 58 + 74) / 3
            "forgetting": 8,  # ((94 - 70) + (58 - 66)) / 2
            "backward": -6,  # ((70 - 90) + (66 - 58)) / 2
            "forward": 44,  # ((62 - 8) + (46 - 12)) / 2
            "forgetting_before": 10,  # ((94 - 70) + (62 - 66)) / 2: task 2 stood at 62 before its turn
            "forgetting_last": 12,  # ((94 - 70) + (66 - 66)) / 2
            "forward_over_all": 88 / 3,  # (54 + 34) / 3
            "forward_plain": 54,  # (62 + 46) / 2
            "average_throughout": 452 / 6,  # (90 + 94 + 58 + 70 + 66 + 74) / 6
            "backward_throughout": -8 / 3,  # (94 - 90) + (70 - 90) + (66 - 58), over 3
            "forward_throughout": 46,  # (62 + 30 + 46) / 3
        }
    )


@pytest.fixture
def drawn(interactive):
    values = {"presets": [EXAMPLE], "names": ["the run above"], "value": 0}
    return interactive("conventions", values)


@pytest.mark.parametrize(("typed", "used"), [("250", "100"), ("-5", "0"), ("", "70")])
def test_what_is_no_accuracy_is_said_and_put_right(drawn, typed, used):
    field, said = drawn.get_by_label("after task 3, task 1"), drawn.get_by_role("status")
    field.fill(typed)
    assert f"from 0 to 100. Computed with {used}." in said.text_content()
    average = drawn.locator("dt", has_text="average accuracy").locator("xpath=../dd").text_content()
    assert average == f"{(int(used) + 66 + 74) / 3:.1f}"
    field.press("Tab")
    assert field.input_value() == used
    field.fill("50")
    assert said.text_content() == ""


def test_the_ticks_are_whole_tasks(drawn):
    words = drawn.locator("svg[role=img] text.kit-words").all_text_contents()
    assert words[:4] == ["0", "1", "2", "3"]


def test_the_head_of_the_matrix_does_not_run_into_the_first_task(drawn):
    sides = """th => { const words = document.createRange(); words.selectNodeContents(th);
        return [words.getBoundingClientRect().left, words.getBoundingClientRect().right]; }"""
    heads = drawn.locator("tr >> nth=0 >> th")
    (_, end), (start, _) = (heads.nth(n).evaluate(sides) for n in (0, 1))
    assert heads.nth(1).text_content() == "task 1" and start - end > 16
