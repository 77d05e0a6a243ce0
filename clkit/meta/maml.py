"""Model-agnostic meta-learning (MAML) and its first-order form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from clkit.episodes import Episode, Shots, Sinusoids
from clkit.errors import counted
from clkit.learner import JointPretraining, Learner, Weights, descend
from clkit.method import Beats


@dataclass(kw_only=True, eq=False)
class MAML(Learner):
    """MAML moves the weights to where a few gradient steps on a new task's support set fit the task.

    Inner loop, K steps from v = w: v <- v - a grad L(v; support). Outer loss: J(w) = mean over tasks of
    L(v; query), differentiated through the inner steps: grad J = prod_k (I - a H_k) grad L(v; query), with
    H_k the Hessian of the support loss at step k. First order leaves the product out.

    Reference: Finn, Abbeel and Levine (2017), section 2.2, equation 1, algorithm 2; first order: section 5.2.
    Needs: task boundaries, task labels in training.
    Keeps: 4 P bytes, the slow weights; fast weights live as long as their task.
    Departs: Kaiming-normal initial weights, with a = 0.003 and Adam 0.003 (theirs: 0.01 and 0.001); 3000
        updates instead of 70,000. At test, as for every learner, the step size is chosen on validation
        tasks, and a step that leaves the support set worse than at first is not taken (`clkit.adaptation`).
    """

    steps: int = 1  # inner steps in training (K)
    first_order: bool = False  # treat the inner gradients as constants?

    name: ClassVar[str] = "maml"
    off: ClassVar[dict[str, Any] | None] = {"steps": 0}
    listed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        counted("steps", self.steps, zero=True)

    def adapt(
        self, support: Shots, steps: int, *, lr: float | None = None, weights: Weights | None = None
    ) -> Weights:
        weights = self.expand(len(support.x)) if weights is None else weights
        lr = self.inner_lr if lr is None else lr
        for _ in range(steps):
            # A sum over tasks is safe: no task's loss touches the fast weights of another.
            loss = support.loss(self.predict(weights, support.x)).sum()
            gradients = torch.autograd.grad(loss, [*weights.values()], create_graph=not self.first_order)
            weights = descend(weights, gradients, lr)  # eq: maml-inner
        return weights

    def outer_loss(self, episode: Episode) -> Tensor:
        weights = self.adapt(episode.support, self.steps)
        return self.query_loss(weights, episode)  # eq: maml-outer

    @classmethod
    def beats(cls) -> Beats:
        """The ablation adapts in training as well, and lacks only the derivative through the step."""
        return Beats(
            control=JointPretraining(),
            ablation=cls(first_order=True),
            stream=Sinusoids(),
            metric="mse",
            training={},
            lower=True,
        )
