"""A-GEM: the projection by hand and as the solution of its problem; the memory; what r is the gradient of.

Implementations that these tests fail: a projection per layer, r added where nothing conflicts (that is
replay), r left in the weights' gradients, division by r.r = 0, the present task in the memory, scores of all
heads in a task-incremental run, padding stored as examples.
"""

import pytest
import torch

from clkit.errors import ClkitError
from clkit.examples import Batch
from clkit.gradient.agem import AGEM, memory_gradient, project, random_direction
from clkit.loop import Training, run
from clkit.method import Method, cross_entropy
from clkit.nets import Mlp
from clkit.replicas import Draws
from clkit.streams import Rotated, Split, from_arrays

SMALL = Training(epochs=10, network=Mlp(hidden=(16,)))


def projected(g, r):
    """g [R, n] after the projection against r [R, n]; g itself stays."""
    g, r = (torch.as_tensor(v, dtype=torch.float64).clone() for v in (g, r))
    project([g], [r])
    return g


def random_pairs(n=1000, width=7):
    """Gradients and references in general position, about half of them in conflict."""
    noise = torch.Generator().manual_seed(0)
    return torch.randn(2, n, width, generator=noise, dtype=torch.float64)


def test_projection_by_hand():
    """eq: agem-projection. g = (1, -2): r = (0, 3) takes the -2 away; (3, 0) and (0, 0) change nothing."""
    g = projected([[1.0, -2.0]] * 3, [[0.0, 3.0], [3.0, 0.0], [0.0, 0.0]])
    assert g.tolist() == [[1.0, 0.0], [1.0, -2.0], [1.0, -2.0]]


def test_layers_are_one_vector():
    """g = (1 | -3), r = (1 | 1): g.r / r.r = -1, so (2 | -2). Projected per layer it would be (1 | 0)."""
    g = [torch.tensor([[1.0]]), torch.tensor([[[-3.0]]])]
    project(g, [torch.tensor([[1.0]]), torch.tensor([[[1.0]]])])
    assert [part.item() for part in g] == [2.0, -2.0]


def test_projection_solves_its_problem():
    """The nearest vector with g.r >= 0: z = g + v r, v >= 0, z.r >= 0, v (z.r) = 0 (the KKT conditions)."""
    g, r = random_pairs()
    z = projected(g, r)
    inner = (z * r).sum(1)
    v = ((z - g) * r).sum(1) / r.square().sum(1)
    torch.testing.assert_close(z, g + v[:, None] * r)
    assert (v >= 0).all() and (inner > -1e-12).all() and (v * inner).abs().max() < 1e-12
    assert (z.norm(dim=1) <= g.norm(dim=1)).all()
    rival = random_pairs()[0].flip(0)  # any other vector that does not oppose r is farther from g
    rival += torch.relu(-(rival * r).sum(1) / r.square().sum(1))[:, None] * r
    assert ((z - g).norm(dim=1) <= (rival - g).norm(dim=1) + 1e-12).all()


def test_without_conflict_nothing_changes_and_the_length_of_r_is_irrelevant():
    g, r = random_pairs()
    z, agree = projected(g, r), (g * r).sum(1) >= 0
    assert 300 < int(agree.sum()) < 700
    assert torch.equal(z[agree], g[agree])
    torch.testing.assert_close(z, projected(g, 1e3 * r))


def test_a_vanishing_reference_is_safe():
    """float32: r = 1e-30 has r.r = 0, and g.r / r.r would be infinite."""
    g = torch.tensor([[1.0, -1.0]])
    project([g], [torch.tensor([[0.0, 1e-30]])])
    assert g.tolist() == [[1.0, -1.0]]


def task_coded(tasks=3, n=12):
    """Tasks whose inputs say which task (first feature) and which example (second) they are."""
    arrays = []
    for t in range(tasks):
        x = torch.stack([torch.full((n,), float(t)), torch.arange(n).float()], 1).numpy()
        arrays.append((x, torch.arange(n).remainder(2).numpy()))
    return from_arrays(arrays, arrays, arrays)


def test_memory_holds_different_examples_of_past_tasks_only():
    """At task t: per_task examples of each task before it; the present task is not its own reference."""
    seen = []

    def spy(loss, parameters, draws, counter):
        seen.append((method.memory[0].clone(), counter))
        return memory_gradient(loss, parameters, draws, counter)

    method = AGEM(per_task=5, reference=spy)
    run(method, task_coded(), Training(updates=(3, 3, 3), batch=4), seeds=(0, 1), progress=False)
    assert len(seen) == 6  # none in the first task
    assert len({counter for _, counter in seen}) == 6
    for i, (x, _) in enumerate(seen):
        assert x[:, :, 0].tolist() == [[0.0] * 5 + [1.0] * 5 * (i >= 3)] * 2
    for row in method.memory[0]:
        assert len({tuple(example) for example in row.tolist()}) == 15
    which = method.memory[0][:, :, 1].unflatten(1, (3, 5))
    assert not torch.equal(which[0], which[1])  # each replica its own
    assert not torch.equal(which[:, 0], which[:, 1])  # each task its own


