"""Progressive networks: a column per task that reads the frozen columns of the tasks before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clkit.controls import Independent
from clkit.errors import ClkitError
from clkit.examples import Task
from clkit.layers import Linear, kaiming
from clkit.method import Beats, Method
from clkit.nets import MLP, Build
from clkit.replicas import Draws
from clkit.scenario import Scenario
from clkit.streams import Rotated


class Adapter(nn.Module):
    """U relu(V (alpha h) + e): what a layer hears of the one below it in the k-1 older columns."""

    def __init__(
        self, older: int, units: int, outputs: int, *, draws: Draws, task: int, layer: int, scale: float
    ) -> None:
        super().__init__()
        m = max(1, units // (older + 1))  # n / k
        where: dict[str, Any] = {"task": task, "purpose": "adapter", "scale": scale}
        half = torch.full((draws.replicas, older), 0.5, device=draws.device, dtype=draws.dtype)
        self.alpha = nn.Parameter(half)
        self.down = Linear(older * units, m, draws, counter=2 * layer, **where)  # V and e
        self.up = kaiming(draws, (m, outputs), m, counter=2 * layer + 1, **where)  # U

    def forward(self, below: list[Tensor]) -> Tensor:
        scaled = torch.stack(below, dim=2) * self.alpha[:, None, :, None]
        return torch.relu(self.down(scaled.flatten(2))) @ self.up  # eq: progressive-adapter


class Column(nn.Module):
    """A network that hears `older` columns, which it does not train; [R, B, ...] -> scores [R, B, C]."""

    def __init__(self, build: Build, task: int, older: tuple[Column, ...]) -> None:
        super().__init__()
        net: Any = build(task=task, own=True)
        self.net, self.older = net, older  # in a tuple: their parameters are not this column's
        layers = [*net.body, net.head.linear][1:] if older else []
        where: dict[str, Any] = {"draws": build.draws, "task": task, "scale": build.architecture.scale}
        shapes = [layer.weight.shape[1:] for layer in layers]
        self.adapters = nn.ModuleList(Adapter(len(older), *s, layer=i, **where) for i, s in enumerate(shapes))

    def hear(self, layer: int, own: Tensor, older: list[list[Tensor]]) -> Tensor:
        """A layer's sum of inputs: its own, and, above the first, those from older columns."""
        return own + self.adapters[layer - 1]([h[layer] for h in older]) if layer and older else own

    def hidden(self, x: Tensor, older: list[list[Tensor]]) -> list[Tensor]:
        """The input and every hidden layer's activations, given the same of the older columns."""
        h = [x.flatten(2)]
        for i, layer in enumerate(self.net.body):
            h.append(torch.relu(self.hear(i, layer(h[i]), older)))
        return h

    def forward(self, x: Tensor) -> Tensor:
        older: list[list[Tensor]] = []
        with torch.no_grad():
            for column in self.older:
                older.append(column.hidden(x, older))
        top = self.hidden(x, older)[-1]
        scores = self.hear(len(self.net.body), self.net.head.linear(top), older)
        return F.pad(scores, self.net.head.pad)


@dataclass(kw_only=True, eq=False)
class Progressive(Method):
    """Trains a network per task, a column, that also hears the frozen columns of earlier tasks.

    Layer l of column k, from the second hidden one to the output (without the outer relu):
    h_l = relu(W h_{l-1} + b + U relu(V [alpha_1 h^1_{l-1}; ...; alpha_{k-1} h^{k-1}_{l-1}] + e));
    W, b and the adapter U, V, e, alpha (one number per older column) are learned together.

    Reference: Rusu et al. (2016), Progressive neural networks, equation 2.
    Needs: task boundaries, task labels in training and at test; an Mlp network.
    Keeps: 4 sum_k [P_k + sum_l ((k-1) + m (k-1) n_{l-1} + m + m n_l)] bytes, P_k parameters of task k's
    network, l from the second hidden layer to the output (no sum over l for k = 1), n_l units in layer l,
    m = max(1, floor(n_{l-1} / k)). With reuse=False the untrained columns as well.
    Departs: adapters of width m, not n_{l-1}, so that their size hardly grows with k; they have a bias e;
    alpha starts at 0.5, not at small random values.
    """

    laterals: bool = True  # does a column hear the older ones?
    reuse: bool = True  # hears what they learned; False, the ablation: the older columns as they were drawn

    name: ClassVar[str] = "progressive"
    chapter: ClassVar[str] = "modular"
    needs: ClassVar[frozenset[str]] = Independent.needs
    default: ClassVar[tuple[str, str]] = ("rotated", "task")
    off: ClassVar[dict[str, Any] | None] = {"laterals": False}
    equals: ClassVar[str] = "independent"

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        if type(self.net) is not MLP:
            raise ClkitError(
                "progressive reads the hidden layers of an Mlp: use network=Mlp(), or independent."
            )
        self.columns: dict[int, Column] = {}
        self.heard: list[Column] = []  # what the next column hears

    def begin_task(self, task: Task) -> None:
        older = tuple(self.heard) if self.laterals else ()
        self.net = self.columns[task.number] = Column(self.build, task.number, older)
        self.heard.append(self.columns[task.number] if self.reuse else Column(self.build, task.number, older))

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        number = self.known(task)
        column = self.columns.get(number)
        return column(x) if column is not None else self.build(task=number, own=True)(x)

    def networks(self) -> list[nn.Module]:
        return [*dict.fromkeys([*self.columns.values(), *self.heard])]

    @classmethod
    def beats(cls) -> Beats:
        stream = Rotated(scenario="task", limit=(1097, 60, 60, 60, 60))
        return Beats(Independent(), cls(reuse=False), stream, "learned", {"updates": (343, 20, 20, 20, 20)})
