"""Parts seen as one set of examples: looking up, batches, chunks, bytes, closing."""

from __future__ import annotations

import pytest
import torch

from clkit.errors import ClosedDataError
from clkit.examples import Examples, Part
from clkit.scenario import scenario

DOMAIN, TASKS, CLASSES = (scenario(name, (10, 10, 10)) for name in ("domain", "task", "class"))
NEVER = -1000.0  # in rows that belong to nobody


def part(values, index, y, sizes, task, **more):
    """x [N, 2]: the value and its negative."""
    x = torch.tensor(values)
    return Part(torch.stack([x, -x], 1), torch.tensor(index), torch.tensor(y), sizes, task, **more)


# Replica 0 has examples 10, 11, 12 of task 0, then 20; replica 1 has 13, then 22, 21.
FIRST = part([10.0, 11.0, 12.0, 13.0], [[0, 1, 2], [3, -1, -1]], [[1, 2, 3], [4, 0, 0]], (3, 1), 0)
SECOND = part([20.0, 21.0, 22.0, NEVER], [[0, -1], [2, 1]], [[5, 0], [7, 6]], (1, 2), 2)
JOINED = Examples([FIRST]) + Examples([SECOND])


def values(x):
    return x[..., 0].tolist()


def test_take_runs_through_the_parts():
    x, y, task = JOINED.take(torch.tensor([[3, 0, 2, 1], [2, 1, 0, 0]]))
    assert values(x) == [[20, 10, 12, 11], [21, 22, 13, 13]]
    assert (x[..., 1] == -x[..., 0]).all()
    assert y.tolist() == [[5, 1, 3, 2], [6, 7, 4, 4]]
    assert task.tolist() == [[2, 0, 0, 0], [2, 2, 0, 0]]
    assert JOINED.sizes == [4, 3]


def test_take_of_three_parts():
    third = part([30.0], [[0], [0]], [[9], [8]], (1, 1), 1)
    x, y, task = (JOINED + Examples([third])).take(torch.tensor([[4, 3], [3, 0]]))
    assert (
        values(x) == [[30, 20], [30, 13]]
        and y.tolist() == [[9, 5], [8, 4]]
        and task.tolist() == [[1, 2], [1, 0]]
    )


def test_minus_one_is_an_example_of_no_task():
    x, y, task = JOINED.take(torch.tensor([[-1, 3], [0, -1]]))
    assert task.tolist() == [[-1, 2], [0, -1]]
    assert values(x)[0][1] == 20 and values(x)[1][0] == 13
    assert torch.isfinite(x).all() and (y >= 0).all()


def test_adding_nothing_is_the_same():
    alone = Examples([FIRST])
    assert alone + None is alone


@pytest.mark.parametrize("examples", [Examples([FIRST]), JOINED], ids=["one part", "two parts"])
def test_batches_follow_the_order(examples):
    order = torch.tensor([[2, 0, 1, 1, 0, 2], [0, 0, 0, 0, 0, 0]])
    batches = list(examples.batches(order, 2, DOMAIN, 0))
    assert [values(b.x)[0] for b in batches] == [[12, 10], [11, 11], [10, 12]]
    assert [b.y[0].tolist() for b in batches] == [[3, 1], [2, 2], [1, 3]]
    for i, batch in enumerate(batches):
        assert values(batch.x)[1] == [13, 13] and batch.fresh == 2 and batch.outputs is None
        assert torch.equal(batch.index, order[:, 2 * i : 2 * i + 2])
        assert (batch.weight == 1).all() and batch.weight.shape == (2, 2)


def test_batches_of_joined_parts_hold_both():
    (batch,) = JOINED.batches(torch.tensor([[3, 1], [0, 2]]), 2, DOMAIN, 2)
    assert values(batch.x) == [[20, 11], [13, 21]] and batch.y.tolist() == [[5, 2], [4, 6]]
    assert batch.index.tolist() == [[3, 1], [0, 2]] and batch.fresh == 2


