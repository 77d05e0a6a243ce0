"""The loop: what a method is told and when, the accuracy matrix by hand, costs, protection, resuming."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from clkit import loop
from clkit.controls import L2, Independent, Joint
from clkit.errors import ClkitError, ClosedDataError, NonFiniteError
from clkit.loop import run
from clkit.method import Both, Method
from clkit.nets import Mlp
from clkit.record import Record
from clkit.streams import Split, from_arrays
from clkit.training import Training, adam, momentum

SEEDS = (3, 1)
QUICK = Training(updates=(6, 6, 6), batch=4, network=Mlp(hidden=(5,)))


def small_stream(scenario="domain", boundaries=True, tasks=3):
    """Tasks of 20 training and 4 validation examples, tested on all 24; x[..., 4] is the task's number."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 24, 5, generator=generator)
    x[..., 4] = torch.arange(3.0)[:, None]
    sets = [(x[t].numpy(), (x[t, :, t] > 0).long().numpy()) for t in range(tasks)]
    return from_arrays(sets, sets, scenario=scenario, boundaries=boundaries)


def trained(method, stream=None, training=QUICK, **more):
    return run(method, stream or small_stream(), training, **{"seeds": SEEDS, "progress": False, **more})


def weights(method):
    return [p.detach().clone() for net in method.networks() for p in net.parameters()]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def same_records(a, b):
    for f in fields(Record):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if f.name != "seconds":
            assert (x == y).all() if isinstance(x, np.ndarray) else x == y, f.name
    return True


# The accuracy matrix.


@dataclass(kw_only=True, eq=False)
class Fixed(Method):
    """Answers by a table: ANSWERS[tasks learned], whatever the input."""

    name: ClassVar[str] = "fixed"

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.learned, self.asked = 0, []

    def end_task(self, task):
        self.learned += 1

    def predict(self, x, task=None):
        self.asked.append((self.learned, sorted(set(x[0, :, 4].tolist())), task))
        scores = torch.zeros(*x.shape[:2], self.scenario.width)
        scores[..., self.answers[self.learned]] = 1.0
        return scores


def labelled(scenario, labels=((0, 0, 1), (1, 1, 1, 0))):
    """Two tasks with these test labels; x[..., 4] is the task's number."""
    train = [(np.full((6, 5), t), np.arange(6) % 2) for t in range(2)]
    test = [(np.full((len(y), 5), t), np.array(y)) for t, y in enumerate(labels)]
    return from_arrays(train, test, train, scenario=scenario)


SHORT = replace(QUICK, updates=(2, 2))


def test_the_accuracy_matrix_by_hand():
    """Test labels 0 0 1 and 1 1 1 0; always 0 before training, 1 after task 0, 0 again after task 1."""
    method = Fixed()
    method.answers = (0, 1, 0)
    accuracy = trained(method, labelled("domain"), SHORT).accuracy
    expected = [[2 / 3, 1 / 4], [1 / 3, 3 / 4], [2 / 3, 1 / 4]]
    assert accuracy.shape == (2, 3, 2) and np.allclose(accuracy, [expected] * 2)
    assert [(learned, task) for learned, _, task in method.asked] == [(i, None) for i in (0, 0, 1, 1, 2, 2)]


def test_the_task_is_told_at_test_in_the_task_scenario_only_and_its_outputs_compete():
    """Output 3 scores highest: in task 0 it may not answer, and of 0 and 1, which tie, the first does."""
    method = Fixed()
    method.answers = (3, 3, 3)
    accuracy = trained(method, labelled("task"), SHORT).accuracy
    assert np.allclose(accuracy, [[[2 / 3, 3 / 4]] * 3] * 2)
    assert [asked[1:] for asked in method.asked] == [([0.0], 0), ([1.0], 1)] * 3


def test_class_incremental_rows_are_zero_beyond_the_newest_task_and_predict_is_not_called():
    """Always 3, the last class: unseen before task 1, and until then 0 answers, right for two of three."""
    method = Fixed()
    method.answers = (3, 3, 3)
    record = trained(method, labelled("class"), SHORT)
    assert np.allclose(record.accuracy, [[[0, 0], [2 / 3, 0], [0, 3 / 4]]] * 2)
    assert method.asked == [(1, [0.0], None), (2, [0.0], None), (2, [1.0], None)] and not record.foresees


def test_a_test_set_longer_than_a_chunk(monkeypatch):
    whole = trained(Method()).accuracy
    monkeypatch.setattr(loop, "CHUNK", 7)  # 24 = 3 x 7 + 3
    assert (trained(Method()).accuracy == whole).all() and len(np.unique(whole)) > 4


