"""Claims of the review's gradient part, as experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from clkit.claims import Outcome, claim
from clkit.examples import Batch
from clkit.gradient.agem import AGEM, Tensors, memory_gradient, random_direction
from clkit.gradient.ewc import EWC
from clkit.gradient.online_ewc import OnlineEWC
from clkit.importance import Estimator, exact_fisher, shuffled_fisher, uniform_fisher
from clkit.loop import run
from clkit.method import Method, cross_entropy
from clkit.record import Record
from clkit.replicas import Draws
from clkit.report import MEASURES, whole
from clkit.streams import Rotated, Stream
from clkit.training import Training, sgd

STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0)  # of the grids, lambda of EWC
ARMS: dict[str, Estimator] = {"ewc": exact_fisher, "shuffled": shuffled_fisher, "uniform": uniform_fisher}
DECAYS = (0.5, 0.9, 1.0)  # of the grid, gamma of online EWC
BATCHES = (16, 32, 64, 100)  # of the grid, reference batch of A-GEM
ROUNDING = 1e-4  # a cosine above minus this is not opposed: a projection in float32 leaves about 1e-6
EVERY = 10  # updates between two looks at the gradient of held-out old examples


def grid(methods: Sequence[Method], replicas: int, *names: str) -> list[dict[str, Any]]:
    """Validation accuracy of each method after the first three tasks; test data stay closed.

    Rows: the settings called `names`, and `accuracy`, the mean over the replicas.
    """
    rows = []
    for method in methods:
        record = run(method, Rotated(tried=3), replicas=replicas, progress=False)
        settings = {name: method.settings()[name] for name in names}
        rows.append(settings | {"accuracy": float(MEASURES["average_accuracy"](record).mean())})
    return rows


def best(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of a grid with the highest validation accuracy."""
    return max(rows, key=lambda row: row["accuracy"])


def _run(methods: dict[str, Method], replicas: int) -> dict[str, Record]:
    return {arm: run(method, Rotated(), replicas=replicas, progress=False) for arm, method in methods.items()}


def _means(records: dict[str, Record]) -> dict[str, Any]:
    """The accuracy matrices, mean over the replicas, for a figure."""
    return {arm: r.accuracy.mean(0).tolist() for arm, r in records.items() if r.accuracy is not None}


@claim(
    "G3",
    says="Protecting weights in proportion to their importance lessens forgetting: "
    "the same pull on the wrong weights protects less.",
    section="gradient",
    control="EWC with its importances shuffled over the weights of each layer; spread evenly",
    unit="forgetting, fraction",
    smallest=0.05,  # a tenth of what fine-tuning forgets on this stream (about half of its accuracy)
)
def g3(replicas: int) -> Outcome:
    """Forgetting with shuffled importances minus forgetting with EWC's, at one strength.

    Runs move apart after the first task, so the sums of importances differ somewhat; they are reported, and
    so are the shuffled and the even arm at the strengths that suit them best.
    """
    grids = {
        arm: grid([EWC(strength=k, fisher=f) for k in STRENGTHS], replicas, "strength")
        for arm, f in ARMS.items()
    }
    online = [OnlineEWC(strength=k, decay=gamma) for gamma in DECAYS for k in STRENGTHS[1:4]]
    grids["online_ewc"] = grid(online, replicas, "decay", "strength")
    methods: dict[str, Method] = {"fine_tuning": Method(), "online_ewc": OnlineEWC()}
    methods |= {arm: EWC(fisher=f) for arm, f in ARMS.items()}
    for arm in ("shuffled", "uniform"):
        own = best(grids[arm])["strength"]
        methods[f"{arm}, own strength"] = EWC(strength=own, fisher=ARMS[arm])
    records = _run(methods, replicas)
    lost = {arm: MEASURES["forgetting"](record) for arm, record in records.items()}
    reported = {
        "forgetting: uniform minus ewc": lost["uniform"] - lost["ewc"],
        "forgetting: fine_tuning minus ewc": lost["fine_tuning"] - lost["ewc"],
    }
    for arm in ARMS:
        totals = [f.flatten(1).sum(1) for f in methods[arm].importance]  # type: ignore[attr-defined]
        reported[f"sum of importances: {arm}"] = torch.stack(totals).sum(0).numpy()
    curves = {"grid": grids, "accuracy": _means(records)}
    return Outcome(lost["shuffled"] - lost["ewc"], reported | whole(records), curves)


