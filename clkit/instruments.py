"""Instruments: what the losses of the tasks look like from where the weights stand.

They take any `Method` that has started and the stream that it learns. They look at the tasks through
`stream.audit()`, which no method receives, and change nothing. The loss of a task is the mean of
`loss(method.predict(x, task), batch)` over all its training data, by default the cross-entropy of its answers,
without drop-out; class-incremental, the classes seen so far compete. Its gradient g runs over the parameters
trainable now, as one vector of P numbers; it is 0 where they have no part in the answers (a task with a network
of its own). `run(..., observe=...)` calls them along training.

R replicas, T tasks, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from clkit.errors import ClkitError, counted
from clkit.examples import Batch
from clkit.method import Method, cross_entropy
from clkit.streams import Stream

CHUNK = 2048  # examples per forward pass
Loss = Callable[[Tensor, Batch], Tensor]  # scores [R, B, C], batch -> [R]
Share = tuple[
    Tensor, Batch, int | None
]  # weight [R] in the mean over the task's examples, batch, task if told


def losses(
    method: Method, stream: Stream, tasks: Sequence[int] | None = None, loss: Loss = cross_entropy
) -> Tensor:
    """Mean loss [R, T] of each task (or of those named, from 0) on its training data."""
    with torch.no_grad(), _still(method):
        return torch.stack(
            [_mean_loss(method, loss, batches) for batches in _batches(method, stream, tasks)], 1
        )


def gradients(
    method: Method, stream: Stream, tasks: Sequence[int] | None = None, loss: Loss = cross_entropy
) -> Tensor:
    """The gradient [R, T, P] of the loss of each task (or of those named, from 0)."""
    with torch.enable_grad(), _still(method):
        return torch.stack(
            [_gradient(method, loss, batches) for batches in _batches(method, stream, tasks)], 1
        )


def norms(g: Tensor) -> Tensor:
    """Length [R, T] of each gradient: how hard the task pulls."""
    return torch.linalg.vector_norm(g, dim=-1)


def cosines(g: Tensor) -> Tensor:
    """Cosines [R, T, T] between gradients [R, T, P]; NaN where one vanishes."""
    length = norms(g)
    return g @ g.mT / (length[..., None] * length[:, None])  # eq: gradient-cosine


def efficiency(g: Tensor) -> Tensor:
    """|g_1 + ... + g_T| / (|g_1| + ... + |g_T|), [R]: 1 where all pull one way, 0 in balance (ours).

    0 where nothing pulls, as in `clkit.bowls`.
    """
    spent = norms(g).sum(1).clamp(min=torch.finfo(g.dtype).tiny)
    return torch.linalg.vector_norm(g.sum(1), dim=-1) / spent  # eq: pull-efficiency


def interference(
    method: Method, stream: Stream, tasks: Sequence[int] | None = None, loss: Loss = cross_entropy
) -> Tensor:
    """g_i . g_j [R, T, T]: a step of small size lr on task i lowers the loss of task j by lr times it."""
    g = gradients(method, stream, tasks, loss)
    return g @ g.mT  # eq: interference-matrix


def loss_along(
    method: Method,
    stream: Stream,
    direction: Tensor,
    distances: Sequence[float],
    tasks: Sequence[int] | None = None,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Losses [R, E, T] at w + distance * direction / |direction|, direction [R, P] in each replica's own."""
    parameters = method.parameters()
    _check_direction(direction, parameters)
    unit = direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    before, rows = [w.detach().clone() for w in parameters], []
    try:
        for distance in distances:
            for w, start, step in zip(parameters, before, _apart(unit, parameters), strict=True):
                w.data.copy_(start + distance * step)
            rows.append(losses(method, stream, tasks, loss))
    finally:
        for w, start in zip(parameters, before, strict=True):
            w.data.copy_(start)
    return torch.stack(rows, 1)