def test_scores_of_another_shape_are_refused():
    class Narrow(Method):
        name: ClassVar[str] = "narrow"

        def predict(self, x, task=None):
            return self.net(x)[..., :1]

    with pytest.raises(
        ClkitError, match=r"narrow: predict must return scores .*\[2, 24, 2\], not \[2, 24, 1\]"
    ):
        trained(Narrow())


# What a method is told.


@dataclass(kw_only=True, eq=False)
class Diary(Method):
    """Notes every verb."""

    name: ClassVar[str] = "diary"

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.tasks, self.steps, self.ended, self.index, self.seen = [], [], [], [], []

    def begin_task(self, task):
        self.tasks.append(task)
        self.open = self.competing

    def after_step(self, batch):
        self.steps.append((self.lr, self.progress))
        self.seen.append(self.competing)
        self.index.append((batch.index, batch.x[..., 4]))

    def end_task(self, task):
        assert (
            task is self.tasks[-1]
            and not task.train.closed
            and task.train.sizes == [20] * self.draws.replicas
        )
        self.ended.append(task.number)


def test_a_task_as_a_method_sees_it():
    method = Diary()
    record = trained(method, small_stream("class"), replace(QUICK, updates=(6, 5, 4)))
    assert [(t.number, t.classes, t.updates, t.batch, t.epoch) for t in method.tasks] == [
        (0, range(0, 2), 6, 4, 5),
        (1, range(2, 4), 5, 4, 5),
        (2, range(4, 6), 4, 4, 5),
    ]
    assert method.ended == [0, 1, 2] and record.updates == [6, 5, 4]
    assert all(task.past is None for task in method.tasks)


def test_lr_and_progress_are_set_before_every_step():
    method = Diary()
    trained(method, training=replace(QUICK, updates=(4, 2, 1), lr=0.25))
    assert method.steps == [(0.25, p) for p in (0, 1 / 4, 2 / 4, 3 / 4, 0, 1 / 2, 0)]


def test_progress_runs_through_the_whole_stream_where_boundaries_are_hidden():
    method = Diary()
    trained(method, small_stream(boundaries=False), replace(QUICK, updates=(4, 2, 2)))
    assert [progress for _, progress in method.steps] == [i / 8 for i in range(8)]


@pytest.mark.parametrize("boundaries", [True, False])
def test_a_method_knows_the_outputs_that_compete(boundaries):
    for method in (Diary(), Both(first=L2(), second=Both(first=Method(), second=Diary()))):
        method.needs = frozenset()
        trained(method, small_stream("class", boundaries), replace(QUICK, updates=(1, 1, 2)))
        diary = method if type(method) is Diary else method.second.second
        assert diary.seen == [range(0, 2), range(0, 4), range(0, 6), range(0, 6)]
        assert diary.open == range(0, 6 if boundaries else 2)  # known when the task begins


@dataclass(kw_only=True, eq=False)
class Halving(Diary):
    """Halves the optimiser's step size at each step, as a schedule would."""

    def step(self, batch, optimizer):
        super().step(batch, optimizer)
        optimizer.param_groups[0]["lr"] /= 2


def test_lr_is_what_the_optimizer_has_now():
    method = Halving()
    trained(method, training=replace(QUICK, updates=(3, 1, 1), lr=1.0))
    assert [lr for lr, _ in method.steps] == [1.0, 0.5, 0.25, 1.0, 1.0]


def test_each_replica_walks_its_own_order_and_reshuffles_when_through():
    method = Diary()
    trained(method, training=replace(QUICK, updates=(10, 10, 10)))  # 40 = 2 x 20 examples
    index, x = (torch.cat([step[i] for step in method.index[:10]], 1) for i in (0, 1))
    for r in range(2):
        assert all(index[r, i : i + 20].sort().values.equal(torch.arange(20)) for i in (0, 20))
    assert not index[0].equal(index[1]) and not index[0, :20].equal(index[0, 20:]) and (x == 0).all()
    assert all((step[1] == 1).all() for step in method.index[10:20])
    assert not torch.cat([step[0] for step in method.index[10:20]], 1).equal(
        index
    )  # shuffled anew for each task


