"""Progressive networks: what a column hears, what it may change, and how many weights it has."""

import pytest
import torch

from clkit.controls import Independent
from clkit.errors import ClkitError, UnfitError
from clkit.examples import Batch, Examples, Task
from clkit.loop import run
from clkit.method import cross_entropy
from clkit.metrics import forgetting
from clkit.modular.progressive import Column, Progressive
from clkit.nets import Build, Convnet, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.streams import Rotated
from clkit.training import Training, adam

SMALL = Training(epochs=2, batch=8, network=Mlp(hidden=(12, 8)))
STREAM = Rotated(scenario="task", length=3, limit=(40, 40, 40))


def begun(tasks, hidden=(6, 5), inputs=4, **settings):
    """A method in float64 that has begun so many tasks of two classes, untrained."""
    rule, draws = scenario("task", (2,) * 5), Draws((0, 1), dtype=torch.float64)
    method = Progressive(**settings)
    method.start(Build(Mlp(hidden=hidden), (inputs,), rule, draws), draws, rule)
    for number in range(tasks):
        method.begin_task(Task(number, rule.own(number), Examples([]), Examples([]), 1, 1))
    return method


def inputs(replicas=2, count=7, width=4):
    return Draws(tuple(range(replicas)), dtype=torch.float64).normal("noise", (count, width))


def test_a_column_hears_the_layer_below_by_hand():
    """eq: progressive-adapter."""
    # one unit per layer, x = 1. Column 1: W = 2, then 5: h = 2, 10. Column 2: W = 1, then 1: h1 = 1; adapter
    # alpha = .5, V = 1, e = 0, U = 2 on h = 2 of column 1: 2 relu(.5 * 2) = 2, so h2 = 1 + 2 = 3 (from the
    # same layer it would be 1 + 2 * 5 = 11). Output: 1 * 3 - relu(.5 * 10) = -2; the other task's is 0.
    rule, draws = scenario("task", (1, 1)), Draws((0,))
    build = Build(Mlp(hidden=(1, 1)), (1,), rule, draws)
    old = Column(build, 0, ())
    new = Column(build, 1, (old,))
    weights = {
        old.net.body[0]: 2,
        old.net.body[1]: 5,
        new.net.body[0]: 1,
        new.net.body[1]: 1,
        new.net.head.linear: 1,
    }
    weights |= {adapter.down: 1 for adapter in new.adapters}
    with torch.no_grad():
        for layer, weight in weights.items():
            layer.weight.fill_(weight)
        new.adapters[0].up.fill_(2)
        new.adapters[1].up.fill_(-1)
        assert new(torch.ones(1, 1, 1)).tolist() == [[[0.0, -2.0]]]
        # the bias e comes after alpha: 2 relu(.5 * 2 + 3) = 8, h2 = 9, and nothing else changes
        new.adapters[0].down.bias.fill_(3)
        assert new(torch.ones(1, 1, 1)).tolist() == [[[0.0, 4.0]]]
        new.adapters[0].down.bias.fill_(-3)  # relu(1 - 3) = 0: h2 = 1, output 1 - 5
        assert new(torch.ones(1, 1, 1)).tolist() == [[[0.0, -4.0]]]


def test_the_first_layer_hears_nothing_and_every_older_column_is_heard():
    column = begun(3).net
    assert len(column.adapters) == 2 and [a.alpha.shape for a in column.adapters] == [(2, 2)] * 2
    x = inputs()
    plain = column(x)
    for place in range(2):
        with torch.no_grad():
            for adapter in column.adapters:
                adapter.alpha.fill_(0.5)
                adapter.alpha[:, place] = 0
        assert not torch.allclose(column(x), plain)


def test_gradient_of_alpha_by_finite_differences():
    method = begun(3)
    x, y = inputs(), torch.tensor([[4, 5, 5, 4, 5, 4, 4]] * 2)
    column, rule = method.net, method.scenario
    batch = Batch(x, y, torch.ones_like(x[..., 0]), rule.outputs(y, 2), torch.zeros_like(y), 7)
    cross_entropy(column(x), batch).sum().backward()
    step = 1e-6
    for adapter in column.adapters:
        found = torch.zeros_like(adapter.alpha)
        for place in range(2):
            with torch.no_grad():
                losses = []
                for sign in (1, -1):
                    adapter.alpha[:, place] += sign * step
                    losses.append(cross_entropy(column(x), batch))
                    adapter.alpha[:, place] -= sign * step
            found[:, place] = (losses[0] - losses[1]) / (2 * step)
        assert float(found.abs().min()) > 0
        assert torch.allclose(adapter.alpha.grad, found, rtol=1e-6, atol=1e-9)


