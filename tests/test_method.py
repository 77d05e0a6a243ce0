"""The base, its loss by hand, and two methods as one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import log
from typing import Any, ClassVar

import pytest
import torch

from clkit.controls import L2, Independent
from clkit.errors import ClkitError, UnfitError
from clkit.examples import Batch, Examples, Part
from clkit.loop import run
from clkit.method import VERBS, Both, Method, cross_entropy, stored_bytes, weighted_mean
from clkit.nets import Mlp
from clkit.streams import from_arrays
from clkit.training import Training

QUICK = Training(updates=(6, 6, 6), batch=4, network=Mlp(hidden=(5,)))


def small_stream(scenario="domain"):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 24, 4, generator=generator).numpy()
    tasks = [(x[t], (x[t, :, t] > 0).astype(int)) for t in range(3)]
    return from_arrays(tasks, tasks, scenario=scenario)


def trained(method, stream=None, seeds=(3, 1)):
    record = run(method, stream or small_stream(), QUICK, seeds=seeds, progress=False)
    return record, [p.detach() for net in method.networks() for p in net.parameters()]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def batch_of(y, outputs=None, weight=None):
    y = torch.tensor([y])
    weight = torch.ones(y.shape) if weight is None else torch.tensor([weight])
    return Batch(torch.zeros(*y.shape, 1), y, weight, outputs, y, y.shape[1])


def test_cross_entropy_by_hand():
    """eq: loss. Scores log 1, log 3, log 4: probabilities 1/8, 3/8, 4/8."""
    scores = torch.tensor([[[1.0, 3.0, 4.0]] * 2]).log()
    loss = cross_entropy(scores, batch_of([0, 2]))
    assert loss.shape == (1,) and torch.isclose(loss[0], torch.tensor((log(8) + log(2)) / 2))


def test_cross_entropy_among_the_outputs_that_compete():
    """Without output 0: 3/7 and 4/7; for the second example without output 1: 1/5, 4/5."""
    scores = torch.tensor([[[1.0, 3.0, 4.0]] * 2]).log().requires_grad_()
    outputs = torch.tensor([[[False, True, True], [True, False, True]]])
    loss = cross_entropy(scores, batch_of([1, 2], outputs))
    assert torch.isclose(loss[0], torch.tensor((-log(3 / 7) - log(4 / 5)) / 2))
    loss.sum().backward()
    expected = [
        [0, (3 / 7 - 1) / 2, 4 / 14],
        [1 / 10, 0, (4 / 5 - 1) / 2],
    ]  # (p - 1[y]) / 2, closed outputs zero
    assert torch.allclose(scores.grad[0], torch.tensor(expected), atol=1e-6)


def test_weights_make_a_weighted_mean():
    scores = torch.tensor([[[1.0, 3.0, 4.0]] * 2]).log()
    loss = cross_entropy(scores, batch_of([0, 2], weight=[3.0, 1.0]))
    assert torch.isclose(loss[0], torch.tensor((3 * log(8) + log(2)) / 4))
    each, weight = torch.tensor([[2.0, 5.0], [1.0, 7.0]]), torch.tensor([[1.0, 2.0], [1.0, 0.0]])
    assert torch.allclose(weighted_mean(each, weight), torch.tensor([4.0, 1.0]))  # (2 + 10) / 3 and 1


def test_the_base_is_one_step_of_gradient_descent():
    """eq: step. One linear layer, zero weights: p = (1/2, 1/2), dL/dw = x^T (p - 1[y]) / B."""
    method, stream = Method(), small_stream()
    training = Training(updates=(1, 1, 1), batch=20, lr=0.5, network=Mlp(hidden=()))

    @dataclass(kw_only=True, eq=False)
    class Zero(Method):
        def start(self, build, draws, scenario):
            super().start(build, draws, scenario)
            for p in self.net.parameters():
                p.data.zero_()

        def end_task(self, task):
            self.after_first = getattr(
                self, "after_first", [p.detach().clone() for p in self.net.parameters()]
            )

    method = Zero()
    run(method, stream, training, replicas=1, progress=False)
    x, y, _ = stream.tasks(method.draws)[0].train.take(torch.arange(20)[None])  # the batch is the whole task
    gradient = 0.5 - torch.nn.functional.one_hot(y[0], 2)
    weight, bias = method.after_first
    assert torch.allclose(weight[0], -0.5 * x[0].T @ gradient / 20, atol=1e-6)
    assert torch.allclose(bias[0, 0], -0.5 * gradient.mean(0), atol=1e-6)


def test_stored_bytes_are_per_replica_in_the_type_stored():
    tensors = [
        torch.zeros(3, 2, 5),
        torch.zeros(3, 4, dtype=torch.uint8),
        torch.zeros(3, dtype=torch.float64),
    ]
    assert stored_bytes(tensors) == 40 + 4 + 8
    assert trained(Method())[0].bytes_kept == [4 * (4 * 5 + 5 + 5 * 2 + 2)] * 3


def test_verbs_are_those_that_a_class_defines():
    assert Method.defines() == Method().verbs() == frozenset()
    assert L2.defines() == {"after_step", "end_task"}
    assert Pull.defines() == {"penalty", "end_task"} and Echo(share=1.0).verbs() == {"widen", "after_step"}
    assert set(VERBS) <= set(dir(Method))


def test_settings_are_plain():
    assert Named().settings() == {"act": "tanh", "widths": [2, 3], "strength": 0.5}


@dataclass(kw_only=True, eq=False)
class Named(Method):
    """Settings of every kind."""

    act: Any = torch.nn.functional.tanh
    widths: tuple[int, ...] = (2, 3)
    strength: float = 0.5


# Two small methods to compose: a pull in the loss as EWC's, and rehearsal of the last batch as replay's.


@dataclass(kw_only=True, eq=False)
class Pull(Method):
    """Penalty (k/2) |w - w*|^2 in the loss."""

    strength: float = 0.3

    name: ClassVar[str] = "pull"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries"})

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.anchor = []

    def penalty(self, batch):
        if not self.anchor:
            return 0.0
        pulls = [
            (w - a).square().flatten(1).sum(1) for w, a in zip(self.parameters(), self.anchor, strict=True)
        ]
        return self.strength / 2 * torch.stack(pulls).sum(0)

    def end_task(self, task):
        if self.strength:
            self.anchor = [w.detach().clone() for w in self.parameters()]

    def bytes_kept(self):
        return super().bytes_kept() + stored_bytes(self.anchor)


@dataclass(kw_only=True, eq=False)
class Echo(Method):
    """Rehearses a share of the last batch's fresh examples."""

    share: float = 0.5

    name: ClassVar[str] = "echo"
    needs: ClassVar[frozenset[str]] = frozenset({"stored examples"})

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.last = None

    def widen(self, batch):
        if self.last is None:
            return batch
        x, y = self.last
        outputs = self.scenario.rehearsed_outputs(y, batch.outputs)
        return replace(
            batch,
            x=torch.cat([batch.x, x], 1),
            y=torch.cat([batch.y, y], 1),
            weight=torch.cat([batch.weight, torch.ones_like(batch.weight[:, : y.shape[1]])], 1),
            outputs=None if outputs is None else torch.cat([batch.outputs, outputs], 1),
            index=torch.cat([batch.index, torch.full_like(y, -1)], 1),
        )

    def after_step(self, batch):
        kept = int(self.share * batch.fresh)
        self.last = (batch.x[:, :kept], batch.y[:, :kept]) if kept else None

    def bytes_examples(self):
        return stored_bytes(self.last or ())

    def bytes_kept(self):
        return super().bytes_kept() + self.bytes_examples()