@dataclass(kw_only=True, eq=False)
class Modes(Method):
    """Notes whether its network, and a frozen copy, are in training mode."""

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.copy = build(task=0).eval().requires_grad_(False)
        self.modes = []

    def networks(self):
        return [self.net, self.copy]

    def after_step(self, batch):
        self.modes.append((self.net.training, self.copy.training))

    def predict(self, x, task=None):
        self.modes.append(self.net.training or self.copy.training)
        return self.net(x)


def test_dropout_is_on_in_training_and_off_in_evaluation():
    method, evaluation = Modes(), [False] * 3
    trained(method, training=replace(QUICK, updates=(2, 1, 1), every=1))
    step = [(True, False), *evaluation]
    assert method.modes == evaluation + 2 * step + evaluation + step + evaluation + step + evaluation


@pytest.mark.parametrize("epochs, batch, updates", [(2, 4, 10), (1, 8, 2), (0.1, 32, 1), (3, 7, 9)])
def test_epochs_are_turned_into_updates(epochs, batch, updates):
    """20 examples: round(epochs * 20 / batch), at least 1."""
    training = replace(QUICK, updates=(), epochs=epochs, batch=batch)
    assert trained(Method(), training=training).updates == [updates] * 3


def test_data_close_when_end_task_returns():
    class Greedy(Diary):
        name: ClassVar[str] = "greedy"

        def begin_task(self, task):
            if task.number == 1:
                self.old = self.tasks[0]
            super().begin_task(task)

    method = Greedy()
    trained(method)
    for task in method.tasks:
        for examples in (task.train, task.validation):
            with pytest.raises(ClosedDataError, match=f"the data of task {task.number} are closed"):
                examples.take(torch.zeros(2, 1).long())


def test_past_data_are_for_methods_that_need_them():
    class Historian(Diary):
        needs: ClassVar[frozenset[str]] = frozenset({"past data"})
        name: ClassVar[str] = "historian"

        def begin_task(self, task):
            super().begin_task(task)
            self.past = (
                [] if task.past is None else task.past.take(torch.arange(20 * task.number).expand(2, -1))[2]
            )

        def end_task(self, task):
            super().end_task(task)
            if task.number == 2:
                assert self.past[0].tolist() == [0] * 20 + [1] * 20  # the tasks before, in order
            else:
                assert len(self.past) == (2 if task.number else 0)

    method = Historian()
    trained(method)
    assert [task.past is None for task in method.tasks] == [True, False, False]


def test_without_boundaries_a_method_hears_of_the_first_task_only():
    method = Diary()
    trained(method, small_stream(boundaries=False))
    assert [task.number for task in method.tasks] == [0] and method.ended == [] and len(method.steps) == 18
    assert (method.index[-1][1] == 2).all()  # it still learned from all three
    with pytest.raises(ClosedDataError):
        method.tasks[0].train.take(torch.zeros(2, 1).long())


# The optimiser.


def counting(built):
    def make(parameters, lr):
        built.append(momentum(parameters, lr))
        return built[-1]

    return make


def test_the_optimizer_is_built_for_each_task_and_kept_where_there_are_no_boundaries():
    known, unknown, ends = [], [], []
    for built, boundaries in ((known, True), (unknown, False)):
        method = Method()
        trained(method, small_stream(boundaries=boundaries), replace(QUICK, optimizer=counting(built)))
        ends.append(weights(method))
    assert len(known) == 3 and len(unknown) == 1
    assert not same(*ends)  # the second kept its momentum across tasks


@dataclass(kw_only=True, eq=False)
class Frozen(Method):
    """From task 1 on, protects a checkerboard of every parameter."""

    guarded: bool = True

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.after = []

    def masks(self):
        return [torch.arange(p.numel()).view(p.shape) % 2 == 0 for p in self.parameters()]

    def begin_task(self, task):
        self.number = task.number

    def protected(self):
        pairs = zip(self.parameters(), self.masks(), strict=True)
        return list(pairs) if self.number and self.guarded else []

    def shape_grads(self, batch):
        for p, mask in zip(self.parameters(), self.masks(), strict=True):
            if self.number:
                p.grad[mask] = 0.0  # what a method would do on its own: not enough

    def end_task(self, task):
        self.after.append(weights(self))


def decaying(parameters, lr):
    return torch.optim.Adam(parameters, lr=lr, weight_decay=0.1)


def heavy(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=0.1)


