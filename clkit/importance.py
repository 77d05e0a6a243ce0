"""How much each weight matters to a task, and the quadratic pull towards old weights that uses it.

Estimators of the diagonal of the Fisher information, all with the signature
`estimator(net, task, scenario, draws) -> [F_p]`, one tensor per parameter in the order of `net.parameters()`, shaped
like it. F is a mean over the task's examples; only the outputs that compete in the task count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from clkit.examples import Task
from clkit.layers import Linear
from clkit.replicas import Draws
from clkit.scenario import Scenario

Estimator = Callable[[nn.Module, Task, Scenario, Draws], list[Tensor]]
CHUNK = 512  # examples of one pass through a network of Linear layers
EACH = 64  # examples of one pass with a replica per example


def exact_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """F_i = E_x sum_c p_c (d log p_c / d w_i)^2: the expectation over the model's own answers, no sampling."""
    classes = scenario.competing(task.number)

    def answers(scores: Tensor, y: Tensor) -> list[Tensor]:
        p = _probabilities(scores, classes)
        eye = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
        return [p[..., c : c + 1].sqrt() * (p - eye[c]) for c in classes]  # eq: exact-fisher

    return _squared_gradients(net, task, answers)


def sampled_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """The same with one answer y ~ p(y | x) drawn per example: unbiased, noisy, one backward pass."""
    classes = scenario.competing(task.number)
    drawn = draws.uniform("memory", (max(task.train.sizes),), task.number)
    position = [0]

    def answers(scores: Tensor, y: Tensor) -> list[Tensor]:
        p = _probabilities(scores, classes)
        u = drawn[:, position[0] : position[0] + y.shape[1]].to(p.dtype)
        position[0] += y.shape[1]
        answer = (p.cumsum(-1) < u[..., None]).sum(-1).clamp(max=classes.stop - 1)
        return [p - torch.nn.functional.one_hot(answer, p.shape[-1])]

    return _squared_gradients(net, task, answers)


def empirical_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """The same with the true labels; it vanishes as the fit becomes perfect (Kunstner et al. 2019)."""
    classes = scenario.competing(task.number)

    def answers(scores: Tensor, y: Tensor) -> list[Tensor]:
        return [_probabilities(scores, classes) - torch.nn.functional.one_hot(y, scores.shape[-1])]

    return _squared_gradients(net, task, answers)


def shuffled_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """Ablation: the exact values, dealt out at random within each parameter tensor; same sum, wrong weights."""
    fisher = exact_fisher(net, task, scenario, draws)
    orders = [draws.permutation("memory", f[0].numel(), task.number, i) for i, f in enumerate(fisher)]
    return [f.flatten(1).gather(1, o).view_as(f) for f, o in zip(fisher, orders, strict=True)]


def uniform_fisher(net: nn.Module, task: Task, scenario: Scenario, draws: Draws) -> list[Tensor]:
    """Ablation: every weight the mean importance; same sum, no distinction."""
    fisher = exact_fisher(net, task, scenario, draws)
    count = sum(f[0].numel() for f in fisher)
    mean = torch.stack([f.flatten(1).sum(1) for f in fisher]).sum(0) / count
    return [mean.view(-1, *[1] * (f.dim() - 1)).expand_as(f).clone() for f in fisher]


def _probabilities(scores: Tensor, classes: range) -> Tensor:
    mask = torch.full_like(scores, float("-inf"))
    mask[..., classes.start : classes.stop] = 0
    return (scores + mask).softmax(-1)


Answers = Callable[[Tensor, Tensor], list[Tensor]]


def _squared_gradients(net: nn.Module, task: Task, answers: Answers) -> list[Tensor]:
    owners = [m for m in net.modules() if any(True for _ in m.parameters(recurse=False))]
    by_layer = all(type(m) is Linear for m in owners)
    each = _by_layer if by_layer else _by_example
    counts = torch.tensor(task.train.sizes)
    total = [torch.zeros_like(p) for p in net.parameters()]
    for x, y, valid in task.train.chunks(CHUNK if by_layer else EACH):
        for t, part in zip(total, each(net, x, y, valid, answers), strict=True):
            t += part
    return [t / counts.to(t).view(-1, *[1] * (t.dim() - 1)) for t in total]


def _by_layer(net: nn.Module, x: Tensor, y: Tensor, valid: Tensor, answers: Answers) -> list[Tensor]:
    """Sum over examples of squared gradients: (a^2)^T d^2 with a layer's input a and output gradient d."""
    inputs: dict[nn.Module, Tensor] = {}
    outputs: dict[nn.Module, Tensor] = {}

    def record(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        inputs[module], outputs[module] = args[0].detach(), out

    layers = [m for m in net.modules() if type(m) is Linear]
    hooks = [m.register_forward_hook(record) for m in layers]
    scores = net(x)
    for hook in hooks:
        hook.remove()
    total = {p: torch.zeros_like(p) for p in net.parameters()}
    reached = [m for m in layers if m in outputs]
    for g in answers(scores.detach(), y):
        deltas = torch.autograd.grad(scores, [outputs[m] for m in reached], g * valid[..., None], retain_graph=True)
        for m, d in zip(reached, deltas, strict=True):
            total[m.weight] += torch.bmm(inputs[m].square().transpose(1, 2), d.square())
            total[m.bias] += d.square().sum(1, keepdim=True)
    return list(total.values())


def _by_example(net: nn.Module, x: Tensor, y: Tensor, valid: Tensor, answers: Answers) -> list[Tensor]:
    """The same for any network: one replica per example."""
    replicas, batch = y.shape
    weights = {n: p.detach().repeat_interleave(batch, 0).requires_grad_() for n, p in net.named_parameters()}
    scores = functional_call(net, weights, (x.flatten(0, 1)[:, None],)).view(replicas, batch, -1)
    total = [torch.zeros_like(p) for p in net.parameters()]
    for g in answers(scores.detach(), y):
        grads = torch.autograd.grad(scores, list(weights.values()), g * valid[..., None], retain_graph=True)
        for t, grad in zip(total, grads, strict=True):
            t += grad.square().unflatten(0, (replicas, batch)).sum(1)
    return total


@torch.no_grad()
def proximal_pull(
    parameters: Sequence[Tensor], importance: Sequence[Tensor], targets: Sequence[Tensor], strength: float, lr: float
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
    """[R]: (k/2) sum F (w - w*)^2 up to a constant in w, from the sums of F and F w*: (k/2) sum (F w - 2 F w*) w."""
    terms = [((f * w - 2 * fw) * w).flatten(1).sum(1) for w, f, fw in zip(parameters, importance, targets, strict=True)]
    return strength / 2 * torch.stack(terms).sum(0)
