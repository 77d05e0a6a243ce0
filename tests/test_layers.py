"""Each stacked layer equals torch's own, replica by replica, in values and gradients."""

from __future__ import annotations

from copy import deepcopy
from math import sqrt

import pytest
import torch
from torch import nn
from torch.func import functional_call

from clkit import layers
from clkit.errors import ClkitError
from clkit.replicas import Draws

R, B = 3, 4
DRAWS = Draws((5, 2, 8), dtype=torch.float64)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def perturbed(layer):
    """The layer with every parameter moved off its initial value, so that biases and gains count."""
    with torch.no_grad():
        for p in layer.parameters():
            p += 0.3 * normal(*p.shape)
    return layer


def own(layer, weights):
    """torch's layer with these parameters."""
    layer = layer.double()
    layer.load_state_dict(weights)
    return layer


def linear(layer, r):
    return own(nn.Linear(5, 6), {"weight": layer.weight[r].T, "bias": layer.bias[r, 0]})


def conv2d(layer, r):
    torchs = nn.Conv2d(2, 6, 3, stride=2, padding=1)
    return own(torchs, {"weight": layer.weight[r], "bias": layer.bias[r]})


def embedding(layer, r):
    return own(nn.Embedding(7, 5), {"weight": layer.weight[r]})


def layer_norm(layer, r):
    return own(nn.LayerNorm(5), {"weight": layer.weight[r], "bias": layer.bias[r]})


CASES = {
    "linear": (layers.Linear(5, 6, DRAWS), linear, lambda: normal(R, B, 5)),
    "conv2d": (
        layers.Conv2d(2, 6, 3, DRAWS, stride=2, padding=1),
        conv2d,
        lambda: normal(R, B, 2, 9, 7),
    ),
    "embedding": (layers.Embedding(7, 5, DRAWS), embedding, lambda: torch.randint(7, (R, B, 3))),
    "embedding of floats": (
        layers.Embedding(7, 5, DRAWS),
        embedding,
        lambda: torch.randint(7, (R, B)).double(),
    ),
    "layer norm": (layers.LayerNorm(5, DRAWS), layer_norm, lambda: normal(R, B, 5)),
    "layer norm of sequences": (layers.LayerNorm(5, DRAWS), layer_norm, lambda: normal(R, B, 3, 5)),
}


@pytest.mark.parametrize("layer, torchs, inputs", CASES.values(), ids=CASES)
def test_values_and_gradients_are_those_of_torch(layer, torchs, inputs):
    layer, x = perturbed(layer), inputs()
    out = layer(x)
    weight = normal(*out.shape)
    grads = torch.autograd.grad((out * weight).sum(), list(layer.parameters()))
    for r in range(R):
        single = torchs(layer, r)
        rows = x[r].long() if isinstance(single, nn.Embedding) else x[r]
        expected = single(rows)
        assert torch.allclose(out[r], expected, atol=1e-12)
        (expected * weight[r]).sum().backward()
        for grad, p in zip(grads, single.parameters(), strict=True):
            mine = grad[r].T if isinstance(single, nn.Linear) and p.dim() == 2 else grad[r].reshape(p.shape)
            assert torch.allclose(mine, p.grad, atol=1e-12)


@pytest.mark.parametrize("layer, torchs, inputs", CASES.values(), ids=CASES)
def test_replicas_are_read_from_the_weights(layer, torchs, inputs):
    """With fast weights [R * 2, ...] the layer computes 2 R networks."""
    xs = inputs(), inputs()
    fast = {name: p.repeat_interleave(2, 0) * 1.0 for name, p in layer.named_parameters()}
    together = functional_call(layer, fast, (torch.stack(xs, 1).flatten(0, 1),))
    assert torch.allclose(together, torch.stack([layer(x) for x in xs], 1).flatten(0, 1), atol=1e-12)


def test_lstm_cell_is_that_of_torch():
    cell = perturbed(layers.LSTMCell(5, 6, DRAWS))
    xs, h, c = normal(2, R, B, 5), normal(R, B, 6), normal(R, B, 6)
    state = h, c
    for x in xs:  # two steps, so that the state is fed back
        state = cell(x, state)
    weight = normal(2, R, B, 6)
    parameters = [cell.of_input.weight, cell.of_state.weight, cell.of_input.bias, cell.of_state.bias]
    grads = torch.autograd.grad((torch.stack(state) * weight).sum(), parameters)
    for r in range(R):
        kept = [p[r].T if p.shape[1] > 1 else p[r, 0] for p in parameters]
        single = own(
            nn.LSTMCell(5, 6), dict(zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), kept, strict=True))
        )
        expected = h[r], c[r]
        for x in xs:
            expected = single(x[r], expected)
        assert torch.allclose(torch.stack(state)[:, r], torch.stack(expected), atol=1e-12)
        (torch.stack(expected) * weight[:, r]).sum().backward()
        for grad, p in zip(grads, single.parameters(), strict=True):
            assert torch.allclose(grad[r].T if p.dim() == 2 else grad[r, 0], p.grad, atol=1e-12)


