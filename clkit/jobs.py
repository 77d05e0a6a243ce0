"""From the options of a command line to a job of `clkit.sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clkit import catalogue
from clkit.episodes import DISTRIBUTIONS, distribution
from clkit.errors import ClkitError, UnfitError, counted, unknown
from clkit.learner import Learner, Schedule, run_meta
from clkit.loop import run
from clkit.method import Method
from clkit.nets import Mlp
from clkit.streams import STREAMS, Stream, stream
from clkit.sweep import Job, for_choice
from clkit.training import OPTIMIZERS, Training, describe

OF_STREAMS = {"scenario", "length", "limit", "epochs", "updates", "batch"}  # options of no episodic learner
OF_EPISODES = {"iterations"}


def default_stream(names: Sequence[str]) -> dict[str, str]:
    """Stream and scenario for several methods: the first of their own defaults that fits all of them."""
    classes = [catalogue.find(name) for name in names]
    if len({issubclass(cls, Learner) for cls in classes}) > 1:
        raise ClkitError(
            f"{', '.join(names)}: some learn episodes, some a stream of tasks; they share no measure."
        )
    if issubclass(classes[0], Learner):
        return {"stream": classes[0].default}
    for name, rule in dict.fromkeys(cls.default for cls in classes):
        if all(cls.needs <= stream(name)(scenario=rule).gives() for cls in classes):
            return {"stream": name, "scenario": rule}
    raise ClkitError(
        f"no default stream fits all of {', '.join(names)}: name one with --stream and --scenario."
    )


def job(name: str, settings: dict[str, str], options: dict[str, Any], *, choice: bool = False) -> Job:
    """The run of the method `name` with `settings` that `options` (name -> value, as given) describe.

    `choice`: on the first three tasks, judged on validation data.
    """
    method = catalogue.make(name, settings)
    seeds = tuple(options.get("seeds") or range(_replicas(options)))
    shared = {"seeds": seeds, "device": options.get("device", "cpu"), "threads": options.get("threads", 1)}
    episodic = isinstance(method, Learner)
    for option in (OF_STREAMS if episodic else OF_EPISODES) & options.keys():
        instead = "--iterations" if episodic else "--epochs or --updates"
        raise ClkitError(f"--{option} does not apply to {name}: see {instead} in clkit run --help.")
    if episodic and choice:
        raise UnfitError(
            f"--grid chooses on streams; {name} chooses its step size on validation tasks by itself."
        )
    if episodic:
        return _episode_job(method, options, shared)
    return _task_job(method, options, shared, choice)


def _replicas(options: dict[str, Any]) -> int:
    count: int = options.get("replicas", 10)
    counted("replicas", count)
    return count


def _task_job(method: Method, options: dict[str, Any], shared: dict[str, Any], choice: bool) -> Job:
    given, training = _stream(method, options), _training(options)
    given = for_choice(given) if choice else given
    settings = {
        "method": {"name": method.name, **method.settings()},
        "stream": {"name": given.name, **describe(given)},
        "training": describe(training),
        **shared,
    }
    return Job(run, (method, given, training), shared, settings)


def _episode_job(learner: Learner, options: dict[str, Any], shared: dict[str, Any]) -> Job:
    name = options.get("stream", learner.default)
    if name in STREAMS:
        learner.refuse(stream(name)())
    tasks = distribution(name)(
        **{f: options[f] for f in ("dataset",) if f in options and name == "label_swap"}
    )
    wanted: dict[str, Any] = {
        name: options[name] for name in ("iterations", "lr", "optimizer") if name in options
    }
    network: dict[str, Any] = {
        "hidden": (40, 40),
        **{f: options[f] for f in ("hidden", "scale") if f in options},
    }
    schedule = Schedule(**{**_with_optimizer(wanted), "network": Mlp(**network)})
    settings = {
        "method": {"name": learner.name, **learner.settings()},
        "stream": {"name": tasks.name, **describe(tasks)},
        "training": describe(schedule),
        **shared,
    }
    return Job(run_meta, (learner, tasks, schedule), shared, settings)


def _with_optimizer(wanted: dict[str, Any]) -> dict[str, Any]:
    """The optimiser by its name."""
    if "optimizer" not in wanted:
        return wanted
    if wanted["optimizer"] not in OPTIMIZERS:
        raise unknown("optimizer", wanted["optimizer"], OPTIMIZERS)
    return {**wanted, "optimizer": OPTIMIZERS[wanted["optimizer"]]}


def _stream(method: Method, options: dict[str, Any]) -> Stream:
    """The stream named, or the method's default with its scenario."""
    name, scenario = method.default
    if options.get("stream") in DISTRIBUTIONS:
        raise UnfitError(
            f"{method.name} needs a stream of tasks, and {options['stream']} is a distribution of episodes: use "
            "--stream rotated, permuted or split, or an episodic learner: maml."
        )
    if "stream" in options:
        name, scenario = options["stream"], stream(options["stream"]).scenario
    chosen: dict[str, Any] = {f: options[f] for f in ("dataset", "length", "limit") if f in options}
    return stream(name)(scenario=options.get("scenario", scenario), **chosen)


def _training(options: dict[str, Any]) -> Training:
    network = Mlp(**{f: options[f] for f in ("hidden", "scale") if f in options})
    chosen: dict[str, Any] = {
        f: options[f] for f in ("epochs", "updates", "batch", "lr", "optimizer") if f in options
    }
    return Training(**{**_with_optimizer(chosen), "network": network})
