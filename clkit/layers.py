"""torch's layers with a replica dimension in front: inputs [R, B, ...], parameters [R, ...].

R is read from the parameters at every call and never stored, so the same layer serves R replicas, R x tasks
fast weights of an inner loop, or one replica per example. Initial weights are Kaiming-normal times `scale`,
biases zero.
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clkit.errors import ClkitError
from clkit.replicas import Draws


def kaiming(
    draws: Draws, shape: tuple[int, ...], fan_in: int, *, task: int, counter: int, purpose: str, scale: float
) -> nn.Parameter:
    """Normal weights with variance scale^2 * 2 / fan_in (He et al. 2015, equation 10)."""
    return nn.Parameter(draws.normal(purpose, shape, task, counter) * (scale * sqrt(2 / fan_in)))


def zeros(draws: Draws, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(draws.replicas, *shape, device=draws.device, dtype=draws.dtype))


class Linear(nn.Module):
    """x [R, B, inputs] -> x W + b [R, B, outputs]; weight [R, inputs, outputs], bias [R, 1, outputs]."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        draws: Draws,
        *,
        task: int = 0,
        counter: int = 0,
        purpose: str = "init",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = kaiming(
            draws, (inputs, outputs), inputs, task=task, counter=counter, purpose=purpose, scale=scale
        )
        self.bias = zeros(draws, 1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight).add_(self.bias)  # in place: a tenth faster than baddbmm


class Conv2d(nn.Module):
    """x [R, B, channels, H, W] -> [R, B, filters, H', W'], one grouped convolution for all replicas."""

    def __init__(
        self,
        channels: int,
        filters: int,
        size: int,
        draws: Draws,
        *,
        stride: int = 1,
        padding: int = 0,
        task: int = 0,
        counter: int = 0,
        purpose: str = "init",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = kaiming(
            draws,
            (filters, channels, size, size),
            channels * size * size,
            task=task,
            counter=counter,
            purpose=purpose,
            scale=scale,
        )
        self.bias = zeros(draws, filters)

    def forward(self, x: Tensor) -> Tensor:
        replicas, batch = x.shape[:2]
        stacked = x.transpose(0, 1).reshape(batch, -1, *x.shape[3:])
        out = F.conv2d(
            stacked,
            self.weight.flatten(0, 1),
            self.bias.flatten(),
            self.stride,
            self.padding,
            groups=replicas,
        )
        return out.unflatten(1, (replicas, -1)).transpose(0, 1)


class Embedding(nn.Module):
    """x [R, B, ...] whole numbers -> [R, B, ..., width]; weight [R, entries, width]."""

    def __init__(
        self,
        entries: int,
        width: int,
        draws: Draws,
        *,
        task: int = 0,
        counter: int = 0,
        purpose: str = "init",
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(draws.normal(purpose, (entries, width), task, counter))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1).long()[..., None].expand(-1, -1, self.weight.shape[-1])
        return self.weight.gather(1, rows).view(*x.shape, -1)


class LayerNorm(nn.Module):
    """x [R, B, ..., width], normalised over the last dimension, with a gain and a bias per replica."""

    def __init__(self, width: int, draws: Draws, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(draws.replicas, width, device=draws.device, dtype=draws.dtype))
        self.bias = zeros(draws, width)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1,) + (1,) * (x.dim() - 2) + x.shape[-1:]
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * self.weight.view(shape) + self.bias.view(shape)


class LSTMCell(nn.Module):
    """One step of an LSTM: x [R, B, inputs], state (h, c) each [R, B, width] -> state; gates i, f, g, o."""

    def __init__(
        self, inputs: int, width: int, draws: Draws, *, task: int = 0, counter: int = 0, purpose: str = "init"
    ) -> None:
        super().__init__()
        self.of_input = Linear(inputs, 4 * width, draws, task=task, counter=counter, purpose=purpose)
        self.of_state = Linear(
            width, 4 * width, draws, task=task, counter=counter, purpose=f"{purpose} of the state"
        )

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, g, o = (self.of_input(x) + self.of_state(h)).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class Dropout(nn.Module):
    """Zeroes a share `rate` of the units in training, by the run's draws (torch's own would mix replicas)."""

    def __init__(self, rate: float, draws: Draws, *, layer: int = 0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ClkitError(f"rate must be a share from 0 to below 1, not {rate}.")
        self.rate, self.draws, self.layer, self.calls = rate, draws, layer, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        self.calls += 1
        copies = x.shape[0] // self.draws.replicas  # tasks or examples that are replicas of their own
        kept = self.draws.uniform("dropout", (copies, *x.shape[1:]), self.layer, self.calls) >= self.rate
        return x * kept.flatten(0, 1).to(x.dtype) / (1 - self.rate)
