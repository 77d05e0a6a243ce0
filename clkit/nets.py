"""Networks built of the stacked layers: `features(x)` below, a head made by the scenario on top.

A network maps x [R, B, ...] to scores [R, B, C]. Architectures are small frozen dataclasses that build it, so
that a run can be named, stored and repeated by its settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from clkit.errors import ClkitError, counted, listed, positive
from clkit.layers import Conv2d, Linear
from clkit.replicas import Draws, Replicas
from clkit.scenario import Head, Scenario


class MLP(nn.Module):
    """Fully connected ReLU layers on the flattened input, then the head."""

    def __init__(self, body: Sequence[Linear], head: Head) -> None:
        super().__init__()
        self.body, self.head = nn.ModuleList(body), head

    def features(self, x: Tensor) -> Tensor:
        """[R, B, ...] -> the last hidden layer's activations [R, B, h]."""
        x = x.flatten(2)
        for layer in self.body:
            x = torch.relu(layer(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class ConvNet(nn.Module):
    """3x3 convolutions, ReLU and 2x2 max pooling on [R, B, H, W] or [R, B, channels, H, W], then the head."""

    def __init__(self, body: Sequence[Conv2d], head: Head) -> None:
        super().__init__()
        self.body, self.head = nn.ModuleList(body), head

    def features(self, x: Tensor) -> Tensor:
        x = x if x.dim() == 5 else x[:, :, None]
        for layer in self.body:
            x = torch.relu(layer(x))
            x = torch.nn.functional.max_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])
        return x.flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """Architecture: an MLP with these hidden widths."""

    hidden: tuple[int, ...] = (100, 100)  # units per hidden layer
    scale: float = 1.0  # factor on the Kaiming-normal initial weights

    def __post_init__(self) -> None:
        listed("hidden", self.hidden)
        for width in self.hidden:
            counted("hidden", width)
        positive("scale", self.scale)

    def __call__(self, build: Build, task: int, own: bool) -> MLP:
        widths = (prod(build.shape), *self.hidden)
        body = [
            Linear(a, b, build.draws, task=task, counter=i, scale=self.scale)
            for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        ]
        return MLP(body, build.scenario.head(widths[-1], build.draws, task=task, scale=self.scale, own=own))


@dataclass(frozen=True, kw_only=True)
class Convnet:
    """Architecture: convolutions with these numbers of filters, each halving the image."""

    filters: tuple[int, ...] = (16, 32)  # filters per convolution
    scale: float = 1.0  # factor on the Kaiming-normal initial weights

    def __post_init__(self) -> None:
        listed("filters", self.filters)
        for count in self.filters:
            counted("filters", count)
        positive("scale", self.scale)

    def __call__(self, build: Build, task: int, own: bool) -> ConvNet:
        if len(build.shape) not in (2, 3):
            raise ClkitError(f"a convolution needs images, not inputs of shape {build.shape}. Use Mlp().")
        channels, height, width = (1, *build.shape)[-3:]
        widths = (channels, *self.filters)
        body = [
            Conv2d(a, b, 3, build.draws, padding=1, task=task, counter=i, scale=self.scale)
            for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        ]
        inputs = widths[-1] * (height >> len(self.filters)) * (width >> len(self.filters))
        if inputs == 0:
            raise ClkitError(
                f"{len(self.filters)} poolings leave nothing of {height}x{width} images. Use fewer."
            )
        return ConvNet(body, build.scenario.head(inputs, build.draws, task=task, scale=self.scale, own=own))


@dataclass(frozen=True, kw_only=True)
class Custom:
    """Architecture: any `nn.Module` without a replica dimension, whose C outputs are the scenario's."""

    module: Callable[[tuple[int, ...], int], nn.Module]  # (input shape, C) -> network on [B, *shape]
    scale: float = 1.0  # recorded only: the module sets its own initial weights

    def __call__(self, build: Build, task: int, own: bool) -> Replicas:
        return Replicas(lambda: self.module(build.shape, build.scenario.width), build.draws, task)


Architecture = Mlp | Convnet | Custom


@dataclass(frozen=True)
class Build:
    """Makes the run's networks: `build(task)` draws a fresh one for that task from the replicas' seeds."""

    architecture: Architecture
    shape: tuple[int, ...]  # of one input
    scenario: Scenario
    draws: Draws

    def __call__(self, task: int = 0, *, own: bool = False) -> nn.Module:
        """A network in training mode; `own`: with the outputs of `task` only, for a network per task."""
        return self.architecture(self, task, own)
