"""MAML: its gradient against central differences, closed forms and two other ways to write the inner loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from clkit.episodes import Episode, LabelSwap, Shots, Sinusoids
from clkit.errors import ClkitError
from clkit.learner import JointPretraining, run_meta
from clkit.meta.maml import MAML
from clkit.metrics import difference
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.schedule import Schedule

DOUBLE = torch.float64


def started(learner, tasks, seeds=(0, 1), hidden=(4,), dtype=DOUBLE):
    draws = Draws(seeds, dtype=dtype)
    learner.start(Build(Mlp(hidden=hidden), tasks.shape, tasks.rule(), draws), draws)
    return learner


def gradient(learner, episode):
    loss = learner.outer_loss(episode).sum()
    return torch.autograd.grad(loss, learner.parameters())


class Point(nn.Module):
    """The weights themselves are the answer: w [R, 1, d]."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x):
        return self.w.expand(-1, x.shape[1], -1)


def bowl(hessian, centre):
    """Tasks (w - c)^T A (w - c) / 2 with A [M, d, d] and c [M, 1, d]."""

    def error(w, c):
        return ((w - c) @ hessian * (w - c)).sum(-1) / 2

    return Shots(centre[..., :1], centre, error)


def on_bowls(learner, w):
    learner.start(lambda: Point(w.clone()), Draws((0,), dtype=DOUBLE))
    return learner


def random_bowls(tasks=3, d=3):
    torch.manual_seed(0)
    root = torch.randn(tasks, d, d, dtype=DOUBLE)
    return root @ root.mT + torch.eye(d, dtype=DOUBLE), torch.randn(tasks, 1, d, dtype=DOUBLE)


@pytest.mark.parametrize("steps", [1, 3])
def test_outer_gradient_equals_central_differences(steps):
    """eq: maml-outer"""
    tasks = Sinusoids(shots=5, queries=5)
    learner = started(MAML(steps=steps, inner_lr=0.02), tasks)
    episode = tasks.episode(learner.draws, 3, 0)
    step = 1e-5
    for w, g in zip(learner.parameters(), gradient(learner, episode), strict=True):
        for i in range(w.numel()):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    w.view(-1)[i] += sign * step
                ends.append(learner.outer_loss(episode).sum().detach())
                with torch.no_grad():
                    w.view(-1)[i] -= sign * step
            numeric = (ends[0] - ends[1]) / (2 * step)
            assert torch.allclose(g.view(-1)[i], numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 4])
def test_quadratic_tasks_have_the_closed_form(steps):
    """eq: maml-inner: v - c = M (w - c) with M = (I - a A)^K; so grad J = mean of M^T A M (w - c)."""
    hessian, centre = random_bowls()
    learner = on_bowls(MAML(steps=steps, inner_lr=0.05), torch.randn(1, 1, 3, dtype=DOUBLE))
    shots, w = bowl(hessian, centre), learner.net.w.detach()
    m = torch.linalg.matrix_power(torch.eye(3, dtype=DOUBLE) - 0.05 * hessian, steps)
    fast = learner.adapt(shots, steps)["w"]
    assert torch.allclose(fast - centre, (w - centre) @ m, rtol=1e-12)
    expected = ((w - centre) @ (m.mT @ hessian @ m)).mean(0, keepdim=True)
    assert torch.allclose(gradient(learner, Episode(shots, shots))[0], expected, rtol=1e-12)


def test_first_order_is_the_gradient_at_the_fast_weights():
    # Support (2/2) w^2, query (3/2) (w - 1/2)^2, from w = 1 with a = 0.1: v = 1 - 0.1 * 2 = 0.8; there the
    # query's gradient is 3 * 0.3 = 0.9. First order hands that to w; second order times (1 - 0.1 * 2): 0.72.
    # Detaching v instead of the inner gradient would give 0.
    one = torch.ones(1, 1, 1, dtype=DOUBLE)
    episode = Episode(bowl(2 * one, 0 * one), bowl(3 * one, 0.5 * one))
    for first_order, expected in ((True, 0.9), (False, 0.72)):
        learner = on_bowls(MAML(inner_lr=0.1, first_order=first_order), one)
        assert gradient(learner, episode)[0].item() == pytest.approx(expected, rel=1e-14)


