"""Data sets: splits, the IDX reader, what is said when a file is not right. No test touches the network."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from clkit import data
from clkit.errors import ClkitError

needs_files = pytest.mark.skipif(
    not os.environ.get("CLKIT_DATA"), reason="CLKIT_DATA names no folder with mnist/ and fashion-mnist/"
)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(self, url, output_file, pooch):
        raise AssertionError(f"a test asked the network for {url}")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", refuse)
    data.load.cache_clear()
    yield
    data.load.cache_clear()


def idx(values):
    """A gzipped IDX file of a uint8 array."""
    header = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(header + values.tobytes(), 1, mtime=0)  # no clock in the bytes


def described(name, content):
    return data.File(name, len(content), hashlib.md5(content).hexdigest())


@pytest.fixture
def source():
    """A tiny source whose only file holds the labels 3, 1."""
    content = idx(np.array([3, 1], np.uint8))
    file = described("labels.gz", content)
    mirrors = ("https://one.example/", "https://two.example/")
    return data.Source("tiny", mirrors, (file, file, file, file)), file, content


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache, and CLKIT_DATA unset."""
    monkeypatch.delenv("CLKIT_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    return tmp_path / "clkit"


def serve(monkeypatch, answers):
    """Replace the network: `answers` maps a mirror to bytes or to an exception. Returns the requests."""
    asked = []

    def answer(self, url, output_file, pooch):
        asked.append(url)
        reply = next(value for mirror, value in answers.items() if url.startswith(mirror))
        Path(output_file).write_bytes(reply if isinstance(reply, bytes) else b"half")
        if not isinstance(reply, bytes):
            raise reply

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", answer)
    return asked


def test_digits_hold_every_image_once_in_0_to_1():
    digits = data.load("digits")
    assert digits.x.shape == (1797, 8, 8) and digits.x.dtype == torch.float32 and digits.scale == 1.0
    assert digits.x.min() == 0.0 and digits.x.max() == 1.0
    # grey levels are sixteenths
    assert torch.equal((digits.x * 16).round(), digits.x * 16)
    assert digits.y.dtype == torch.int64 and digits.y.unique().tolist() == list(range(10))
    parts = (digits.train, digits.validation, digits.test)
    assert [len(part) for part in parts] == [1097, 200, 500]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(1797))


def test_digits_split_is_the_fixed_one():
    # the sums of positions and labels of each part: another seed or another order of the parts changes them
    digits = data.load("digits")
    parts = (digits.train, digits.validation, digits.test)
    sums = [(int(part.sum()), int(digits.y[part].sum())) for part in parts]
    assert sums == [(975537, 4945), (185568, 879), (452601, 2246)]
    assert digits.train[:3].tolist() == [1081, 1707, 927]
    assert all(digits.y[part].unique().numel() == 10 for part in parts)


def test_a_data_set_is_read_once():
    assert data.load("digits") is data.load("digits")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ClkitError, match=r"unknown data set 'fashion-mnist'.*fashion_mnist"):
        data.load("fashion-mnist")


@needs_files
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_files(name):
    images = data.load(name)
    assert images.x.shape == (70000, 28, 28) and images.x.dtype == torch.uint8
    assert int(images.x.max()) * images.scale == pytest.approx(1.0)
    assert images.train.tolist() == list(range(55000))
    assert images.validation.tolist() == list(range(55000, 60000))
    assert images.test.tolist() == list(range(60000, 70000))
    # the first ten labels of the official training and test set
    first = {"mnist": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], "fashion_mnist": [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]}
    first_test = {"mnist": [7, 2, 1, 0, 4, 1, 4, 9, 5, 9], "fashion_mnist": [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]}
    assert images.y[:10].tolist() == first[name]
    assert images.y[images.test[:10]].tolist() == first_test[name]
    # MNIST's mean grey level, known from everybody's normalisation constants: 0.1307; Fashion-MNIST's: 0.2860
    mean = float(images.x[:60000].double().mean()) * images.scale
    assert mean == pytest.approx({"mnist": 0.1307, "fashion_mnist": 0.2860}[name], abs=5e-5)


def test_four_files_become_one_data_set(monkeypatch, tmp_path):
    # image n is filled with n % 251, so a swapped file or a shifted split shows
    numbers = np.arange(70000)
    x = np.broadcast_to((numbers % 251).astype(np.uint8)[:, None, None], (70000, 2, 3))
    y = (numbers % 7).astype(np.uint8)
    arrays = {"a": x[:60000], "b": y[:60000], "c": x[60000:], "d": y[60000:]}
    contents = {name: idx(np.ascontiguousarray(array)) for name, array in arrays.items()}
    files = tuple(described(name, content) for name, content in contents.items())
    (tmp_path / "mnist").mkdir()
    for name, content in contents.items():
        (tmp_path / "mnist" / name).write_bytes(content)
    monkeypatch.setenv("CLKIT_DATA", str(tmp_path))
    monkeypatch.setitem(data.SOURCES, "mnist", data.SOURCES["mnist"]._replace(files=files))
    images = data.load("mnist")
    assert images.x.shape == (70000, 2, 3)
    assert torch.equal(images.x[:, 1, 2].long(), torch.arange(70000) % 251)
    assert torch.equal(images.y, torch.arange(70000) % 7)
    assert [len(part) for part in (images.train, images.validation, images.test)] == [55000, 5000, 10000]
    assert int(images.validation[0]) == 55000 and int(images.test[0]) == 60000


