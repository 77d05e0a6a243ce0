"""PCGrad: the projections by hand, what they promise for two tasks and not for three, and whose gradients they are.

Implementations that these tests fail: projecting on gradients that were projected already, one order for all, a
projection per layer, the mean for the sum, a division by g.g = 0, a task's gradient that counts the batch's other
examples, scaling a task up where it has few examples in the batch.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clkit.controls import Joint
from clkit.gradient.pcgrad import PCGrad, projected, random_projection, rescaled, summed, surgery
from clkit.loop import run
from clkit.method import cross_entropy
from clkit.metrics import average_accuracy, difference
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.streams import Permuted, Rotated
from clkit.training import Training

SMALL = Training(updates=(6, 6, 6), batch=9, network=Mlp(hidden=(7,)))


def operated(*gradients, order=None):
    """The surgery on one replica's gradients; by default each meets the others from first to last."""
    g = torch.tensor([gradients], dtype=torch.float64)
    tasks = g.shape[1]
    rows = torch.arange(tasks).expand(1, tasks, tasks) if order is None else torch.tensor([order])
    return projected(g, rows).sum(1)[0]


def random_gradients(tasks, width, n=2000, seed=0):
    noise = torch.Generator().manual_seed(seed)
    g = torch.randn(n, tasks, width, generator=noise, dtype=torch.float64)
    return g, torch.rand(n, tasks, tasks, generator=noise).argsort(-1)


def test_two_tasks_by_hand():
    """eq: pcgrad. g = (2, 0) and (-1, 1), inner product -2. h1 = (2, 0) + 2/2 (-1, 1) = (1, 1); h2 = (-1, 1) +
    2/4 (2, 0) = (0, 1). Their sum is (1, 2), not (1, 1), nor the mean (0.5, 1)."""
    assert operated((2.0, 0.0), (-1.0, 1.0)).tolist() == [1.0, 2.0]


def test_the_others_stay_as_they_were():
    """Three tasks, (1, 0), (-1, 1), (-1, -1), in this order. h1 meets g2: (1, 0) + 1/2 (-1, 1) = (1/2, 1/2); then
    g3, inner product -1: + 1/2 (-1, -1) = (0, 0). h2 meets g1: (0, 1); then g3, inner product -1: + 1/2 (-1, -1) =
    (-1/2, 1/2). h3 meets g1: (0, -1); then g2, inner product -1: + 1/2 (-1, 1) = (-1/2, -1/2). Sum (-1, 0).
    Projected on what is left of the others (h1 = 0 would do nothing), h2 would stay (-1, 1)."""
    assert operated((1.0, 0.0), (-1.0, 1.0), (-1.0, -1.0)).tolist() == [-1.0, 0.0]


def test_the_order_counts_and_each_gradient_has_its_own():
    """(1, 0), (-1, 1) and (0, -1). h1 = (1, 0) meets g2: (1/2, 1/2); then g3, inner product -1/2: (1/2, 0). The other
    way round g3 does not oppose it, and g2 leaves (1/2, 1/2). h2 meets g1: (0, 1); then g3: (0, 0). h3 = (0, -1)
    does not oppose g1; g2: (0, -1) + 1/2 (-1, 1) = (-1/2, -1/2). Sums: (0, -1/2), and (0, 0)."""
    three = ((1.0, 0.0), (-1.0, 1.0), (0.0, -1.0))
    assert operated(*three).tolist() == [0.0, -0.5]
    assert operated(*three, order=[[0, 2, 1], [0, 1, 2], [0, 1, 2]]).tolist() == [0.0, 0.0]


def test_without_conflict_it_is_the_sum_to_the_bit():
    """And a gradient of zeros divides by nothing."""
    g = torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(1))  # all positive
    order = torch.arange(3).expand(5, 3, 3)
    draws = Draws(tuple(range(5)))
    assert all(torch.equal(f(g, order, draws, 0), g.sum(1)) for f in (surgery, summed))
    assert operated((0.0, 0.0), (-1.0, 1.0)).tolist() == [-1.0, 1.0]


