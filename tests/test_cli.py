"""The command line: JSON with the promised keys, tables for people, errors that say what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clkit import catalogue, cli
from clkit.method import VERBS
from clkit.metrics import average_accuracy, interval
from clkit.record import SCHEMA, Record

FAST = ["--updates", "12,12,12,12,12", "--hidden", "8"]
ENDS = {"mean", "low", "high"}
MEASURES = ["average_accuracy", "learned", "forgetting", "backward_transfer", "forward_transfer"]
RUN = {
    "method", "stream", "scenario", "settings", "accuracy", *MEASURES, "metric", "by_step", "bytes_kept",
    "interactions", "seconds", "versions", "schema",
}  # fmt: skip


def clkit(capsys, *arguments: str):
    """Standard output of a command that succeeds, read as JSON."""
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments: str) -> str:
    """Standard error of a command that fails; standard output stays empty."""
    assert cli.main(list(arguments)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def test_methods(capsys) -> None:
    rows = clkit(capsys, "methods")
    keys = {"name", "title", "reference", "chapter", "file", "verbs", "needs", "keeps", "test"}
    assert all(row.keys() == keys for row in rows)
    names = [row["name"] for row in rows]
    assert set(names) == {
        "fine_tuning", "joint", "l2", "independent", "ewc", "online_ewc", "agem", "replay", "icarl", "progressive",
        "maml", "joint_pretraining", "pcgrad",
    }  # fmt: skip
    by_name = {row["name"]: row for row in rows}
    assert by_name["ewc"]["file"] == "clkit/gradient/ewc.py"
    assert "Kirkpatrick" in by_name["ewc"]["reference"]
    assert by_name["fine_tuning"]["verbs"] == [] and set(by_name["replay"]["verbs"]) == {
        "widen",
        "after_step",
    }
    assert all(
        set(by_name[name]["verbs"]) <= set(VERBS) for name in names if by_name[name]["chapter"] != "meta"
    )
    assert "task labels at test" in by_name["progressive"]["needs"]


def test_run_json_has_the_promised_shape_and_numbers(capsys, tmp_path: Path) -> None:
    """The printed means and intervals are those of the saved record."""
    file = tmp_path / "record.json"
    found = clkit(capsys, "run", "ewc", "--stream", "rotated", "--replicas", "3", *FAST, "--out", str(file))
    assert found.keys() == RUN
    record = Record.load(file)
    assert np.shape(found["accuracy"]) == (6, 5) and np.allclose(found["accuracy"], record.accuracy.mean(0))
    assert found["average_accuracy"] == pytest.approx(interval(average_accuracy(record.accuracy)).to_json())
    assert all(found[name].keys() == ENDS for name in MEASURES)
    assert found["scenario"] == "domain" and found["metric"] == "accuracy" and found["by_step"] is None
    assert found["settings"]["method"]["strength"] > 0 and found["settings"]["seeds"] == [0, 1, 2]
    assert found["bytes_kept"] == record.bytes_kept[-1] > 0
    assert found["versions"]["torch"] and found["schema"] == SCHEMA and found["seconds"] > 0


def test_one_replica_has_no_interval(capsys) -> None:
    found = clkit(capsys, "run", "fine_tuning", "--replicas", "1", *FAST)
    assert (
        found["learned"]["mean"] > 0 and found["learned"]["low"] is None and found["learned"]["high"] is None
    )


def test_class_incremental_has_no_forward_transfer(capsys) -> None:
    found = clkit(capsys, "run", "replay", "--stream", "split", "--replicas", "2", *FAST)
    assert found["scenario"] == "class" and found["forward_transfer"] == {
        "mean": None,
        "low": None,
        "high": None,
    }
    assert np.triu(np.array(found["accuracy"])[1:], 1).max() == 0


def test_the_default_stream_of_a_method_has_its_scenario(capsys) -> None:
    assert clkit(capsys, "run", "independent", "--replicas", "2", *FAST)["scenario"] == "task"
    assert clkit(capsys, "run", "icarl", "--replicas", "2", *FAST)["stream"] == "split"


def test_settings_reach_the_run(capsys) -> None:
    found = clkit(
        capsys, "run", "ewc", "--set", "strength=7", "fisher=empirical_fisher", "proximal=false", "--seeds", "4,2",
        "--lr", "0.01", "--batch", "8", "--optimizer", "adam", "--scale", "0.5", "--limit", "40,40,40,40,40",
        "--scenario", "task", *FAST,
    )  # fmt: skip
    assert found["settings"]["method"] == {"strength": 7.0, "fisher": "empirical_fisher", "proximal": False}
    training = found["settings"]["training"]
    assert (training["lr"], training["batch"], training["optimizer"]) == (0.01, 8, "adam")
    assert training["network"] == {"hidden": [8], "scale": 0.5}
    assert found["settings"]["seeds"] == [4, 2] and found["settings"]["stream"]["limit"] == [40] * 5


def test_episodic_run(capsys) -> None:
    """What does not apply is null; by_step has one entry per inner step, 0 included."""
    found = clkit(capsys, "run", "maml", "--replicas", "2", "--iterations", "20")
    assert found.keys() == RUN and found["metric"] == "mse" and found["accuracy"] is None
    assert found["scenario"] is None and found["learned"] == {"mean": None, "low": None, "high": None}
    steps = found["by_step"]
    assert steps.keys() == ENDS and len(steps["mean"]) == len(steps["low"]) == len(steps["high"]) > 1
    assert all(
        low < mean < high for low, mean, high in zip(steps["low"], steps["mean"], steps["high"], strict=True)
    )


def test_compare(capsys) -> None:
    found = clkit(capsys, "compare", "fine_tuning", "l2", "joint", "--replicas", "3", *FAST)
    assert [run["method"] for run in found["runs"]] == ["fine_tuning", "l2", "joint"]
    assert all(run.keys() == RUN for run in found["runs"])
    rows = found["differences"]
    assert all(row.keys() == {"a", "b", "metric", *ENDS} for row in rows)
    assert {(r["a"], r["b"]) for r in rows} == {
        ("fine_tuning", "l2"),
        ("fine_tuning", "joint"),
        ("l2", "joint"),
    }
    mean = [
        r["mean"]
        for r in rows
        if (r["a"], r["b"], r["metric"]) == ("fine_tuning", "joint", "average_accuracy")
    ]
    runs = found["runs"]
    assert mean[0] == pytest.approx(runs[0]["average_accuracy"]["mean"] - runs[2]["average_accuracy"]["mean"])


def test_compare_takes_one_stream_that_fits_all(capsys) -> None:
    """Of the methods' own defaults the first that each of them accepts; a paired difference needs one stream."""
    for names, expected in (
        (["fine_tuning", "ewc"], ("rotated", "domain")),
        (["fine_tuning", "icarl"], ("split", "class")),
        (["fine_tuning", "independent"], ("rotated", "task")),
    ):
        runs = clkit(capsys, "compare", *names, "--replicas", "2", *FAST)["runs"]
        assert {(run["stream"], run["scenario"]) for run in runs} == {expected}


