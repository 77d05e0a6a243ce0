"""The instruments against closed forms: least squares, where gradient, Hessian and every line are known.

Implementations that these tests fail: the mean over replicas (R times too small), the mean of chunk means where
chunks or replicas differ in size, padding counted as examples, weights moved and not put back, drop-out left on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from clkit import catalogue, instruments
from clkit.contract import SMALL, small_stream
from clkit.controls import Independent
from clkit.errors import ClkitError
from clkit.examples import Batch
from clkit.layers import Dropout
from clkit.loop import run
from clkit.memory.replay import Replay
from clkit.method import Method, cross_entropy, weighted_mean
from clkit.nets import Mlp
from clkit.streams import Rotated, Split, from_arrays
from clkit.training import Training

DOUBLE = {"dtype": torch.float64, "progress": False}
LINEAR = Training(updates=(2, 2), batch=4, network=Mlp(hidden=()))


def squares(scores, batch):
    """1/2 (w.x + b - y)^2 with the first output of a linear network: a bowl, its curvature the mean of x x'."""
    return weighted_mean(0.5 * (scores[..., 0] - batch.y).square(), batch.weight)


LEAST = {"loss": squares}


def started(seed=0, n=7):
    """A linear network on two tasks of n examples with three features, and the arrays of the tasks."""
    chance = np.random.default_rng(seed)
    arrays = [(chance.normal(size=(n, 3)).astype(np.float32), np.arange(n) % 2) for _ in range(2)]
    stream, method = from_arrays(arrays, arrays, arrays), Method()
    run(method, stream, LINEAR, seeds=(0, 1), **DOUBLE)
    weight, bias = method.parameters()
    w = torch.cat([weight[..., 0], bias.flatten(1)[:, :1]], 1).detach().numpy()  # [R, 4]
    x = [np.c_[a, np.ones(n)].astype(float) for a, _ in arrays]
    return method, stream, w, x, [y for _, y in arrays]


def full(g):
    """[R, T, P] of a linear layer with two outputs -> the four entries of the first: three weights, the bias."""
    return g[..., [0, 2, 4, 6]].numpy()


def test_gradient_and_loss_of_least_squares():
    """L = 1/2 mean (Xw - y)^2, g = X' (Xw - y) / n, for each replica and task; the second output has none."""
    method, stream, w, x, y = started()
    g = instruments.gradients(method, stream, **LEAST)
    assert g.shape == (2, 2, 8) and not g[..., [1, 3, 5, 7]].any()
    for r in range(2):
        for t in range(2):
            away = x[t] @ w[r] - y[t]
            np.testing.assert_allclose(full(g)[r, t], x[t].T @ away / 7, rtol=1e-6)
            np.testing.assert_allclose(
                instruments.losses(method, stream, **LEAST)[r, t], 0.5 * (away**2).mean(), rtol=1e-6
            )
    assert torch.equal(instruments.gradients(method, stream, tasks=[1], **LEAST)[:, 0], g[:, 1])


def test_chunks_are_weighted_by_their_examples(monkeypatch):
    """Seven examples in chunks of three, three and one: the mean of the chunk means would differ."""
    method, stream, *_ = started()
    whole = instruments.gradients(method, stream, **LEAST), instruments.curvature(method, stream, **LEAST)[0]
    monkeypatch.setattr(instruments, "CHUNK", 3)
    torch.testing.assert_close(instruments.gradients(method, stream, **LEAST), whole[0])
    torch.testing.assert_close(instruments.curvature(method, stream, **LEAST)[0], whole[1])


def test_norms_cosines_and_efficiency_by_hand():
    """eq: gradient-cosine, eq: pull-efficiency. (3, 0) and (0, 4): 3 and 4, cosine 0, |(3, 4)| / 7 = 5/7.
    (1, 0) and (-1, 0) in the second replica: cosine -1, nothing left of the pull."""
    g = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [-1.0, 0.0]]])
    assert instruments.norms(g).tolist() == [[3, 4], [1, 1]]
    assert instruments.cosines(g).tolist() == [[[1, 0], [0, 1]], [[1, -1], [-1, 1]]]
    assert instruments.efficiency(g).tolist() == pytest.approx([5 / 7, 0])
    assert instruments.efficiency(torch.zeros(1, 2, 3)).tolist() == [0.0]  # nothing pulls
    assert instruments.cosines(torch.zeros(1, 2, 3)).isnan().all()