@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
@pytest.mark.parametrize("pull", [Pull, L2], ids=["penalty", "proximal"])
def test_both_with_one_switched_off_is_the_other_to_the_bit(pull, scenario):
    stream = small_stream(scenario)
    _, pulled = trained(pull(strength=0.5), stream)
    _, echoed = trained(Echo(share=0.5), stream)
    _, plain = trained(Method(), stream)
    assert not same(pulled, plain) and not same(echoed, plain)
    for pair in (Both, lambda first, second: Both(first=second, second=first)):
        assert same(trained(pair(first=pull(strength=0.5), second=Echo(share=0.0)), stream)[1], pulled)
        assert same(trained(pair(first=pull(strength=0.0), second=Echo(share=0.5)), stream)[1], echoed)
        assert same(trained(pair(first=pull(strength=0.0), second=Echo(share=0.0)), stream)[1], plain)
        together = trained(pair(first=pull(strength=0.5), second=Echo(share=0.5)), stream)[1]
        assert not same(together, pulled) and not same(together, echoed)


def test_both_adds_penalties_and_counts_the_network_once():
    network = 4 * (4 * 5 + 5 + 5 * 2 + 2)
    both = Both(first=Pull(strength=0.2), second=Both(first=Echo(share=0.5), second=Pull(strength=0.3)))
    record, weights = trained(both)
    assert (
        record.bytes_kept[-1] == network + 2 * (4 * 4 + 8) + 2 * network
    )  # 2 echoes of 4 numbers, 2 anchors
    assert record.bytes_examples[-1] == 2 * (4 * 4 + 8)
    single, _ = trained(Both(first=Pull(strength=0.5), second=Echo(share=0.5)))
    assert (record.accuracy == single.accuracy).all()  # 0.2 + 0.3 = 0.5
    assert record.needs == ["stored examples", "task boundaries"]
    assert record.settings["method"] == {
        "first": {"name": "pull", "strength": 0.2},
        "second": {
            "name": "both",
            "first": {"name": "echo", "share": 0.5},
            "second": {"name": "pull", "strength": 0.3},
        },
    }
    assert len(both.networks()) == 1 and both.second.second.net is both.net
    assert both.verbs() == {"widen", "penalty", "after_step", "end_task"}