def test_of_two_tasks_neither_loses():
    """T = 2, in conflict: h1.g2 = h2.g1 = 0, so d.g1 = h1.g1 >= 0 and d.g2 >= 0, on 2000 random pairs."""
    g, order = random_gradients(2, 5)
    conflict = (g[:, 0] * g[:, 1]).sum(-1) < 0
    assert 800 < int(conflict.sum()) < 1200
    d = projected(g, order).sum(1)
    assert ((d[:, None] * g).sum(-1) > -1e-12).all()
    h1 = (
        d
        - g[:, 1]
        + (g[:, 0] * g[:, 1]).sum(-1, keepdim=True) / g[:, 0].square().sum(-1, keepdim=True) * g[:, 0]
    )
    assert (h1 * g[:, 1]).sum(-1)[conflict].abs().max() < 1e-12


def test_of_three_tasks_one_still_may_as_the_docstring_says():
    """Random tasks in three dimensions: about one direction in seven still opposes a task."""
    g, order = random_gradients(3, 3)
    loses = ((projected(g, order).sum(1)[:, None] * g).sum(-1) < -1e-9).any(-1).double().mean()
    assert 0.1 < loses < 0.18
    assert "of three or more, one still may" in " ".join((PCGrad.__doc__ or "").split())


def test_opposite_gradients_stall():
    """g2 = -3 g1: both projections vanish, wherever the balance of the sum lies."""
    assert operated((1.0, -2.0), (-3.0, 6.0)).tolist() == [0.0, 0.0]


def test_the_ablation_has_the_length_and_the_sum_the_direction():
    g, order = random_gradients(3, 4, n=50)
    draws = Draws(tuple(range(50)))
    d, other, total = (f(g, order, draws, 0) for f in (surgery, rescaled, summed))
    torch.testing.assert_close(other.norm(dim=1), d.norm(dim=1))
    torch.testing.assert_close(torch.cosine_similarity(other, total), torch.ones(50, dtype=torch.float64))


def test_a_random_projection_leaves_as_much_of_each_gradient_in_another_direction():
    """Of two tasks, h_i.g_i and |h_i| are the surgery's, exactly; what opposes the other task is not taken out."""
    g, order = random_gradients(2, 400, n=50)
    g[:, 1] -= 0.5 * g[:, 0]  # all in conflict
    draws = Draws(tuple(range(50)), dtype=torch.float64)
    found = random_projection(g, order, draws, 3)
    h = projected(g, order)
    c = h.norm(dim=-1, keepdim=True) / g.norm(dim=-1, keepdim=True)
    straight = (c.square() * g).sum(1)  # what is left along each gradient
    assert torch.equal(found, random_projection(g, order, draws, 3))
    assert not torch.equal(found, random_projection(g, order, draws, 4))
    across = found - straight
    expected = ((c.square() * (1 - c.square())) * g.square().sum(-1, keepdim=True)).sum((1, 2))
    assert (across.square().sum(1) / expected - 1).abs().mean() < 0.1  # two nearly orthogonal random parts
    assert torch.cosine_similarity(across, h.sum(1)).abs().mean() < 0.1
    one = torch.cat(
        [g[:, :1], torch.zeros_like(g[:, :1])], 1
    )  # no conflict: nothing is taken, nothing is NaN
    torch.testing.assert_close(random_projection(one, order, draws, 0), g[:, 0])


def watched(stream, operate, training=SMALL):
    """A method that notes the gradients that it is to operate on, after a run."""
    seen = []

    def spy(gradients, order, draws, counter):
        seen.append((gradients.clone(), order.clone()))
        return operate(gradients, order, draws, counter)

    method = PCGrad(surgery=spy)
    run(method, stream, training, seeds=(0, 1), dtype=torch.float64, progress=False)
    return method, seen


def test_each_task_has_its_share_of_the_gradient():
    """The shares add up to the gradient of the batch, and each is recomputed from the task's examples alone."""
    stream, draws = Permuted(limit=(40, 30, 20), length=3), Draws((0, 1), dtype=torch.float64)
    method, seen = watched(stream, summed)
    assert [g.shape[1] for g, _ in seen] == [2] * 6 + [3] * 6
    tasks = stream.tasks(draws)
    examples = tasks[2].train + tasks[0].train + tasks[1].train
    order = draws.shuffles("order", examples.sizes, 9 * 6, 2)
    batch = next(examples.batches(order, 9, stream.rule(), 2))
    weights = method.parameters()
    for w in weights:
        w.grad = torch.zeros_like(w)
    seen.clear()
    method.shape_grads(batch)
    found = seen[0][0]
    scores = method.net(batch.x)
    each = torch.nn.functional.cross_entropy(scores.transpose(1, 2), batch.y, reduction="none")
    first = torch.tensor([20, 60, 90])  # ends of task 3, 1 and 2 in the training set
    for k in range(3):
        mine = (batch.index < first[k]) & (batch.index >= (first[k - 1] if k else 0))
        expected = torch.autograd.grad((each * mine).sum() / 9, weights, retain_graph=True)
        torch.testing.assert_close(found[:, k], torch.cat([e.flatten(1) for e in expected], 1))
    whole = torch.autograd.grad(cross_entropy(scores, batch).sum(), weights)
    torch.testing.assert_close(found.sum(1), torch.cat([e.flatten(1) for e in whole], 1))


