"""How much each weight matters to a task, and the quadratic pull towards old weights that uses it.

Estimators of the diagonal of the Fisher information, all with the signature
`estimator(net, task, scenario, draws) -> [F_p]`, one tensor per parameter in the order of `net.parameters()`,
shaped like it. F is a mean over the task's examples; only the outputs that compete in the task count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from clkit.examples import Task
from clkit.layers import Linear
from clkit.replicas import Draws
from clkit.scenario import Scenario

Estimator = Callable[[nn.Module, Task, Scenario, Draws], list[Tensor]]
Squares = Callable[[Tensor], list[Tensor]]
# (p [R, B, C], y [R, B], number of the first example) -> gradients in the scores [R, B, C], one per answer
Answers = Callable[[Tensor, Tensor, int], list[Tensor]]
CHUNK = 512  # examples of one pass through a network of Linear layers
EACH = 16  # examples of one pass with a replica per example, which copies all weights for each


def exact_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """F_i = E_x sum_c p_c (d log p_c / d w_i)^2: the expectation over the model's own answers."""
    classes = scenario.competing(task.number)

    def answers(p: Tensor, y: Tensor, start: int) -> list[Tensor]:
        eye = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        return [p[..., c : c + 1].sqrt() * (p - eye[c]) for c in classes]  # eq: exact-fisher

    return _squared_gradients(net, task, classes, answers)


def sampled_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """The same with one answer c ~ p(c | x) drawn per example: unbiased, noisy, one backward pass."""
    classes = scenario.competing(task.number)
    drawn = draws.uniform("fisher", (max(task.train.sizes),), task.number)

    def answers(p: Tensor, y: Tensor, start: int) -> list[Tensor]:
        u = drawn[:, start : start + y.shape[1], None]
        answer = (p.cumsum(-1) <= u).sum(-1).clamp(max=classes.stop - 1)  # eq: sampled-fisher
        return [p - F.one_hot(answer, p.shape[-1])]

    return _squared_gradients(net, task, classes, answers)


def empirical_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """The same with the true labels; it vanishes as the fit becomes perfect (Kunstner et al. 2019)."""

    def answers(p: Tensor, y: Tensor, start: int) -> list[Tensor]:
        return [p - F.one_hot(y, p.shape[-1])]  # eq: empirical-fisher

    return _squared_gradients(net, task, scenario.competing(task.number), answers)


def shuffled_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """Ablation: the exact values, dealt to wrong weights of the same tensor; the same deal for every task.

    The sum and the distribution of the importances stay, within a task and summed over tasks.
    """
    fisher = exact_fisher(net, task, scenario, draws)
    deals = [draws.permutation("fisher", f[0].numel(), counter=i) for i, f in enumerate(fisher)]
    return [f.flatten(1).gather(1, deal).view_as(f) for f, deal in zip(fisher, deals, strict=True)]


def uniform_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """Ablation: every weight the mean importance; same sum, no distinction."""
    fisher = exact_fisher(net, task, scenario, draws)
    mean = torch.cat([f.flatten(1) for f in fisher], 1).mean(1)
    return [_beside(mean, f).expand_as(f).clone() for f in fisher]


def _beside(per_replica: Tensor, like: Tensor) -> Tensor:
    """[R] -> [R, 1, ...], to be broadcast over a tensor [R, ...]."""
    return per_replica.view(-1, *[1] * (like.dim() - 1))


def _squared_gradients(net: nn.Module, task: Task, classes: range, answers: Answers) -> list[Tensor]:
    """Mean over the examples of the squared gradient of each example alone, summed over its answers."""
    owners = [m for m in net.modules() if any(True for _ in m.parameters(recurse=False))]
    each, size = (_by_layer, CHUNK) if all(type(m) is Linear for m in owners) else (_by_example, EACH)
    total, start, mode = [torch.zeros_like(p) for p in net.parameters()], 0, net.training
    net.eval()
    for x, y, valid in task.train.chunks(size):
        scores, squares = each(net, x)
        sides = (classes.start, scores.shape[-1] - classes.stop)
        p = F.pad(scores.detach()[..., classes.start : classes.stop].softmax(-1), sides)
        for g in answers(p, y, start):
            for t, part in zip(total, squares(g * valid[..., None]), strict=True):
                t += part
        start += y.shape[1]
    net.train(mode)
    counts = torch.tensor(task.train.sizes).to(total[0])
    return [t / _beside(counts, t) for t in total]


def _by_layer(net: nn.Module, x: Tensor) -> tuple[Tensor, Squares]:
    """The scores, and what turns their gradients into the squared gradients of each example, summed.

    With a layer's input a and its output's gradient d, one example's gradient is a^T d; all: (a^2)^T d^2.
    """
    seen: dict[Linear, tuple[Tensor, Tensor]] = {}

    def record(module: Linear, args: tuple[Tensor, ...], out: Tensor) -> None:
        seen[module] = args[0].detach().square(), out

    hooks = [m.register_forward_hook(record) for m in net.modules() if type(m) is Linear]
    scores = net(x)
    for hook in hooks:
        hook.remove()

    def squares(g: Tensor) -> list[Tensor]:
        deltas = torch.autograd.grad(scores, [out for _, out in seen.values()], g, retain_graph=True)
        found = {p: torch.zeros_like(p) for p in net.parameters()}
        for (m, (a, _)), d in zip(seen.items(), deltas, strict=True):
            found[m.weight] = torch.bmm(a.transpose(1, 2), d.square())
            found[m.bias] = d.square().sum(1, keepdim=True)
        return list(found.values())

    return scores, squares


def _by_example(net: nn.Module, x: Tensor) -> tuple[Tensor, Squares]:
    """The same for any network: one replica per example."""
    replicas, batch = x.shape[:2]
    copies = {n: p.detach().repeat_interleave(batch, 0).requires_grad_() for n, p in net.named_parameters()}
    scores = functional_call(net, copies, (x.flatten(0, 1)[:, None],)).view(replicas, batch, -1)

    def squares(g: Tensor) -> list[Tensor]:
        weights = list(copies.values())
        grads = torch.autograd.grad(scores, weights, g, retain_graph=True, materialize_grads=True)
        return [grad.square().unflatten(0, (replicas, batch)).sum(1) for grad in grads]

    return scores, squares


@torch.no_grad()
def proximal_pull(
    parameters: Sequence[Tensor],
    importance: Sequence[Tensor],
    targets: Sequence[Tensor],
    strength: float,
    lr: float,
) -> None:
    """Moves w to the minimum of |v - w|^2 / 2 lr + (k/2) sum F (v - w*)^2, in place.

    Args:
        importance: F, summed over old tasks; like the parameters.
        targets: F w*, summed over old tasks; like the parameters.
        strength: k.
        lr: the optimiser's step size.
    """
    k = strength * lr
    for w, f, fw in zip(parameters, importance, targets, strict=True):
        w.copy_((w + k * fw) / (1 + k * f))  # eq: proximal-pull


def quadratic_penalty(
    parameters: Sequence[Tensor], importance: Sequence[Tensor], targets: Sequence[Tensor], strength: float
) -> Tensor:
    """[R]: (k/2) sum F (w - w*)^2 up to a constant in w, from the sums of F and of F w* as above."""
    triples = zip(parameters, importance, targets, strict=True)
    each = [((f * w - 2 * fw) * w).flatten(1).sum(1) for w, f, fw in triples]  # eq: quadratic-penalty
    return strength / 2 * torch.stack(each).sum(0)