def test_first_order_on_a_network():
    tasks = Sinusoids()
    learner = started(MAML(inner_lr=0.02, steps=2, first_order=True), tasks, seeds=(0,))
    episode = tasks.episode(learner.draws, 3, 0)
    fast = {n: w.detach().requires_grad_() for n, w in learner.adapt(episode.support, 2).items()}
    at_fast = torch.autograd.grad(learner.query_loss(fast, episode).sum(), [*fast.values()])
    for g, each in zip(gradient(learner, episode), at_fast, strict=True):
        assert torch.allclose(g, each.sum(0, keepdim=True), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("tasks", [Sinusoids(), LabelSwap(shots=1, queries=1)])
def test_without_inner_steps_it_is_joint_pretraining_bit_for_bit(tasks):
    off, joint = MAML(**MAML.off), JointPretraining()
    schedule = Schedule(iterations=5, tasks=4, every=5, validation_tasks=3, test_tasks=3, steps=2)
    records = [run_meta(each, tasks, schedule, replicas=2, progress=False) for each in (off, joint)]
    assert all(torch.equal(a, b) for a, b in zip(off.parameters(), joint.parameters(), strict=True))
    assert np.array_equal(records[0].by_step, records[1].by_step)
    assert records[0].flops == records[1].flops
    assert MAML.equals == JointPretraining.name


def test_step_size_zero_changes_nothing():
    tasks = Sinusoids()
    learner = started(MAML(inner_lr=0.0, steps=3), tasks)
    episode = tasks.episode(learner.draws, 3, 0)
    expanded = learner.expand(6)
    assert all(torch.equal(w, expanded[n]) for n, w in learner.adapt(episode.support, 3).items())
    joint = started(JointPretraining(), tasks)
    for a, b in zip(gradient(learner, episode), gradient(joint, episode), strict=True):
        assert torch.allclose(a, b, rtol=1e-14, atol=0)


def test_the_order_of_the_tasks_does_not_matter():
    tasks = Sinusoids()
    learner = started(MAML(inner_lr=0.02), tasks)
    episode = tasks.episode(learner.draws, 4, 0)
    order = torch.tensor([2, 0, 3, 1, 5, 7, 6, 4])  # within each replica

    def mixed(shots):
        return Shots(shots.x[order], shots.y[order], shots.error)

    other = gradient(learner, Episode(mixed(episode.support), mixed(episode.query)))
    for a, b in zip(gradient(learner, episode), other, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


def one_network(weights, x):
    """The same network without a replica dimension: weights by name, x [N, 1]."""
    hidden = torch.relu(x @ weights["body.0.weight"] + weights["body.0.bias"])
    return hidden @ weights["head.linear.weight"] + weights["head.linear.bias"]


def task_loss(weights, x, y):
    return (one_network(weights, x) - y).square().mean()


def adapted_loss(weights, support_x, support_y, query_x, query_y):
    """The query loss of one task after two steps of 0.02, with torch.func."""
    for _ in range(2):
        gradients = grad(task_loss)(weights, support_x, support_y)
        weights = {n: w - 0.02 * gradients[n] for n, w in weights.items()}
    return task_loss(weights, query_x, query_y)


def test_three_ways_to_write_the_inner_loop_agree():
    tasks = Sinusoids()
    learner = started(MAML(inner_lr=0.02, steps=2), tasks, seeds=(3,), hidden=(6,))
    episode = tasks.episode(learner.draws, 5, 0)
    arrays = (episode.support.x, episode.support.y, episode.query.x, episode.query.y)
    slow = {n: w[0].detach().clone() for n, w in learner.net.named_parameters()}
    mapped = grad(lambda w: vmap(lambda *task: adapted_loss(w, *task))(*arrays).mean())(slow)

    looped = {n: torch.zeros_like(w) for n, w in slow.items()}
    for support_x, support_y, query_x, query_y in zip(*arrays, strict=True):
        start = {n: w.clone().requires_grad_() for n, w in slow.items()}
        fast = start
        for _ in range(2):
            loss = task_loss(fast, support_x, support_y)
            gradients = torch.autograd.grad(loss, [*fast.values()], create_graph=True)
            fast = {n: w - 0.02 * g for (n, w), g in zip(fast.items(), gradients, strict=True)}
        for n, g in zip(
            start,
            torch.autograd.grad(task_loss(fast, query_x, query_y), [*start.values()]),
            strict=True,
        ):
            looped[n] += g / 5
    for (n, _), g in zip(learner.net.named_parameters(), gradient(learner, episode), strict=True):
        assert torch.allclose(g[0], mapped[n], rtol=1e-12, atol=1e-13)
        assert torch.allclose(g[0], looped[n], rtol=1e-12, atol=1e-13)


def test_bowls_of_one_shape_cannot_tell_maml_from_joint_training():
    """Their MAML optimum is the mean of the centres, the joint optimum; bowls of two shapes have another."""
    hessian, centre = random_bowls()
    middle = centre.mean(0, keepdim=True)
    shared = bowl(hessian[:1].expand(3, -1, -1), centre)
    learner = on_bowls(MAML(steps=2, inner_lr=0.05), middle)
    assert gradient(learner, Episode(shared, shared))[0].abs().max() < 1e-13
    joint = torch.linalg.solve(hessian.sum(0), (hessian @ centre.mT).sum(0)).mT[None]
    varied = bowl(hessian, centre)
    at_joint = on_bowls(MAML(steps=2, inner_lr=0.05), joint)
    assert gradient(at_joint, Episode(varied, varied))[0].abs().max() > 0.01
    assert gradient(on_bowls(JointPretraining(), joint), Episode(varied, varied))[0].abs().max() < 1e-13


@pytest.mark.parametrize("tasks", [Sinusoids(), LabelSwap()])
@pytest.mark.parametrize("first_order", [False, True])
def test_outer_loss_reads_no_value_back(tasks, first_order):
    learner = started(MAML(steps=2, first_order=first_order), tasks, dtype=torch.float32)
    episode = tasks.episode(learner.draws, 3, 0)
    learner.net.to("meta")
    loss = learner.outer_loss(episode.to("meta"))
    loss.sum().backward()
    assert loss.shape == (2,)
    assert all(w.grad.is_meta and w.grad.shape == w.shape for w in learner.parameters())


def test_bytes_and_operations():
    tasks, schedule = Sinusoids(), Schedule(iterations=1, every=1, validation_tasks=1, test_tasks=1, steps=1)
    second, first, joint = (
        run_meta(each, tasks, schedule, replicas=2, progress=False)
        for each in (MAML(), MAML(first_order=True), JointPretraining())
    )
    assert second.bytes_kept == [4 * (40 + 40 + 1600 + 40 + 40 + 1)]  # 1-40-40-1
    assert joint.flops[0] < first.flops[0] < second.flops[0]
    assert first.flops[0] == 2 * joint.flops[0]  # a pass over as many support points


def test_contradictory_tasks_are_learned_in_one_step():
    # Before the step every learner guesses among ten classes; after it only MAML has learned the task.
    schedule = Schedule(
        iterations=150, tasks=10, validation_tasks=20, test_tasks=40, steps=1, grid=(0.3, 1.0)
    )
    found = {
        each.name: run_meta(each, LabelSwap(), schedule, seeds=(0,), progress=False).by_step[0]
        for each in (MAML(inner_lr=1.0), JointPretraining())
    }
    assert all(abs(accuracy[0] - 0.1) < 0.05 for accuracy in found.values())
    assert found["maml"][1] > 0.6 and found["joint_pretraining"][1] < 0.3


def test_bad_settings_say_what_to_do():
    with pytest.raises(ClkitError, match="steps must be zero or more"):
        MAML(steps=-1)
    with pytest.raises(ClkitError, match="inner_lr must be zero or more"):
        MAML(inner_lr=-0.1)


@pytest.mark.slow
def test_it_beats_joint_pretraining_and_first_order():
    beats = MAML.beats()
    arms = [
        run_meta(each, beats.stream, Schedule(**beats.training), replicas=10, progress=False).by_step
        for each in (MAML(), beats.control, beats.ablation)
    ]
    for k in (MAML().steps, 10):  # as many steps as in training, and more
        for other in arms[1:]:
            assert difference(other[:, k], arms[0][:, k]).low > 0
    assert (arms[0][:, 10] < arms[0][:, 1]).all()  # more steps than it trained with still help
