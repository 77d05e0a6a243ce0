"""Controls: what every method is compared with. Fine-tuning is the base, `clkit.method.Method`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from clkit.errors import positive
from clkit.examples import Batch, Examples, Task
from clkit.importance import proximal_pull
from clkit.method import Method, stored_bytes
from clkit.nets import Build
from clkit.replicas import Draws
from clkit.scenario import Scenario


@dataclass(kw_only=True, eq=False)
class Joint(Method):
    """Joint training: at task t it shuffles the data of tasks 1..t together; the upper bound.

    As many updates as fine-tuning; cumulative, so row t of the accuracy matrix has seen tasks 1..t.

    Reference: Caruana (1997), multitask learning.
    Needs: past data, task boundaries.
    Keeps: 4 P + all training data so far (bytes of x as stored, 8 for each label).
    Departs: nothing.
    """

    name: ClassVar[str] = "joint"
    needs: ClassVar[frozenset[str]] = frozenset({"past data", "task boundaries"})
    off: ClassVar[dict[str, Any] | None] = {}
    equals: ClassVar[str] = "fine_tuning on one task"

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.data_bytes = 0

    def begin_task(self, task: Task) -> Examples | None:
        return task.past

    def end_task(self, task: Task) -> None:
        self.data_bytes = (task.train + task.past).bytes()

    def bytes_examples(self) -> int:
        return self.data_bytes

    def bytes_kept(self) -> int:
        return super().bytes_kept() + self.data_bytes


@dataclass(kw_only=True, eq=False)
class L2(Method):
    """L2 to old weights: every weight is pulled back alike to where the last task left it.

    Loss on task t: L_t(w) + (k/2) |w - w*|^2 with w* the weights at the end of task t-1.

    Reference: the control of Kirkpatrick et al. (2017), figure 2.
    Needs: task boundaries.
    Keeps: 4 P (1 + 1) bytes: network and anchor.
    Departs: the pull is a proximal step after the optimiser's, as in EWC (`importance.proximal_pull`).
    """

    strength: float = 0.3  # k, pull per squared unit of distance

    name: ClassVar[str] = "l2"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries"})
    off: ClassVar[dict[str, Any] | None] = {"strength": 0.0}

    def __post_init__(self) -> None:
        positive("strength", self.strength, zero=True)

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.anchor: list[Tensor] = []

    def after_step(self, batch: Batch) -> None:
        if not self.anchor:
            return
        ones = [w.new_ones(()) for w in self.anchor]
        proximal_pull(self.parameters(), ones, self.anchor, self.strength, self.lr)

    def end_task(self, task: Task) -> None:
        self.anchor = [w.detach().clone() for w in self.parameters()]

    def bytes_kept(self) -> int:
        return super().bytes_kept() + stored_bytes(self.anchor)


@dataclass(kw_only=True, eq=False)
class Independent(Method):
    """One network per task: nothing is shared, so nothing is forgotten and nothing is transferred.

    Reference: the control of Lopez-Paz and Ranzato (2017), "independent".
    Needs: task boundaries, task labels in training and at test.
    Keeps: 4 sum_t P_t bytes, one network per task begun, each with the outputs of its own task.
    Departs: nothing.
    """

    name: ClassVar[str] = "independent"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"task boundaries", "task labels in training", "task labels at test"}
    )
    default: ClassVar[tuple[str, str]] = ("rotated", "task")
    off: ClassVar[dict[str, Any] | None] = {}
    equals: ClassVar[str] = "fine_tuning on one task"

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.nets: dict[int, nn.Module] = {}

    def begin_task(self, task: Task) -> None:
        self.net = self.nets[task.number] = self.build(task=task.number, own=True)

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        number = self.known(task)
        net = self.nets.get(number)
        return net(x) if net is not None else self.build(task=number, own=True)(x)

    def networks(self) -> list[nn.Module]:
        return list(self.nets.values())
