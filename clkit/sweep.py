"""Many runs: lists of picklable jobs, by processes here or on a Dask cluster; results are kept by content.

A job that was done before, with the same settings and the same code, is read from the store, so an
interrupted sweep goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import joblib
from tqdm import tqdm

from clkit.errors import ClkitError
from clkit.metrics import average_accuracy, interval
from clkit.record import Record, versions

ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """One run: `function(*arguments, **options) -> Record`; everything is picklable."""

    function: Callable[..., Record]  # clkit.loop.run or clkit.learner.run_meta
    arguments: tuple[Any, ...]  # method and stream, or learner and distribution, then the training
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(
        default_factory=dict
    )  # all of it as JSON; with the code, the job's identity

    def key(self) -> str:
        """The name of the job's result in the store."""
        text = json.dumps([self.settings, code_hash(), versions()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def __call__(self) -> Record:
        return self.function(*self.arguments, **self.options, progress=False)


@cache
def code_hash() -> str:
    """Of the package's own code: another version of it is another result."""
    files = sorted(ROOT.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def sweep(
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    store: Path | None = None,
    progress: bool | None = None,
) -> list[Record]:
    """Run the jobs and return their records in order.

    Args:
        workers: processes on this machine.
        scheduler: address of a Dask scheduler (extra `cluster`); a job whose worker dies goes to another.
        store: folder of finished records, read first and written as they arrive.
        progress: show a bar; None = where the output is a terminal.
    """
    found = {i: record for i, job in enumerate(jobs) if (record := _stored(job, store)) is not None}
    missing = [i for i in range(len(jobs)) if i not in found]
    hidden = None if progress is None else not progress
    with _backend(scheduler), tqdm(total=len(jobs), initial=len(found), desc="runs", disable=hidden) as bar:
        parallel = joblib.Parallel(
            n_jobs=-1 if scheduler else workers, return_as="generator_unordered", pre_dispatch="all"
        )
        for i, record in parallel(joblib.delayed(_numbered)(i, jobs[i]) for i in missing):
            found[i] = record
            if store is not None:
                record.save(store / f"{jobs[i].key()}.json")
            bar.update()
    return [found[i] for i in range(len(jobs))]


def _numbered(i: int, job: Job) -> tuple[int, Record]:
    return i, job()


def _stored(job: Job, store: Path | None) -> Record | None:
    path = store / f"{job.key()}.json" if store is not None else None
    return Record.load(path) if path is not None and path.exists() else None


@contextmanager
def _backend(scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        yield
        return
    try:
        from dask.distributed import Client
    except ImportError:
        raise ClkitError("a scheduler needs Dask: pip install 'clkit[cluster]'.") from None
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ClkitError(
            f"no Dask scheduler answers at {scheduler}: start one with `dask scheduler`."
        ) from error
    with client, joblib.parallel_config(backend="dask"):
        yield


def grid(text: Sequence[str]) -> list[dict[str, str]]:
    """["strength=1,10", "decay=0.9,1"] -> the settings of every combination.

    Raises:
        ClkitError: not of the form name=value,value.
    """
    axes = []
    for part in text:
        name, mark, values = part.partition("=")
        if not mark or not name or not values:
            raise ClkitError(f"--grid {part}: write name=value,value, for example strength=1,10,100.")
        axes.append([(name, value) for value in values.split(",")])
    return [dict(combination) for combination in itertools.product(*axes)]


def chosen(records: Sequence[Record]) -> int:
    """The record with the highest average accuracy on validation data."""
    return max(range(len(records)), key=lambda i: interval(average_accuracy(records[i].matrix)).mean)


def for_choice(stream: Any) -> Any:
    """The stream on which settings are chosen: its first three tasks, judged on validation data."""
    return replace(stream, tried=min(3, stream.length))