def test_of_a_task_with_fewer_examples_all_are_stored():
    method = AGEM(per_task=30)
    run(method, task_coded(1), Training(updates=(1,)), seeds=(0,), progress=False)
    x, _ = method.memory
    assert x.shape[1] == 30
    assert set(x[0, :, 1].tolist()) == set(range(12))


def test_padding_is_never_stored():
    """Unequal tasks are padded to the longest: every stored image has its own label, and none is made up."""
    stream, draws = Split(tried=2), Draws((0, 1, 2))
    sizes = [data.train.sizes for data in stream.tasks(draws)]
    assert len(set(sizes[0])) > 1
    method = AGEM(per_task=300)
    run(method, stream, SMALL, seeds=draws.seeds, progress=False)
    x, y = method.memory
    for t, data in enumerate(stream.tasks(draws)):
        all_x, all_y, valid = next(data.train.chunks(10**6))
        for r in range(3):
            known = {
                tuple(a.flatten().tolist()): int(b)
                for a, b in zip(all_x[r][valid[r]], all_y[r][valid[r]], strict=True)
            }
            mine = slice(300 * t, 300 * (t + 1))
            kept = {tuple(a.flatten().tolist()): int(b) for a, b in zip(x[r, mine], y[r, mine], strict=True)}
            assert kept.items() <= known.items()
            assert len(kept) == len(known)  # fewer than 300 examples: all of them


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_step_follows_the_projection_of_its_gradient(scenario):
    """A step in the second task, recomputed: g on the batch, r on all that is stored, with their outputs."""
    method, stream = AGEM(per_task=10, batch=10**6), Split(scenario=scenario)
    draws = Draws((0, 1), dtype=torch.float64)
    run(method, Split(scenario=scenario, tried=1), SMALL, seeds=(0, 1), dtype=torch.float64, progress=False)
    examples = stream.tasks(draws)[1].train
    order = draws.shuffles("order", examples.sizes, 32, 1)
    batch = next(examples.batches(order, 32, stream.rule(), 1))
    weights = method.parameters()
    x, y = method.memory
    outputs = stream.rule().outputs(
        y, 0 if scenario == "task" else 1
    )  # task-incremental: those of the old task
    old = Batch(x, y, torch.ones_like(y).double(), outputs, y, 0)
    g, r = (torch.autograd.grad(cross_entropy(method.net(b.x), b).sum(), weights) for b in (batch, old))
    expected = [part.clone() for part in g]
    project(expected, r)
    assert not all(torch.equal(a, b) for a, b in zip(expected, g, strict=True))  # they do conflict
    before = [w.detach().clone() for w in weights]
    method.step(batch, torch.optim.SGD(weights, lr=0.1))
    for w, v, e in zip(weights, before, expected, strict=True):
        torch.testing.assert_close(w.detach(), v - 0.1 * e)


def test_a_reference_of_zeros_is_fine_tuning_to_the_bit():
    """The projection alone makes the difference; the memory and its draws do not."""

    def nowhere(loss, parameters, draws, counter):
        return [torch.zeros_like(w) for w in parameters]

    stream = Rotated(limit=(100, 100), length=2)
    nets = []
    for method in (Method(), AGEM(reference=nowhere), AGEM(), AGEM(reference=random_direction)):
        run(method, stream, SMALL, seeds=(0, 1), progress=False)
        nets.append(torch.cat([w.detach().flatten() for w in method.parameters()]))
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2]) and not torch.equal(nets[0], nets[3])


def test_reference_batch_is_drawn_anew_from_all_that_is_stored():
    """3 of 10 examples in each of 40 calls: all different within a call, every one used in the end."""
    method = AGEM(per_task=5, batch=3)
    run(method, task_coded(2), Training(updates=(1, 1)), seeds=(0, 1), progress=False)
    like = Batch(*method.memory, torch.ones(2, 10), None, method.memory[1], 0)
    drawn = torch.stack([method.remembered(like).x for _ in range(40)])
    codes = drawn[..., 0] * 100 + drawn[..., 1]  # [call, R, 3]
    for r in range(2):
        assert all(len(set(call.tolist())) == 3 for call in codes[:, r])
        assert len(set(codes[:, r].flatten().tolist())) == 10
    assert not torch.equal(codes[0], codes[1])


def test_keeps_what_it_stores():
    """P = 64 * 16 + 16 + 16 * 10 + 10 = 1210 weights; an example has 64 float32 and a label, 264 bytes."""
    record = run(AGEM(per_task=5), Rotated(limit=(40,) * 3, length=3), SMALL, seeds=(0, 1), progress=False)
    assert record.bytes_examples == [5 * 264, 10 * 264, 15 * 264]
    assert record.bytes_kept == [4 * 1210 + b for b in record.bytes_examples]
    assert record.interactions == [0, 5 * record.updates[1], 10 * record.updates[2]]


@pytest.mark.parametrize("settings, match", [({"per_task": -1}, "per_task"), ({"batch": 0}, "batch")])
def test_refuses_settings_without_meaning(settings, match):
    with pytest.raises(ClkitError, match=match):
        AGEM(**settings)