@dataclass(kw_only=True, eq=False)
class Diary(Method):
    """Writes down which verb is called, with lr and progress as it knows them."""

    mark: str = ""
    log: list[Any] = field(default_factory=list)

    name: ClassVar[str] = "diary"

    def note(self, verb):
        self.log.append((verb, self.mark))

    def begin_task(self, task):
        self.note("begin_task")

    def widen(self, batch):
        self.note("widen")
        self.known = self.lr, self.progress
        return batch

    def penalty(self, batch):
        self.note("penalty")
        return 0.0

    def shape_grads(self, batch):
        self.note("shape_grads")

    def after_step(self, batch):
        self.note("after_step")
        assert self.known == (self.lr, self.progress)

    def end_task(self, task):
        self.note("end_task")


def test_both_calls_the_first_then_the_second_and_tells_all_lr_and_progress():
    log: list[Any] = []
    three = [Diary(mark=mark, log=log) for mark in "abc"]
    both = Both(first=three[0], second=Both(first=three[1], second=three[2]))
    training = replace(QUICK, updates=(2, 2, 2), lr=0.25)
    run(both, small_stream(), training, replicas=1, progress=False)
    step = [(verb, mark) for verb in ("widen", "penalty", "shape_grads", "after_step") for mark in "abc"]
    begin, end = ([(verb, mark) for mark in "abc"] for verb in ("begin_task", "end_task"))
    assert log == 3 * (begin + 2 * step + end)
    assert [d.known for d in three] == [(0.25, 0.5)] * 3


@dataclass(kw_only=True, eq=False)
class Joining(Method):
    """Joins one example with this value to every later task."""

    value: float = 0.0
    needs: ClassVar[frozenset[str]] = frozenset({"stored examples"})
    name: ClassVar[str] = "joining"

    def begin_task(self, task):
        if task.number == 0:
            return None
        replicas = self.draws.replicas
        rows = torch.zeros(replicas, 1).long()
        return Examples([Part(torch.full((1, 4), self.value), rows, rows, (1,) * replicas, 0)])


@dataclass(kw_only=True, eq=False)
class Seen(Method):
    """Remembers the largest position in the training set and what stood there."""

    name: ClassVar[str] = "seen"

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.beyond = set()

    def after_step(self, batch):
        self.beyond |= {
            (i, x)
            for i, x in zip(batch.index.flatten().tolist(), batch.x[..., 0].flatten().tolist(), strict=True)
        }


@dataclass(kw_only=True, eq=False)
class JoiningWithoutNeed(Joining):
    """Joins what it made itself."""

    needs: ClassVar[frozenset[str]] = frozenset()


def test_both_joins_the_examples_of_both():
    seen = Seen()
    pair = Both(first=JoiningWithoutNeed(value=50.0), second=JoiningWithoutNeed(value=60.0))
    run(
        Both(first=pair, second=seen),
        small_stream(),
        replace(QUICK, updates=(12,) * 3),
        replicas=1,
        progress=False,
    )
    # 20 training examples, then the first's at 20 and the second's at 21
    assert {(i, x) for i, x in seen.beyond if i >= 20} == {(20, 50.0), (21, 60.0)}
    for one in (Both(first=Joining(value=5.0), second=Seen()), Both(first=Seen(), second=Joining(value=5.0))):
        run(one, small_stream(), replace(QUICK, updates=(12,) * 3), replicas=1, progress=False)
        other = one.first if type(one.first) is Seen else one.second
        assert {(i, x) for i, x in other.beyond if i >= 20} == {(20, 5.0)}


