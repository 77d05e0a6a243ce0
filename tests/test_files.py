"""Files are whole or not there: interrupts, full disks, folders that cannot be written."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from clkit.errors import ClkitError
from clkit.files import write_text, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path):
    """A file that is there already."""
    path = tmp_path / "record.json"
    path.write_text("old")
    yield path
    assert path.read_text() == "old" and names(tmp_path) == ["record.json"]


def half(file, error):
    file.write(b"half")
    file.flush()
    raise error


def test_writes_and_makes_the_folder(tmp_path):
    path = write_text(tmp_path / "a" / "b" / "c.txt", "é\n")
    assert path.read_bytes() == "é\n".encode() and names(path.parent) == ["c.txt"]
    assert write_text(str(path), "again").read_text() == "again"
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("a bug")], ids=["interrupt", "bug"])
def test_an_interrupt_leaves_the_old_file_and_no_temporary(old, error):
    with pytest.raises(type(error)):
        write_whole(old, lambda file: half(file, error))


def test_an_interrupt_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "new", lambda file: half(file, KeyboardInterrupt()))
    assert names(tmp_path) == []


def test_a_full_disk_says_what_to_do(old):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(
        ClkitError, match="could not write .*record.json.*No space left.*Free some space.*untouched"
    ):
        write_whole(old, lambda file: half(file, full))


def test_a_full_disk_at_the_rename(old, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ClkitError, match="No space left.*Free some space"):
        write_text(old, "new")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, Linux's disk that is always full")
def test_a_device_that_is_really_full(old):
    def onto_full(file):
        file.write(b"half")
        with open("/dev/full", "wb", buffering=0) as disk:
            disk.write(b"x")

    with pytest.raises(ClkitError, match="No space left"):
        write_whole(old, onto_full)


@pytest.fixture
def room():
    """No file may grow beyond 4 KiB: a write that really stops half-way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WRITERS = {
    "text": lambda file: file.write(b"x" * 100_000),
    "torch": lambda file: torch.save({"weights": torch.zeros(50_000)}, file),
    "numpy": lambda file: np.save(file, np.zeros(50_000)),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_write_that_stops_half_way(old, room, write):
    room()
    with pytest.raises(ClkitError, match="could not write .*record.json.*Free some space"):
        write_whole(old, write)


def test_a_path_that_cannot_be_a_file(tmp_path, old):
    with pytest.raises(ClkitError, match="choose another folder"):
        write_text(old / "below a file" / "x", "text")


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(ClkitError, match="taken is a folder"):
        write_text(tmp_path / "taken", "text")
    assert names(tmp_path) == ["taken"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    """Renaming over a link would replace it; over /dev/null it would replace the device."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "text"
    with pytest.raises(ClkitError, match="device"):
        write_text("/dev/null", "text")