WRAPS: dict[str, Any] = {
    "alone": lambda method: method,
    "first": lambda method: Both(first=method, second=Method()),
    "second": lambda method: Both(first=Method(), second=method),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("optimizer", [heavy, decaying])
def test_protected_weights_do_not_move_by_a_bit(optimizer, wrap):
    for guarded in (True, False):
        method = Frozen(guarded=guarded)
        trained(wrap(method), training=replace(QUICK, optimizer=optimizer))
        first, *later = method.after
        for before, after, mask in zip(first, later[-1], method.masks(), strict=True):
            assert torch.equal(before[mask], after[mask]) or not guarded
            assert not torch.equal(before[~mask], after[~mask])
        if not guarded:  # the gradient's zeros alone leak
            assert any(
                not torch.equal(b[m], a[m]) for b, a, m in zip(first, later[-1], method.masks(), strict=True)
            )


# What does not change results.


@pytest.mark.parametrize("stream", [small_stream("task"), Split(limit=(20,) * 5)], ids=["arrays", "split"])
@pytest.mark.parametrize("method", [Method, Joint])
def test_chunks_of_replicas_give_the_same_record(method, stream):
    """Split digits: tasks of unequal size, so that the largest replica may be in any chunk."""
    training = replace(QUICK, updates=(3,) * stream.length, every=2)
    whole, *others = (
        run(method(), stream, training, seeds=(3, 1, 2), dtype=torch.float64, progress=False, chunk=chunk)
        for chunk in (0, 1, 2)
    )
    assert all(same_records(whole, other) for other in others) and whole.seeds == [3, 1, 2]


def test_bytes_of_unequal_tasks_in_chunks():
    whole, apart = (
        run(Joint(), Split(), replace(QUICK, updates=(1,) * 5), seeds=(0, 1, 2), progress=False, chunk=chunk)
        for chunk in (0, 1)
    )
    assert whole.bytes_kept == apart.bytes_kept and whole.bytes_data == apart.bytes_data


@dataclass(kw_only=True, eq=False)
class Alone(Method):
    """Control flow of each replica's own."""

    batched: ClassVar[bool] = False
    runs: ClassVar[list[int]] = []

    def start(self, build, draws, scenario):
        super().start(build, draws, scenario)
        self.runs.append(draws.replicas)


def test_unbatched_methods_run_one_replica_at_a_time():
    Alone.runs.clear()
    whole, apart = (trained(m, dtype=torch.float64) for m in (Method(), Alone()))
    assert Alone.runs == [1, 1] and (whole.accuracy == apart.accuracy).all() and apart.seeds == [3, 1]


def test_the_bar_and_the_curve_do_not_change_results(capsys):
    plain, bar, curve = Method(), Method(), Method()
    records = [
        trained(plain, progress=False),
        trained(bar, progress=True),
        trained(curve, training=replace(QUICK, every=2)),
    ]
    assert "fine_tuning: 100%" in capsys.readouterr().err
    for method, record in zip((bar, curve), records[1:], strict=True):
        assert same(weights(method), weights(plain)) and (record.accuracy == records[0].accuracy).all()


def test_the_curve():
    record = trained(Method(), training=replace(QUICK, updates=(6, 5, 6), every=3))
    assert record.curve_updates == [3, 6, 9, 14, 17] and record.curve.shape == (2, 5, 3)
    assert (record.curve[:, 1] == record.accuracy[:, 1]).all()  # after 6 updates task 0 ends
    assert (record.curve[:, 4] == record.accuracy[:, 3]).all()
    assert trained(Method()).curve is None


def test_seeds_are_the_replicas():
    pair, one = trained(Method(), dtype=torch.float64), trained(Method(), seeds=(1,), dtype=torch.float64)
    assert (pair.accuracy[1] == one.accuracy[0]).all() and pair.seeds == [3, 1]
    numpys = trained(Method(), seeds=np.array([3, 1]), dtype=torch.float64)
    assert same_records(numpys, pair) and type(numpys.seeds[0]) is int
    assert trained(Method(), seeds=None, replicas=3).seeds == [0, 1, 2]


# Costs.


def test_flops_of_fine_tuning_are_the_closed_formula():
    """5-5-2, batch 4. Products of 4 x 5 x 5 and 4 x 5 x 2, two operations each: 2 x 4 x (25 + 10) = 280
    forward; the gradients of the weights as many; of the hidden layer 2 x 4 x 10 = 80: 640 a step."""
    record = trained(Method(), training=replace(QUICK, updates=(6, 5, 4)))
    assert record.flops == record.flops_plain == [6 * 640, 5 * 640, 4 * 640]
    assert trained(L2()).flops == [6 * 640] * 3
    assert trained(Method(), seeds=range(5)).flops == [6 * 640] * 3  # per replica


@dataclass(kw_only=True, eq=False)
class Costly(Method):
    """A forward pass of 4 examples (280) at the beginning, of 8 at the end; doubled from step 2 on."""

    name: ClassVar[str] = "costly"

    def begin_task(self, task):
        self.first = True
        self.net(task.train.take(torch.arange(4).expand(2, -1))[0])

    def widen(self, batch):
        first, self.first = self.first, False
        double = {f: torch.cat([getattr(batch, f)] * 2, 1) for f in ("x", "y", "weight", "index")}
        return batch if first else replace(batch, **double)

    def end_task(self, task):
        self.net(task.train.take(torch.arange(8).expand(2, -1))[0])


def test_flops_count_the_boundaries_and_the_steps_as_they_mostly_are():
    record = trained(Costly())
    assert record.flops == [280 + 6 * 2 * 640 + 560] * 3 and record.flops_plain == [6 * 640] * 3


def test_bytes_and_seconds():
    record = trained(Method())
    assert record.bytes_kept == [4 * (25 + 5 + 10 + 2)] * 3 and record.bytes_examples == [0] * 3
    assert record.bytes_data == [20 * 28, 40 * 28, 60 * 28]  # 5 floats and a label each
    assert record.seconds > 0
    assert trained(Method(), dtype=torch.float64).bytes_kept == [8 * 42] * 3


def test_the_record_names_the_settings():
    record = trained(L2(strength=0.5), small_stream("task"), replace(QUICK, optimizer=adam))
    assert (record.method, record.stream, record.scenario) == ("l2", "arrays", "task")
    assert record.settings["method"] == {"strength": 0.5} and record.settings["dtype"] == "torch.float32"
    assert record.settings["training"]["optimizer"] == "adam"
    assert record.settings["training"]["network"] == {"hidden": [5], "scale": 1.0}
    assert record.settings["stream"]["scenario"] == "task" and "sources" not in record.settings["stream"]
    assert record.needs == ["task boundaries"]


# Runs that die.


@dataclass(kw_only=True, eq=False)
class Poisoned(Method):
    """Makes one replica's weights or scores infinite in task 1."""

    what: str = "weights"

    name: ClassVar[str] = "poisoned"

    def end_task(self, task):
        if task.number == 1 and self.what == "weights":
            with torch.no_grad():
                self.net.head.linear.bias[1] = float("nan")

    def predict(self, x, task=None):
        scores = self.net(x)
        if self.what != "weights" and (x[..., 4] == 1).any():
            scores[1] = float(self.what)
        return scores


@pytest.mark.parametrize("what, part", [("weights", "weights"), ("inf", "scores"), ("nan", "scores")])
def test_numbers_that_are_none_are_named_by_replica_task_and_setting(what, part):
    message = f"poisoned: the {part} of replica.* seed \\[1\\] are not finite in task 2.*'what': '{what}'.*lr"
    with pytest.raises(NonFiniteError, match=message):
        trained(Poisoned(what=what))


def test_scores_of_minus_infinity_close_an_output():
    method = Poisoned(what="-inf")
    assert np.isfinite(trained(method).accuracy).all()


def test_a_step_size_that_kills_is_named():
    with pytest.raises(
        NonFiniteError, match=r"seed \[.*1\] are not finite in task 1.*Lower .* lr \(1000000.0\)"
    ):
        trained(Method(), training=replace(QUICK, lr=1e6, updates=(60,) * 3))


def test_a_dead_run_stops_within_its_epoch():
    class Dying(Diary):
        name: ClassVar[str] = "dying"

        def after_step(self, batch):
            super().after_step(batch)
            if len(self.steps) == 7:
                self.net.head.linear.bias.data.fill_(float("nan"))

    method = Dying()
    with pytest.raises(NonFiniteError, match="dying: the weights .* in task 1"):
        trained(method, training=replace(QUICK, updates=(600,) * 3))
    assert len(method.steps) == 10  # 20 examples in batches of 4: an epoch is 5 updates


def test_a_parameter_per_replica_is_looked_at_too():
    class Scalar(Method):
        def parameters(self):
            return [*super().parameters(), torch.nn.Parameter(torch.tensor([0.0, float("inf")]))]

    with pytest.raises(NonFiniteError, match=r"seed \[1\]"):
        trained(Scalar())


# Interrupts and checkpoints.

RESUMED: dict[str, tuple[Any, Any, Training]] = {
    "fine_tuning": (Method, small_stream(), replace(QUICK, every=4)),
    "l2": (L2, small_stream(), replace(QUICK, optimizer=adam)),
    "independent": (Independent, small_stream("task"), QUICK),
    "joint": (Joint, small_stream("class"), QUICK),
    "both": (lambda: Both(first=L2(), second=Method()), small_stream(), QUICK),
    "no boundaries": (Method, small_stream(boundaries=False), replace(QUICK, optimizer=momentum)),
    "no boundaries, adam": (Method, small_stream(boundaries=False), replace(QUICK, optimizer=adam)),
}


@pytest.mark.parametrize("make, stream, training", RESUMED.values(), ids=RESUMED)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(make, stream, training, tmp_path, monkeypatch):
    whole, broken, again, file = make(), make(), make(), tmp_path / "run.pt"
    expected = trained(whole, stream, training)
    steps, step = [0], Method.step

    def interrupted(self, batch, optimizer):
        steps[0] += type(self) is type(broken)
        if steps[0] == 9:  # in the middle of task 1
            raise KeyboardInterrupt
        step(self, batch, optimizer)

    with monkeypatch.context() as patch:
        patch.setattr(Method, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(broken, stream, training, checkpoint=file)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    record = trained(again, stream, training, checkpoint=file)
    assert same(weights(again), weights(whole)) and same_records(record, expected)
    assert record.seconds > 0
    finished = trained(make(), stream, training, checkpoint=file)  # nothing left to do
    assert same_records(finished, expected)


def test_seconds_before_an_interrupt_count(tmp_path, monkeypatch):
    file = tmp_path / "run.pt"
    with monkeypatch.context() as patch:
        patch.setattr(Method, "begin_task", lambda self, task: time.sleep(0.1))
        trained(Method(), checkpoint=file)
    assert trained(Method(), checkpoint=file).seconds > 3 * 0.1


def test_resuming_goes_on_after_the_last_whole_task(tmp_path, monkeypatch):
    file, calls = tmp_path / "run.pt", []
    trained(Method(), checkpoint=file)
    monkeypatch.setattr(Method, "step", lambda self, batch, optimizer: calls.append(1))
    trained(Method(), checkpoint=file)
    assert calls == []


def test_chunks_have_a_checkpoint_each(tmp_path):
    plain = trained(Method(), chunk=1)
    record = trained(Method(), chunk=1, checkpoint=tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.0", "run.1"]
    assert same_records(trained(Method(), chunk=1, checkpoint=tmp_path / "run"), record)
    assert same_records(record, plain)


def other_arrays():
    stream = small_stream()
    x = stream.sources[0].x.numpy() + 1
    sets = [(x, (x[:, 0] > 1).astype(int))] * 3
    return from_arrays(sets, sets)


OTHERS: dict[str, dict[str, Any]] = {
    "method": {"method": Method()},
    "setting": {"method": L2(strength=0.2)},
    "stream": {"stream": small_stream("task")},
    "data": {"stream": other_arrays()},
    "training": {"training": replace(QUICK, lr=0.1)},
    "network": {"training": replace(QUICK, network=Mlp(hidden=(6,)))},
    "seeds": {"seeds": (3, 2)},
    "dtype": {"dtype": torch.float64},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change):
    file = tmp_path / "run.pt"
    trained(L2(), checkpoint=file)
    arguments = {"method": L2(), "stream": small_stream(), "training": QUICK, "checkpoint": file, **change}
    with pytest.raises(
        ClkitError, match="run.pt is the checkpoint of another run: remove it, or name another file"
    ):
        trained(**arguments)


def test_what_is_no_whole_checkpoint_is_refused(tmp_path):
    file = tmp_path / "run.pt"
    trained(Method(), checkpoint=file)
    whole = file.read_bytes()
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    contents = [whole[: len(whole) // 2], whole[:100], b"", b"text", (tmp_path / "other.pt").read_bytes()]
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(ClkitError, match="run.pt is no checkpoint that can be read.*remove it"):
            trained(Method(), checkpoint=file)
        assert file.read_bytes() == content


def test_what_cannot_be_stored_is_said(tmp_path):
    training = replace(QUICK, optimizer=lambda parameters, lr: momentum(parameters, lr))
    trained(
        Method(), training=training, checkpoint=tmp_path / "fine.pt"
    )  # settings are stored by their names

    class Local(Method):
        name: ClassVar[str] = "local"

    with pytest.raises(ClkitError, match="checkpoint: the run holds what cannot be stored.*top of a module"):
        trained(Local(), checkpoint=tmp_path / "run.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["fine.pt"]
