"""The seven verbs of a continual learner. `Method` is the one concrete base, and it is fine-tuning.

stream --batch--> widen --> loss + penalty --> backward --> shape_grads --> optimizer --> after_step
   begin_task ^                                                                              |
              +--------------------------- next task <-- end_task <--------------------------+
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from clkit.errors import ClkitError, UnfitError, unknown
from clkit.examples import Batch, Examples, Task
from clkit.nets import Build
from clkit.replicas import Draws
from clkit.scenario import Scenario
from clkit.streams import Stream

VERBS = ("begin_task", "widen", "loss", "penalty", "shape_grads", "after_step", "end_task")
NO_LABEL = "Use scenario 'task' (--scenario task), or a method that needs no label: ewc, agem, replay"
INSTEAD = {
    "task boundaries": "this stream does not say when a task ends; use replay, which needs no boundaries",
    "task labels in training": "this stream gives no task labels; use replay, which needs none",
    "task labels at test": f"the task is not known at test. {NO_LABEL}",
    "stored examples": "this stream forbids keeping examples; use ewc or l2, which keep weights only",
    "past data": "this stream forbids looking back; use replay if examples may be kept, ewc if tasks end",
    "new classes": "every task has the same classes here; use scenario 'class' or 'task' (--scenario class), "
    "or a method for any scenario: replay",
}


@dataclass(frozen=True)
class Beats:
    """What a method claims to beat, and where: the slow lane runs it over 10 replicas."""

    control: Any  # a method (or learner) without the idea
    ablation: Any  # the method without just the ingredient that is said to matter
    stream: Any  # Stream, or a distribution of tasks
    metric: str  # a function of clkit.metrics of the accuracy array
    training: dict[str, Any]  # arguments of clkit.training.Training (or Schedule)
    lower: bool = False  # is a smaller metric better?
    after: int = 1  # of episodic learners: the inner steps after which the metric counts


@dataclass(kw_only=True, eq=False)
class Method:
    """Fine-tuning: follows the gradient of whatever task is present, and protects nothing.

    Loss: L(w) = mean over the batch of the cross-entropy. The lower bound of continual learning.

    Reference: McCloskey and Cohen (1989), the setting in which catastrophic forgetting was found.
    Needs: nothing.
    Keeps: 4 P bytes, the network's P float32 parameters.
    Departs: nothing.
    """

    name: ClassVar[str] = "fine_tuning"
    chapter: ClassVar[str] = "tug_of_war"
    needs: ClassVar[frozenset[str]] = frozenset()  # keys of INSTEAD
    default: ClassVar[tuple[str, str]] = ("rotated", "domain")  # stream and scenario of the command line
    off: ClassVar[dict[str, Any] | None] = None  # settings that switch the idea off
    equals: ClassVar[str] = "fine_tuning"  # what it then equals, bit for bit
    listed: ClassVar[bool] = True  # in the catalogue?
    batched: ClassVar[bool] = True  # False: control flow differs per replica; the runner runs one at a time

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        """Called once, before the first task."""
        self.build, self.draws, self.scenario = build, draws, scenario
        self.net: nn.Module = build(task=0)
        self.competing = scenario.competing(0)  # the outputs that may answer now; set by the runner
        self.lr = 0.0  # set by the runner before every step
        self.progress = 0.0  # how far the task is, 0..1; set by the runner before every step
        self.rehearsed = (
            0  # stored examples whose gradient was taken so far; a method with a memory counts them
        )

    def begin_task(self, task: Task) -> Examples | None:
        """What must be ready, and which kept examples join this task's training set?"""
        return None

    def widen(self, batch: Batch) -> Batch:
        """Which examples do we learn from in this step?"""
        return batch

    def loss(self, batch: Batch) -> Tensor:
        """How wrong are we on them? [R]"""
        return cross_entropy(self.net(batch.x), batch)

    def penalty(self, batch: Batch) -> Tensor | None:
        """What else pulls? [R], or None for nothing."""
        return None

    def shape_grads(self, batch: Batch) -> None:
        """Which way may we move? Changes the gradients in place."""

    def after_step(self, batch: Batch) -> None:
        """What does the step leave, and what do we remember of it?"""

    def end_task(self, task: Task) -> None:
        """What do we keep? The task's data close when this returns."""

    def step(self, batch: Batch, optimizer: Optimizer) -> None:
        """One update. A method with several passes replaces it as a whole."""
        batch = self.widen(batch)
        optimizer.zero_grad()
        loss, pull = self.loss(batch), self.penalty(batch)
        loss = loss if pull is None else loss + pull
        loss.backward(torch.ones_like(loss))  # each replica's own gradient
        self.shape_grads(batch)
        optimizer.step()  # eq: step
        self.after_step(batch)

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """Scores [R, B, C] of inputs [R, B, ...]; `task` is given only where the scenario gives it."""
        return self.net(x)

    def parameters(self) -> list[nn.Parameter]:
        """What is trainable now, each [R, ...]."""
        return list(self.net.parameters())

    def protected(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Parameters with masks [R, ...], True = must not change in this task; the runner sees to it."""
        return []

    def networks(self) -> list[nn.Module]:
        """Every network that it holds."""
        return [self.net]

    def train(self, mode: bool) -> None:
        """Drop-out on or off in every network."""
        for net in self.networks():
            net.train(mode and any(p.requires_grad for p in net.parameters()))  # a frozen copy stays off

    def bytes_kept(self) -> int:
        """Bytes per replica of everything that persists between tasks."""
        return stored_bytes(p for net in self.networks() for p in net.parameters())

    def bytes_examples(self) -> int:
        """Of these, bytes of stored examples."""
        return 0

    @classmethod
    def beats(cls) -> Beats | None:
        """The control and the ablation that it beats; controls have none."""
        return None

    @classmethod
    def overridden(cls) -> frozenset[str]:
        """Which members of the base the class replaces."""
        return frozenset(n for n in dir(Method) if getattr(cls, n, None) is not getattr(Method, n))

    @classmethod
    def defines(cls) -> frozenset[str]:
        """The verbs that the class defines: its place in the taxonomy."""
        return frozenset(VERBS) & cls.overridden()

    def verbs(self) -> frozenset[str]:
        """The verbs that this object defines."""
        return self.defines()

    def settings(self) -> dict[str, Any]:
        """Settings by name, plain enough for JSON; functions by their name."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    def known(self, task: int | None) -> int:
        """The task's number, for a method that needs it at test."""
        if task is None:
            raise UnfitError(f"{self.name} needs the task's number at test: predict(x, task). {NO_LABEL}.")
        return task

    def refuse(self, stream: Stream) -> None:
        """Raise UnfitError where the stream lacks what the method needs."""
        for need in sorted(self.needs - stream.gives()):
            if need not in INSTEAD:
                raise unknown(f"need of {self.name}", need, INSTEAD)
            raise UnfitError(f"{self.name} needs {need}, but {INSTEAD[need]}.")


def plain(value: Any) -> Any:
    """A setting as JSON holds it."""
    if callable(value):
        return getattr(value, "__name__", repr(value))
    return list(value) if isinstance(value, tuple) else value


def cross_entropy(scores: Tensor, batch: Batch) -> Tensor:
    """Weighted mean over the batch of -log p(y) among the outputs that compete: [R, B, C] -> [R]."""
    if batch.outputs is not None:
        scores = scores.masked_fill(~batch.outputs, float("-inf"))
    # C in the middle: over a short last dimension torch's softmax takes four times as long
    each = F.cross_entropy(scores.transpose(1, 2), batch.y, reduction="none")  # eq: loss
    return weighted_mean(each, batch.weight)


def weighted_mean(each: Tensor, weight: Tensor) -> Tensor:
    """[R, B] -> [R]."""
    return torch.linalg.vecdot(each, weight / weight.sum(1, keepdim=True))


def stored_bytes(tensors: Any) -> int:
    """Bytes per replica of tensors [R, ...], in the dtype stored."""
    return sum(t.element_size() * t[0].numel() for t in tensors)


@dataclass(kw_only=True, eq=False)
class Both(Method):
    """Two methods as one: the verbs of the first, then those of the second, on one network.

    Penalties and bytes add, joined examples are concatenated, needs are united.

    Raises:
        ClkitError: both replace `loss`, `predict` or `parameters`; one replaces `step` and the other what it
            calls; both keep examples and one of them joins them to the training set.
    """

    first: Method  # its verbs come first
    second: Method  # shares the first's network
    name: ClassVar[str] = "both"
    listed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        pair = (self.first, self.second)
        if self.first is self.second or not all(isinstance(method, Method) for method in pair):
            raise ClkitError("first and second must be two objects, for example EWC() and Replay().")
        self.needs = self.first.needs | self.second.needs  # type: ignore[misc]
        self.batched = self.first.batched and self.second.batched  # type: ignore[misc]
        replaced = [self._replaced(m) for m in pair]
        clash = replaced[0] & replaced[1] & {"loss", "predict", "parameters", "step"}
        for mine, other in (replaced, replaced[::-1]):
            if "step" in mine:
                clash |= other & {"loss", "penalty", "shape_grads"}
        if clash:
            raise ClkitError(
                f"{self.first.name} and {self.second.name} both replace {sorted(clash)}: pick one."
            )
        if all("stored examples" in m.needs for m in pair) and any("begin_task" in m.verbs() for m in pair):
            raise ClkitError(f"{self.first.name} and {self.second.name} both keep examples: pick one.")

    @staticmethod
    def _replaced(method: Method) -> frozenset[str]:
        return method.replaced() if type(method) is Both else method.overridden()

    def replaced(self) -> frozenset[str]:
        return self._replaced(self.first) | self._replaced(self.second)

    def verbs(self) -> frozenset[str]:
        return self.first.verbs() | self.second.verbs()

    def settings(self) -> dict[str, Any]:
        parts = {"first": self.first, "second": self.second}
        return {which: {"name": m.name, **m.settings()} for which, m in parts.items()}

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        self.build, self.draws, self.scenario = build, draws, scenario
        self.lr = self.progress = 0.0
        self.competing = scenario.competing(0)
        self.first.start(build, draws, scenario)
        shared = _Shared(build.architecture, build.shape, scenario, draws, self.first.net)
        for part in (self.first, self.second):  # what a part calls its loss is the loss of both
            if part is not self._owner("loss"):
                part.loss = self._owner("loss").loss  # type: ignore[method-assign]
        self.second.start(shared, draws, scenario)
        self.net = self.first.net

    def begin_task(self, task: Task) -> Examples | None:
        self._tell()
        joined = [m.begin_task(task) for m in (self.first, self.second)]
        if self.first.net is not self.second.net:
            names = f"{self.first.name} and {self.second.name}"
            raise ClkitError(f"{names} cannot share a network, as one of them takes a new one: pick one.")
        return joined[0] + joined[1] if joined[0] is not None else joined[1]

    @property
    def rehearsed(self) -> int:  # type: ignore[override]
        return self.first.rehearsed + self.second.rehearsed

    def _tell(self) -> None:
        for method in (self.first, self.second):
            method.lr, method.progress, method.competing = self.lr, self.progress, self.competing

    def widen(self, batch: Batch) -> Batch:
        self._tell()
        return self.second.widen(self.first.widen(batch))

    def _owner(self, member: str) -> Method:
        return self.second if member in self._replaced(self.second) else self.first

    def loss(self, batch: Batch) -> Tensor:
        return self._owner("loss").loss(batch)

    def penalty(self, batch: Batch) -> Tensor | None:
        pulls = [p for m in (self.first, self.second) if (p := m.penalty(batch)) is not None]
        return sum(pulls[1:], pulls[0]) if pulls else None

    def shape_grads(self, batch: Batch) -> None:
        self.first.shape_grads(batch)
        self.second.shape_grads(batch)

    def after_step(self, batch: Batch) -> None:
        self.first.after_step(batch)
        self.second.after_step(batch)

    def end_task(self, task: Task) -> None:
        self.first.end_task(task)
        self.second.end_task(task)

    def step(self, batch: Batch, optimizer: Optimizer) -> None:
        stepper = self._owner("step")
        if "step" not in self._replaced(stepper):
            return super().step(batch, optimizer)
        other = self.first if stepper is self.second else self.second
        self._tell()
        batch = other.widen(batch)
        stepper.step(batch, optimizer)
        return other.after_step(batch)

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        return self._owner("predict").predict(x, task)

    def parameters(self) -> list[nn.Parameter]:
        return self._owner("parameters").parameters()

    def protected(self) -> list[tuple[nn.Parameter, Tensor]]:
        return self.first.protected() + self.second.protected()

    def networks(self) -> list[nn.Module]:
        return [*dict.fromkeys(self.first.networks() + self.second.networks())]

    def bytes_examples(self) -> int:
        return self.first.bytes_examples() + self.second.bytes_examples()

    def bytes_kept(self) -> int:
        shared = stored_bytes(self.net.parameters())
        return self.first.bytes_kept() + self.second.bytes_kept() - shared


@dataclass(frozen=True)
class _Shared(Build):
    """Gives the second method the first's network; further networks are built as usual."""

    net: nn.Module

    def __call__(self, task: int = 0, *, own: bool = False) -> nn.Module:
        return super().__call__(task, own=own) if own or task else self.net
