"""The gradients of two tasks along training: what the shuffle holds, geometry, cases with a known answer."""

import numpy as np
import pytest
import torch

from clkit.examples import Batch
from clkit.instruments import gradients
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.streams import Permuted, Rotated
from clkit.training import Training
from clkit.tug_of_war import pull

SMALL = Mlp(hidden=(8,))


def follow(tasks, updates=40, replicas=2):
    training = Training(updates=(updates,), every=updates // 2, network=SMALL)
    return pull.follow(pull.Shuffled(of=tasks), tasks, training, replicas)


def test_the_shuffle_holds_the_data_of_all_tasks():
    tasks, draws = Permuted(length=3), Draws((0, 1))
    (mixed,) = pull.Shuffled(of=tasks).tasks(draws)
    parts = tasks.tasks(draws)
    assert mixed.size == sum(part.size for part in parts) == 3 * 1097
    every = torch.arange(3 * 1097).expand(2, -1)
    x, y, number = mixed.train.take(every)
    for t, part in enumerate(parts):
        there = slice(1097 * t, 1097 * (t + 1))
        expected = part.train.take(torch.arange(1097).expand(2, -1))
        assert torch.equal(x[:, there], expected[0]) and torch.equal(y[:, there], expected[1])
        assert (number[:, there] == t).all()


def test_the_gradient_of_the_shuffle_is_the_mean_of_the_tasks_gradients():
    """Joint training follows the sum of both pulls, halved: tasks of one size."""
    tasks, method = Permuted(length=2), Method()
    training = Training(updates=(20,), network=SMALL)
    run(method, pull.Shuffled(of=tasks), training, replicas=2, progress=False, dtype=torch.float64)
    each, mixed = gradients(method, tasks), gradients(method, pull.Shuffled(of=tasks))
    assert mixed[:, 0].numpy() == pytest.approx(each.mean(1).numpy(), abs=1e-12)
    assert each[:, 0].numpy() != pytest.approx(each[:, 1].numpy(), abs=1e-3)


def test_lengths_cosine_and_sum_belong_together():
    found = follow(Permuted(length=2))
    a, b = found.lengths[..., 0], found.lengths[..., 1]
    # |g1 + g2|^2 = |g1|^2 + |g2|^2 + 2 |g1| |g2| cos
    assert found.left**2 == pytest.approx(a**2 + b**2 + 2 * a * b * found.cosine, rel=1e-4)
    assert found.efficiency == pytest.approx(found.left / (a + b), rel=1e-5)
    assert found.updates == [0, 20, 40] and found.lengths.shape == (2, 3, 2)


def test_a_task_twice_pulls_one_way():
    found = follow(Rotated(length=2, degrees=0.0))
    assert found.cosine == pytest.approx(1, abs=1e-5) and found.efficiency == pytest.approx(1, abs=1e-5)
    assert found.losses[..., 0] == pytest.approx(found.losses[..., 1])


def test_different_answers_to_the_same_images():
    tasks = pull.Relabelled().tasks(Draws((0,)))
    (x, y, _), (other, answer, _) = (t.train.take(torch.arange(50)[None]) for t in tasks)
    assert torch.equal(x, other) and torch.equal(answer, (y + 1) % 10)


def test_where_the_tasks_contradict_each_other_the_pulls_end_opposed():
    """At best half of the probability goes to either answer: the residuals of the tasks are then opposite."""
    tasks = pull.Relabelled()
    training = Training(updates=(800,), every=800, batch=512, network=SMALL, lr=0.1)
    found = pull.follow(pull.Shuffled(of=tasks), tasks, training, 2)
    assert (found.cosine[:, -1] < -0.9).all() and (found.cosine[:, 0] > -0.5).all()
    assert (found.efficiency[:, -1] < 0.2).all() and (found.lengths[:, -1] > 0.5).all()
    assert (found.losses[:, -1].sum(1) > 2 * np.log(2)).all()  # -log p - log(1 - p) is lowest at 1/2


def test_in_sequence_the_new_task_alone_acts():
    """After the switch the loss of task 2 falls and that of task 1 rises; before, that of task 1 falls."""
    found = pull.in_sequence(Permuted(length=2), 32, 2, updates=600, every=300)
    one, two = found.losses[..., 0], found.losses[..., 1]
    assert found.updates == [0, 300, 600]
    assert (one[:, 1] < one[:, 0] - 0.5).all() and (one[:, 2] > one[:, 1] + 0.2).all()
    assert (two[:, 2] < two[:, 1] - 0.5).all()


def test_a_replica_depends_on_its_seed_alone():
    two, one = follow(Permuted(length=2)), follow(Permuted(length=2), replicas=1)
    assert two.cosine[:1] == pytest.approx(one.cosine, abs=1e-5)
    assert two.losses[:1] == pytest.approx(one.losses, abs=1e-5)


def test_looking_changes_nothing():
    """The same weights as without the instruments."""
    tasks, looked, plain = Permuted(length=2), Method(), Method()
    training = Training(updates=(30,), every=10, network=SMALL)
    stream = pull.Shuffled(of=tasks)
    run(looked, stream, training, replicas=2, progress=False, observe=lambda m, _: gradients(m, tasks))
    run(plain, stream, training, replicas=2, progress=False)
    for a, b in zip(looked.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


def test_curves_are_means_with_intervals():
    found = follow(Permuted(length=2), replicas=3)
    drawn = found.curves()
    assert drawn["updates"] == [0, 20, 40]
    assert drawn["cosine"]["mean"] == pytest.approx(found.cosine.mean(0), abs=1e-4)
    assert all(low <= mean <= high for mean, low, high in zip(*drawn["pull of task 2"].values(), strict=True))


def test_the_hardest_tenth_by_hand():
    """Twenty examples, two answers; -log p of the right one is log(1 + exp(-margin)). Two of them are hard."""
    margins = torch.tensor([[3.0] * 17 + [-2.0, 1.0, -1.0], [1.0, 2.0] + [4.0] * 18])
    scores = torch.stack([margins, torch.zeros(2, 20)], -1)
    batch = Batch(
        torch.zeros(2, 20, 1), torch.zeros(2, 20, dtype=torch.long), torch.ones(2, 20), None, None, 20
    )
    each = torch.log1p(torch.exp(-margins))
    hard, easy = pull.part(True)(scores, batch), pull.part(False)(scores, batch)
    # Divided by all twenty, not by two: the parts add up to the mean loss.
    assert hard[0] == pytest.approx(float(each[0, 17] + each[0, 19]) / 20)
    assert hard[1] == pytest.approx(float(each[1, 0] + each[1, 1]) / 20)
    assert (hard + easy).numpy() == pytest.approx(each.mean(1).numpy())


def test_the_parts_of_the_gradient_add_up():
    tasks = Permuted(length=2)
    found = follow(tasks)
    hard, easy = (gradients(found.method, tasks, loss=pull.part(which)) for which in (True, False))
    whole = gradients(found.method, tasks)
    assert (hard + easy).numpy() == pytest.approx(whole.numpy(), abs=1e-6)
    halves = pull.hard_and_easy(found, tasks)
    assert halves["cosine over the hardest tenth"] == pytest.approx(
        torch.cosine_similarity(hard[:, 0], hard[:, 1]).numpy(), abs=1e-5
    )
    carried = halves["share of the loss on the hardest tenth"]
    assert (carried > 0.1).all() and (carried < 1).all()  # more than their number
