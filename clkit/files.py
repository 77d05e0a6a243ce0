"""Files are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from clkit.errors import ClkitError


def write_whole(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write(file)` fill a temporary file beside `path`, then rename it: an interrupt leaves the old one.

    Raises:
        ClkitError: the folder cannot be written or the disk is full; says what to do.
    """
    path = Path(path).resolve()  # a link stays a link
    if path.exists() and not path.is_file():
        raise ClkitError(f"{path} is a folder or a device, not a file: name another file.")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise ClkitError(
            f"could not write {path}: {error}. Free some space or choose another folder; "
            "the file that was there before is untouched."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_whole` for text in UTF-8."""
    return write_whole(path, lambda file: file.write(text.encode()))
