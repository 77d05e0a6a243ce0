"""From a master to the notebook that students get: the solution is cut, and nothing of it may be left."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat

from clkit.errors import ClkitError
from clkit.files import write_text

BEGIN, END = re.compile(r"^ *### BEGIN SOLUTION$"), re.compile(r"^ *### END SOLUTION$")
HIDDEN = re.compile(r"\n?^ *### BEGIN HIDDEN TESTS$.*?^ *### END HIDDEN TESTS$", re.S | re.M)
MARKER = re.compile(r"^ *#+ *(begin|end) +(solution|hidden)", re.I | re.M)  # however it is written
RELATIVE = re.compile(r"\]\((\.\./[^)]+)\)")  # links to the book, from the master's folder
ADDRESS = re.compile(
    r"git\+(https://github\.com/(?!OWNER/REPO)\S+?)[\"']"
)  # in the setup cell, once there is one
SHORT = 12  # characters; shorter lines of a solution, such as `return x`, may stand anywhere
MASTERS = Path(__file__).resolve().parent.parent / "exercises"


def master(name: str) -> Path:
    """The public master called `name`, or the file of that path."""
    if name.endswith(".ipynb"):
        return Path(name)
    found = [path for path in sorted(MASTERS.glob("*/*.ipynb")) if path.stem == name]
    if not found:
        known = ", ".join(sorted(path.stem for path in MASTERS.glob("*/*.ipynb")))
        raise ClkitError(f"there is no exercise {name!r}. There are: {known or 'none outside a clone'}.")
    return found[0]


def assign(name: str, folder: Path) -> Path:
    """Write the student version of a master into a folder; returns its path.

    Raises:
        ClkitError: no such master, a marker without its partner, or a line of the solution that is left.
    """
    path = master(name)
    if not path.exists():
        raise ClkitError(f"{path} does not exist.")
    made = nbformat.read(path, as_version=4)
    cut: list[str] = []
    address = ADDRESS.search("\n".join(cell.source for cell in made.cells))
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = RELATIVE.sub(
                lambda link: f"]({_moved(link[1], path, folder, address)})", cell.source
            )
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source, lines = without_solution(cell.source)
            cell.source = HIDDEN.sub("", cell.source)
            cut += lines
    if not cut:
        raise ClkitError(
            f"{path.name} has no solution: mark it with ### BEGIN SOLUTION and ### END SOLUTION."
        )
    _nothing_left(path, made, cut)
    nbformat.validate(made)
    return write_text(folder / path.name, nbformat.writes(made) + "\n")


def without_solution(source: str) -> tuple[str, list[str]]:
    """A cell with each solution replaced by a line that stops, and the lines that were cut."""
    kept: list[str] = []
    cut: list[str] = []
    inside = False
    for line in source.split("\n"):
        if BEGIN.match(line) or END.match(line):
            if inside == bool(BEGIN.match(line)):
                raise ClkitError(f"the markers of a solution do not pair: {line.strip()!r}.")
            inside = not inside
            if inside:
                indent = line[: len(line) - len(line.lstrip())]
                kept += [f"{indent}# YOUR CODE HERE", f"{indent}raise NotImplementedError"]
        else:
            (cut if inside else kept).append(line)
    if inside:
        raise ClkitError("### BEGIN SOLUTION without ### END SOLUTION.")
    return "\n".join(kept), cut


def solutions(path: Path) -> dict[str, str]:
    """Question -> the source of its cell with the solution, markers left out."""
    found = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if any(BEGIN.match(line) for line in cell.source.split("\n")):
            lines = [line for line in cell.source.split("\n") if not (BEGIN.match(line) or END.match(line))]
            found[cell.metadata["nbgrader"]["grade_id"]] = "\n".join(lines)
    return found


def _moved(link: str, path: Path, folder: Path, address: re.Match[str] | None) -> str:
    """A link of the master as it must be in another folder: to the repository's address, if that is known."""
    target = (path.resolve().parent / link).resolve()
    if address is not None and MASTERS.parent in target.parents:
        return f"{address[1]}/blob/main/{target.relative_to(MASTERS.parent).as_posix()}"
    return Path(os.path.relpath(target, folder.resolve())).as_posix()


def _nothing_left(path: Path, made: Any, cut: list[str]) -> None:
    """No line of the solution may stand in the student's version, and each cell to fill must have its stub."""
    whole = nbformat.writes(made)
    words = "\n".join(cell.source for cell in made.cells)
    if MARKER.search(words):
        raise ClkitError(f"{path.name}: a marker is left. Write it alone on its line: ### BEGIN SOLUTION.")
    for cell in made.cells:
        if (
            cell.metadata.get("nbgrader", {}).get("solution")
            and "raise NotImplementedError" not in cell.source
        ):
            name = cell.metadata["nbgrader"].get("grade_id")
            raise ClkitError(f"{path.name}: the cell {name!r} has no solution marked: nothing would be cut.")
    kept = words + whole.replace('\\"', '"')  # metadata, too
    left = [line.strip() for line in cut if len(line.strip()) >= SHORT and line.strip() in kept]
    if left:
        raise ClkitError(f"{path.name}: these lines of the solution stand outside it, too: {left}")
