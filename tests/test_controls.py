"""Joint training, L2 to old weights, one network per task."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from clkit import claims
from clkit.controls import L2, Independent, Joint
from clkit.errors import ClkitError, UnfitError
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.streams import from_arrays
from clkit.training import Training, adam, momentum

QUICK = Training(updates=(12, 12, 12), batch=8, network=Mlp(hidden=(5,)))
SEEDS = (3, 1)


def small_stream(scenario="domain", tasks=3):
    """Three tasks that contradict each other; x[..., 4] tells which task an example is from."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 30, 5, generator=generator)
    x[..., 4] = torch.arange(3.0)[:, None]
    sets = [(x[t].numpy(), (x[t, :, t] > 0).long().numpy()) for t in range(tasks)]
    return from_arrays(sets, sets, scenario=scenario)


def trained(method, stream=None, training=QUICK):
    return run(method, stream or small_stream(), training, seeds=SEEDS, progress=False)


def weights(method):
    return [p.detach().clone() for net in method.networks() for p in net.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_l2_by_hand():
    """w = 3, w* = 1, lr 0.1, k 2: (3 + 0.2 x 1) / (1 + 0.2) = 2.67, the minimum of (v-3)^2/0.2 + (v-1)^2."""
    method = L2(strength=2.0)
    trained(method)
    method.lr = 0.1
    with torch.no_grad():
        for w, anchor in zip(method.parameters(), method.anchor, strict=True):
            w.fill_(3.0), anchor.fill_(1.0)
    method.after_step(None)
    assert all(torch.allclose(w, torch.tensor(3.2 / 1.2)) for w in method.parameters())


def test_l2_pulls_to_where_the_last_task_ended():
    ends = []

    class Recorded(L2):
        def end_task(self, task):
            super().end_task(task)
            ends.append(weights(self))
            assert same(self.anchor, ends[-1])

    trained(Recorded(strength=1e6))
    for first, later in zip(ends[0], ends[2], strict=True):  # held where task 0 left them
        assert torch.allclose(first, later, atol=1e-3)
    plain, one = Method(), small_stream(tasks=1)
    training = replace(QUICK, updates=(12,))
    trained(plain, one, training)
    assert same(ends[0], weights(plain))  # in the first task nothing pulls


@pytest.mark.parametrize("optimizer", [momentum, adam])
def test_l2_of_strength_zero_is_fine_tuning(optimizer):
    off, plain = L2(strength=0.0), Method()
    for method in (off, plain):
        trained(method, training=replace(QUICK, optimizer=optimizer))
    assert same(weights(off), weights(plain))


def test_l2_keeps_an_anchor():
    network = 4 * (5 * 5 + 5 + 5 * 2 + 2)
    assert trained(L2()).bytes_kept == [2 * network] * 3


def test_l2_refuses_a_negative_strength():
    with pytest.raises(ClkitError, match="strength must be zero or more, not -1"):
        L2(strength=-1)


class Watched(Joint):
    """Joint training that notes which examples its steps see, by task."""

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.seen, self.steps = {}, 0

    def after_step(self, batch):
        self.steps += 1
        tasks = batch.x[0, :, 4].long().tolist()
        self.seen.setdefault((self.steps - 1) // 100, []).extend(tasks)
        for t, y, outputs in zip(tasks, batch.y[0].tolist(), batch.outputs[0].tolist(), strict=True):
            assert outputs == [c // 2 == t for c in range(6)] and y // 2 == t  # the label's own head competes


def test_joint_shuffles_the_tasks_so_far_together():
    method = Watched()
    record = trained(method, small_stream("task"), replace(QUICK, updates=(100,) * 3))
    assert record.updates == [100] * 3  # as many as fine-tuning
    counts = [[method.seen[t].count(task) for task in range(3)] for t in range(3)]
    assert counts[0] == [800, 0, 0]
    # 800 draws of a shuffled 50, then 75: each task's share is exact up to one unfinished shuffle of 25
    assert counts[1][2] == 0 and counts[1][0] == counts[1][1] == 400
    assert all(abs(count - 800 / 3) < 25 for count in counts[2])


def test_joint_learns_what_fine_tuning_forgets():
    training = replace(QUICK, updates=(300,) * 3)
    stream = small_stream()
    joint, plain = (
        trained(method, stream, training).accuracy[:, -1].mean() for method in (Joint(), Method())
    )
    assert joint > 0.8 and joint > plain + 0.1


def test_joint_on_one_task_is_fine_tuning():
    joint, plain = Joint(), Method()
    for method in (joint, plain):
        trained(method, small_stream(tasks=1), replace(QUICK, updates=(12,)))
    assert same(weights(joint), weights(plain))


def test_joint_keeps_all_training_data():
    network, task = 4 * (5 * 5 + 5 + 5 * 2 + 2), 25 * (4 * 5 + 8)
    record = trained(Joint())
    assert record.bytes_kept == [network + task, network + 2 * task, network + 3 * task]
    assert record.bytes_examples == record.bytes_data == [task, 2 * task, 3 * task]


def test_joint_meets_past_examples_in_their_share():
    """25 examples per task: of 40 drawn half are expected to be of task 1, of 45 of three tasks two thirds are old,
    however many replicas there are and whatever their shuffles are."""
    for seeds in ((0,), range(10)):
        training = Training(batch=5, updates=(8, 8, 9))
        record = run(Joint(), small_stream(), training, seeds=seeds, progress=False)
        assert record.interactions == [0, 20, 30]
    alone = run(Method(), small_stream(), QUICK, seeds=(0,), progress=False)
    assert alone.interactions == [0, 0, 0]


def test_independent_neither_forgets_nor_transfers():
    accuracy = trained(Independent(), small_stream("task"), replace(QUICK, updates=(60,) * 3)).accuracy
    for j in range(3):
        assert (accuracy[:, : j + 1, j] == accuracy[:, :1, j]).all()  # untrained until its turn
        assert (accuracy[:, j + 1 :, j] == accuracy[:, j + 1 : j + 2, j]).all()  # and fixed afterwards
        assert (accuracy[:, -1, j] > accuracy[:, 0, j]).all()


def test_independent_networks_are_those_of_runs_that_see_one_task():
    """Task 2's network does not know whether tasks 0 and 1 were."""
    method, skipping = Independent(), Independent()
    stream = small_stream("task")
    trained(method, stream)
    trained(skipping, stream, replace(QUICK, updates=(1, 1, 12)))
    pair = [list(m.nets[2].parameters()) for m in (method, skipping)]
    assert same(*pair)
    assert not torch.isclose(method.nets[0].body[0].weight, method.nets[2].body[0].weight).any()


def test_independent_on_one_task_is_fine_tuning():
    alone, plain = Independent(), Method()
    for method in (alone, plain):
        trained(method, small_stream("task", 1), replace(QUICK, updates=(12,)))
    assert same(weights(alone), weights(plain))


def test_independent_keeps_a_network_per_task_with_its_own_outputs():
    network = 4 * (5 * 5 + 5 + 5 * 2 + 2)
    assert trained(Independent(), small_stream("task")).bytes_kept == [network, 2 * network, 3 * network]


def test_independent_answers_for_a_task_not_begun_and_stays_as_it_is():
    method, stream = Independent(), small_stream("task")
    trained(method, replace(stream, tried=1))
    before, x = weights(method), torch.ones(2, 3, 5)
    late = method.predict(x, 2)
    assert (
        torch.equal(late, method.predict(x, 2)) and list(method.nets) == [0] and same(weights(method), before)
    )
    assert torch.equal(late, method.build(task=2, own=True)(x))
    with pytest.raises(UnfitError, match="needs the task's number at test"):
        method.predict(x)


def test_the_strength_of_l2_is_what_the_stored_grid_chose():
    """`clkit compare l2 --grid strength=... --out clkit/results/grid_l2.json`, on validation data."""
    (grid,) = json.loads((claims.RESULTS / "grid_l2.json").read_text())["grid"]
    best = max(grid["tried"], key=lambda row: row["validation_accuracy"]["mean"])
    assert grid["method"] == "l2" and grid["chosen"] == best["settings"]
    assert float(best["settings"]["strength"]) == L2().strength
