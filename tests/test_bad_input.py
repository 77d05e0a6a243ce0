"""Bad input: the error names the argument and the fix."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from clkit.catalogue import methods
from clkit.controls import L2, Joint
from clkit.data import load
from clkit.errors import ClkitError, UnfitError, positive, unknown
from clkit.loop import run
from clkit.method import INSTEAD, Both, Method
from clkit.nets import Convnet, Mlp
from clkit.scenario import scenario
from clkit.streams import Permuted, Rotated, Split, from_arrays, stream
from clkit.training import Training

QUICK = Training(updates=(2, 2), batch=4, network=Mlp(hidden=(5,)))
X, Y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2


def small_stream(**more):
    return from_arrays([(X, Y)] * 2, [(X, Y)] * 2, **more)


UNKNOWN = {
    "stream": (lambda: stream("rotate"), r"unknown stream 'rotate'. Did you mean rotated"),
    "data set": (lambda: load("mnits"), r"unknown data set 'mnits'. Did you mean mnist"),
    "data set of a stream": (
        lambda: Rotated(dataset="digit"),
        r"unknown data set 'digit'. Did you mean digits",
    ),
    "scenario": (lambda: scenario("tasks", (2, 2)), r"unknown scenario 'tasks'. Did you mean task"),
    "scenario of a stream": (
        lambda: Split(scenario="classes"),
        r"unknown scenario 'classes'. Did you mean class",
    ),
    "scenario of arrays": (lambda: small_stream(scenario="domains"), r"Did you mean domain"),
    "nothing like it": (lambda: stream("xyz"), "Known: permuted, rotated, split."),
}


@pytest.mark.parametrize("make, message", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_names_suggest_the_nearest(make, message):
    with pytest.raises(ClkitError, match=message):
        make()


def test_the_nearest_come_first():
    assert str(unknown("method", "ewcc", ["agem", "ewc", "online_ewc"])).endswith(
        "Did you mean ewc or online_ewc?"
    )


# Methods and streams that do not fit. For each need: a stream that lacks it, and what to use instead.

LACKING: dict[str, tuple[dict[str, Any], list[str]]] = {
    "task boundaries": ({"boundaries": False}, ["replay"]),
    "task labels in training": ({"boundaries": False}, ["replay"]),
    "task labels at test": ({}, ["ewc", "agem", "replay"]),
    "stored examples": ({"storage": False}, ["ewc", "l2"]),
    "past data": ({"storage": False}, ["ewc"]),
    "new classes": ({}, ["replay"]),
}


def needing(need):
    class Needy(Method):
        name: ClassVar[str] = "needy"
        needs: ClassVar[frozenset[str]] = frozenset({need})

    return Needy()


def test_every_need_has_a_refusal():
    assert set(LACKING) == set(INSTEAD)


@pytest.mark.parametrize("need", LACKING)
def test_an_unfit_method_is_refused_before_anything_runs_with_what_to_use_instead(need, monkeypatch):
    more, instead = LACKING[need]
    monkeypatch.setattr(Method, "start", lambda *_: pytest.fail("it ran"))
    lacking = Rotated(**more)
    with pytest.raises(UnfitError, match=f"needy needs {need}, but .*[Uu]se") as refusal:
        run(needing(need), lacking)
    for name in instead:
        assert name in str(refusal.value) and methods()[name].needs <= lacking.gives()


def test_where_scenario_is_the_fix_it_is_one():
    assert (
        "scenario 'task'" in INSTEAD["task labels at test"] and "scenario 'class'" in INSTEAD["new classes"]
    )
    run(needing("task labels at test"), small_stream(scenario="task"), QUICK, replicas=1, progress=False)
    for name in ("class", "task"):
        run(needing("new classes"), small_stream(scenario=name), QUICK, replicas=1, progress=False)


def test_no_past_without_boundaries():
    with pytest.raises(UnfitError, match="joint needs past data.*replay if examples may be kept"):
        run(Joint(), Rotated(boundaries=False))
    assert methods()["replay"].needs <= Rotated(boundaries=False).gives()


def test_a_need_that_does_not_exist():
    with pytest.raises(ClkitError, match="unknown need of needy 'past_data'. Did you mean past data"):
        run(needing("past_data"), small_stream(), QUICK)


# Settings.

NUMBERS = {
    "lr": lambda n: Training(lr=n),
    "batch": lambda n: Training(batch=n),
    "epochs": lambda n: Training(epochs=n),
    "updates": lambda n: Training(updates=(3, n)),
    "length": lambda n: Rotated(length=n),
    "limit": lambda n: Rotated(limit=(5, 5, n, 5, 5)),
    "hidden": lambda n: Mlp(hidden=(10, n)),
    "filters": lambda n: Convnet(filters=(4, n)),
    "scale": lambda n: Mlp(scale=n),
    "replicas": lambda n: run(Method(), small_stream(), QUICK, replicas=n),
    "threads": lambda n: run(Method(), small_stream(), QUICK, threads=n),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1])
def test_numbers_below_one_have_no_meaning(name, value):
    with pytest.raises(ClkitError, match=f"{name} must be greater than zero, not {value}"):
        NUMBERS[name](value)


NATURAL = {
    "every": lambda n: Training(every=n),
    "chunk": lambda n: run(Method(), small_stream(), QUICK, chunk=n),
    "strength": lambda n: L2(strength=n),
}


@pytest.mark.parametrize("name", NATURAL)
def test_zero_has_a_meaning_here_and_less_has_not(name):
    NATURAL[name](0)
    with pytest.raises(ClkitError, match=f"{name} must be zero or more, not -1"):
        NATURAL[name](-1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_must_be_numbers(value):
    for zero in (True, False):
        with pytest.raises(ClkitError, match="strength must be"):
            positive("strength", value, zero=zero)
    with pytest.raises(ClkitError, match="lr must be greater than zero, not"):
        Training(lr=value)
    with pytest.raises(ClkitError, match="degrees must be an angle, not"):
        Rotated(degrees=value)


SETTINGS = {
    "limit names": (lambda: Permuted(limit=(5, 5)), "limit names 2 tasks but length is 5: give one each"),
    "divides": (lambda: Split(length=3), "length 3 does not divide the 10 classes of digits"),
    "too long": (lambda: Split(length=20), "length 20 does not divide"),
    "tried": (lambda: Rotated(tried=6), "tried must be 0 to 5, the tasks of the stream, not 6"),
    "tried less": (lambda: Rotated(tried=-1), "tried must be 0 to 5"),
    "updates name": (
        lambda: run(Method(), small_stream(), replace(QUICK, updates=(2,))),
        "updates names 1 tasks, the stream has 2",
    ),
    "seeds repeated": (
        lambda: run(Method(), small_stream(), QUICK, seeds=(3, 1, 3)),
        r"seeds must be different numbers, at least one, not \[3, 1, 3\]",
    ),
    "no seeds": (lambda: run(Method(), small_stream(), QUICK, seeds=()), "seeds must be different numbers"),
    "device": (
        lambda: run(Method(), small_stream(), QUICK, device="gpu"),
        "unknown device 'gpu': use 'cpu' or",
    ),
    "no image": (
        lambda: run(Method(), small_stream(), replace(QUICK, network=Convnet())),
        r"a convolution needs images, not inputs of shape \(2,\)",
    ),
}


@pytest.mark.parametrize("make, message", SETTINGS.values(), ids=SETTINGS)
def test_settings_that_do_not_fit_together(make, message):
    with pytest.raises(ClkitError, match=message):
        make()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_cuda():
    with pytest.raises(
        ClkitError, match="device 'cuda' asked for, but torch sees no CUDA GPU: use device='cpu'"
    ):
        run(Method(), small_stream(), QUICK, device="cuda")


# A reader's own arrays.

GOOD = (X, Y)
HOLE = np.where(np.arange(24).reshape(12, 2) == 5, np.nan, X)
ARRAYS = {
    "no tasks": (([], []), "train is empty: give at least one task"),
    "fewer tests": (([GOOD, GOOD], [GOOD]), "train has 2 tasks but test or validation has another number"),
    "fewer validations": (([GOOD] * 2, [GOOD] * 2, [GOOD]), "train has 2 tasks but test or validation"),
    "empty task": (([GOOD, (X[:0], Y[:0])], [GOOD] * 2), r"train\[1\] is empty: every task needs examples"),
    "empty test": (([GOOD], [(X[:0], Y[:0])]), r"test\[0\] is empty"),
    "lengths": (
        ([(X, Y[:5])], [GOOD]),
        r"train\[0\]: x \(12, 2\) and y \(5,\) do not match; y needs one label per",
    ),
    "one-hot labels": (([(X, np.eye(12))], [GOOD]), r"train\[0\]: x \(12, 2\) and y \(12, 12\) do not match"),
    "float labels": (
        ([(X, Y / 2)], [GOOD]),
        r"train\[0\]: y is float64; labels must be whole numbers.*astype\(int\)",
    ),
    "NaN": (
        ([GOOD], [(HOLE, Y)]),
        r"test\[0\]: x holds NaN or infinite values; remove or replace them first",
    ),
    "infinite": (([(np.full((12, 2), np.inf), Y)], [GOOD]), r"train\[0\]: x holds NaN or inf"),
    "no features": (
        ([(X[:, 0], Y)], [GOOD]),
        r"train\[0\]: x \(12,\) needs a dimension for the features; x\[:, None\]",
    ),
    "text": (([(X.astype(str) + "a", Y)], [GOOD]), r"train\[0\] is no pair \(x, y\) of arrays of numbers"),
    "a triple": (([(X, Y, Y)], [GOOD]), r"train\[0\] is no pair \(x, y\)"),
    "ragged": (([([[1.0], [1.0, 2.0]], [0, 1])], [GOOD]), r"train\[0\] is no pair \(x, y\)"),
    "label of the test": (
        ([GOOD], [(X, Y + 1)]),
        r"test\[0\] has labels \[2\] outside the classes of its training set",
    ),
    "label of validation": (
        ([GOOD], [GOOD], [(X, Y * 7)]),
        r"validation\[0\] has labels \[7\] outside the classes",
    ),
    "shape of the test": (([GOOD], [(X[:, :1], Y)]), "task 0: x has another shape or type in train than in"),
    "type of the test": (([GOOD], [(X.astype(np.uint8), Y)]), "task 0: x has another shape or type in train"),
    "shape of a task": (
        ([GOOD, (X[:, :1], Y)], [GOOD, (X[:, :1], Y)]),
        r"x has different shapes in different tasks: \[\(1,\), \(2,\)\]. All tasks need the same",
    ),
    "too few": (
        ([(X[:5], Y[:5])], [GOOD]),
        r"train\[0\] has 5 examples, too few to set some aside: pass validation",
    ),
    "classes": (
        ([GOOD, (X, np.arange(12) % 3)], [GOOD] * 2),
        "scenario 'domain' needs the same number of classes in every task; use 'task' or 'class'",
    ),
}


@pytest.mark.parametrize("arguments, message", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_cannot_be_learned_from(arguments, message):
    with pytest.raises(ClkitError, match=message):
        from_arrays(*arguments)


def test_a_full_disk_stops_a_run_and_leaves_its_last_checkpoint(tmp_path, monkeypatch):
    file, replaced, rename = tmp_path / "run.pt", [], os.replace

    def full_after_one(source, target):
        if replaced:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replaced.append(rename(source, target))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_after_one)
        with pytest.raises(ClkitError, match="could not write .*run.pt.*No space left.*Free some space"):
            run(Method(), small_stream(), QUICK, seeds=(0, 1), checkpoint=file, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    resumed = run(Method(), small_stream(), QUICK, seeds=(0, 1), checkpoint=file, progress=False)
    whole = run(Method(), small_stream(), QUICK, seeds=(0, 1), progress=False)
    assert (resumed.accuracy == whole.accuracy).all() and resumed.updates == whole.updates


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Training(lr=None), "lr must be a number, not None"),
        (lambda: Training(lr="a"), "lr must be a number, not 'a'"),
        (lambda: Training(batch=2.5), "batch must be a whole number"),
        (lambda: Training(updates=5), r"updates must be a tuple of numbers, for example \(5,\)"),
        (lambda: Mlp(hidden=100), r"hidden must be a tuple of numbers, for example \(100,\)"),
        (lambda: Rotated(limit=5), "limit must be a tuple"),
        (lambda: L2(strength=None), "strength must be a number"),
        (lambda: run(Method), r"method must be an object such as EWC\(\)"),
        (lambda: run(Method(), "rotated"), r"stream must be an object such as Rotated\(\)"),
        (lambda: run(Method(), dtype="float64"), "dtype must be an object such as torch.float64"),
        (lambda: run(Method(), replicas="3"), "replicas must be a number"),
        (lambda: run(Method(), seeds=3), r"seeds must be whole numbers, for example seeds=\(0, 1\)"),
        (lambda: Both(first=L2, second=Method), "two objects"),
        (lambda: from_arrays([(np.zeros((6, 0)), np.arange(6) % 2)] * 2, [(np.zeros((6, 0)), np.arange(6) % 2)] * 2),
         "no features"),
        (lambda: from_arrays([(np.zeros((6, 2), complex), np.arange(6) % 2)], [(np.zeros((6, 2)), np.arange(6) % 2)]),
         "no pair"),
        (lambda: from_arrays([(torch.zeros(6, 2, requires_grad=True), np.arange(6) % 2)], []), "number"),
    ],
)  # fmt: skip
def test_the_wrong_kind_of_thing_is_named(make, words):
    with pytest.raises(ClkitError, match=words):
        make()
