"""The instruments behind T1 and T2."""

from __future__ import annotations

import numpy as np
import torch

from clkit.data import load
from clkit.loop import run
from clkit.method import Method, cross_entropy
from clkit.nets import Mlp
from clkit.training import Training
from clkit.tug_of_war.claims import BOTH, FIRST, SECOND, _two_phases, gradient_energy


def test_phases_hold_the_tasks_they_name() -> None:
    """The mixture has both tasks' rows; each test set shows one task; task 2 has the same pixels in another order."""
    mixed, single = _two_phases(BOTH, SECOND), _two_phases(FIRST, SECOND)
    size = len(load("digits").train)
    assert len(mixed.sources[0].train) == 2 * size and len(mixed.sources[1].train) == size
    first, second = single.sources
    assert torch.equal(first.x.sort(1).values, second.x.sort(1).values) and not torch.equal(first.x, second.x)
    for a, b in zip(mixed.sources, single.sources, strict=True):
        assert torch.equal(a.x[a.test], b.x[b.test])


def test_gradient_energy_is_the_squared_norm_of_each_replicas_own_gradient() -> None:
    """Against autograd on one replica at a time; a batch mean over replicas would be R times too small."""
    stream, method = _two_phases(FIRST, SECOND), Method()
    training = Training(updates=(3, 3), network=Mlp(hidden=(6,)))
    run(method, stream, training, replicas=2, dtype=torch.float64, progress=False)
    energy = gradient_energy(method, stream)
    data = stream.tasks(method.draws)[1].train
    rows = torch.arange(data.sizes[0]).expand(2, -1)
    batch = next(data.batches(rows, rows.shape[1], stream.rule(), 0))
    for r in range(2):
        loss = cross_entropy(method.net(batch.x), batch)[r]
        grads = torch.autograd.grad(loss, method.parameters())
        expected = sum(float(g.square().sum()) for g in grads)
        np.testing.assert_allclose(energy[r, 1], expected, rtol=1e-9)
