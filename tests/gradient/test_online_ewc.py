"""Online EWC, against closed forms on a network of one weight.

Implementations that these tests fail: separate EWC under this name, an anchor that stays at an older task or
is stored by reference, gamma on the new importance, an average in place of the sum.
"""

import pytest
import torch
from torch import nn

from clkit.errors import ClkitError, NonFiniteError
from clkit.gradient.ewc import EWC
from clkit.gradient.online_ewc import OnlineEWC
from clkit.loop import Training, run
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.scenario import DomainIncremental
from clkit.streams import Rotated, Split
from clkit.training import sgd

DRAWS = Draws((0, 1), dtype=torch.float64)
SMALL = Training(epochs=10, network=Mlp(hidden=(16,)))
TASKS = [(2.0, 1.0), (4.0, 3.0), (1.0, 0.0)]  # (h, c): the loss of a task is h/2 (w - c)^2


class OneWeight(OnlineEWC):
    """Online EWC on the loss h/2 (w - c)^2 of one weight; the curvature h is its importance, too."""

    def loss(self, batch):
        curvature, centre = batch
        return curvature / 2 * (self.net.weight[:, 0] - centre) ** 2


def build(task):
    net = nn.Module()
    net.weight = nn.Parameter(torch.zeros(2, 1, dtype=torch.float64))
    return net


def learn(decay, *, proximal=True, lr=0.05, steps=600):
    """The method after it has learned each task to the end, its weight and its importance after each."""
    curvature = iter([h for h, _ in TASKS])
    method = OneWeight(
        strength=1.0,
        decay=decay,
        proximal=proximal,
        fisher=lambda net, *_: [torch.full_like(net.weight, next(curvature))],
    )
    method.start(build, DRAWS, DomainIncremental((1,)))
    weights, importance = [], []
    for task in TASKS:
        optimizer = sgd(method.parameters(), lr)
        for _ in range(steps):
            method.lr = lr
            method.step(task, optimizer)
        method.end_task(None)
        weights.append(float(method.net.weight.detach()[0, 0]))
        importance.append(float(method.importance[0][0, 0]))
    return method, weights, importance


@pytest.mark.parametrize(
    "decay, expected",
    [(1.0, [2, 6, 7]), (0.5, [2, 5, 3.5]), (0.0, [2, 4, 1])],
)
def test_importance_fades_and_accumulates(decay, expected):
    """eq: online-ewc. F <- gamma F + F_t with F_t = 2, 4, 1; gamma = 1 is the plain sum."""
    _, _, importance = learn(decay, steps=1)
    assert importance == pytest.approx(expected)


@pytest.mark.parametrize("proximal", [True, False])
def test_without_decay_it_is_joint_training_where_losses_are_quadratic(proximal):
    """gamma = 1, k = 1: w3 is the joint optimum (2 * 1 + 4 * 3 + 1 * 0) / 7 = 2, as Huszar showed.

    Separate penalties count the first task twice and end at 34/21 = 1.62.
    """
    _, weights, _ = learn(1.0, proximal=proximal)
    assert weights == pytest.approx([1, 7 / 3, 2], abs=1e-9)


def test_pull_goes_to_the_latest_weights():
    """gamma = 1/2: F = 5 and w* = 7/3 before the third task: w3 = (1 * 0 + 5 * 7/3) / 6 = 35/18."""
    _, weights, _ = learn(0.5)
    assert weights[2] == pytest.approx(35 / 18, abs=1e-9)


def test_anchor_is_a_copy():
    """What the network does later must not move the place to which it is pulled."""
    method, weights, importance = learn(1.0, steps=500)
    with torch.no_grad():
        method.net.weight.add_(10)
    assert float(method.targets[0][0, 0]) == pytest.approx(weights[-1] * importance[-1])


def test_equals_separate_ewc_while_there_is_one_old_task():
    """To the bit after two tasks, and no longer after three."""
    stream = Rotated(limit=(100,) * 3, length=3)
    online, separate = (run(m, stream, SMALL, seeds=(0, 1), progress=False) for m in (OnlineEWC(), EWC()))
    assert (online.accuracy[:, :3] == separate.accuracy[:, :3]).all()
    assert (online.accuracy[:, 3] != separate.accuracy[:, 3]).any()


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_runs_in_every_scenario(scenario):
    """Outputs that never competed have importance 0, all of them have some at the end."""
    method = OnlineEWC()
    run(method, Split(scenario=scenario, tried=4), SMALL, seeds=(0, 1), progress=False)
    of_head = method.importance[-2].sum(1)
    assert (of_head == 0).sum(1).tolist() == ([0, 0] if scenario == "domain" else [2, 2])


def test_keeps_two_numbers_per_weight_whatever_the_number_of_tasks():
    """P = 64 * 16 + 16 + 16 * 10 + 10 = 1210 weights: 4 * 3 * 1210 bytes after one task and after three."""
    record = run(OnlineEWC(), Rotated(limit=(40,) * 3, length=3), SMALL, seeds=(0,), progress=False)
    assert record.bytes_kept == [14520] * 3


def test_great_strength_diverges_in_the_loss_and_not_after_the_step():
    stream = Rotated(limit=(100, 100), length=2)
    with pytest.raises(NonFiniteError, match="strength"):
        run(OnlineEWC(strength=1e5, proximal=False), stream, SMALL, seeds=(0,), progress=False)
    accuracy = run(OnlineEWC(strength=1e5), stream, SMALL, seeds=(0,), progress=False).accuracy
    assert accuracy[0, 2, 0] > accuracy[0, 1, 0] - 0.1


@pytest.mark.parametrize(
    "settings, match",
    [({"strength": -1.0}, "strength"), ({"decay": 1.1}, "decay"), ({"decay": -0.1}, "decay")],
)
def test_refuses_settings_without_meaning(settings, match):
    with pytest.raises(ClkitError, match=match):
        OnlineEWC(**settings)