def test_compare_grid_chooses_on_validation_data(capsys) -> None:
    found = clkit(capsys, "compare", "l2", "--grid", "strength=0.1,1000", "--replicas", "2", "--epochs", "2")
    assert [run["settings"]["method"]["strength"] for run in found["runs"]] == [0.1, 1000.0]
    assert all(np.shape(run["accuracy"]) == (4, 3) for run in found["runs"])
    (grid,) = found["grid"]
    assert grid["method"] == "l2" and grid["chosen"] == {"strength": "0.1"}
    assert [entry["settings"] for entry in grid["tried"]] == [{"strength": "0.1"}, {"strength": "1000"}]


def test_claims(capsys) -> None:
    rows = clkit(capsys, "claims")
    keys = {
        "id", "says", "section", "effect", "low", "high", "unit", "smallest", "replicas", "control", "verdict",
        "seconds", "schema",
    }  # fmt: skip
    assert all(row.keys() == keys for row in rows)
    assert {row["id"] for row in rows} >= {"T1", "T2", "G1", "G3", "M1", "M2", "R2", "L5"}
    measured = [row for row in rows if row["verdict"] is not None]
    assert measured and all(
        row["verdict"] in ("supported", "not supported here", "mixed") for row in measured
    )
    assert all(row["replicas"] >= 10 for row in measured)