def curvature(
    method: Method, stream: Stream, task: int = 0, iterations: int = 50, loss: Loss = cross_entropy
) -> tuple[Tensor, Tensor]:
    """The eigenvalue [R] of largest size of the Hessian of a task's loss, and its eigenvector [R, P].

    Power iteration, each product with the Hessian as the gradient of g . v (Pearlmutter 1994). The value is the
    Rayleigh quotient v' H v, and may be negative where the loss curves downwards most. Raise `iterations` until it
    no longer moves: where two eigenvalues are of nearly the same size, it converges slowly.
    """
    counted("iterations", iterations)
    parameters = method.parameters()
    (batches,) = _batches(method, stream, [task])
    v = _joined([method.draws.normal("curvature", tuple(w.shape[1:]), i) for i, w in enumerate(parameters)])
    v, value = _unit(v), torch.zeros(len(v))
    with torch.enable_grad(), _still(method):
        for _ in range(iterations):
            product = torch.stack([_hessian_product(method, loss, part, v) for part in batches]).sum(0)
            value, v = (v * product).sum(1), _unit(product)  # eq: power-iteration
    return value, v


def _hessian_product(method: Method, loss: Loss, part: Share, v: Tensor) -> Tensor:
    parameters = method.parameters()
    flat, total = [torch.zeros_like(w) for w in parameters], _shared(method, loss, part).sum()
    if not total.requires_grad:  # answers of a frozen network
        return _joined(flat)
    g = torch.autograd.grad(total, parameters, create_graph=True, materialize_grads=True)
    inner = (_joined(g) * v).sum()  # gradient of g . v: H v
    if not inner.requires_grad:  # linear in what is trainable
        return _joined(flat)
    return _joined(torch.autograd.grad(inner, parameters, materialize_grads=True))


@contextmanager
def _still(method: Method) -> Iterator[None]:
    """Drop-out off."""
    method.train(False)
    try:
        yield
    finally:
        method.train(True)


def _batches(method: Method, stream: Stream, tasks: Sequence[int] | None) -> list[list[Share]]:
    """The whole training data of each task, in chunks."""
    rule, audit = stream.rule(), stream.audit(method.draws)
    chosen = range(len(audit)) if tasks is None else tasks
    if not all(0 <= t < len(audit) for t in chosen):
        raise ClkitError(f"tasks {list(chosen)}: the stream has the tasks 0..{len(audit) - 1}.")
    now = [t for t in range(len(audit)) if rule.competing(t) == method.competing]
    made = []
    for t in chosen:
        newest = max([t, *now])
        sizes = torch.tensor(audit[t].train.sizes, device=method.draws.device)
        parts: list[Share] = []
        for x, y, valid in audit[t].train.chunks(CHUNK):
            weight = valid.to(x.dtype)
            there = weight.sum(1)
            # where a replica has no more examples, the weights would be 0 / 0
            weight = torch.where(there[:, None] > 0, weight, torch.ones_like(weight))
            batch = Batch(x, y, weight, rule.outputs(y, newest), torch.full_like(y, -1), y.shape[1])
            parts.append((there / sizes, batch, t if rule.labels_at_test else None))
        made.append(parts)
    return made


def _shared(method: Method, loss: Loss, part: Share) -> Tensor:
    share, batch, task = part
    return share * loss(method.predict(batch.x, task), batch)


def _mean_loss(method: Method, loss: Loss, batches: list[Share]) -> Tensor:
    return torch.stack([_shared(method, loss, part) for part in batches]).sum(0)


def _gradient(method: Method, loss: Loss, batches: list[Share]) -> Tensor:
    parameters, found = method.parameters(), list[Tensor]()
    for part in batches:
        total = _shared(method, loss, part).sum()
        if not total.requires_grad:  # answers of a frozen network: nothing trainable has a part in them
            return _joined([torch.zeros_like(w) for w in parameters])
        found.append(_joined(torch.autograd.grad(total, parameters, materialize_grads=True)))
    return torch.stack(found).sum(0)


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """[R, ...] each -> [R, P]."""
    return torch.cat([t.flatten(1) for t in tensors], 1)


def _apart(vector: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    sizes = [w[0].numel() for w in like]
    for piece, w in zip(vector.split(sizes, dim=1), like, strict=True):
        yield piece.view_as(w)


def _unit(v: Tensor) -> Tensor:
    return v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)


def _check_direction(direction: Tensor, parameters: Sequence[Tensor]) -> None:
    wanted = (len(parameters[0]), sum(w[0].numel() for w in parameters))
    if tuple(direction.shape) != wanted or not bool((torch.linalg.vector_norm(direction, dim=1) > 0).all()):
        raise ClkitError(
            f"direction must be [R, P] = {wanted}, nowhere all zero, not {tuple(direction.shape)}."
        )