def test_batches_carry_the_outputs_that_compete():
    order = torch.tensor([[0, 1], [0, 0]])
    for rule, newest in ((TASKS, 0), (CLASSES, 0), (CLASSES, 1)):
        (batch,) = Examples([FIRST]).batches(order, 2, rule, newest)
        assert batch.outputs.shape == (2, 2, 30)
        assert (batch.outputs.sum(-1) == 10 * (newest + 1)).all() and batch.outputs[
            ..., : 10 * newest + 10
        ].all()


def test_chunks_cover_every_example_once():
    found = [[], []]
    for x, y, valid in JOINED.chunks(3):
        assert y.shape == valid.shape == x.shape[:2] and x.shape[1] <= 3
        for r in range(2):
            found[r] += zip(x[r, valid[r], 0].tolist(), y[r, valid[r]].tolist(), strict=True)
    assert found == [[(10, 1), (11, 2), (12, 3), (20, 5)], [(13, 4), (22, 7), (21, 6)]]


def test_scale_and_type():
    pixels = torch.tensor([[0, 51], [255, 102]], dtype=torch.uint8)
    stored = Part(pixels, torch.tensor([[0, 1]]), torch.tensor([[0, 1]]), (2,), 0, scale=1 / 255)
    x, _, _ = Examples([stored], torch.float64).take(torch.tensor([[1, 0]]))
    assert x.dtype == torch.float64 and torch.allclose(x, torch.tensor([[[1.0, 0.4], [0.0, 0.2]]]).double())


def test_pixels_are_put_in_each_replicas_order():
    images = torch.arange(8.0).view(2, 2, 2)  # the second image holds 4 5 / 6 7
    order = torch.tensor([[3, 0, 1, 2], [0, 1, 2, 3]])
    stored = Part(images, torch.tensor([[1], [1]]), torch.tensor([[0], [0]]), (1, 1), 0, pixels=order)
    x, _, _ = Examples([stored]).take(torch.tensor([[0], [0]]))
    assert x.tolist() == [[[[7, 4], [5, 6]]], [[[4, 5], [6, 7]]]]


def test_bytes_are_of_the_largest_replica_and_as_stored():
    assert Examples([FIRST]).bytes() == 3 * (2 * 4 + 8)  # float32 x 2, and a label
    assert JOINED.bytes() == (3 + 1) * 16  # replica 0 has 3 + 1, replica 1 has 1 + 2
    small = Part(
        torch.zeros(5, 4, 4, dtype=torch.uint8), torch.zeros(1, 5).long(), torch.zeros(1, 5), (5,), 0
    )
    assert Examples([small], torch.float64).bytes() == 5 * (16 + 8)


def test_closed_data_raise_whatever_is_asked():
    asks = {
        "sizes": lambda e: e.sizes,
        "bytes": lambda e: e.bytes(),
        "take": lambda e: e.take(torch.zeros(2, 1).long()),
        "batches": lambda e: next(e.batches(torch.zeros(2, 1).long(), 1, DOMAIN, 0)),
        "chunks": lambda e: next(e.chunks(2)),
        "adding": lambda e: e + Examples([FIRST]),
        "added": lambda e: Examples([FIRST]) + e,
    }
    for name, ask in asks.items():
        examples = Examples([SECOND])
        ask(examples)
        examples.closed = True
        with pytest.raises(
            ClosedDataError, match="the data of task 2 are closed.*'stored examples'.*'past data'"
        ):
            ask(examples)
            pytest.fail(name)


def test_a_union_is_closed_when_one_of_its_parts_is():
    first, second, third = Examples([FIRST]), Examples([SECOND]), Examples([FIRST])
    union = (first + second) + third
    assert union.sizes == [7, 4]
    for each in (first, second, third):
        each.closed = True
        with pytest.raises(ClosedDataError):
            union.take(torch.zeros(2, 1).long())
        each.closed = False


def test_moving_stores_the_data_once():
    there = [FIRST.to("meta"), FIRST.to("meta")]
    assert there[0].x is there[1].x and there[0].index.device.type == there[0].y.device.type == "meta"
    assert FIRST.to("cpu").x is FIRST.x
