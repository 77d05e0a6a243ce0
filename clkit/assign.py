"""From a master to the notebook that students get: the solution is cut, and nothing of it may be left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat

from clkit.errors import ClkitError
from clkit.files import write_text

BEGIN, END = re.compile(r"^ *### BEGIN SOLUTION$"), re.compile(r"^ *### END SOLUTION$")
HIDDEN = re.compile(r"\n?^ *### BEGIN HIDDEN TESTS$.*?^ *### END HIDDEN TESTS$", re.S | re.M)
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
    for cell in made.cells:
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


def _nothing_left(path: Path, made: Any, cut: list[str]) -> None:
    """No line of the solution may stand in the student's version."""
    words = "\n".join(cell.source for cell in made.cells)
    if any(BEGIN.match(line) or "HIDDEN TESTS" in line for line in words.split("\n")):
        raise ClkitError(f"{path.name}: a marker is left in the student version.")
    left = [line.strip() for line in cut if len(line.strip()) >= SHORT and line.strip() in words]
    if left:
        raise ClkitError(f"{path.name}: these lines of the solution stand outside it, too: {left}")
