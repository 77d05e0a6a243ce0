"""Replay: what is rehearsed, how it is weighed, and what is written when."""

from math import log

import pytest
import torch
from torch import nn

from clkit.buffers import Recent
from clkit.errors import ClkitError, UnfitError
from clkit.examples import Batch
from clkit.loop import run
from clkit.memory.replay import Replay
from clkit.method import Method
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.streams import Rotated, Split
from clkit.training import Training

SMALL = Training(epochs=1, batch=8, network=Mlp(hidden=(8,)))


def started(rule, **settings):
    """A method on inputs of two numbers, two replicas."""
    method, draws = Replay(**settings), Draws((0, 1))
    method.start(Build(Mlp(hidden=(3,)), (2,), rule, draws), draws, rule)
    return method


def batch_of(rule, y, task, first=0.0):
    """A batch of the training set with labels y; input 0 counts on from `first`."""
    y = torch.tensor([y, y])
    x = torch.stack([first + torch.arange(y.shape[1]).expand(2, -1), torch.zeros(y.shape)], dim=-1)
    return Batch(
        x, y, torch.ones(y.shape), rule.outputs(y, task), torch.arange(y.shape[1]).expand(2, -1), y.shape[1]
    )


def test_the_loss_is_one_mean_over_new_and_old():
    """eq: replay-batch."""
    # scores are the inputs. New: (0, 0), log 2 each. Old: (log 3, 0) with label 1, p = 1/4: log 4 = 2 log 2.
    # Mean of the three: 4/3 log 2. (The sum of the two means would be 3 log 2, their mean 1.5 log 2.)
    rule = scenario("domain", (2, 2))
    method = started(rule, capacity=1)
    method.net = nn.Identity()
    method.memory.add(torch.tensor([log(3), 0.0]).expand(2, 1, 2), torch.ones(2, 1, dtype=torch.int64))
    new = Batch(
        torch.zeros(2, 2, 2), torch.tensor([[0, 1]] * 2), torch.ones(2, 2), None, torch.zeros(2, 2), 2
    )
    assert method.loss(method.widen(new)).tolist() == pytest.approx([4 / 3 * log(2)] * 2)


def test_a_batch_is_rehearsed_only_after_it_was_learned():
    rule = scenario("domain", (3, 3))
    method = started(rule, capacity=4, batch=9)
    first, second = batch_of(rule, [0, 1], 0), batch_of(rule, [2, 2, 2], 0, first=10.0)
    assert method.widen(first) is first
    method.after_step(first)
    wide = method.widen(second)
    assert wide.fresh == 3 and torch.equal(wide.x[:, :3], second.x)
    assert wide.y[:, 3:].sort(dim=1).values.tolist() == [[0, 1]] * 2  # both, each once: no replacement
    assert torch.equal(wide.x[:, 3:, 0].long(), wide.y[:, 3:])  # with their own inputs
    assert wide.index.tolist() == [[0, 1, 2, -1, -1]] * 2
    assert wide.weight.tolist() == [[1.0] * 5] * 2
    assert wide.outputs is None


def test_rehearsed_examples_are_not_written_again():
    rule = scenario("domain", (3, 3))
    method = started(rule, capacity=8)
    for first in (0.0, 10.0):
        method.after_step(method.widen(batch_of(rule, [0, 1], 0, first)))
    assert method.memory.seen == 4
    assert method.memory.kept[0][:, :4, 0].tolist() == [[0.0, 1.0, 10.0, 11.0]] * 2


def test_rehearsed_examples_have_the_outputs_of_their_scenario():
    old, new = [1], [2]
    task = started(scenario("task", (2, 2)), capacity=2)
    task.after_step(batch_of(task.scenario, old, 0))
    wide = task.widen(batch_of(task.scenario, new, 1))
    assert wide.outputs[0].tolist() == [
        [False, False, True, True],
        [True, True, False, False],
    ]  # each its own task's
    grown = started(scenario("class", (2, 2)), capacity=2)
    grown.after_step(batch_of(grown.scenario, old, 0))
    wide = grown.widen(batch_of(grown.scenario, new, 1))
    assert wide.outputs[0].tolist() == [[True] * 4] * 2  # all classes seen by now, for the old one too


def test_the_memory_samples_the_whole_stream():
    stream = Rotated(length=3, limit=(64, 64, 64))
    method = Replay(capacity=30)
    run(method, stream, SMALL, replicas=20, progress=False)
    assert method.memory.seen == 3 * 64  # 8 updates of 8 in each task
    reservoir, ring = tasks_kept(method, stream), Replay(capacity=30, buffer=Recent)
    # 10 of each task are expected in each of 20 replicas: 200; standard deviation sqrt(600 * 2/9) = 11.5
    assert reservoir == pytest.approx([200, 200, 200], abs=40)
    run(ring, stream, SMALL, replicas=20, progress=False)
    assert tasks_kept(ring, stream) == [0, 0, 600]


def tasks_kept(method, stream):
    """How many stored examples, of all replicas together, are images of each task's training set."""
    kept = [x.numpy().tobytes() for x in method.memory.kept[0][:, : method.memory.filled].flatten(0, 1)]
    tasks = [{x.numpy().tobytes() for x in task.train.parts[0].x} for task in stream.tasks(Draws((0,)))]
    return [sum(x in images for x in kept) for images in tasks]


def test_boundaries_and_labels_are_not_used():
    told, untold = (
        run(Replay(), Rotated(length=2, limit=(64, 64), boundaries=b), SMALL, replicas=2, progress=False)
        for b in (True, False)
    )
    assert (told.accuracy == untold.accuracy).all()


def test_without_room_it_is_fine_tuning():
    stream = Split(limit=(30,) * 5)
    off, plain = (run(m, stream, SMALL, replicas=2, progress=False) for m in (Replay(capacity=0), Method()))
    assert (off.accuracy == plain.accuracy).all() and off.bytes_kept == plain.bytes_kept


def test_bytes():
    # 64-8-10: 64 * 8 + 8 + 8 * 10 + 10 = 610 weights of 4; 21 slots of 64 * 4 + 8
    record = run(Replay(capacity=20), Rotated(length=2, limit=(40, 40)), SMALL, replicas=3, progress=False)
    assert record.bytes_examples == [21 * 264] * 2
    assert record.bytes_kept == [4 * 610 + 21 * 264] * 2
    # from the second task on: 20 stored examples in every update, fewer than the batch of 32 asks for
    assert record.interactions == [0, 20 * record.updates[1]]


@pytest.mark.parametrize("settings", [{"capacity": -1}, {"batch": 0}])
def test_bad_settings_are_named(settings):
    with pytest.raises(ClkitError, match=next(iter(settings))):
        Replay(**settings)


def test_a_stream_that_forbids_storing_is_refused():
    with pytest.raises(UnfitError, match="replay needs stored examples.*use"):
        run(Replay(), Rotated(storage=False), replicas=1, progress=False)
