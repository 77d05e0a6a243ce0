"""The three scenarios by hand: two tasks of two classes, and sizes that differ."""

from __future__ import annotations

import pytest
import torch

from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario

DRAWS = Draws((4, 7), dtype=torch.float64)
Y = torch.tensor([[0, 1, 3]])  # classes 0 and 1 belong to task 0, 2 and 3 to task 1
ALL, NONE = [True] * 4, None
FIRST, SECOND = [True, True, False, False], [False, False, True, True]

#        name      width labels at test, new classes, foresees
TRAITS = {"task": (4, True, True, True), "domain": (2, False, False, True), "class": (4, False, True, False)}


@pytest.mark.parametrize("name", TRAITS)
def test_traits(name):
    rule = scenario(name, (2, 2))
    assert (rule.width, rule.labels_at_test, rule.new_classes, rule.foresees) == TRAITS[name]
    assert rule.name == name and rule.sizes == (2, 2)


def test_labels():
    y = torch.tensor([2, 3])  # of task 1
    labels = {name: scenario(name, (2, 2)).label(y, 1).tolist() for name in TRAITS}
    assert labels == {"task": [2, 3], "domain": [0, 1], "class": [2, 3]}
    # unequal sizes: task 1 begins at 3
    assert scenario("domain", (3, 1, 2)).label(torch.tensor([3]), 1).tolist() == [0]
    assert scenario("domain", (3, 1, 2)).width == 3 and scenario("class", (3, 1, 2)).width == 6


def test_own_outputs():
    own = {name: [scenario(name, (2, 3)).own(t) for t in (0, 1)] for name in TRAITS}
    assert own == {
        "task": [range(0, 2), range(2, 5)],
        "domain": [range(0, 2), range(0, 3)],
        "class": [range(0, 2), range(2, 5)],
    }


def test_competing_outputs():
    """Task: those of the task itself; domain: all; class: those of all tasks so far."""
    competing = {name: [scenario(name, (2, 3)).competing(t) for t in (0, 1)] for name in TRAITS}
    assert competing == {
        "task": [range(0, 2), range(2, 5)],
        "domain": [range(0, 3), range(0, 3)],
        "class": [range(0, 2), range(0, 5)],
    }


@pytest.mark.parametrize(
    "name, newest, expected",
    [
        ("task", 0, [FIRST, FIRST, SECOND]),  # by the label's own task, whatever is the newest
        ("task", 1, [FIRST, FIRST, SECOND]),
        ("class", 0, [FIRST, FIRST, FIRST]),
        ("class", 1, [ALL, ALL, ALL]),
    ],
)
def test_outputs_of_labels(name, newest, expected):
    assert scenario(name, (2, 2)).outputs(Y, newest).tolist() == [expected]


def test_all_outputs_compete_in_the_domain_scenario():
    assert scenario("domain", (2, 2)).outputs(Y, 1) is None


def test_outputs_of_rehearsed_labels():
    """Beside a new batch of task 1: rehearsed 0 and 3. Task: their own heads; class: as for the batch."""
    old, new = torch.tensor([[0, 3]]), torch.tensor([[2, 2, 3]])
    by_task, by_class = scenario("task", (2, 2)), scenario("class", (2, 2, 2))
    assert by_task.rehearsed_outputs(old, by_task.outputs(new, 1)).tolist() == [[FIRST, SECOND]]
    seen = [True] * 4 + [False] * 2
    assert by_class.rehearsed_outputs(old, by_class.outputs(new, 1)).tolist() == [[seen, seen]]
    assert scenario("domain", (2, 2)).rehearsed_outputs(old, None) is None


def heads(rule, task, own):
    return Build(Mlp(hidden=(6,)), (3,), rule, DRAWS)(task, own=own).head


def test_a_task_has_the_same_head_wherever_it_is_made():
    rule = scenario("task", (2, 3))
    whole, later = heads(rule, 0, False), heads(rule, 1, False)
    assert torch.equal(whole.linear.weight, later.linear.weight)
    for task, columns in ((0, slice(0, 2)), (1, slice(2, 5))):
        own = heads(rule, task, True)
        assert torch.equal(own.linear.weight, whole.linear.weight[..., columns])
        h = torch.ones(2, 1, 6, dtype=torch.float64)
        inside = torch.zeros(5, dtype=torch.bool)
        inside[columns] = True
        # the bits of a product depend on its width, the values do not
        assert (
            torch.allclose(own(h)[..., inside], whole(h)[..., inside]) and (own(h)[..., ~inside] == 0).all()
        )
    assert not torch.isclose(whole.linear.weight[..., :2], whole.linear.weight[..., 2:4]).any()


@pytest.mark.parametrize("name", ["domain", "class"])
def test_a_shared_head_is_drawn_for_each_network(name):
    rule = scenario(name, (2, 2))
    first, second = (heads(rule, t, False).linear.weight for t in (0, 1))
    assert first.shape == (2, 6, rule.width) and not torch.isclose(first, second).any()
    assert torch.equal(
        heads(rule, 1, True).linear.weight, second
    )  # one network per task needs no other outputs


def test_outputs_run_on_the_meta_device():
    y = Y.to("meta")
    for name in ("task", "class"):
        rule = scenario(name, (2, 2))
        outputs = rule.outputs(y, 1)
        assert outputs.shape == (1, 3, 4) and outputs.device.type == "meta"
        assert rule.rehearsed_outputs(y, outputs).shape == (1, 3, 4)
