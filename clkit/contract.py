"""What proves a method: the checks that every one must pass, also one from outside the repository."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clkit.catalogue import find, sections
from clkit.episodes import distribution
from clkit.errors import ClkitError, ClosedDataError, NonFiniteError, UnfitError
from clkit.examples import Batch, Examples, Task, TaskData
from clkit.learner import Learner, Schedule, run_meta
from clkit.loop import evaluate, run
from clkit.method import Beats, Method, stored_bytes
from clkit.metrics import Interval, interval
from clkit.nets import Mlp
from clkit.replicas import Draws, Feed
from clkit.report import MEASURES
from clkit.streams import Stream, View, stream
from clkit.training import Training

SEEDS = (3, 1)
COUNTERS = 64  # bytes that a counter or two may take
SMALL = Training(epochs=1, batch=8, network=Mlp(hidden=(16, 12)))
BRIEF = Schedule(iterations=4, tasks=3, every=2, steps=1, grid=(0.01,), validation_tasks=2, test_tasks=2)


class ContractError(AssertionError):
    """A method breaks the contract; says which part and how."""


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise ContractError(message)


def small_stream(cls: type[Method], length: int = 3) -> Stream:
    """The method's default stream, small: 3 tasks of 40 examples."""
    name, scenario = cls.default
    if name == "split":  # ten classes do not divide by three: five tasks, of which three are seen
        return stream(name)(scenario=scenario, limit=(40,) * 5, length=5, tried=length)
    return stream(name)(scenario=scenario, limit=(40,) * length, length=length)


@torch.no_grad()
def _scores(method: Method, given: Stream) -> list[Tensor]:
    rule, found = given.rule(), []
    for j, data in enumerate(given.tasks(method.draws)):
        found += [method.predict(x, j if rule.labels_at_test else None) for x, _, _ in data.test.chunks(512)]
    return found


def _same(a: Method, b: Method, given: Stream) -> bool:
    return all(torch.equal(x, y) for x, y in zip(_scores(a, given), _scores(b, given), strict=True))


def check_off(cls: type[Method], reference: Method | None = None) -> None:
    """1. Switched off it equals, bit for bit, what `equals` names."""
    if cls is Method:
        return
    _demand(cls.off is not None, f"{cls.name}: declare `off`, the settings that switch the idea off.")
    name, _, alone = cls.equals.partition(" on one task")
    reference = reference or find(name)()
    method = cls(**(cls.off or {}))
    given = small_stream(cls, 1 if alone or cls.equals.endswith("one task") else 3)
    for each in (method, reference):
        run(each, given, SMALL, seeds=SEEDS, progress=False)
    _demand(_same(method, reference, given), f"{cls.name} with {cls.off} differs from {cls.equals}.")


def check_seeds(cls: type[Method]) -> None:
    """2. The same seed gives the same weights; a replica does not depend on the others."""
    given = small_stream(cls)
    pair, again, alone = cls(), cls(), cls()
    records = [
        run(m, given, SMALL, seeds=s, dtype=torch.float64, progress=False)
        for m, s in ((pair, SEEDS), (again, SEEDS), (alone, SEEDS[1:]))
    ]
    _demand(_same(pair, again, given), f"{cls.name}: two runs with the same seeds differ.")
    for x, y in zip(
        _scores(pair, given), _scores(alone, given), strict=True
    ):  # padded to the largest replica
        close = x[-1:, : y.shape[1]].shape == y.shape and torch.allclose(
            x[-1:, : y.shape[1]], y, rtol=1e-6, atol=1e-8
        )
        _demand(close, f"{cls.name}: seed {SEEDS[1]} alone differs from the same seed beside another.")
    kept = [record.bytes_kept for record in records]
    _demand(
        kept[0] == kept[2], f"{cls.name}: bytes_kept depends on the number of replicas: {kept[0]}, {kept[2]}."
    )