def test_idx_reader_keeps_rows_and_columns_apart():
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    back = data.read_idx(idx(values), "x.gz")
    assert back.dtype == np.uint8 and back.flags.writeable
    assert np.array_equal(back, values)


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (b"plain text", "not a whole gzip file"),
        (idx(np.zeros(500, np.uint8))[:-9], "not a whole gzip file"),
        (gzip.compress(b"", mtime=0), "no IDX file"),
        (gzip.compress(b"\0\0\x08", mtime=0), "no IDX file"),
        (gzip.compress(b"\0\0\x08\x03" + struct.pack(">2I", 1, 1), mtime=0), "no IDX file"),
        (gzip.compress(b"\0\0\x0d\x01" + struct.pack(">I", 1) + b"\0" * 4, mtime=0), "no IDX file"),
        (
            gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 5) + b"\0" * 4, mtime=0),
            r"holds 4 values, .* says \(5,",
        ),
    ],
    ids=range(7),
)
def test_idx_reader_refuses_what_is_not_idx(packed, says):
    with pytest.raises(ClkitError, match=rf"x\.gz .*{says}|x\.gz {says}"):
        data.read_idx(packed, "x.gz")


def test_local_file_is_read(monkeypatch, tmp_path, source):
    tiny, file, content = source
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "labels.gz").write_bytes(content)
    monkeypatch.setenv("CLKIT_DATA", str(tmp_path))
    assert data.read_idx(data._fetch(tiny, file), file.name).tolist() == [3, 1]


@pytest.mark.parametrize("wrong", ["truncated", "altered"])
def test_a_wrong_local_file_is_named_with_both_sums(monkeypatch, tmp_path, source, wrong):
    tiny, file, content = source
    bad = content[:-4] if wrong == "truncated" else content[:-1] + bytes([content[-1] ^ 1])
    path = tmp_path / "tiny" / "labels.gz"
    path.parent.mkdir()
    path.write_bytes(bad)
    monkeypatch.setenv("CLKIT_DATA", str(tmp_path))
    with pytest.raises(ClkitError) as caught:
        data._fetch(tiny, file)
    message = str(caught.value)
    assert f"{path} is {wrong}" in message
    assert f"has {len(bad)} bytes and md5 {hashlib.md5(bad).hexdigest()}" in message
    assert f"expected {file.size} bytes and md5 {file.md5}" in message
    assert "unset CLKIT_DATA" in message and tiny.mirrors[0] in message
    assert path.read_bytes() == bad  # the reader's file is not touched


def test_an_absent_local_file_is_an_error_and_not_a_download(monkeypatch, tmp_path, source):
    tiny, file, _ = source
    monkeypatch.setenv("CLKIT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ClkitError, match=r"nowhere/tiny/labels\.gz does not exist.*Copy it there"):
        data._fetch(tiny, file)


def test_an_unreadable_local_file_is_an_error(monkeypatch, tmp_path, source):
    tiny, file, _ = source
    (tmp_path / "tiny" / "labels.gz").mkdir(parents=True)
    monkeypatch.setenv("CLKIT_DATA", str(tmp_path))
    with pytest.raises(ClkitError, match="cannot be read"):
        data._fetch(tiny, file)


def test_load_names_the_missing_file(monkeypatch, tmp_path):
    monkeypatch.setenv("CLKIT_DATA", str(tmp_path))
    with pytest.raises(ClkitError, match=r"fashion-mnist/train-images-idx3-ubyte\.gz does not exist"):
        data.load("fashion_mnist")


def test_first_mirror_then_cache(monkeypatch, cache, source):
    tiny, file, content = source
    asked = serve(monkeypatch, {"https://one": content})
    assert data._fetch(tiny, file) == content
    assert data._fetch(tiny, file) == content
    assert asked == ["https://one.example/labels.gz"]
    assert (cache / "tiny" / "labels.gz").read_bytes() == content


@pytest.mark.parametrize("failure", [OSError("no route to host"), b"an error page"])
def test_second_mirror_when_the_first_fails_or_lies(monkeypatch, cache, source, failure):
    tiny, file, content = source
    asked = serve(monkeypatch, {"https://one": failure, "https://two": content})
    assert data._fetch(tiny, file) == content
    assert asked == ["https://one.example/labels.gz", "https://two.example/labels.gz"]


def test_an_altered_cached_file_is_replaced(monkeypatch, cache, source):
    tiny, file, content = source
    (cache / "tiny").mkdir(parents=True)
    (cache / "tiny" / "labels.gz").write_bytes(content[:-1])
    serve(monkeypatch, {"https://one": content})
    assert data._fetch(tiny, file) == content
    assert (cache / "tiny" / "labels.gz").read_bytes() == content


def test_no_mirror_answers(monkeypatch, cache, source):
    tiny, file, _ = source
    serve(monkeypatch, {"https://one": OSError("no route to host"), "https://two": b"an error page"})
    with pytest.raises(ClkitError) as caught:
        data._fetch(tiny, file)
    message = str(caught.value)
    for part in (*tiny.mirrors, "no route to host", "md5", str(cache / "tiny"), "CLKIT_DATA"):
        assert part in message
    assert list((cache / "tiny").iterdir()) == []


def test_an_interrupted_download_leaves_nothing(monkeypatch, cache, source):
    tiny, file, content = source
    serve(monkeypatch, {"https://one": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        data._fetch(tiny, file)
    assert list((cache / "tiny").iterdir()) == []
    serve(monkeypatch, {"https://one": content})
    assert data._fetch(tiny, file) == content


def test_a_full_disk_is_named(monkeypatch, cache, source):
    tiny, file, _ = source
    full = OSError(28, "No space left on device")
    serve(monkeypatch, {"https://one": full, "https://two": full})
    with pytest.raises(ClkitError, match="No space left on device"):
        data._fetch(tiny, file)
    assert list((cache / "tiny").iterdir()) == []
