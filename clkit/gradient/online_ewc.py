"""Elastic weight consolidation with one running penalty for all old tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from clkit.errors import ClkitError, positive
from clkit.examples import Batch, Task
from clkit.importance import Estimator, exact_fisher, proximal_pull, quadratic_penalty, shuffled_fisher
from clkit.method import Beats, Method, stored_bytes
from clkit.nets import Build
from clkit.replicas import Draws
from clkit.scenario import Scenario
from clkit.streams import Rotated


@dataclass(kw_only=True, eq=False)
class OnlineEWC(Method):
    """Online elastic weight consolidation: pulls weights to their last values, each as old tasks need it.

    Loss on task t: L_t(w) + (k/2) sum_i F_i (w_i - w*_i)^2, with w* the weights at the end of task t-1. At
    the end of a task F <- gamma F + F_t, F_t the diagonal of the Fisher information: gamma < 1 lets old tasks
    fade.

    Reference: Schwarz et al. (2018), Progress & Compress, "online EWC"; gamma = 1: Huszar (2018).
    Needs: task boundaries.
    Keeps: 4 P (1 + 2) bytes: network, F and F w*.
    Departs: the pull is a proximal step after the optimiser's, as in EWC; `proximal=False` puts it into the
        loss as in the paper. The paper pulls with gamma F; here that factor is left to the strength. The
        network learns the task itself; the paper distils a second one into it. The Fisher information is
        exact: all answers, all training examples.
    """

    strength: float = 100.0  # k (lambda), pull per unit of Fisher information
    decay: float = 0.9  # gamma, what is left of an importance after one more task, 0..1
    fisher: Estimator = exact_fisher  # F, how importance is estimated
    proximal: bool = True  # pull after the optimiser's step; False: penalty in the loss

    name: ClassVar[str] = "online_ewc"
    chapter: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries"})
    off: ClassVar[dict[str, Any] | None] = {"strength": 0.0}

    def __post_init__(self) -> None:
        positive("strength", self.strength, zero=True)
        if not 0 <= self.decay <= 1:
            raise ClkitError(
                f"decay must lie in 0..1, not {self.decay}: with 1 no importance fades, with 0 all."
            )

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.importance = [torch.zeros_like(w) for w in self.parameters()]  # F
        self.targets = [torch.zeros_like(w) for w in self.parameters()]  # F w*

    def penalty(self, batch: Batch) -> Tensor | None:
        if self.proximal:
            return None
        return quadratic_penalty(self.parameters(), self.importance, self.targets, self.strength)

    def after_step(self, batch: Batch) -> None:
        if self.proximal:
            proximal_pull(self.parameters(), self.importance, self.targets, self.strength, self.lr)

    def end_task(self, task: Task) -> None:
        fisher = self.fisher(self.net, task, self.scenario, self.draws)
        for f, fw, new, w in zip(self.importance, self.targets, fisher, self.parameters(), strict=True):
            f.mul_(self.decay).add_(new)  # eq: online-ewc
            fw.copy_(f * w.detach())

    def bytes_kept(self) -> int:
        return super().bytes_kept() + stored_bytes(self.importance + self.targets)

    @classmethod
    def beats(cls) -> Beats:
        return Beats(
            control=Method(),
            ablation=cls(fisher=shuffled_fisher),
            stream=Rotated(),
            metric="average_accuracy",
            training={},
        )