def test_what_is_left_of_the_gradients_is_what_the_optimiser_gets():
    """Not half of it, nor its negative: after shape_grads the gradient is d, which opposes neither of two tasks."""
    stream, draws = Permuted(limit=(40, 40), length=2), Draws((0, 1), dtype=torch.float64)
    method, seen = watched(stream, surgery, replace(SMALL, updates=(6, 6)))
    tasks = stream.tasks(draws)
    examples = tasks[1].train + tasks[0].train
    order = draws.shuffles("order", examples.sizes, 9 * 6, 1)
    opposed = 0
    for batch in examples.batches(order, 9, stream.rule(), 1):
        weights = method.parameters()
        for w, part in zip(weights, torch.autograd.grad(method.loss(batch).sum(), weights), strict=True):
            w.grad = part
        method.shape_grads(batch)
        g, met = seen[-1]
        d = torch.cat([w.grad.flatten(1) for w in weights], 1)
        torch.testing.assert_close(d, projected(g, met).sum(1))
        assert ((d[:, None] * g).sum(-1) > 0).all()
        opposed += int(((g[:, 0] * g[:, 1]).sum(-1) < 0).sum())
    assert opposed > 0


def test_orders_differ_by_step_replica_and_gradient():
    _, seen = watched(Permuted(limit=(40,) * 3, length=3), surgery)
    orders = torch.stack([order for _, order in seen[6:]])  # [step, R, 3, 3]
    assert (orders.sort(-1).values == torch.arange(3)).all()
    assert len({str(o.tolist()) for o in orders.flatten(0, 2)}) == 6  # every order occurs
    assert not torch.equal(orders[:, 0], orders[:, 1]) and not torch.equal(orders[:, :, 0], orders[:, :, 1])


def test_it_changes_what_joint_training_does_only_where_tasks_conflict():
    """Off it is joint training to the bit (the contract); with surgery it ends elsewhere; one task has no rival."""
    ends = []
    for method in (Joint(), PCGrad(), PCGrad(surgery=rescaled)):
        run(method, Rotated(limit=(40,) * 3, length=3, degrees=90), SMALL, seeds=(0, 1), progress=False)
        ends.append(torch.cat([w.detach().flatten() for w in method.parameters()]))
    assert not torch.equal(ends[0], ends[1]) and not torch.equal(ends[1], ends[2])
    single = []
    for method in (Joint(), PCGrad()):
        run(method, Rotated(limit=(40,), length=1), Training(updates=(6,)), seeds=(0,), progress=False)
        single.append(torch.cat([w.detach().flatten() for w in method.parameters()]))
    assert torch.equal(*single)


def test_keeps_all_data_and_where_they_end():
    """P = 64 * 7 + 7 + 7 * 10 + 10 = 535 weights; all data as joint training keeps them, and 8 bytes per task."""
    stream = Rotated(limit=(40,) * 3, length=3)
    method, joint = PCGrad(), Joint()
    records = [run(m, stream, SMALL, seeds=(0, 1), progress=False) for m in (method, joint)]
    assert records[0].bytes_examples == records[1].bytes_examples
    assert records[0].bytes_kept == [b + 8 * (t + 1) for t, b in enumerate(records[1].bytes_kept)]


@pytest.mark.slow
def test_the_direction_counts_not_the_shortening():
    """Where it beats joint training, it beats projections along random directions that shorten as much."""
    where = PCGrad.beats()
    assert where is not None
    found = [
        run(method, where.stream, Training(**where.training), replicas=10, progress=False)
        for method in (PCGrad(), PCGrad(surgery=random_projection))
    ]
    ahead = difference(*(average_accuracy(record.matrix) for record in found))
    assert ahead.low is not None and ahead.low > 0, ahead
