"""Networks and architectures; anybody's module through Replicas agrees with the stacked layers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from clkit.errors import ClkitError
from clkit.examples import Task
from clkit.importance import exact_fisher
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Build, Convnet, Custom, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.streams import from_arrays
from clkit.training import Training, adam

DRAWS = Draws((5, 2, 8), dtype=torch.float64)
TASKS = scenario("task", (2, 3))
DOMAIN = scenario("domain", (3, 3))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def build(architecture, shape=(4,), rule=DOMAIN, draws=DRAWS):
    return Build(architecture, shape, rule, draws)


def test_mlp_by_hand():
    """x (1, 2); hidden ReLU of weights 1, -1 / 1, 1: (3, 1); head 2, 3: 9; bias 0.5."""
    net = build(Mlp(hidden=(2,)), (2,), scenario("domain", (1,)), Draws((0,)))()
    with torch.no_grad():
        net.body[0].weight.copy_(torch.tensor([[[1.0, -1.0], [1.0, 1.0]]]))
        net.head.linear.weight.copy_(torch.tensor([[[2.0], [3.0]]]))
        net.head.linear.bias.fill_(0.5)
    assert net(torch.tensor([[[1.0, 2.0]]])).tolist() == [[[9.5]]]
    assert net(torch.tensor([[[2.0, 1.0]]])).tolist() == [[[6.5]]]  # the second unit is off: -1 -> 0
    assert net.features(torch.tensor([[[1.0, 2.0]]])).tolist() == [[[3.0, 1.0]]]


def test_mlp_flattens_images_and_counts_its_parameters():
    net = build(Mlp(hidden=(7, 5)), (2, 3))()
    assert net(normal(3, 6, 2, 3)).shape == (3, 6, 3)
    assert sum(p[0].numel() for p in net.parameters()) == 6 * 7 + 7 + 7 * 5 + 5 + 5 * 3 + 3


def test_no_hidden_layer_is_a_linear_classifier():
    net, x = build(Mlp(hidden=()))(), normal(3, 6, 4)
    assert torch.equal(net(x), net.head.linear(x))


def test_each_layer_of_each_task_has_weights_of_its_own():
    """Equal widths, so that two layers, or two tasks, with one key would hold equal weights."""
    make = build(Mlp(hidden=(4, 4)))
    nets = make(0), make(1)
    weights = [layer.weight for net in nets for layer in net.body]
    assert all(not torch.isclose(a, b).any() for i, a in enumerate(weights) for b in weights[:i])
    assert torch.equal(make(1).body[0].weight, nets[1].body[0].weight)  # made again, the same


@pytest.mark.parametrize("architecture", [Mlp, Convnet])
def test_scale_multiplies_the_initial_weights(architecture):
    one, three = (build(architecture(scale=s), (8, 8))() for s in (1.0, 3.0))
    for a, b in zip(one.parameters(), three.parameters(), strict=True):
        assert torch.allclose(3 * a, b)


@pytest.mark.parametrize("shape", [(9, 8), (3, 9, 8)], ids=["grey", "colour"])
def test_convnet_is_that_of_torch(shape):
    net, x = build(Convnet(filters=(4, 6)), shape)(), normal(3, 5, *shape)
    out = net(x)
    for r in range(3):
        image = x[r] if len(shape) == 3 else x[r][:, None]
        for layer in net.body:
            image = torch.conv2d(image, layer.weight[r], layer.bias[r], padding=1).relu()
            image = torch.nn.functional.max_pool2d(image, 2)
        expected = image.flatten(1) @ net.head.linear.weight[r] + net.head.linear.bias[r]  # 6 x 2 x 2
        assert torch.allclose(out[r], expected, atol=1e-12)


def test_own_head_answers_for_its_task_only():
    net = build(Mlp(hidden=(6,)), rule=TASKS)(1, own=True)
    out = net(normal(3, 5, 4))
    assert out.shape == (3, 5, 5) and (out[..., :2] == 0).all() and (out[..., 2:] != 0).all()
    assert net.head.linear.bias.shape == (3, 1, 3)


def test_convnet_refuses_what_is_no_image_and_too_many_poolings():
    with pytest.raises(ClkitError, match=r"a convolution needs images.*Mlp\(\)"):
        build(Convnet(), (64,))()
    with pytest.raises(ClkitError, match="4 poolings leave nothing of 8x8 images"):
        build(Convnet(filters=(2, 2, 2, 2)), (8, 8))()


# Anybody's module, given the stacked network's weights.


def sequential(shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, outputs))


CUSTOM, STACKED = Custom(module=sequential), Mlp(hidden=(6,))


def give(custom, stacked):
    """Copy weights [R, in, out] to torch's [R, out, in], biases [R, 1, out] to [R, out]."""
    with torch.no_grad():
        for mine, theirs in zip(custom.parameters(), stacked.parameters(), strict=True):
            mine.copy_(theirs.mT if mine.dim() == 3 else theirs[:, 0])


@dataclass(kw_only=True, eq=False)
class StartStacked(Method):
    """Fine-tuning of any network from the stacked MLP's initial weights."""

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        if build.architecture is CUSTOM:
            give(self.net, Build(STACKED, build.shape, scenario, draws)())


def small_stream(scenario="domain"):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 60, 4, generator=generator).numpy()
    y = (x[..., :3].argmax(-1)).astype(int)
    tasks = [(x[t], y[t]) for t in range(2)]
    return from_arrays(tasks, tasks, scenario=scenario)


def test_custom_has_the_outputs_and_gradients_of_the_stacked_network():
    custom, stacked, x = build(CUSTOM)(), build(STACKED)(), normal(3, 5, 4)
    give(custom, stacked)
    weight = normal(3, 5, 3)
    outs = custom(x), stacked(x)
    assert torch.allclose(*outs, atol=1e-12)
    for out in outs:
        (out * weight).sum().backward()
    for mine, theirs in zip(custom.parameters(), stacked.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad.mT if mine.dim() == 3 else theirs.grad[:, 0], atol=1e-12)


@pytest.mark.parametrize("which", ["domain", "task", "class"])
def test_custom_trains_as_the_stacked_network_does(which):
    ends = []
    for network in (CUSTOM, STACKED):
        method = StartStacked()
        training = Training(updates=(20, 20), batch=8, lr=0.01, optimizer=adam, network=network)
        record = run(method, small_stream(which), training, replicas=3, dtype=torch.float64, progress=False)
        ends.append((record, method.net))
    (mine, custom), (theirs, stacked) = ends
    assert (mine.accuracy == theirs.accuracy).all() and mine.accuracy[:, -1, -1].mean() > 0.4
    assert mine.flops == theirs.flops and mine.bytes_kept == theirs.bytes_kept
    for a, b in zip(custom.parameters(), stacked.parameters(), strict=True):
        assert torch.allclose(a, b.mT if a.dim() == 3 else b[:, 0], atol=1e-9)


def test_custom_has_the_exact_fisher_of_the_stacked_network():
    custom, stacked = build(CUSTOM)(), build(STACKED)()
    give(custom, stacked)
    data = small_stream().tasks(DRAWS)[0]
    task = Task(0, range(3), data.train, data.validation, 1, 8)
    pair = [exact_fisher(net, task, DOMAIN, DRAWS) for net in (custom, stacked)]
    for a, b in zip(*pair, strict=True):
        assert torch.allclose(a, b.mT if a.dim() == 3 else b[:, 0], rtol=1e-9, atol=1e-12)
        assert a.abs().sum() > 0
