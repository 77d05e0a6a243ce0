"""Elastic weight consolidation, a penalty for every old task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from clkit.errors import positive
from clkit.examples import Batch, Task
from clkit.importance import Estimator, exact_fisher, proximal_pull, quadratic_penalty, shuffled_fisher
from clkit.method import Beats, Method, stored_bytes
from clkit.nets import Build
from clkit.replicas import Draws
from clkit.scenario import Scenario
from clkit.streams import Rotated


@dataclass(kw_only=True, eq=False)
class EWC(Method):
    """Elastic weight consolidation: pulls weights back to old values, each as hard as old tasks depend on it.

    Loss on task t: L_t(w) + (k/2) sum_{s<t} sum_i F_s,i (w_i - w*_s,i)^2, with w*_s the weights at the end of
    task s and F_s,i = E_x sum_c p_c (d log p_c / d w_i)^2 there, the diagonal of the Fisher information.

    Reference: Kirkpatrick et al. (2017), equation 3; one penalty for each old task.
    Needs: task boundaries.
    Keeps: 4 P (1 + 2) bytes: network, sum_s F_s and sum_s F_s w*_s, all that the sum of penalties depends on.
    Departs: the pull is a proximal step after the optimiser's, w <- (w + lr k sum F w*) / (1 + lr k sum F),
        stable for every strength; `proximal=False` puts the penalty into the loss as in the paper, and
        diverges where lr k sum F > 2. The Fisher information is exact: all answers, all training examples.
    """

    strength: float = 100.0  # k (lambda), pull per unit of Fisher information
    fisher: Estimator = exact_fisher  # F, how importance is estimated
    proximal: bool = True  # pull after the optimiser's step; False: penalty in the loss

    name: ClassVar[str] = "ewc"
    chapter: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries"})
    off: ClassVar[dict[str, Any] | None] = {"strength": 0.0}

    def __post_init__(self) -> None:
        positive("strength", self.strength, zero=True)

    def start(self, build: Build, draws: Draws, scenario: Scenario) -> None:
        super().start(build, draws, scenario)
        self.importance = [torch.zeros_like(w) for w in self.parameters()]  # sum_s F_s
        self.targets = [torch.zeros_like(w) for w in self.parameters()]  # sum_s F_s w*_s

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
            f += new
            fw += new * w.detach()  # eq: ewc-sums

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