def test_without_laterals_it_is_independent_networks():
    methods = Progressive(laterals=False), Independent()
    records = [run(method, STREAM, SMALL, replicas=2, progress=False) for method in methods]
    assert (records[0].accuracy == records[1].accuracy).all()
    assert records[0].bytes_kept == records[1].bytes_kept
    for t in range(3):
        pairs = zip(methods[0].columns[t].net.parameters(), methods[1].nets[t].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_with_silent_adapters_a_column_is_a_network_of_its_own():
    """Bit for bit, so the adapters draw no number that the network would have drawn."""
    method, x = begun(3), inputs()
    with torch.no_grad():
        for adapter in method.net.adapters:
            adapter.up.zero_()
        assert torch.equal(method.net(x), method.build(task=2, own=True)(x))


@pytest.mark.parametrize("optimizer", [SMALL.optimizer, adam])
def test_old_columns_answer_to_the_bit_as_before(optimizer):
    answers = []

    class Watching(Progressive):
        def end_task(self, task):
            super().end_task(task)
            x = task.train.take(torch.arange(20).expand(2, -1))[0] if task.number == 0 else answers[0][0]
            with torch.no_grad():
                answers.append((x, [self.predict(x, t) for t in range(task.number + 1)]))

    training = Training(epochs=2, batch=8, network=SMALL.network, optimizer=optimizer)
    record = run(Watching(), STREAM, training, replicas=2, progress=False)
    for before, after in ((0, 1), (0, 2), (1, 2)):
        for old, new in zip(answers[before][1], answers[after][1], strict=False):
            assert torch.equal(old, new)
    assert (forgetting(record.accuracy) == 0).all()


def test_only_the_newest_column_is_trained():
    method = begun(3)
    newest = sum(p[0].numel() for p in method.net.parameters())
    # 4-6-5-2: 30 + 35 + 12 = 77; k = 3: layer 2 reads 2 * 6 units through m = 2: 2 + 24 + 2 + 10 = 38, the
    # output 2 * 5 units through m = 1: 2 + 10 + 1 + 2 = 15
    assert newest == 77 + 38 + 15
    assert sum(p[0].numel() for p in method.parameters()) == newest
    method.net(inputs()).sum().backward()
    assert all(p.grad is None for t in (0, 1) for p in method.columns[t].parameters())
    assert all(p.grad is not None for p in method.net.parameters())


def test_parameters():
    # 64-100-100-10, P = 17 610. Column k reads (k-1) 100 units through m = 100 // k: layer 2 adds
    # (k-1) + 100 m (k-1) + m + 100 m, the output (k-1) + 100 m (k-1) + m + 10 m. k = 2: 10 051 + 5 551
    columns = [17610, 17610 + 15602, 34510, 35416, 35858]
    record = run(
        Progressive(), Rotated(scenario="task"), Training(updates=(1,) * 5), replicas=2, progress=False
    )
    assert record.bytes_kept == [4 * sum(columns[:t]) for t in range(1, 6)]
    for k in range(2, 6):
        m, older = 100 // k, k - 1
        assert columns[k - 1] == 17610 + 2 * (older + 100 * m * older + m) + 110 * m


def test_a_bottleneck_is_never_empty():
    method = begun(5, hidden=(2, 2))  # 2 // 5 = 0
    assert [adapter.up.shape for adapter in method.net.adapters] == [(2, 1, 2), (2, 1, 2)]


def test_the_ablation_hears_columns_as_they_were_drawn():
    method, plain = Progressive(reuse=False), Progressive()
    records = [run(m, STREAM, SMALL, replicas=2, progress=False) for m in (method, plain)]
    fresh = Column(method.build, 0, ())
    heard = method.columns[2].older
    assert all(torch.equal(a, b) for a, b in zip(heard[0].parameters(), fresh.parameters(), strict=True))
    assert not torch.equal(method.columns[0].net.body[0].weight, fresh.net.body[0].weight)
    assert (records[0].accuracy[:, 1, 0] == records[1].accuracy[:, 1, 0]).all()  # the first task is the same
    assert not torch.equal(method.columns[1].net.body[0].weight, plain.columns[1].net.body[0].weight)
    # three columns that answer, three that are heard
    assert records[0].bytes_kept == [2 * kept for kept in records[1].bytes_kept]


def test_a_task_not_begun_is_answered_by_a_fresh_network():
    method, x = begun(2), inputs()
    assert torch.equal(method.predict(x, 4), method.build(task=4, own=True)(x))
    assert sorted(method.columns) == [0, 1] and len(method.networks()) == 2
    with pytest.raises(UnfitError, match="task's number at test"):
        method.predict(x)


def test_networks_without_hidden_layers_have_nothing_to_hear():
    method, x = begun(2, hidden=()), inputs()
    assert torch.equal(method.predict(x, 1), method.build(task=1, own=True)(x))


def test_other_networks_and_scenarios_are_refused():
    with pytest.raises(ClkitError, match=r"use network=Mlp\(\)"):
        run(Progressive(), STREAM, Training(network=Convnet()), replicas=1, progress=False)
    with pytest.raises(UnfitError, match="progressive needs task labels at test"):
        run(Progressive(), Rotated(), replicas=1, progress=False)
