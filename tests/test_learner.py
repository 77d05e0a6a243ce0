"""The loop of the episodic learners: the record, checkpoints, replicas, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.episodes import LabelSwap, Sinusoids
from clkit.errors import ClkitError, NonFiniteError, UnfitError
from clkit.learner import JointPretraining, Learner, run_meta
from clkit.meta.maml import MAML
from clkit.nets import Build, Mlp
from clkit.record import Record
from clkit.replicas import Draws
from clkit.schedule import Schedule
from clkit.streams import Rotated

SMALL = Schedule(
    iterations=6,
    tasks=3,
    network=Mlp(hidden=(8,)),
    every=2,
    steps=2,
    grid=(0.001, 0.01),
    validation_tasks=4,
    test_tasks=25,
)


def small_run(learner, tasks=None, schedule=SMALL, **options):
    return run_meta(learner, tasks or Sinusoids(), schedule, progress=False, **options)


def weights(learner):
    return [w.detach().clone() for w in learner.parameters()]


def test_record_holds_what_a_reader_needs(tmp_path):
    learner = JointPretraining()
    record = small_run(learner, seeds=(4, 2, 9))
    assert record.metric == "mse" and record.stream == "sinusoids" and record.accuracy is None
    assert record.by_step.shape == (3, 3) and np.isfinite(record.by_step).all()
    assert record.updates == [6] and record.curve_updates == [2, 4, 6]
    assert record.curve.shape == (3, 3, 1)
    assert record.bytes_kept == [4 * (8 + 8 + 8 + 1)] and record.bytes_examples == [0]  # 1-8-1, float32
    assert record.settings["stream"] == {"shots": 10, "queries": 10, "flip": False}
    assert record.settings["training"]["grid"] == [0.001, 0.01] and record.seconds > 0
    again = Record.load(record.save(tmp_path / "record.json"))
    assert np.array_equal(again.by_step, record.by_step) and again.settings == record.settings
    frame = again.to_frame()
    assert list(frame.columns) == ["seed", "step", "mse"] and len(frame) == 9


def test_operations_by_hand():
    # 1-8-1: a pass over a point is 2 (8 + 8) = 32 operations forward, and as many for the weights' gradients,
    # and 16 for the hidden layer's: 80. Joint training does it for the 10 query points of 3 tasks, 6 times;
    # the plain count has the 10 support points as well.
    record = small_run(JointPretraining(), seeds=(0, 1))
    assert record.flops == [6 * 3 * 10 * 80] and record.flops_plain == [6 * 3 * 20 * 80]


def test_classification_is_measured_in_accuracy():
    record = small_run(JointPretraining(), LabelSwap(shots=2, queries=2), replicas=2)
    assert record.metric == "accuracy"
    assert ((record.by_step >= 0) & (record.by_step <= 1)).all()
    assert abs(record.by_step[:, 0].mean() - 0.1) < 0.06  # 1000 queries of tasks that nothing can foresee


def test_tasks_of_a_replica_stand_side_by_side():
    learner, draws, tasks = JointPretraining(), Draws((0, 1), dtype=torch.float64), Sinusoids(queries=4)
    learner.start(Build(Mlp(hidden=(3,)), tasks.shape, tasks.rule(), draws), draws)
    expanded = learner.expand(6)
    for name, w in learner.net.named_parameters():
        assert torch.equal(expanded[name], torch.stack([w[0], w[0], w[0], w[1], w[1], w[1]]))
    episode = tasks.episode(draws, 3, 0)
    x, y = (t.reshape(2, 3 * 4, 1) for t in (episode.query.x, episode.query.y))
    flat = (learner.net(x) - y).square().mean((1, 2))  # one batch of all the tasks' points
    assert torch.allclose(learner.outer_loss(episode), flat, rtol=1e-12)


@pytest.mark.parametrize("make", [JointPretraining, MAML])
def test_a_replica_alone_equals_the_replica_among_others(make):
    pair, alone, again = make(), make(), make()
    records = [
        small_run(learner, seeds=seeds, dtype=torch.float64)
        for learner, seeds in ((pair, (5, 3)), (alone, (3,)), (again, (5, 3)))
    ]
    for w, one, same in zip(weights(pair), weights(alone), weights(again), strict=True):
        assert torch.allclose(w[1:], one, rtol=1e-9, atol=1e-12) and torch.equal(w, same)
    assert np.allclose(records[0].by_step[1:], records[1].by_step, rtol=1e-9)
    assert np.allclose(records[0].curve[1:], records[1].curve, rtol=1e-9)
    assert np.array_equal(records[0].by_step, records[2].by_step)


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    whole, halves, file = MAML(), MAML(), tmp_path / "run.pt"
    record = small_run(whole, replicas=2)
    episode = Sinusoids.episode

    def interrupted(self, draws, tasks, counter, part="train"):
        if part == "train" and counter == 5:
            raise KeyboardInterrupt
        return episode(self, draws, tasks, counter, part)

    monkeypatch.setattr(Sinusoids, "episode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_run(halves, replicas=2, checkpoint=file)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]

    seen = []

    def counted(self, draws, tasks, counter, part="train"):
        seen.append((part, counter))
        return episode(self, draws, tasks, counter, part)

    monkeypatch.setattr(Sinusoids, "episode", counted)
    rest = MAML()
    resumed = small_run(rest, replicas=2, checkpoint=file)
    assert [counter for part, counter in seen if part == "train"] == [4, 5]  # the look after 4 was saved
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(rest), strict=True))
    assert np.array_equal(resumed.by_step, record.by_step) and np.array_equal(resumed.curve, record.curve)
    assert resumed.flops == record.flops and resumed.updates == [6]
    done = small_run(MAML(), replicas=2, checkpoint=file)
    assert np.array_equal(done.by_step, record.by_step)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    file = tmp_path / "run.pt"
    small_run(MAML(), seeds=(0,), checkpoint=file)
    for learner, seeds in ((MAML(steps=2), (0,)), (MAML(), (1,)), (JointPretraining(), (0,))):
        with pytest.raises(ClkitError, match="checkpoint of another run"):
            small_run(learner, seeds=seeds, checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ClkitError, match="no checkpoint of clkit"):
        small_run(MAML(), seeds=(0,), checkpoint=file)


def test_weights_that_are_no_numbers_name_replica_and_setting():
    with pytest.raises(NonFiniteError, match=r"seed \[7\] are not finite.*inner_lr"):
        small_run(MAML(inner_lr=1e30), seeds=(7,))

    class OneBad(JointPretraining):
        def start(self, build, draws):
            super().start(build, draws)
            with torch.no_grad():
                self.parameters()[0][1] = float("nan")

    with pytest.raises(NonFiniteError, match=r"weights after 2 iterations of replica\(s\) with seed \[8\]"):
        small_run(OneBad(), seeds=(7, 8, 9))


def test_what_is_refused_says_why():
    with pytest.raises(UnfitError, match="not a stream: use sinusoids or label_swap"):
        small_run(MAML(), Rotated())
    with pytest.raises(ClkitError, match="device"):
        small_run(MAML(), device="quantum")
    with pytest.raises(ClkitError, match="seeds must be different"):
        small_run(MAML(), seeds=(1, 1))
    with pytest.raises(ClkitError, match="replicas must be greater than zero"):
        small_run(MAML(), replicas=0)
    for name in ("iterations", "tasks", "lr", "every", "validation_tasks", "test_tasks"):
        with pytest.raises(ClkitError, match=f"{name} must be greater than zero"):
            Schedule(**{name: 0})
    with pytest.raises(ClkitError, match="steps must be zero or more"):
        Schedule(steps=-1)
    with pytest.raises(ClkitError, match="grid is empty"):
        Schedule(grid=())
    with pytest.raises(ClkitError, match="grid must be greater than zero"):
        Schedule(grid=(0.1, -0.1))
    with pytest.raises(ClkitError, match="inner_lr must be zero or more"):
        JointPretraining(inner_lr=-1)


def test_without_inner_steps_only_the_start_is_measured():
    record = small_run(JointPretraining(), schedule=Schedule(iterations=1, steps=0, test_tasks=2))
    assert record.by_step.shape == (10, 1)


def test_place_in_the_taxonomy():
    assert JointPretraining().verbs() == frozenset() and MAML.defines() == {"adapt", "outer_loss"}
    assert not Learner.listed and JointPretraining.listed and JointPretraining.beats() is None


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    small_run(JointPretraining(), replicas=1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cpu_and_cuda_agree():
    host, device = MAML(), MAML()
    small_run(host, replicas=2, dtype=torch.float64)
    small_run(device, replicas=2, dtype=torch.float64, device="cuda")
    for a, b in zip(weights(host), weights(device), strict=True):
        assert torch.allclose(a, b.cpu(), rtol=1e-6, atol=1e-9)
