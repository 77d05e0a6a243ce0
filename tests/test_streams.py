"""Streams: which examples, in which guise and with which labels, each replica sees in each task."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from clkit import streams
from clkit.data import Dataset, load
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.streams import Permuted, Rotated, Split, from_arrays, stream
from clkit.training import Training

DRAWS = Draws((0, 1, 2))
QUICK = Training(updates=(4, 4, 4), batch=8, network=Mlp(hidden=(5,)))


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def parts(task):
    (train,), (validation,), (test,) = task.train.parts, task.validation.parts, task.test.parts
    return {"train": train, "validation": validation, "test": test}


def rows(part, r):
    """The rows of the data that replica r has, without padding."""
    assert (part.index[r, part.sizes[r] :] == -1).all() and (part.y[r, part.sizes[r] :] == part.y.min()).all()
    return part.index[r, : part.sizes[r]]


# A small data set with classes of 5, 8, 11 and 14 training examples; the first and last row belong to nobody
# and are NaN, so that whoever follows a padded -1 is found out.


def small_data(dtype=torch.float32):
    counts, sets, y = (5, 8, 11, 14), [], [0]
    for extra in (0, -2, -1):  # train, validation, test
        begin = len(y)
        y += [c for c, n in enumerate(counts) for _ in range(n + extra)]
        sets.append(torch.arange(begin, len(y)))
    y = torch.tensor([*y, 0])
    x = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(0)) + y[:, None]
    if dtype == torch.float32:
        x[0] = x[-1] = float("nan")
    else:
        x = (x * 20 + 80).to(dtype)
    return Dataset("small", x, y, 1.0 if dtype == torch.float32 else 1 / 255, 4, *sets)


@pytest.fixture
def small(monkeypatch):
    data = small_data()
    monkeypatch.setattr(streams, "load", lambda name: data)
    return data


def test_split_gives_each_replica_its_own_order_of_classes(digits):
    order = DRAWS.permutation("classes", 10)
    assert len({tuple(row) for row in order.tolist()}) == 3
    for t, task in enumerate(Split().tasks(DRAWS)):
        for name, part in parts(task).items():
            for r in range(3):
                mine = rows(part, r)
                wanted = getattr(digits, name)
                wanted = wanted[torch.isin(digits.y[wanted], order[r, 2 * t : 2 * t + 2])]
                assert mine.sort().values.equal(wanted.sort().values)
                # the global class is the position in the replica's order: 2 t and 2 t + 1
                labels = part.y[r, : part.sizes[r]]
                assert digits.y[mine].equal(order[r, labels]) and labels.unique().tolist() == [
                    2 * t,
                    2 * t + 1,
                ]


def test_split_in_the_domain_scenario_counts_labels_within_the_task():
    for task in Split(scenario="domain").tasks(DRAWS):
        assert task.train.parts[0].y.unique().tolist() == [0, 1]


def test_unequal_tasks_are_padded_and_the_padding_is_never_used(small):
    split = Split(length=2, dataset="small")
    sizes = {part.sizes for task in split.tasks(DRAWS) for part in parts(task).values()}
    assert any(len(set(each)) > 1 for each in sizes)
    method = Method()
    record = run(method, split, replace(QUICK, updates=(40, 40), every=20), replicas=3, progress=False)
    assert all(torch.isfinite(p).all() for p in method.parameters())
    assert record.accuracy[:, -1, -1].min() > 0.5  # two classes a standard deviation or more apart


def test_epochs_count_a_tasks_mean_size_over_class_orders(small):
    first, second = Split(length=2).tasks(DRAWS)
    assert first.size == second.size == (5 + 8 + 11 + 14) / 2  # no replica depends on another's order
    assert Permuted(length=2).tasks(DRAWS)[0].size == 38
    limited = Split(length=2, limit=(6, 100)).tasks(DRAWS)
    assert [task.size for task in limited] == [6, 19]


def test_limit_takes_a_random_subset_of_each_replicas_own():
    task = Permuted(length=2, limit=(30, 40)).tasks(DRAWS)[1]
    full, part = Permuted(length=2).tasks(DRAWS)[1], task.train.parts[0]
    assert part.sizes == (40, 40, 40) and task.validation.sizes == [200] * 3 and task.test.sizes == [500] * 3
    chosen = [set(rows(part, r).tolist()) for r in range(3)]
    assert all(len(each) == 40 and each < set(full.train.parts[0].index[0].tolist()) for each in chosen)
    assert chosen[0] != chosen[1]
    alone = Permuted(length=2, limit=(30, 40)).tasks(Draws((1,)))[1].train.parts[0]
    assert alone.index[0].equal(part.index[1]) and alone.y[0].equal(part.y[1])


def test_limit_of_a_split_keeps_to_the_tasks_classes(small):
    for t, task in enumerate(Split(length=2, limit=(6, 7)).tasks(DRAWS)):
        part, order = task.train.parts[0], DRAWS.permutation("classes", 4)
        for r in range(3):
            mine = rows(part, r)
            assert len(mine) == 6 + t and torch.isin(mine, small.train).all()
            assert small.y[mine].equal(order[r, part.y[r, : len(mine)]])


def test_permuted_shows_the_first_task_plain_and_the_others_in_one_order_each(digits):
    first, second, third = Permuted(length=3).tasks(DRAWS)
    every = torch.arange(4).expand(3, -1)
    plain = first.train.take(every)[0]
    assert plain.equal(digits.x[first.train.parts[0].index[:, :4]])
    orders = [second.train.parts[0].pixels, third.train.parts[0].pixels]
    assert len({tuple(row.tolist()) for order in orders for row in order}) == 6  # by task and replica
    for task, order in zip((second, third), orders, strict=True):
        for examples, source in ((task.train, digits.train), (task.test, digits.test)):
            shown = examples.take(every)[0].flatten(2)
            assert not shown.equal(digits.x[source[:4]].flatten(1).expand(3, -1, -1))
            back = shown.gather(2, order.argsort(1)[:, None].expand(-1, 4, -1))
            assert back.equal(digits.x[source[:4]].flatten(1).expand(3, -1, -1))


def test_rotated_by_nothing_and_by_a_quarter(digits):
    first, second = Rotated(length=2, degrees=0.0).tasks(DRAWS)
    assert first.train.parts[0].x is second.train.parts[0].x is digits.x
    turned = Rotated(length=3, degrees=90.0).tasks(DRAWS)
    for t in (1, 2):  # counter-clockwise, a quarter each
        expected = np.rot90(digits.x.numpy(), t, axes=(1, 2))
        assert np.allclose(turned[t].test.parts[0].x, expected, atol=1e-6)
    y = digits.y[digits.train].expand(3, -1)
    assert turned[1].train.parts[0].y.equal(y)  # domain: 10 + digit, minus 10


def test_rotated_stays_in_range(digits):
    x = Rotated(length=2, degrees=20.0).tasks(DRAWS)[1].train.parts[0].x
    assert x.dtype == torch.float32 and x.shape == digits.x.shape and 0 <= x.min() and x.max() <= 1 + 1e-6
    assert not torch.allclose(x, digits.x, atol=0.1)


def test_rotated_turns_by_the_angle(monkeypatch):
    """A dot 3 to the right of (4, 4): by 20 degrees to row 4 - 3 sin 20 = 2.97, column 4 + 3 cos 20 = 6.8."""
    image, one = torch.zeros(1, 9, 9), torch.zeros(1).long()
    image[0, 4, 7] = 1.0
    monkeypatch.setattr(streams, "load", lambda name: Dataset("dot", image, one, 1.0, 1, one, one, one))
    spread = Rotated(length=2, degrees=20.0, dataset="dot").tasks(DRAWS)[1].train.parts[0].x[0]
    row, column = (float((spread.sum(1 - axis) * torch.arange(9)).sum() / spread.sum()) for axis in (0, 1))
    assert abs(row - 2.97) < 0.15 and abs(column - 6.82) < 0.15


def test_replicas_of_a_stream_do_not_depend_on_each_other():
    for given in (Split(), Permuted(limit=(20,) * 5)):
        for many, one in zip(given.tasks(DRAWS), given.tasks(Draws((1,))), strict=True):
            x, y = (
                examples.take(torch.arange(15).expand(len(examples.sizes), -1))[:2]
                for examples in (many.train, one.train)
            )
            assert x[0][1].equal(y[0][0]) and x[1][1].equal(y[1][0])
            assert many.train.sizes[1] == one.train.sizes[0] and many.size == one.size


def test_the_data_are_stored_once(digits):
    for given in (Split(), Permuted(), Rotated(degrees=0.0)):
        assert all(part.x is digits.x for task in given.tasks(DRAWS) for part in parts(task).values())


def test_tried_sees_the_first_tasks_and_no_test_data(monkeypatch):
    clean, poisoned = small_data(), small_data()
    poisoned.x[poisoned.test] = float("nan")
    records = []
    for data in (clean, poisoned):
        monkeypatch.setattr(streams, "load", lambda name, data=data: data)
        for given in (Split(length=4, tried=3), Permuted(length=5, tried=3)):
            training = replace(QUICK, updates=(4,) * given.length)
            records.append(run(Method(), given, training, seeds=(0, 1), progress=False))
    for a, b in zip(records[:2], records[2:], strict=True):
        assert a.accuracy.shape == (2, 4, 3) and (a.accuracy == b.accuracy).all()
        assert len(a.updates) == 3


def test_tried_is_judged_on_validation_data(small):
    (task, *_) = Permuted(length=2, tried=1).tasks(DRAWS)
    assert task.test.parts[0].index[0].equal(small.validation)
    assert task.train.parts[0].index[0].equal(small.train)


def test_a_whole_run_needs_no_validation_data(monkeypatch):
    data = small_data()
    data.x[data.validation] = float("nan")
    monkeypatch.setattr(streams, "load", lambda name: data)
    record = run(Method(), Permuted(length=3), QUICK, replicas=2, progress=False)  # NaN would raise
    assert record.matrix[:, -1].min() > 0


def test_pixels_of_bytes_are_scaled_and_stored_as_they_are(monkeypatch):
    data = small_data(torch.uint8)
    monkeypatch.setattr(streams, "load", lambda name: data)
    for given in (Split(length=2), Permuted(length=2)):
        task = given.tasks(DRAWS)[0]
        x, _, _ = task.train.take(torch.zeros(3, 1).long())
        stored = data.x[task.train.parts[0].index[:, :1]]
        assert x.dtype == torch.float32 and torch.allclose(x, stored / 255) and x.max() > 0.05
        assert task.train.bytes() == max(task.train.sizes) * (4 + 8)


def test_rotated_bytes_stay_bytes(monkeypatch):
    data = replace(small_data(), x=torch.randint(256, (96, 6, 6), dtype=torch.uint8), scale=1 / 255)
    monkeypatch.setattr(streams, "load", lambda name: data)
    task = Rotated(length=2, degrees=90.0, dataset="bytes").tasks(DRAWS)[1]
    assert task.train.parts[0].x.dtype == torch.uint8
    assert (task.train.parts[0].x.numpy() == np.rot90(data.x.numpy(), 1, axes=(1, 2))).all()


def test_what_a_stream_gives():
    labels = {"task labels at test"}
    known = {"task boundaries", "task labels in training", "past data"}
    assert Rotated().gives() == known | {"stored examples"}
    assert Split().gives() == known | {"stored examples", "new classes"}
    assert Split(scenario="task").gives() == known | {"stored examples", "new classes"} | labels
    assert Rotated(boundaries=False).gives() == {"stored examples"}
    assert Rotated(storage=False).gives() == {"task boundaries", "task labels in training"}


def test_a_stream_is_a_recipe_of_settings():
    for given in (Split(length=2), Permuted(limit=(3,) * 5), Rotated(degrees=10.0)):
        again = pickle.loads(pickle.dumps(given))
        assert again == given and stream(given.name) is type(given)
        x, y = (s.tasks(DRAWS)[1].train.take(torch.zeros(3, 1).long())[0] for s in (given, again))
        assert x.equal(y)
    audited = Split().audit(DRAWS)[4].train.parts[0]
    assert audited.index.equal(Split().tasks(DRAWS)[4].train.parts[0].index)


# A reader's own arrays.


def own(scenario="domain", **more):
    """Task 0 has the labels 3 and 7, task 1 the labels 7 and 8."""
    x = np.arange(24.0).reshape(12, 2)
    y = np.array([3, 7] * 6)
    train = [(x, y), (x + 100, np.where(y == 3, 8, 7))]
    test = [(x[:2] + 0.5, y[:2]), (x[:3] + 100.5, np.array([7, 8, 7]))]
    return from_arrays(train, test, scenario=scenario, **more)


def test_from_arrays_labels_by_the_order_of_each_tasks_classes():
    for scenario, first in (("domain", 0), ("task", 2), ("class", 2)):
        tasks = own(scenario).tasks(DRAWS)
        assert tasks[0].test.parts[0].y.tolist() == [[0, 1]] * 3  # 3, 7
        assert tasks[1].test.parts[0].y.tolist() == [[first, first + 1, first]] * 3  # 7, 8, 7
        assert tasks[1].test.take(torch.arange(3).expand(3, -1))[0][0, :, 0].tolist() == [100.5, 102.5, 104.5]
        assert own(scenario).rule().width == (2 if scenario == "domain" else 4)


def test_from_arrays_sets_every_sixth_training_example_aside():
    task = own().tasks(DRAWS)[0]
    held = task.validation.take(torch.arange(2).expand(3, -1))[0]
    assert held[0, :, 0].tolist() == [10, 22]  # rows 5 and 11
    assert task.train.sizes == [10] * 3 and task.size == 10
    left = task.train.take(torch.arange(10).expand(3, -1))[0][0, :, 0].tolist()
    assert left == [2.0 * i for i in range(12) if i not in (5, 11)]


def test_from_arrays_takes_validation_data():
    x, y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
    task = from_arrays([(x, y)], [(x, y)], [(x[:1] + 9, y[:1])]).tasks(DRAWS)[0]
    assert task.validation.take(torch.zeros(3, 1).long())[0][0, 0].tolist() == [9, 10]
    assert task.train.sizes == [4] * 3


def test_from_arrays_scales_bytes_and_leaves_floats():
    x, y = np.full((6, 2), 51, np.uint8), np.arange(6) % 2
    for stored, seen in ((x, 0.2), (x.astype(float), 51.0)):
        task = from_arrays([(stored, y)], [(stored, y)]).tasks(DRAWS)[0]
        assert torch.allclose(task.test.take(torch.zeros(3, 1).long())[0], torch.tensor(seen))


def test_from_arrays_tasks_may_have_as_many_classes_as_they_like():
    x = np.zeros((8, 2))
    tasks = [(x, np.arange(8) % k) for k in (2, 3)]
    given = from_arrays(tasks, tasks, scenario="class")
    assert given.sizes() == (2, 3) and given.rule().own(1) == range(2, 5) and given.shape == (2,)


def test_a_run_on_own_arrays():
    given = own("task")
    training = replace(QUICK, updates=(4, 4))
    record = run(Method(), given, training, replicas=2, progress=False)
    assert record.accuracy.shape == (2, 3, 2) and record.stream == "arrays"
    assert pickle.loads(pickle.dumps(given)).content == given.content
    other = from_arrays([(np.zeros((6, 2)), np.arange(6) % 2)], [(np.zeros((6, 2)), np.arange(6) % 2)])
    assert other.content != given.content
