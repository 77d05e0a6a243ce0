"""Experience replay with a small memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from clkit.buffers import Recent, Reservoir
from clkit.errors import counted
from clkit.examples import Batch
from clkit.method import Beats, Method
from clkit.nets import Build
from clkit.replicas import Draws
from clkit.scenario import Scenario
from clkit.streams import Rotated


@dataclass(kw_only=True, eq=False)
class Replay(Method):
    """Every step follows the gradient of new examples together with a few old ones from a small memory.

    Loss: L(w) = mean of the cross-entropy over B and B_M together, B the new batch, B_M drawn from the memory
    uniformly and without replacement; only then is B written to it. The memory is a uniform sample of all
    presentations of the whole stream, so it needs neither task boundaries nor labels.

    Reference: Chaudhry et al. (2019b), On tiny episodic memories, algorithm 1, with reservoir writing;
    Vitter (1985), algorithm R.
    Needs: stored examples.
    Keeps: 4 P + (M + 1) (4 d + 8) bytes: M examples of d inputs and a label, one slot for those turned away;
        4 P for M = 0.
    Departs: several epochs, so an example may be kept twice. The memory is used from the first task on, not
    from the second, since no boundary is known.
    """

    capacity: int = 50  # examples kept (M)
    batch: int = 32  # examples rehearsed per step (b'), as the paper as many as new ones; or all there are
    buffer: type[Recent] = Reservoir  # which examples stay; Recent is the ablation: the last M

    name: ClassVar[str] = "replay"
    chapter: ClassVar[str] = "memory"
    needs: ClassVar[frozenset[str]] = frozenset({"stored examples"})
    off: ClassVar[dict[str, Any] | None] = {"capacity": 0}

    def __post_init__(self) -> None:
        counted("capacity", self.capacity, zero=True)
        counted("batch", self.batch)

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.memory = self.buffer(self.capacity, draws)

    def widen(self, batch: Batch) -> Batch:
        if not self.memory.filled:
            return batch
        x, y = self.memory.sample(self.batch)
        self.rehearsed += y.shape[1]
        outputs = self.scenario.rehearsed_outputs(y, batch.outputs)
        return replace(
            batch,
            x=torch.cat([batch.x, x], dim=1),  # eq: replay-batch
            y=torch.cat([batch.y, y], dim=1),
            weight=torch.cat([batch.weight, torch.ones_like(y, dtype=batch.weight.dtype)], dim=1),
            outputs=_join(batch.outputs, outputs),
            index=torch.cat([batch.index, torch.full_like(y, -1)], dim=1),
        )

    def after_step(self, batch: Batch) -> None:
        self.memory.add(batch.x[:, : batch.fresh], batch.y[:, : batch.fresh])

    def bytes_examples(self) -> int:
        return self.memory.bytes_kept()

    def bytes_kept(self) -> int:
        return super().bytes_kept() + self.memory.bytes_kept()

    @classmethod
    def beats(cls) -> Beats:
        return Beats(Method(), cls(buffer=Recent), Rotated(), "average_accuracy", {})


def _join(new: Tensor | None, old: Tensor | None) -> Tensor | None:
    return None if new is None or old is None else torch.cat([new, old], dim=1)