class Loss(Method):
    """Replaces `loss`."""

    name: ClassVar[str] = "loss"

    def loss(self, batch):
        return 2 * super().loss(batch)


class Predict(Method):
    """Replaces `predict`."""

    name: ClassVar[str] = "predict"

    def predict(self, x, task=None):
        return -self.net(x)


class Parameters(Method):
    """Replaces `parameters`: the head only."""

    name: ClassVar[str] = "parameters"

    def parameters(self):
        return list(self.net.head.parameters())


class Step(Method):
    """Replaces `step`: two passes."""

    name: ClassVar[str] = "step"

    def step(self, batch, optimizer):
        for _ in range(2):
            optimizer.zero_grad()
            self.loss(batch).sum().backward()
            optimizer.step()


class Shape(Method):
    """Replaces `shape_grads`."""

    name: ClassVar[str] = "shape"

    def shape_grads(self, batch):
        for p in self.parameters():
            p.grad.neg_()


CLASHES = [
    (Loss, Loss, "loss"),
    (Predict, Predict, "predict"),
    (Parameters, Parameters, "parameters"),
    (Step, Step, "step"),
    (Step, Loss, "loss"),
    (Step, Pull, "penalty"),
    (Step, Shape, "shape_grads"),
]


@pytest.mark.parametrize("a, b, member", CLASHES, ids=lambda c: getattr(c, "name", c))
def test_both_refuses_two_that_replace_the_same(a, b, member):
    for first, second in ((a(), b()), (b(), a())):
        with pytest.raises(ClkitError, match=f"both replace \\['{member}'\\]: pick one"):
            Both(first=first, second=second)
        with pytest.raises(ClkitError, match=member):  # however deep it sits
            Both(first=Both(first=Method(), second=first), second=second)


def test_both_refuses_two_stores_where_one_joins():
    for pair in ((Joining(), Echo()), (Echo(), Joining()), (Both(first=L2(), second=Joining()), Echo())):
        with pytest.raises(ClkitError, match="both keep examples: pick one"):
            Both(first=pair[0], second=pair[1])
    Both(first=Echo(), second=Echo())  # neither joins
    Both(first=Joining(), second=L2())


def test_both_uses_what_one_of_them_replaces():
    for single in (Loss, Predict, Parameters, Step):
        record, weights = trained(single())
        for pair in (
            Both(first=single(), second=L2(strength=0.0)),
            Both(first=L2(strength=0.0), second=single()),
        ):
            found, end = trained(pair)
            assert same(end, weights) and (found.accuracy == record.accuracy).all()
        assert not same(weights, trained(Method())[1]) or single is Predict


def test_both_widens_before_the_others_step():
    """Two passes over the widened batch, and the echo still hears what was fresh."""

    class StepWider(Step):
        def step(self, batch, optimizer):
            self.widths = {*getattr(self, "widths", ()), (batch.x.shape[1], batch.fresh)}
            super().step(batch, optimizer)

    for order in (lambda a, b: Both(first=a, second=b), lambda a, b: Both(first=b, second=a)):
        stepper = StepWider()
        run(order(stepper, Echo(share=0.5)), small_stream(), QUICK, replicas=1, progress=False)
        assert stepper.widths == {(4, 4), (6, 4)}


def test_both_refuses_a_method_that_takes_a_new_network_for_a_task():
    for pair in ((Independent(), L2()), (L2(), Independent())):
        with pytest.raises(ClkitError, match="cannot share a network.*pick one"):
            run(Both(first=pair[0], second=pair[1]), small_stream("task"), QUICK, replicas=1, progress=False)


def test_both_runs_one_replica_at_a_time_where_one_of_them_must():
    class Alone(Method):
        batched: ClassVar[bool] = False
        name: ClassVar[str] = "alone"

    assert not Both(first=L2(), second=Alone()).batched and Both(first=L2(), second=Method()).batched


def test_a_method_that_needs_the_label_says_so():
    with pytest.raises(UnfitError, match="fine_tuning needs the task's number at test.*scenario 'task'"):
        Method().known(None)
    assert Method().known(0) == 0
