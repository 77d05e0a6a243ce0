"""EWC, against closed forms on a network of one weight and against its own variants on small runs.

Implementations that these tests fail: online EWC under this name, anchors stored by reference, a pull that
momentum or Adam's second moment rescales, heads of other tasks held back, k without its 1/2.
"""

import pytest
import torch
from torch import nn

from clkit.errors import ClkitError, NonFiniteError
from clkit.gradient.ewc import EWC
from clkit.loop import Training, run
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.scenario import DomainIncremental
from clkit.streams import Rotated, Split
from clkit.training import adam, momentum, sgd

DRAWS = Draws((0, 1), dtype=torch.float64)
SMALL = Training(epochs=20, network=Mlp(hidden=(16,)))
STREAM = Rotated(limit=(400, 400), length=2)


class OneWeight(EWC):
    """EWC on the loss h/2 (w - c)^2 of one weight; the curvature h is its importance, too."""

    def loss(self, batch):
        curvature, centre = batch
        return curvature / 2 * (self.net.weight[:, 0] - centre) ** 2


def weight(*values):
    net = nn.Module()
    net.weight = nn.Parameter(torch.tensor(values, dtype=torch.float64).expand(2, -1).clone())
    return net


def learn(tasks, *, strength=1.0, proximal=True, lr=0.05, steps=600, optimizer=sgd):
    """The method after it has learned each task (curvature, centre) to the end, and the weight after each."""
    curvature = iter([h for h, _ in tasks])
    method = OneWeight(
        strength=strength,
        proximal=proximal,
        fisher=lambda net, *_: [torch.full_like(net.weight, next(curvature))],
    )
    method.start(lambda task: weight(0.0), DRAWS, DomainIncremental((1,)))
    path = []
    for task in tasks:
        moving = optimizer(method.parameters(), lr)
        for _ in range(steps):
            method.lr = lr
            method.step(task, moving)
        method.end_task(None)
        path.append(method.net.weight.detach().clone())
    return method, torch.stack(path)[:, 0, 0].tolist()


@pytest.mark.parametrize("proximal", [True, False])
def test_each_old_task_pulls_to_its_own_weights(proximal):
    """eq: ewc-sums. k = 1, tasks (h, c) = (2, 1), (4, 3), (1, 0).

    w1 = 1; w2 = (4 * 3 + 2 * 1) / (4 + 2) = 7/3; w3 = (1 * 0 + 2 * 1 + 4 * 7/3) / (1 + 2 + 4) = 34/21.
    One penalty around the latest weights would end at (6 * 7/3) / 7 = 2.
    """
    _, path = learn([(2.0, 1.0), (4.0, 3.0), (1.0, 0.0)], proximal=proximal)
    assert path == pytest.approx([1, 7 / 3, 34 / 21], abs=1e-9)


@pytest.mark.parametrize("proximal", [True, False])
@pytest.mark.parametrize("strength", [0.0, 0.5, 4.0])
def test_rest_point_for_a_strength(proximal, strength):
    """(a + k F b) / (1 + k F) with a = 0 (new), b = 1 (old), F = 3; without the 1/2 it would be 2 k."""
    _, path = learn([(3.0, 1.0), (1.0, 0.0)], strength=strength, proximal=proximal)
    assert path[1] == pytest.approx(3 * strength / (1 + 3 * strength), abs=1e-9)


@pytest.mark.parametrize("optimizer", [sgd, momentum, adam])
def test_the_strength_reaches_the_weights_under_any_optimizer(optimizer):
    """k = 1e9, F = 3: the weight stays to 1e-6, though Adam moves by about lr for any gradient."""
    _, path = learn([(3.0, 1.0), (1.0, -5.0)], strength=1e9, optimizer=optimizer)
    assert path[1] == pytest.approx(path[0], abs=1e-6)


def test_anchors_are_copies():
    """What the network does later must not move the place to which it is pulled."""
    method, _ = learn([(3.0, 1.0)], steps=500)
    before = [t.clone() for t in (*method.importance, *method.targets)]
    with torch.no_grad():
        method.net.weight.add_(10)
    assert all(torch.equal(a, b) for a, b in zip(before, (*method.importance, *method.targets), strict=True))


def test_great_strength_freezes_only_what_matters():
    """Black corner pixels feed weights of importance 0: these learn on, all others stay."""
    method = EWC(strength=1e9)
    run(method, Rotated(limit=(100,), length=1), SMALL, seeds=(0,), progress=False)
    held = [f > 1e-4 for f in method.importance]
    free = [f == 0 for f in method.importance]
    old = [w.detach().clone() for w in method.parameters()]
    optimizer = sgd(method.parameters(), 0.05)
    optimizer.zero_grad()
    sum(w.sum() for w in method.parameters()).backward()  # every weight is driven by -1
    optimizer.step()
    method.lr = 0.05
    method.after_step(None)
    assert sum(int(f.sum()) for f in free) > 10 and sum(int(f.sum()) for f in held) > 500
    for w, v, yes, no in zip(method.parameters(), old, held, free, strict=True):
        torch.testing.assert_close(w[yes], v[yes], atol=1e-5, rtol=1e-5)
        assert torch.equal(w[no], v[no] - 0.05)


def test_proximal_and_explicit_agree_for_a_small_strength():
    """lr k F < 0.01: the two ways differ by far less than the pull moves the weights."""
    nets = {}
    for name, method in {
        "off": EWC(strength=0),
        "in": EWC(strength=0.1, proximal=False),
        "after": EWC(strength=0.1),
    }.items():
        run(method, STREAM, SMALL, seeds=(0, 1), progress=False)
        nets[name] = torch.cat([w.detach().flatten() for w in method.parameters()])
    moved = (nets["off"] - nets["after"]).norm()
    assert moved > 1e-2
    assert (nets["in"] - nets["after"]).norm() < 0.1 * moved


def test_great_strength_diverges_in_the_loss_and_not_after_the_step():
    """lr k F > 2 for some weights: the error names the setting; the proximal pull keeps the first task."""
    with pytest.raises(NonFiniteError, match="strength"):
        run(EWC(strength=1e5, proximal=False), STREAM, SMALL, seeds=(0,), progress=False)
    record = run(EWC(strength=1e5), STREAM, SMALL, seeds=(0,), progress=False)
    assert record.accuracy[0, 1, 0] > 0.5
    assert record.accuracy[0, 2, 0] > record.accuracy[0, 1, 0] - 0.1


@pytest.mark.parametrize("scenario, idle", [("task", 8), ("class", 8), ("domain", 0)])
def test_scenarios_count_only_outputs_that_competed(scenario, idle):
    """After the first of five tasks of two classes, the outputs of later tasks matter to nobody."""
    method = EWC()
    run(method, Split(scenario=scenario, tried=1), SMALL, seeds=(0, 1), progress=False)
    of_head = method.importance[-2].sum(1)  # [R, C]
    assert (of_head == 0).sum(1).tolist() == [idle, idle]
    assert (of_head[:, :2] > 0).all()


def test_keeps_two_numbers_per_weight_whatever_the_number_of_tasks():
    """P = 64 * 16 + 16 + 16 * 10 + 10 = 1210 weights: 4 * 3 * 1210 bytes after one task and after three."""
    record = run(EWC(), Rotated(limit=(40,) * 3, length=3), SMALL, seeds=(0,), progress=False)
    assert record.bytes_kept == [14520] * 3


def test_refuses_a_negative_strength():
    with pytest.raises(ClkitError, match="strength must be zero or more"):
        EWC(strength=-1.0)