def test_tables_for_a_person(capsys) -> None:
    """Without --json: percent, intervals in brackets."""
    assert cli.main(["run", "fine_tuning", "--replicas", "2", *FAST]) == 0
    shown = capsys.readouterr().out
    assert "average accuracy" in shown and "after 5" in shown and "[" in shown
    for command in (["methods"], ["claims"], ["compare", "fine_tuning", "l2", "--replicas", "2", *FAST]):
        assert cli.main(command) == 0
        assert len(capsys.readouterr().out.splitlines()) > 3


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "ewx"], "unknown method 'ewx'. Did you mean ewc"),
        (["run", "ewc", "--stream", "rotate"], "unknown stream 'rotate'. Did you mean rotated"),
        (["run", "ewc", "--scenario", "clas"], "unknown scenario 'clas'. Did you mean class"),
        (["run", "ewc", "--dataset", "digit"], "unknown data set 'digit'. Did you mean digits"),
        (["run", "ewc", "--optimizer", "sdg"], "unknown optimizer 'sdg'. Did you mean sgd"),
        (["run", "ewc", "--set", "strenght=1"], "unknown setting of ewc 'strenght'. Did you mean strength"),
        (["run", "ewc", "--set", "fisher=exact"], "exact_fisher"),
        (["run", "ewc", "--set", "strength=much"], "strength of ewc must be a number, not 'much'"),
        (["run", "ewc", "--set", "strength=-1"], "strength must be zero or more"),
        (["run", "ewc", "--set", "strength"], "write name=value"),
        (["run", "ewc", "--lr", "0"], "lr must be greater than zero"),
        (["run", "ewc", "--batch", "0"], "batch must be greater than zero"),
        (["run", "ewc", "--replicas", "0"], "replicas must be greater than zero"),
        (["run", "ewc", "--seeds", "1,1"], "seeds must be different"),
        (["run", "ewc", "--updates", "3,3"], "updates names 2 tasks, the stream has 5"),
        (["run", "ewc", "--length", "3", "--stream", "split"], "length 3 does not divide"),
        (["run", "independent", "--stream", "rotated"], "--scenario task"),
        (["run", "icarl", "--stream", "rotated"], "--scenario class"),
        (["run", "maml", "--stream", "rotated"], "sinusoids"),
        (["run", "ewc", "--stream", "sinusoids"], "sinusoids"),
        (["compare", "ewc", "--grid", "strength"], "write name=value,value"),
        (["compare", "ewc", "--workers", "0"], "workers must be greater than zero"),
        (["compare", "ewc", "--scheduler", "here"], "no Dask scheduler answers at here"),
        (["compare", "maml", "ewc"], "they share no measure"),
        (["compare", "maml", "--grid", "inner_lr=0.1,1"], "chooses its step size on validation tasks"),
        (["run", "maml", "--epochs", "2"], "--epochs does not apply to maml"),
        (["run", "ewc", "--iterations", "2"], "--iterations does not apply to ewc"),
        (["run", "ewc", "--set", "fisher=proximal_pull"], "unknown value of fisher"),
        (["run", "ewc", "--seeds", "a,b"], "'a,b' is no list of whole numbers"),
        (["claims", "--run", "M1", "--replicas", "2"], "replicas must be 10 or more"),
        (["book", "--jobs", "0"], "jobs must be greater than zero"),
        (["claims", "--run", "T99"], "unknown claim 'T99'"),
        (["run"], "METHOD. See: clkit run --help"),
        ([], "COMMAND"),
        (["bench", "--rounds", "0"], "rounds must be greater than zero"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_refused_with_the_fix(capsys, arguments: list[str], words: str) -> None:
    assert words in refused(capsys, *arguments)


def test_cuda_without_a_gpu(capsys, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "--device cpu" in refused(capsys, "run", "ewc", "--device", "cuda")


def test_an_interrupt_ends_quietly(monkeypatch, capsys) -> None:
    def interrupt(options) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_methods", interrupt)
    assert cli.main(["methods"]) == 130
    assert "half-written" in capsys.readouterr().err


def test_a_checkpoint_lets_a_run_go_on(capsys, tmp_path: Path) -> None:
    file = str(tmp_path / "run.pt")
    first = clkit(capsys, "run", "l2", "--replicas", "2", "--checkpoint", file, *FAST)
    again = clkit(capsys, "run", "l2", "--replicas", "2", "--checkpoint", file, *FAST)
    assert again["accuracy"] == first["accuracy"]
    assert "another run" in refused(capsys, "run", "ewc", "--replicas", "2", "--checkpoint", file, *FAST)


def test_import_is_light() -> None:
    """`import clkit` loads neither torch nor a chapter."""
    code = "import sys, clkit; print([m for m in sys.modules if m == 'torch' or m.startswith('clkit.')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_console_script_answers() -> None:
    shown = subprocess.run([sys.executable, "-m", "clkit.cli", "run", "ewx"], capture_output=True, text=True)
    assert shown.returncode == 2 and shown.stderr.startswith("clkit: unknown method") and shown.stdout == ""


def test_every_method_runs_from_the_command_line(capsys) -> None:
    """Each with its default stream, settings and scenario."""
    for name, cls in catalogue.methods().items():
        budget = ["--iterations", "5"] if cls.chapter == "meta" or name == "joint_pretraining" else FAST
        assert clkit(capsys, "run", name, "--replicas", "2", *budget)["method"] == name
