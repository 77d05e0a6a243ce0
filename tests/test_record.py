"""What a run leaves: saved, loaded, as a table, several as one."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import fields

import numpy as np
import pytest

from clkit.errors import ClkitError
from clkit.record import SCHEMA, Record, concatenate

VALUES = np.array([[[0.1, 0.2], [0.9, 0.3], [0.5, 1 / 3]], [[0.0, 0.25], [1.0, 0.5], [0.75, 0.875]]])


def record(**more):
    plain = {"method": "l2", "settings": {"method": {"strength": 0.3}}, "seeds": [4, 9], "stream": "rotated"}
    more = {"accuracy": VALUES, "updates": [7, 7], "bytes_kept": [40, 80], **more}
    return Record(**plain, **more)


def same(a, b):
    """Equal in every field, arrays in type and shape too."""
    for f in fields(Record):
        x, y = getattr(a, f.name), getattr(b, f.name)
        assert type(x) is type(y), f.name
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype and x.shape == y.shape and (x == y).all(), f.name
        else:
            assert x == y, f.name
    return True


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "scenario": "domain",
            "curve": VALUES,
            "curve_updates": [3, 6, 9],
            "seconds": 1.25,
            "flops": [10**12, 3],
        },
        {"accuracy": None, "by_step": VALUES[..., 0], "metric": "mean squared error"},
    ],
    ids=["plain", "curve", "episodic"],
)
def test_save_and_load_give_the_same_to_the_bit(tmp_path, more):
    one = record(**more)
    path = one.save(tmp_path / "one.json")
    assert same(Record.load(path), one) and same(Record.load(str(path)), one)
    assert json.loads(path.read_text())["schema"] == SCHEMA


def test_versions_say_what_computed_the_numbers():
    assert {"python", "clkit", "torch", "numpy"} <= set(record().versions)


def test_to_frame_has_a_row_for_each_replica_row_and_task():
    frame = record().to_frame()
    assert list(frame.columns) == ["seed", "after", "task", "accuracy"] and len(frame) == 12
    for _, row in frame.iterrows():
        replica = [4, 9].index(int(row.seed))
        assert row.accuracy == VALUES[replica, int(row.after), int(row.task)]


def test_to_frame_of_an_episodic_learner():
    frame = record(accuracy=None, by_step=VALUES[..., 0], metric="loss").to_frame()
    assert list(frame.columns) == ["seed", "step", "loss"]
    assert frame.loss.tolist() == [0.1, 0.9, 0.5, 0.0, 1.0, 0.75] and frame.step.tolist() == [0, 1, 2] * 2


def test_load_refuses_another_schema(tmp_path):
    path = record().save(tmp_path / "old.json")
    old = json.loads(path.read_text()) | {"schema": SCHEMA + 1}
    del old["bytes_data"]  # another schema has other fields
    path.write_text(json.dumps(old))
    with pytest.raises(ClkitError, match=f"has schema {SCHEMA + 1}, this clkit reads {SCHEMA}. Run it again"):
        Record.load(path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '"text"', f'{{"schema": {SCHEMA}}}', '{"method": "l2"}', "null"],
)
def test_load_refuses_what_is_no_record(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(ClkitError, match=r"broken.json is no record that can be read .*run it again"):
        Record.load(path)


def test_load_refuses_a_truncated_record_and_bytes(tmp_path):
    path = record().save(tmp_path / "cut.json")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"\xff\xfe\x00binary"):
        path.write_bytes(content)
        with pytest.raises(ClkitError, match="is no record that can be read"):
            Record.load(path)


def test_load_of_no_file_names_it(tmp_path):
    with pytest.raises(ClkitError, match="nothing.json is no record that can be read"):
        Record.load(tmp_path / "nothing.json")


def test_a_full_disk_leaves_the_old_record(tmp_path, monkeypatch):
    path = record().save(tmp_path / "one.json")

    def refuse(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ClkitError, match="one.json.*No space left.*Free some space"):
        record(seconds=5.0).save(path)
    assert same(Record.load(path), record()) and [p.name for p in tmp_path.iterdir()] == ["one.json"]


def test_concatenate_puts_the_replicas_behind_each_other():
    first = record(curve=VALUES, curve_updates=[1, 2, 3], seconds=1.0, bytes_data=[5, 9])
    second = record(curve=VALUES + 1, curve_updates=[1, 2, 3], seconds=2.0, bytes_data=[7, 8])
    second.seeds = [1]
    second.accuracy = VALUES[:1] / 2
    both = concatenate([first, second])
    assert both.seeds == [4, 9, 1] and both.seconds == 3.0 and both.updates == [7, 7]
    assert (both.accuracy == np.concatenate([VALUES, VALUES[:1] / 2])).all()
    assert both.curve.shape == (4, 3, 2) and both.by_step is None
    assert both.bytes_data == [7, 9]  # of the largest replica, in whichever part it was
    assert concatenate([first]) is first
