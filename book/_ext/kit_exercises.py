"""The public exercises as a page, read from their masters and checks."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from kit_catalogue import heading
from kit_markdown import escape, table

from clkit import assign
from clkit.exercise import Exercise, exercises

ORDER = (
    "catastrophic_forgetting",
    "two_weights",
    "desiderata",
    "easy_and_hard",
    "concepts",
    "curriculum",
    "capacity",
    "ewc_and_agem",
    "growing_networks",
    "rehearsal",
    "contradictory_tasks",
)


def listed(book: Path) -> str:
    """Each exercise with its questions, points and folded solution, in the order of the book."""
    found = exercises()
    return "\n\n".join(one(book, found[name]) for name in ORDER if name in found)


def one(book: Path, exercise: Exercise) -> str:
    """One exercise."""
    section = f"{exercise.chapter}/{exercise.name}"
    path = assign.master(exercise.name)
    rows = [(f"`{q.name}`", escape(q.asks), str(q.points)) for q in exercise.questions]
    tasks = [
        cell.source for cell in nbformat.read(path, as_version=4).cells[1:] if cell.cell_type == "markdown"
    ]
    questions = "\n\n".join(re.sub(r"^## ", "### ", text, flags=re.M) for text in tasks)
    answers = "\n\n".join(f"```python\n{source}\n```" for source in assign.solutions(path).values())
    parts = [
        f"(exercise-{exercise.name.replace('_', '-')})=",
        f"## {heading(book / f'{section}.ipynb')}",
        f"For the section {{doc}}`/{section}`. Master: `exercises/{exercise.chapter}/{path.name}`.",
        table(("function", "what it gives", "points"), rows),
        questions,
        f":::{{dropdown}} Solution\n{answers}\n:::",
    ]
    return "\n\n".join(parts)


PARTS = {"exercises": listed}
