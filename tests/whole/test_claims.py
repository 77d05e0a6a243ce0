"""What the claims about all methods rest on."""

import numpy as np
import pytest

import clkit
from clkit import claims
from clkit.memory.replay import Replay
from clkit.whole.claims import STREAMS, front, scores, shortfalls, speed


@pytest.fixture(scope="module")
def record():
    training = clkit.Training(updates=(60, 60), every=10)
    return clkit.run(Replay(capacity=20), clkit.Rotated(length=2), training, replicas=2, progress=False)


def test_scores_are_the_seven_desiderata_of_the_run(record):
    data, size, kept, fast, new, transfer, agnostic = scores(record)
    # 20 images of 64 pixels in float32 with their labels are kept of all the images of two tasks
    share = np.mean(record.bytes_examples) / record.bytes_data[-1]
    np.testing.assert_allclose(data, 1 - share)
    assert 0 < share < 0.1
    # a second task of 32 new and 32 old examples a step: twice the operations, so (1 + 1/2) / 2 at most
    np.testing.assert_allclose(size, np.mean(np.array(record.flops_plain) / record.flops))
    after = record.matrix
    np.testing.assert_allclose(kept, 1 - (after[:, 1, 0] - after[:, 2, 0]))
    np.testing.assert_allclose(new, (after[:, 1, 0] + after[:, 2, 1]) / 2)
    np.testing.assert_allclose(transfer, after[:, 1, 1] - after[:, 0, 1])
    np.testing.assert_array_equal(agnostic, 1)  # rehearsal needs neither boundaries nor labels
    np.testing.assert_array_equal(fast, speed(record))


def test_speed_is_the_mean_over_six_looks_from_the_first_update_of_each_task_on(record):
    first = np.concatenate([record.matrix[:, :1, 0], record.curve[:, :5, 0]], axis=1)
    second = record.curve[:, 5:11, 1]  # after 60 = the start of task two, 70, ..., 110 updates
    np.testing.assert_allclose(speed(record), np.stack([first, second]).mean(axis=(0, 2)))


def test_shortfalls_are_taken_from_the_best_of_each_desideratum_in_each_replica():
    table = {
        "a": np.array([[1.0, 0.2], [0.5, np.nan]]),  # two desiderata, two replicas
        "b": np.array([[0.4, 0.6], [0.9, np.nan]]),
    }
    short = shortfalls(table)
    np.testing.assert_allclose(short["a"], [[0.0, 0.4], [0.4, np.nan]])
    np.testing.assert_allclose(short["b"], [[0.6, 0.0], [0.0, np.nan]])


def test_the_front_leaves_out_only_who_is_beaten():
    column = {"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (0.0, 0.9), "twin of b": (0.0, 1.0)}
    table = {name: np.array(values)[:, None] for name, values in column.items()}
    assert front(table) == ["a", "b", "twin of b"]


def test_the_ends_of_tasks_are_looks_of_the_curve():
    for _, training in STREAMS.values():
        assert all(updates % training.every == 0 for updates in training.updates)


def test_the_stored_table_holds_every_method_that_fits():
    stored = claims.stored("W1")["curves"]
    assert set(stored["scores"]) == set(stored["table"]) == set(STREAMS)
    assert {"independent", "progressive"} <= set(stored["scores"]["task"])
    assert "independent" not in stored["scores"]["domain"]  # it must be told the task at test
    assert set(stored["scores"]["class"]) < {
        name for name, cls in clkit.catalogue.methods().items() if issubclass(cls, clkit.Method)
    }


def test_what_the_closing_page_says_of_the_front_holds():
    curves = claims.stored("W1")["curves"]
    assert all(set(curves["front"][s]) == set(curves["scores"][s]) for s in STREAMS)  # nobody is beaten
    domain = {name: [d["mean"] for d in row] for name, row in curves["scores"]["domain"].items()}
    short = {
        name: max(max(column) - v for v, column in zip(row, zip(*domain.values(), strict=True), strict=True))
        for name, row in domain.items()
    }
    nearest = min(short, key=short.get)
    assert short[nearest] == pytest.approx(1 / 3)  # a need decides
    transfer = [row[5]["mean"] for row in curves["scores"]["task"].values() if row[5]["mean"] is not None]
    assert transfer and max(map(abs, transfer)) < 0.05  # "near zero for everybody"
    spent = claims.stored("L5")["reported"]
    maml, joint = (
        spent[f"label_swap: operations in training, {n}"]["mean"] for n in ("maml", "joint_pretraining")
    )
    assert 0.8 < maml / joint < 1.25  # "about as many operations"