def test_lstm_cell_reads_replicas_from_the_weights():
    cell = layers.LSTMCell(5, 6, DRAWS)
    fast = {name: p.repeat_interleave(2, 0) for name, p in cell.named_parameters()}
    x, h, c = normal(R, B, 5), normal(R, B, 6), normal(R, B, 6)
    twice = [t.repeat_interleave(2, 0) for t in (x, h, c)]
    new = functional_call(cell, fast, (twice[0], (twice[1], twice[2])))
    for mine, once in zip(new, cell(x, (h, c)), strict=True):
        assert torch.allclose(mine, once.repeat_interleave(2, 0), atol=1e-12)


INITIAL = {  # fan-in by hand
    "linear": (layers.Linear(50, 80, DRAWS, scale=0.5), 50, 0.5),
    "conv2d": (layers.Conv2d(6, 60, 3, DRAWS), 6 * 3 * 3, 1.0),
}


@pytest.mark.parametrize("layer, inputs, scale", INITIAL.values(), ids=INITIAL)
def test_initial_weights_have_the_kaiming_variance_and_zero_biases(layer, inputs, scale):
    # > 9,000 weights: standard error of the deviation below 1 %
    assert abs(layer.weight.std() / (scale * sqrt(2 / inputs)) - 1) < 0.03
    assert (layer.bias == 0).all()


def test_layers_differ_by_replica_seed_task_and_counter():
    first = layers.Linear(5, 6, DRAWS).weight
    assert torch.equal(layers.Linear(5, 6, Draws((2,), dtype=torch.float64)).weight[0], first[1])
    for other in (
        first[[1, 0, 2]],
        layers.Linear(5, 6, DRAWS, task=1).weight,
        layers.Linear(5, 6, DRAWS, counter=1).weight,
    ):
        assert not torch.isclose(first[:2], other[:2]).any()


def test_dropout_keeps_a_share_and_the_mean():
    x = torch.ones(R, 200, 100, dtype=torch.float64)
    out = layers.Dropout(0.3, DRAWS)(x)
    assert set(out.unique().tolist()) == {0.0, 1 / 0.7}
    # 60,000 units, standard error of the share 0.0019
    assert abs((out == 0).double().mean() - 0.3) < 0.01 and abs(out.mean() - 1) < 0.015


def test_dropout_draws_by_replica_layer_and_call():
    x = torch.ones(R, 20, 10)
    layer = layers.Dropout(0.5, DRAWS)
    first, second = layer(x), layer(x)
    assert not torch.equal(first[0], first[1])  # replicas apart
    assert not torch.equal(first, second)  # calls apart
    assert not torch.equal(layers.Dropout(0.5, DRAWS, layer=1)(x), first)
    alone = layers.Dropout(0.5, Draws((2,)))
    assert torch.equal(alone(x[:1])[0], first[1])  # whatever replicas run beside it
    assert torch.equal(alone(x[:1])[0], second[1])


def test_dropout_is_off_in_evaluation_and_draws_nothing_there():
    x = torch.ones(R, 20, 10)
    layer, other = layers.Dropout(0.5, DRAWS), layers.Dropout(0.5, DRAWS)
    layer.eval()
    assert layer(x) is x
    layer.train()
    assert torch.equal(layer(x), other(x))  # the evaluation between moved no counter
    assert layers.Dropout(0.0, DRAWS)(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_dropout_of_everything_is_refused(rate):
    with pytest.raises(ClkitError, match="rate must be a share"):
        layers.Dropout(rate, DRAWS)


@pytest.mark.parametrize("layer, torchs, inputs", CASES.values(), ids=CASES)
def test_layers_run_on_the_meta_device(layer, torchs, inputs):
    out = deepcopy(layer).to("meta")(inputs().to("meta"))
    assert out.device.type == "meta" and out.shape == layer(inputs()).shape