class Gauge:
    """Watches a run of A-GEM: how often does an update oppose the earlier tasks, before and after projection?

    It changes no bit of the run. With `acts` False the projection is left out, and the run is fine-tuning.
    Measured against two gradients of the earlier tasks: that on the stored examples of the step itself
    ("memory"), and in every tenth update that on their validation examples, unseen by A-GEM ("held out").
    """

    def __init__(self, stream: Stream, replicas: int, *, acts: bool = True) -> None:
        draws = Draws(tuple(range(replicas)))
        self.acts, self.tasks = acts, [next(task.validation.chunks(10**6)) for task in stream.audit(draws)]
        self.method, self.training = AGEM(reference=self.reference), Training(optimizer=self.optimizer)
        self.opposed = torch.zeros(2, 2, len(self.tasks), replicas)  # [measure, before or after, task, R]
        self.looks = torch.zeros(2, 1, len(self.tasks), 1)
        self.against: list[Tensor | None] = [None, None]  # the gradients of this step: memory, held out
        self.updates = 0

    def reference(self, loss: Tensor, parameters: Tensors, draws: Draws, counter: int) -> Tensors:
        """What A-GEM asks for in each update: the gradient is there and not yet projected."""
        found = memory_gradient(loss, parameters, draws, counter)
        self.against = [_flat(found), self.held_out(parameters) if self.updates % EVERY == 0 else None]
        self.updates += 1
        self.look(parameters, 0)
        return found if self.acts else [torch.zeros_like(r) for r in found]

    def optimizer(self, parameters: list[nn.Parameter], lr: float) -> Optimizer:
        """Plain SGD that looks at the gradient just before it moves."""
        made = sgd(parameters, lr)
        made.register_step_pre_hook(lambda *_: self.look(parameters, 1))
        return made

    def held_out(self, parameters: Tensors) -> Tensor:
        batches = [
            Batch(x, y, valid.to(x), None, y, y.shape[1]) for x, y, valid in self.tasks[: self.method.ended]
        ]
        losses = [cross_entropy(self.method.net(batch.x), batch).sum() for batch in batches]
        return _flat(torch.autograd.grad(torch.stack(losses).sum(), parameters))

    def look(self, parameters: Tensors, when: int) -> None:
        g = _flat([w.grad for w in parameters if w.grad is not None])
        for measure, r in enumerate(self.against):
            if r is not None:
                cosine = torch.cosine_similarity(g, r, dim=1)
                self.opposed[measure, when, self.method.ended] += cosine < -ROUNDING
                self.looks[measure, 0, self.method.ended] += 1 - when
        if when:
            self.against = [None, None]

    def share(self) -> np.ndarray:
        """[measure, before or after, R]: the share of updates, after the first task, that oppose."""
        return (self.opposed.sum(2) / self.looks.sum(2)).numpy()

    def by_task(self) -> list[list[list[float]]]:
        """[measure, before or after, task from the second on], mean over the replicas."""
        return (self.opposed[:, :, 1:].mean(3) / self.looks[:, :, 1:, 0]).tolist()


def _flat(parts: Tensors) -> Tensor:
    return torch.cat([part.flatten(1) for part in parts], 1)


@claim(
    "G1",
    says="Keeping the gradient aligned with that of earlier tasks lessens interference: forgetting falls.",
    section="gradient",
    control="fine-tuning: the same gradients without the projection",
    unit="forgetting, fraction",
    smallest=0.05,  # a tenth of what fine-tuning forgets on this stream (about half of its accuracy)
)
def g1(replicas: int) -> Outcome:
    """Forgetting of fine-tuning minus that of A-GEM; and how many updates oppose the earlier tasks."""
    rows = grid([AGEM(batch=size) for size in BATCHES], replicas, "batch")
    methods = {
        "fine_tuning": Method(),
        "agem": AGEM(),
        "random direction": AGEM(reference=random_direction),
    }
    records = _run(methods, replicas)
    reported, shares = {}, {}
    for arm, acts in (("fine_tuning", False), ("agem", True)):
        gauge = Gauge(Rotated(), replicas, acts=acts)
        run(gauge.method, Rotated(), gauge.training, replicas=replicas, progress=False)
        shares[arm] = dict(zip(("memory", "held out"), gauge.by_task(), strict=True))
        for measure, both in zip(("memory", "held out"), gauge.share(), strict=True):
            for when, values in zip(("before", "after"), both, strict=True):
                reported[f"opposed updates, {measure}, {when}: {arm}"] = values
    curves = {"grid": {"agem": rows}, "accuracy": _means(records), "opposed": shares}
    reported |= whole(records)
    return Outcome(reported["forgetting: fine_tuning"] - reported["forgetting: agem"], reported, curves)
