"""Data sets: digits come with scikit-learn, MNIST and Fashion-MNIST are found by checksum.

Where the environment variable CLKIT_DATA names a folder, the files are read from its `mnist/` and
`fashion-mnist/` and nothing is downloaded; otherwise from pooch's cache, filled from the first mirror that
answers. Every file is checked against its md5 before it is read.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch
from torch import Tensor

from clkit.errors import ClkitError, unknown


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples stored once, and which of them serve which purpose. Shared: never modify the tensors."""

    name: str
    x: Tensor  # [N, height, width], uint8 or float32
    y: Tensor  # [N] int64, 0 .. classes - 1
    scale: float  # x * scale lies in 0..1
    classes: int
    train: Tensor  # int64 positions in x, disjoint from the next two
    validation: Tensor
    test: Tensor


class File(NamedTuple):
    name: str
    size: int  # bytes
    md5: str


class Source(NamedTuple):
    folder: str  # in CLKIT_DATA and in the cache
    mirrors: tuple[str, str]
    files: tuple[File, File, File, File]  # train images, train labels, test images, test labels


SOURCES = {
    "mnist": Source(
        "mnist",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            File("train-images-idx3-ubyte.gz", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            File("train-labels-idx1-ubyte.gz", 28881, "d53e105ee54ea40749a09fcbcd1e9432"),
            File("t10k-images-idx3-ubyte.gz", 1648877, "9fb629c4189551a2d022fa330f9573f3"),
            File("t10k-labels-idx1-ubyte.gz", 4542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
    "fashion_mnist": Source(
        "fashion-mnist",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (
            File("train-images-idx3-ubyte.gz", 26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            File("train-labels-idx1-ubyte.gz", 29515, "25c81989df183df01b3e8a0aad5dffbe"),
            File("t10k-images-idx3-ubyte.gz", 4422102, "bef4ecab320f06d8554ea6380940ec79"),
            File("t10k-labels-idx1-ubyte.gz", 5148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
}


@cache
def load(name: str) -> Dataset:
    """The data set `name`: digits, mnist or fashion_mnist; read once per process.

    digits: scikit-learn's 1797 handwritten digits, 8x8, values / 16, float32; 1097 train, 200 validation and
    500 test by a fixed permutation.
    mnist, fashion_mnist: 70,000 images, 28x28, uint8; train the first 55,000 and validation the last 5,000 of
    the official training set, test the official test set (LeCun, Cortes and Burges 1998; Xiao, Rasul and
    Vollgraf 2017).

    Raises ClkitError for an unknown name and for a file that is absent, truncated, altered or not to be had.
    """
    if name == "digits":
        return _digits()
    if name in SOURCES:
        return _images(name)
    raise unknown("data set", name, ["digits", *SOURCES])


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # here, because scikit-learn takes a second to import

    bunch = load_digits()
    # RandomState, because numpy promises its numbers for every later version
    order = torch.from_numpy(np.random.RandomState(0).permutation(1797).astype(np.int64))
    return Dataset(
        name="digits",
        x=torch.from_numpy((bunch.images / 16).astype(np.float32)),
        y=torch.from_numpy(bunch.target.astype(np.int64)),
        scale=1.0,
        classes=10,
        train=order[:1097],
        validation=order[1097:1297],
        test=order[1297:],
    )


def _images(name: str) -> Dataset:
    source = SOURCES[name]
    arrays = [torch.from_numpy(read_idx(_fetch(source, file), file.name)) for file in source.files]
    past_train = len(arrays[1])
    past_test = past_train + len(arrays[3])
    return Dataset(
        name=name,
        x=torch.cat([arrays[0], arrays[2]]),
        y=torch.cat([arrays[1], arrays[3]]).long(),
        scale=1 / 255,
        classes=10,
        train=torch.arange(past_train - 5000),
        validation=torch.arange(past_train - 5000, past_train),
        test=torch.arange(past_train, past_test),
    )


def read_idx(packed: bytes, name: str) -> np.ndarray:
    """The uint8 array in a gzipped IDX file: 0, 0, 8, number of sizes, sizes (big-endian, 4 bytes), data."""
    try:
        raw = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise ClkitError(f"{name} is not a whole gzip file ({error}): fetch it again.") from error
    if raw[:3] != b"\0\0\x08" or len(raw) < 4 or len(raw) < 4 + 4 * raw[3]:
        raise ClkitError(f"{name} is no IDX file of bytes (it begins {raw[:4].hex(' ')}): fetch it again.")
    shape = struct.unpack_from(f">{raw[3]}I", raw, 4)
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
    if len(values) != math.prod(shape):
        raise ClkitError(f"{name} holds {len(values)} values, its header says {shape}: fetch it again.")
    return values.reshape(shape).copy()  # frombuffer is read-only, torch wants its own


def _fetch(source: Source, file: File) -> bytes:
    local = os.environ.get("CLKIT_DATA")
    if local:
        return _local(Path(local).expanduser() / source.folder / file.name, source, file)
    return _download(source, file)


def _local(path: Path, source: Source, file: File) -> bytes:
    fix = f"Copy it there from {source.mirrors[0]}{file.name}, or unset CLKIT_DATA to have it downloaded."
    try:
        packed = path.read_bytes()
    except FileNotFoundError as error:
        raise ClkitError(f"{path} does not exist, and CLKIT_DATA says to look there. {fix}") from error
    except OSError as error:
        raise ClkitError(f"{path} cannot be read ({error.strerror}). {fix}") from error
    md5 = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if md5 != file.md5:
        wrong = "truncated" if len(packed) < file.size else "altered"
        raise ClkitError(
            f"{path} is {wrong}: it has {len(packed)} bytes and md5 {md5},"
            f" expected {file.size} bytes and md5 {file.md5}. {fix}"
        )
    return packed


def _download(source: Source, file: File) -> bytes:
    folder = Path(pooch.os_cache("clkit")) / source.folder
    failures = []
    for mirror in source.mirrors:
        try:
            # pooch writes beside the file, checks the md5, renames: an interrupt leaves nothing half-written
            url, known_hash = mirror + file.name, f"md5:{file.md5}"
            return Path(pooch.retrieve(url, known_hash, file.name, folder, progressbar=True)).read_bytes()
        except (OSError, ValueError) as error:  # no network, no space, no permission; wrong md5
            failures.append(f"  {mirror}{file.name}: {error}")
    raise ClkitError(
        "\n".join([f"{file.name} could not be downloaded:", *failures])
        + f"\nGo online and try again; or fetch it elsewhere and put it into {folder},"
        f" or into a folder {source.folder}/ and set CLKIT_DATA to the folder around it."
    )