def check_closed_data(cls: type[Method]) -> None:
    """3a. After end_task it reads nothing of the task's data, not even through a view."""
    if "past data" in cls.needs:
        return

    def forget(self: Method, task: Task) -> None:
        cls.end_task(self, task)
        for part in task.train.parts:
            part.x[part.index.clamp(min=0)] = float("nan")

    def own_copy(self: Stream, draws: Draws, t: int) -> View:
        view = type(given).view(given, draws, t)
        return replace(view, x=view.x.float().clone())

    given = small_stream(cls)
    copied = type("Copied", (type(given),), {"view": own_copy})(
        **{f.name: getattr(given, f.name) for f in fields(given)}
    )
    poisoned, plain = type(cls.__name__, (cls,), {"end_task": forget})(), cls()
    broken = f"{cls.name}: still reads a task's data after end_task; store copies."
    try:
        for method, data in ((poisoned, copied), (plain, given)):
            run(method, data, SMALL, seeds=SEEDS, progress=False)
    except (ClosedDataError, NonFiniteError) as error:
        raise ContractError(broken) from error
    _demand(_same(poisoned, plain, given), broken)


def check_labels(cls: type[Method]) -> None:
    """3b. Without a need for task labels, scrambling them changes nothing."""
    given = replace(small_stream(cls), scenario="domain") if cls.default[0] != "split" else small_stream(cls)
    if "task labels in training" in cls.needs or not cls.needs <= given.gives():
        return

    def told(verb: Callable[[Method, Task], Any]) -> Callable[[Method, Task], Any]:
        return lambda self, task: verb(self, replace(task, number=(2, 0, 1)[task.number]))

    scrambled = type(cls.__name__, (cls,), {v: told(getattr(cls, v)) for v in ("begin_task", "end_task")})()
    plain = cls()
    for method in (scrambled, plain):
        run(method, given, SMALL, seeds=SEEDS, progress=False)
    _demand(_same(scrambled, plain, given), f"{cls.name}: uses task labels but does not declare the need.")


def check_bytes(cls: type[Method]) -> None:
    """4. bytes_kept is what it holds between tasks, per replica; examples are held only where that is declared.

    Where they are, some are met in training: `interactions`.
    """
    method, given = cls(), small_stream(cls)
    record = run(method, given, SMALL, seeds=SEEDS, progress=False)
    kept, examples = record.bytes_kept[-1], record.bytes_examples[-1]
    network = stored_bytes(p for net in method.networks() for p in net.parameters())
    arrays = _arrays(method, set()).values()
    held = sum(array.nbytes for array in arrays) // method.draws.replicas
    _demand(network <= kept, f"{cls.name}: bytes_kept leaves out the network.")
    _demand(held <= kept, f"{cls.name}: holds {held} bytes, bytes_kept says {kept}.")
    _demand(examples <= kept - network, f"{cls.name}: bytes_examples exceeds what is kept.")
    looks_back, met = bool({"stored examples", "past data"} & cls.needs), record.interactions[1:]
    _demand(
        all(bool(n) == looks_back for n in met),
        f"{cls.name}: met {met} past or stored examples, but needs {sorted(cls.needs)}; add to `rehearsed` where "
        "the gradient of stored examples is taken.",
    )
    if "past data" in cls.needs:
        return  # what the stream holds open for it is counted, not held
    _demand(kept <= held + COUNTERS, f"{cls.name}: bytes_kept says {kept}, it holds {held} bytes.")
    like_inputs = [
        a for a in arrays if a.ndim > len(given.shape) and a.shape[-len(given.shape) :] == given.shape
    ]
    declared = "stored examples" in cls.needs
    _demand(
        declared or not (like_inputs or examples), f"{cls.name}: keeps examples, but `needs` does not say so."
    )


def check_needs(cls: type[Method]) -> None:
    """3c. Whoever acts at the boundaries of tasks says that it needs them."""
    acts = {"begin_task", "end_task"} & cls.defines()
    _demand(
        not acts or "task boundaries" in cls.needs,
        f"{cls.name}: defines {sorted(acts)}, which a stream without boundaries never calls: "
        "add 'task boundaries' to `needs`.",
    )


def _arrays(thing: Any, seen: set[int]) -> dict[int, Any]:
    """Every tensor and array reachable from an object, by storage; draws can be drawn again."""
    if id(thing) in seen or isinstance(thing, (Draws, Feed, Examples, Task, type)):
        return {}
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        return {thing.untyped_storage().data_ptr(): thing.detach().cpu().numpy()}
    if isinstance(thing, np.ndarray):
        return {id(thing): thing}
    parts = list(thing.values()) if isinstance(thing, dict) else []
    parts += list(thing) if isinstance(thing, (list, tuple)) else []
    parts += list(vars(thing).values()) if hasattr(thing, "__dict__") else []
    return {key: array for part in parts for key, array in _arrays(part, seen).items()}


