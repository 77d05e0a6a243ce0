"""Replicas: randomness by seed and purpose, and any network as R copies of itself.

Every tensor of a run has the replica dimension R in front. Replica r depends on its own seed alone, so a run
with seeds (a, b, c) holds the run with seed b, whatever the others are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from clkit.errors import ClkitError

BLOCK = 32768  # numbers of a Feed fetched at once


def generator(seed: int, purpose: str, task: int = 0, counter: int = 0) -> np.random.Generator:
    """The numbers of one replica for one purpose; the same key gives the same numbers on every machine."""
    key = blake2b(repr((int(seed), purpose, int(task), int(counter))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


@dataclass(frozen=True)
class Draws:
    """Randomness of a run, by (replica seed, purpose, task, counter); nothing is remembered between calls.

    Each call returns one tensor with R = len(seeds) in front, drawn on the CPU and moved to `device`, so that
    CPU and GPU see the same numbers. A purpose is one user's own: the stream's are classes, pixels and limit,
    the runner's order, the layers' init, head and dropout.
    """

    seeds: tuple[int, ...]
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def replicas(self) -> int:
        return len(self.seeds)

    def to(self, device: str) -> Draws:
        return replace(self, device=device)

    def _each(
        self, draw: Callable[[np.random.Generator], np.ndarray], purpose: str, task: int, counter: int
    ) -> Tensor:
        rows = [draw(generator(seed, purpose, task, counter)) for seed in self.seeds]
        return torch.from_numpy(np.stack(rows)).to(self.device)

    def uniform(self, purpose: str, shape: tuple[int, ...], task: int = 0, counter: int = 0) -> Tensor:
        """[R, *shape], float64 in [0, 1)."""
        return self._each(lambda g: g.random(shape), purpose, task, counter)

    def normal(self, purpose: str, shape: tuple[int, ...], task: int = 0, counter: int = 0) -> Tensor:
        """[R, *shape], standard normal in the run's dtype."""
        return self._each(lambda g: g.standard_normal(shape), purpose, task, counter).to(self.dtype)

    def permutation(self, purpose: str, n: int, task: int = 0, counter: int = 0) -> Tensor:
        """[R, n], a shuffle of 0..n-1 for each replica."""
        return self._each(lambda g: g.permutation(n), purpose, task, counter)

    def integers(
        self, purpose: str, high: int, shape: tuple[int, ...], task: int = 0, counter: int = 0
    ) -> Tensor:
        """[R, *shape], whole numbers in 0..high-1."""
        return self._each(lambda g: g.integers(high, size=shape), purpose, task, counter)

    def shuffles(self, purpose: str, sizes: list[int], length: int, task: int = 0) -> Tensor:
        """[R, length], each replica walks shuffle after shuffle of its own 0..sizes[r]-1."""

        def walk(seed: int, size: int) -> np.ndarray:
            rounds = range(-(-length // size))
            return np.concatenate([generator(seed, purpose, task, i).permutation(size) for i in rounds])[
                :length
            ]

        rows = [walk(seed, size) for seed, size in zip(self.seeds, sizes, strict=True)]
        return torch.from_numpy(np.stack(rows)).to(self.device)


@dataclass
class Feed:
    """Uniform draws by position, in blocks, because a fetch per update would cost a third of the update."""

    draws: Draws
    purpose: str
    block: int = field(default=-1, init=False)

    def __call__(self, start: int, length: int) -> Tensor:
        """[R, length] in [0, 1): numbers start, ..., start + length - 1 of this purpose."""
        pieces, end = list[Tensor](), start + length
        while start < end or not pieces:
            block, offset = divmod(start, BLOCK)
            if block != self.block:
                self.values = self.draws.uniform(self.purpose, (BLOCK,), counter=block)
                self.block = block
            pieces.append(self.values[:, offset : offset + end - start])
            start += BLOCK - offset
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


class Replicas(nn.Module):
    """Any `nn.Module` as R copies with the kit's interface: inputs [R, B, ...], outputs [R, B, ...].

    `build()` is called once per seed with torch's generator set from that seed; the parameters are stacked.
    Slower than the stacked layers of `clkit.layers` (torch.func.vmap), for networks that they do not cover.

    Args:
        build: makes one network; called once per seed.
        draws: the run's draws, or the number of replicas (then seeds 0..R-1).
    """

    def __init__(self, build: Callable[[], nn.Module], draws: Draws | int, task: int = 0) -> None:
        super().__init__()
        draws = Draws(tuple(range(draws))) if isinstance(draws, int) else draws
        copies = [_seeded(build, seed, task).to(draws.device, draws.dtype) for seed in draws.seeds]
        _fit(copies[0])
        self._names = [name for name, _ in copies[0].named_parameters()]
        for name in self._names:
            stack = torch.stack([copy.get_parameter(name).detach() for copy in copies])
            self.register_parameter(name.replace(".", "__"), nn.Parameter(stack))
        self._one = (copies[0].to("meta"),)  # in a tuple: its own parameters must not be registered

    def forward(self, x: Tensor) -> Tensor:
        weights = {name: getattr(self, name.replace(".", "__")) for name in self._names}
        return vmap(lambda w, rows: functional_call(self._one[0], w, (rows,)))(weights, x)


def _fit(network: nn.Module) -> None:
    if any(True for _ in network.buffers()) or any(isinstance(m, _BatchNorm) for m in network.modules()):
        raise ClkitError(
            "build() makes a network with batch normalisation or other buffers: its answer to one example would "
            "depend on the others, and replicas cannot share statistics. Use LayerNorm."
        )
    if any(isinstance(module, _DropoutNd) for module in network.modules()):
        raise ClkitError(
            "build() makes a network with torch's dropout, whose generator all replicas would share. "
            "Leave it out, or build the network from clkit.layers, whose Dropout draws by replica."
        )


def _seeded(build: Callable[[], nn.Module], seed: int, task: int) -> nn.Module:
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(generator(seed, "init", task).integers(2**62)))
        return build()
