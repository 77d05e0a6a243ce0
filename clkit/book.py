"""The book: execute the notebooks that changed, render the pages, keep the last good book on any error."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from clkit.errors import ClkitError, unknown
from clkit.files import write_text
from clkit.notebooks import LIMITS, copy_outputs, execute, key, plain, sidecar, stale

ROOT = Path(__file__).resolve().parent.parent
JUPYTER_BOOK = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]


def build(profile: str = "quick", fresh: bool = False, jobs: int = 2, root: Path = ROOT) -> Path:
    """Execute what changed, render the book and return the path of its first page.

    Args:
        profile: "quick" writes the outputs into the notebooks, "paper" runs a copy in `_build/paper`.
        fresh: execute every notebook.
        jobs: notebooks executed at a time.
        root: the clone of the repository.

    Raises:
        ClkitError: an error in a cell, or a warning in a page; the last good book then stays in place.
    """
    if profile not in LIMITS:
        raise unknown("profile", profile, LIMITS)
    if not (root / "book" / "_toc.yml").exists():
        raise ClkitError(f"there is no book in {root}: run this in a clone of the repository.")
    quick = profile == "quick"
    book = root / "book" if quick else _copy(root)
    changed = [path for path in notebooks(book) if fresh or stale(path, profile, root)]
    execute(changed, profile=profile, jobs=jobs, root=root)
    return render(book, root / "_build" if quick else book.parent, root)


def notebooks(book: Path) -> list[Path]:
    """The notebooks in the table of contents, in its order."""
    return [path for path in pages(book) if path.suffix == ".ipynb"]


def pages(book: Path) -> list[Path]:
    """The source of every page in the table of contents, in its order."""
    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    paths = [book / f"{name}{kind}" for name in _strings(toc) for kind in (".md", ".ipynb")]
    return [path for path in paths if path.exists()]


def _strings(entry: object) -> Iterable[str]:
    if type(entry) is str:
        yield entry
    parts = entry if type(entry) is list else entry.values() if type(entry) is dict else []
    for part in parts:
        yield from _strings(part)


def render(book: Path, output: Path, root: Path = ROOT) -> Path:
    """Render the executed notebooks to `output`/html, warnings fatal, and return the first page."""
    work = output / "work"
    command = [*JUPYTER_BOOK, str(book), "-W", "-n", "--keep-going", "--path-output", str(work)]
    command += ["--config", str(root / "_config.yml")]
    look, mark = _look(book, root), work / "look"
    if not mark.exists() or mark.read_text() != look:  # Jupyter Book overlooks a change that is in no page
        command.append("--all")
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode:
        mark.unlink(missing_ok=True)
        words = ("WARNING", "ERROR", "rror:")
        lines = plain(done.stdout + done.stderr).splitlines()
        lines = [line for line in lines if any(word in line for word in words)]
        raise ClkitError("the pages have warnings; the last good book stays.\n" + "\n".join(lines[-20:]))
    _publish(work / "_build" / "html", output / "html")
    write_text(mark, look)
    return output / "html" / "index.html"


def _look(book: Path, root: Path) -> str:
    files = [
        root / "_config.yml",
        *sorted((book / "assets").rglob("*")),
        *sorted((book / "_ext").glob("*.py")),
        *sorted((root / "clkit" / "assets").glob("*")),
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files if path.is_file())).hexdigest()


def _publish(built: Path, target: Path) -> None:
    new, old = target.with_name("html.new"), target.with_name("html.old")
    for path in (new, old):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(built, new)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _copy(root: Path) -> Path:
    """A copy of the book for the paper profile, with those outputs of the last copy that are still good."""
    target = root / "_build" / "paper" / "book"
    last = target.with_name("last")
    if target.exists():
        shutil.rmtree(last, ignore_errors=True)
        target.rename(last)
    shutil.copytree(root / "book", target)
    for path in notebooks(target):
        before = last / path.relative_to(target)
        sidecar(path).unlink(missing_ok=True)
        if before.exists() and not stale(before, "paper", root):
            if key(before, "paper", root) == key(path, "paper", root):
                copy_outputs(before, path)
    shutil.rmtree(last, ignore_errors=True)
    return target