def check_meta_device(cls: type[Method]) -> None:
    """7. A step of the second task reads no value back and mixes in no CPU tensor: it runs on torch's meta device."""
    method, given = cls(), small_stream(cls)
    run(method, replace(given, tried=1), SMALL, seeds=SEEDS, progress=False)
    rule, tasks = given.rule(), given.tasks(method.draws)
    task = _second(method, tasks)
    examples = task.train + method.begin_task(task)
    optimizer = SMALL.optimizer(method.parameters(), SMALL.lr)
    order = method.draws.shuffles("order", examples.sizes, task.batch, 1)
    batch = next(examples.batches(order, task.batch, rule, 1))
    file = BytesIO()
    torch.save((method, optimizer, batch), file)
    file.seek(0)
    method, optimizer, batch = torch.load(file, map_location="meta", weights_only=False)
    object.__setattr__(method.draws, "device", "meta")
    method.lr, method.progress = SMALL.lr, 0.5
    _step_on(method, batch, optimizer)


def _second(method: Method, tasks: list[TaskData]) -> Task:
    data, rule = tasks[1], method.scenario
    past = tasks[0].train if "past data" in method.needs else None
    return Task(1, rule.own(1), data.train, data.validation, 1, SMALL.batch, 1, past)


def _step_on(method: Method, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    try:
        with _OneDevice():
            method.step(batch, optimizer)
    except RuntimeError as error:  # NotImplementedError is one
        raise ContractError(
            f"{method.name}: a step reads a tensor's value back to Python, or mixes devices ({error}). Use torch.where "
            "instead of if, and make tensors on the device of their operands."
        ) from error


class _OneDevice(TorchDispatchMode):
    """Raises where an operation mixes the meta device with another, as a GPU would (numbers may mix)."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = tree_leaves((args, kwargs or {}))
        devices = {t.device.type for t in inputs if isinstance(t, Tensor) and t.dim() > 0}
        if len(devices) > 1:
            raise RuntimeError(f"{func} mixes {sorted(devices)}")
        return func(*args, **(kwargs or {}))


def check_cuda(cls: type[Method]) -> None:
    """7b. Where there is a GPU, CPU and GPU agree."""
    if not torch.cuda.is_available():
        return
    given = small_stream(cls)
    methods = cls(), cls()
    for method, device in zip(methods, ("cpu", "cuda"), strict=True):
        run(method, given, SMALL, seeds=SEEDS, dtype=torch.float64, device=device, progress=False)
    for x, y in zip(_scores(methods[0], given), _scores(methods[1], given), strict=True):
        _demand(torch.allclose(x, y.cpu(), rtol=1e-5, atol=1e-7), f"{cls.name}: CPU and GPU differ.")


def check_documentation(cls: type[Method]) -> None:
    """8. The docstring says what, from where, what it needs, keeps and where it departs."""
    _documented(cls)
    _demand(cls is Method or cls.name != Method.name, f"{cls.__name__}: give it a `name` of its own.")


def _documented(cls: type[Any]) -> None:
    parts = sections(cls)
    for name in ("Reference", "Needs", "Keeps", "Departs"):
        _demand(bool(parts.get(name)), f"{cls.name}: the docstring lacks the section '{name}:'.")
    _demand(
        len(parts["title"].split()) >= 5, f"{cls.name}: the docstring's first sentence says what it does."
    )


def check_unseen(cls: type[Method]) -> None:
    """`predict` for a task not yet begun answers, and changes nothing; without a needed label it raises."""
    method, given = cls(), small_stream(cls)
    run(method, replace(given, tried=1), SMALL, seeds=SEEDS, progress=False)
    rule, tasks = given.rule(), given.tasks(method.draws)
    first = _scores(method, replace(given, tried=1))
    evaluate(method, tasks[:2], rule, 0)
    second = _scores(method, replace(given, tried=1))
    same = all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    _demand(same, f"{cls.name}: predict changes the state.")
    if "task labels at test" in cls.needs:
        try:
            method.predict(next(tasks[0].test.chunks(4))[0])
        except UnfitError:
            return
        raise ContractError(
            f"{cls.name}: predict without the task label that it needs must raise UnfitError."
        )


def check_beats(cls: type[Any], replicas: int = 10) -> dict[str, Interval]:
    """6. How far it is ahead of its control and its ablation, paired over replicas: two intervals.

    Raises:
        ContractError: it declares nothing to beat, or an interval does not exclude zero.
    """
    beats = cls.beats()
    _demand(beats is not None, f"{cls.name}: declare `beats`: control, ablation, stream, metric.")
    ours, sign = _measured(beats, cls(), replicas), -1 if beats.lower else 1
    rivals = {"control": beats.control, "ablation": beats.ablation}
    gains = {k: interval(sign * (ours - _measured(beats, rival, replicas))) for k, rival in rivals.items()}
    for rival, gain in gains.items():
        _demand(gain.low is not None and gain.low > 0, f"{cls.name} does not beat its {rival}: {gain}.")
    return gains


def _measured(beats: Beats, method: Any, replicas: int) -> np.ndarray:
    """The metric of each replica; of an episodic learner, after its trained number of inner steps."""
    if isinstance(method, Learner):
        steps = run_meta(
            method, beats.stream, Schedule(**beats.training), replicas=replicas, progress=False
        ).by_step
        assert steps is not None
        return steps[:, beats.after]
    record = run(method, beats.stream, Training(**beats.training), replicas=replicas, progress=False)
    return MEASURES[beats.metric](record)


CHECKS: tuple[Callable[[type[Method]], None], ...] = (
    check_seeds,
    check_closed_data,
    check_labels,
    check_needs,
    check_bytes,
    check_meta_device,
    check_cuda,
    check_documentation,
    check_unseen,
)


def check_learner(cls: type[Learner], reference: Learner | None = None) -> None:
    """The contract of episodic learners: off, seeds, bytes, no value read back, documentation."""
    reference = reference or find(cls.equals)()
    switched, again, alone = cls(**(cls.off or {})), cls(), cls()
    plain = cls()
    for learner, seeds in (
        (switched, SEEDS),
        (reference, SEEDS),
        (plain, SEEDS),
        (again, SEEDS),
        (alone, SEEDS[1:]),
    ):
        record = run_meta(learner, None, BRIEF, seeds=seeds, dtype=torch.float64, progress=False)
        held = sum(array.nbytes for array in _arrays(learner, set()).values()) // len(seeds)
        _demand(
            held == record.bytes_kept[-1],
            f"{cls.name}: bytes_kept says {record.bytes_kept[-1]}, holds {held}.",
        )
    pairs = [
        zip(a.parameters(), b.parameters(), strict=True) for a, b in ((switched, reference), (plain, again))
    ]
    same = [all(torch.equal(x, y) for x, y in pair) for pair in pairs]
    _demand(same[0], f"{cls.name} with {cls.off} differs from {cls.equals}.")
    _demand(same[1], f"{cls.name}: two runs with the same seeds differ.")
    for x, y in zip(plain.parameters(), alone.parameters(), strict=True):
        close = torch.allclose(x[1:], y, rtol=1e-6, atol=1e-9)
        _demand(close, f"{cls.name}: seed {SEEDS[1]} alone differs from the same seed beside another.")
    episode = distribution(cls.default)().episode(plain.draws, 3, 0)
    object.__setattr__(plain.draws, "device", "meta")
    plain.net.to("meta")
    try:
        with _OneDevice():
            plain.outer_loss(episode.to("meta")).sum().backward()
    except RuntimeError as error:  # NotImplementedError is one
        raise ContractError(
            f"{cls.name}: outer_loss reads a value back, or mixes devices ({error})."
        ) from error
    _documented(cls)


def check_method(cls: type[Any], reference: Any = None, *, beats: bool = False) -> None:
    """Run the whole contract on a method or learner class, also one that is not part of clkit.

    Args:
        cls: a subclass of `clkit.Method` (or `clkit.learner.Learner`) whose settings all have defaults.
        reference: what it equals when switched off, where `equals` names nothing of clkit.
        beats: also run it against what it says to beat, 10 replicas, minutes (part 6).

    Raises:
        ContractError: which part is broken, and how.
    """
    if not (inspect.isclass(cls) and issubclass(cls, (Method, Learner))):
        raise ClkitError(f"{cls!r} is no subclass of clkit.Method: pass the class, not an object.")
    required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    _demand(not required, f"{cls.__name__}: the settings {required} need defaults.")
    if issubclass(cls, Learner):
        check_learner(cls, reference)
    else:
        check_off(cls, reference)
        for check in CHECKS:
            check(cls)
    if beats:
        check_beats(cls)
