"""Sweeps: nothing is computed twice, nothing is lost, whoever computes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clkit.errors import ClkitError
from clkit.jobs import job
from clkit.replicas import Draws
from clkit.sweep import Job, chosen, grid, sweep

SMALL = {"updates": (20,) * 5, "hidden": (8,), "seeds": (0, 1)}


def jobs(count: int, **options) -> list[Job]:
    rates = [0.01 * (i + 1) for i in range(count)]
    return [job("fine_tuning", {}, {**SMALL, **options, "lr": lr}) for lr in rates]


def test_records_come_in_order_and_equal_a_direct_run() -> None:
    first, second = jobs(2)
    records = sweep([first, second], progress=False)
    for record, one in zip(records, (first, second), strict=True):
        np.testing.assert_array_equal(record.accuracy, one().accuracy)
    assert records[0].settings["training"]["lr"] == 0.01


def test_processes_agree_with_one_process() -> None:
    alone, two = sweep(jobs(3), progress=False), sweep(jobs(3), workers=2, progress=False)
    for a, b in zip(alone, two, strict=True):
        np.testing.assert_array_equal(a.accuracy, b.accuracy)


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Two of three jobs are in the store: only the third is run."""
    wanted = jobs(3)
    sweep(wanted[:2], store=tmp_path, progress=False)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    records = sweep(wanted, store=tmp_path, progress=False)
    assert len(records) == 3 and len(list(tmp_path.iterdir())) == 3
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_the_key_knows_every_setting(tmp_path: Path) -> None:
    """Another seed, method setting, scenario or device is another result."""
    base = job("l2", {}, SMALL)
    others = [
        job("l2", {"strength": "1"}, SMALL),
        job("l2", {}, {**SMALL, "seeds": (0, 2)}),
        job("l2", {}, {**SMALL, "scenario": "class"}),
        job("l2", {}, {**SMALL, "scale": 2.0}),
        job("l2", {}, SMALL, choice=True),
        job("fine_tuning", {}, SMALL),
    ]
    keys = [base.key(), *(other.key() for other in others)]
    assert len(set(keys)) == len(keys)
    assert base.key() == job("l2", {"strength": "0.3"}, SMALL).key()


def test_grid() -> None:
    assert grid(["a=1,2", "b=3"]) == [{"a": "1", "b": "3"}, {"a": "2", "b": "3"}]
    assert grid([]) == [{}]
    with pytest.raises(ClkitError, match="name=value,value"):
        grid(["strength"])


def test_the_choice_is_made_on_validation_data_alone() -> None:
    """With `choice` a run sees three tasks and validation rows only; the best mean wins."""
    options = {"epochs": 1, "hidden": (8,), "seeds": (0, 1)}
    slow, fast = (job("fine_tuning", {}, {**options, "lr": lr}, choice=True) for lr in (0.001, 0.1))
    stream = fast.arguments[1]
    test = set(stream.source(0).test.tolist())
    for data in stream.tasks(Draws((0, 1))):
        rows = set(data.test.parts[0].index.flatten().tolist())
        assert rows and not rows & test
    records = sweep([slow, fast], progress=False)
    assert records[0].accuracy.shape == (2, 4, 3)
    assert chosen(records) == 1


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with pytest.raises(ClkitError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        sweep(jobs(1), scheduler="tcp://127.0.0.1:9", progress=False)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and two workers without nannies, so that a killed worker stays dead."""
    pytest.importorskip("distributed", reason="needs the extra `cluster`: pip install 'clkit[cluster]'")
    contact = tmp_path / "scheduler.json"
    files = ["--scheduler-file", str(contact)]
    scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0"]
    worker = [
        "dask_worker",
        "--no-nanny",
        "--nthreads",
        "1",
        "--no-dashboard",
        "--local-directory",
        str(tmp_path),
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{part[0]}", *part[1:], *files],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for part in (scheduler, worker, worker)
    ]
    try:
        yield f"file:{contact}", processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_that_loses_a_worker_delivers_every_result(cluster, tmp_path: Path) -> None:
    """One of two workers is killed after the first results; all twelve arrive and equal those of one process."""
    address, workers = cluster
    contact = Path(address.removeprefix("file:"))
    deadline = time.monotonic() + 60
    while not contact.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    address = json.loads(contact.read_text())["address"]
    _wait_for_workers(address, 2)
    wanted, store, killed_at = jobs(12, updates=(100,) * 5), tmp_path / "store", []

    def kill_one() -> None:
        while len(list(store.glob("*.json")) if store.exists() else []) < 2:
            time.sleep(0.02)
        workers[0].send_signal(signal.SIGKILL)
        killed_at.append(len(list(store.glob("*.json"))))

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    records = sweep(wanted, scheduler=address, store=store, progress=False)
    killer.join(timeout=10)
    assert killed_at and killed_at[0] < 12, "the worker was killed in the middle"
    assert workers[0].wait(timeout=10) == -signal.SIGKILL
    alone = sweep(wanted, progress=False)
    assert len(records) == 12
    for a, b in zip(records, alone, strict=True):
        np.testing.assert_array_equal(a.accuracy, b.accuracy)


def _wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    with Client(address, timeout=60) as client:
        client.wait_for_workers(count, timeout=60)