def test_interference_foretells_what_a_step_does_to_the_other_tasks():
    """eq: interference-matrix. L_j(w - lr g_i) - L_j(w) = -lr g_i.g_j to first order, for each pair of tasks."""
    method, stream, *_ = started()
    matrix, g = (
        instruments.interference(method, stream, **LEAST),
        instruments.gradients(method, stream, **LEAST),
    )
    torch.testing.assert_close(matrix, matrix.mT)
    for i in range(2):
        size = instruments.norms(g)[:, i]
        line = instruments.loss_along(method, stream, g[:, i], [-1e-5, 1e-5], **LEAST)
        slope = (line[:, 1] - line[:, 0]) / 2e-5  # per unit of length, along g_i
        torch.testing.assert_close(slope, matrix[:, i] / size[:, None], rtol=1e-6, atol=1e-9)


def test_loss_along_a_line_is_the_parabola_and_the_weights_are_put_back():
    """L(w + s u) = L(w) + s g.u + s^2/2 u'Hu, exactly for least squares, u of length 1."""
    method, stream, _, x, _ = started()
    before = [p.detach().clone() for p in method.parameters()]
    direction = torch.ones(2, 8, dtype=torch.float64)
    distances = [-2.0, 0.0, 0.5, 3.0]
    line = instruments.loss_along(method, stream, direction, distances, **LEAST)
    u = np.ones(4) / np.sqrt(8)
    g, start = (
        full(instruments.gradients(method, stream, **LEAST)),
        instruments.losses(method, stream, **LEAST),
    )
    for t in range(2):
        bend = u @ (x[t].T @ x[t] / 7) @ u
        for e, s in enumerate(distances):
            expected = start[:, t].numpy() + s * g[:, t] @ u + 0.5 * s**2 * bend
            np.testing.assert_allclose(line[:, e, t], expected, rtol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


def test_a_loss_that_breaks_off_leaves_the_weights_where_they_were(monkeypatch):
    method, stream, *_ = started()
    before = [p.detach().clone() for p in method.parameters()]
    monkeypatch.setattr(instruments, "losses", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        instruments.loss_along(method, stream, torch.ones(2, 8, dtype=torch.float64), [1.0])
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


def test_curvature_of_least_squares_is_the_largest_eigenvalue():
    """eq: power-iteration. The Hessian is X'X / n; its eigenvector comes with it."""
    method, stream, _, x, _ = started()
    for t in range(2):
        values, vectors = np.linalg.eigh(x[t].T @ x[t] / 7)
        found, v = instruments.curvature(method, stream, t, iterations=200, **LEAST)
        np.testing.assert_allclose(found, values[-1], rtol=1e-6)
        np.testing.assert_allclose(np.abs(full(v) @ vectors[:, -1]), 1, rtol=1e-5)


def test_curvature_of_a_network_agrees_with_the_whole_hessian():
    """Two replicas of a network with 31 weights, each against torch's own Hessian of its loss."""
    arrays = [(np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 3)]
    stream, method = from_arrays(arrays, arrays, arrays), Method()
    run(method, stream, Training(updates=(3,), network=Mlp(hidden=(4,))), seeds=(0, 1), **DOUBLE)
    found, _ = instruments.curvature(method, stream, iterations=500)
    batch = instruments._batches(method, stream, [0])[0][0][1]
    names = [name for name, _ in method.net.named_parameters()]
    sizes = [p[0].numel() for p in method.parameters()]
    for r in range(2):

        def loss(flat, r=r):
            weights = {}
            for name, piece, p in zip(names, flat.split(sizes), method.parameters(), strict=True):
                weights[name] = p.detach().index_copy(0, torch.tensor([r]), piece.view(1, *p.shape[1:]))
            return cross_entropy(torch.func.functional_call(method.net, weights, (batch.x,)), batch)[r]

        flat = torch.cat([p[r].detach().flatten() for p in method.parameters()])
        values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
        largest = values[values.abs().argmax()]
        torch.testing.assert_close(found[r], largest, rtol=1e-4, atol=1e-8)


def test_a_replica_with_fewer_examples_is_not_padded():
    """Split by class orders: tasks of unequal size. Each replica's gradient is that of the replica alone."""
    stream, pair, alone = Split(length=5, tried=1), Method(), Method()
    for method, seeds in ((pair, (3, 1)), (alone, (1,))):
        run(method, stream, Training(epochs=1, network=Mlp(hidden=(5,))), seeds=seeds, **DOUBLE)
    sizes = stream.audit(pair.draws)[0].train.sizes
    assert sizes[0] != sizes[1]
    torch.testing.assert_close(
        instruments.gradients(pair, stream)[1], instruments.gradients(alone, stream)[0]
    )


def test_class_incremental_the_classes_seen_so_far_compete():
    """After two tasks of two classes the loss of task 1 is that among four classes, not among its two."""
    stream, method = Split(length=5, tried=2), Method()
    run(method, stream, Training(epochs=1, network=Mlp(hidden=(5,))), seeds=(0,), **DOUBLE)
    x, y, _ = next(stream.audit(method.draws)[0].train.chunks(10**6))
    scores = method.net(x)[..., :4].log_softmax(-1)
    expected = -scores.gather(-1, y[..., None]).mean()
    torch.testing.assert_close(instruments.losses(method, stream, [0])[0, 0], expected.detach())


@dataclass(frozen=True, kw_only=True)
class Dropping(Mlp):
    """An MLP behind drop-out of the inputs."""

    def __call__(self, build, task, own):
        return torch.nn.Sequential(Dropout(0.3, build.draws), super().__call__(build, task, own))


@pytest.mark.parametrize("make", [Method, lambda: Replay(capacity=20)])
def test_observing_changes_nothing(make):
    """A run whose every evaluation is observed by all instruments ends at the same bits, with drop-out too."""
    stream = Rotated(limit=(40, 40), length=2)
    training = Training(updates=(4, 4), batch=8, every=2, network=Dropping(hidden=(6,)))
    seen = []

    def look(method, updates):
        g = instruments.gradients(method, stream)
        instruments.loss_along(method, stream, torch.ones_like(g[:, 0]), [0.1])
        instruments.curvature(method, stream, iterations=2)
        seen.append((updates, g.isfinite().all().item()))

    plain, watched = make(), make()
    run(plain, stream, training, seeds=(0, 1), progress=False)
    run(watched, stream, training, seeds=(0, 1), progress=False, observe=look)
    assert seen == [(u, True) for u in (0, 2, 4, 6, 8)]
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("look", "match"),
    [
        (lambda m, s: instruments.gradients(m, s, [2]), "tasks 0..1"),
        (lambda m, s: instruments.loss_along(m, s, torch.zeros(2, 8), [1.0]), "direction"),
        (lambda m, s: instruments.loss_along(m, s, torch.ones(8), [1.0]), "direction"),
        (lambda m, s: instruments.curvature(m, s, iterations=0), "iterations"),
    ],
)
def test_refuses_what_has_no_meaning(look, match):
    method, stream, *_ = started()
    with pytest.raises(ClkitError, match=match):
        look(method, stream)


LEARNERS = [name for name, cls in catalogue.methods().items() if issubclass(cls, Method)]


@pytest.mark.parametrize("name", LEARNERS)
def test_every_method_of_the_catalogue_can_be_looked_at_and_is_left_as_it_was(name):
    """Before, while and after it learns; the loss is that of its answers, whatever network gives them."""
    cls = catalogue.methods()[name]
    given, seen = small_stream(cls), []

    def look(method, updates):
        g = instruments.gradients(method, given)
        seen.append(bool(g.isfinite().all()))

    plain, watched = cls(), cls()
    training = replace(SMALL, every=2)
    run(plain, given, training, seeds=(0, 1), progress=False)
    run(watched, given, training, seeds=(0, 1), progress=False, observe=look)
    assert seen and all(seen)
    rule = given.rule()
    for t, data in enumerate(given.tasks(plain.draws)):
        x, y, valid = next(data.train.chunks(10**6))
        task = t if rule.labels_at_test else None
        with torch.no_grad():
            a, b = (method.predict(x, task) for method in (plain, watched))
            outputs = rule.outputs(y, (given.tried or given.length) - 1)
            batch = Batch(x, y, valid.float(), outputs, y, y.shape[1])
            assert torch.equal(a, b)
            torch.testing.assert_close(instruments.losses(watched, given)[:, t], cross_entropy(a, batch))
        value, direction = instruments.curvature(watched, given, t, iterations=3)
        assert value.isfinite().all() and direction.isfinite().all()


def test_a_task_with_a_network_of_its_own_has_the_loss_of_that_network_and_no_gradient():
    """Independent networks: once task 1 is over nothing trainable has a part in its answers, and it is known."""
    stream, method = Rotated(scenario="task", limit=(200, 200), length=2), Independent()
    run(method, stream, Training(updates=(150, 20)), seeds=(0,), progress=False)
    assert instruments.losses(method, stream)[0, 0] < 0.5
    g = instruments.gradients(method, stream)
    assert not g[:, 0].any() and g[:, 1].any()
    assert (
        not instruments.curvature(method, stream, 0)[0].any()
        and instruments.curvature(method, stream, 1)[0] > 0
    )
