"""Which checks a student has passed, kept on this machine only."""

from __future__ import annotations

import html
import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

from clkit.errors import ClkitError
from clkit.files import write_text

COLAB = "This is Colab: what is recorded here is gone when the session ends."


def place() -> Path:
    """The file: CLKIT_PROGRESS, or progress.json in the user's data folder."""
    if "CLKIT_PROGRESS" in os.environ:
        return Path(os.environ["CLKIT_PROGRESS"])
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "clkit" / "progress.json"


def load() -> dict[str, Any]:
    """Question -> {"tries": wrong tries, "passed": date or None}."""
    path = place()
    try:
        found = json.loads(path.read_text()) if path.exists() else {}
        return {str(k): {"tries": int(v["tries"]), "passed": v["passed"]} for k, v in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise ClkitError(f"{path} cannot be read. Move it away to start anew.") from None


def record(name: str, right: bool) -> int:
    """Note a try; returns the number of wrong tries so far. Where the file cannot be written, nothing is kept."""
    known = load()
    entry = known.setdefault(name, {"tries": 0, "passed": None})
    if right:
        entry["passed"] = entry["passed"] or date.today().isoformat()
    else:
        entry["tries"] += 1
    try:
        write_text(place(), json.dumps(known, indent=1, sort_keys=True) + "\n")
    except (OSError, ClkitError):
        pass
    return int(entry["tries"])


def rows() -> list[dict[str, Any]]:
    """Every question of every exercise, with points and what is recorded."""
    from clkit.exercise import exercises

    known = load()
    return [
        {
            "exercise": exercise.name,
            "question": question.name,
            "points": question.points,
            "passed": known.get(question.name, {}).get("passed"),
            "tries": known.get(question.name, {}).get("tries", 0),
        }
        for exercise in exercises().values()
        for question in exercise.questions
    ]


def text(found: list[dict[str, Any]]) -> str:
    """What `clkit progress` prints."""
    lines = [
        f"{'✓' if r['passed'] else '·'} {r['exercise']:26} {r['question']:26} {r['points']:2} points  "
        + (f"passed {r['passed']}" if r["passed"] else f"{r['tries']} wrong tries" if r["tries"] else "")
        for r in found
    ]
    gained = sum(r["points"] for r in found if r["passed"])
    lines.append(
        f"{gained} of {sum(r['points'] for r in found)} points. Kept in {place()}, on this machine only."
    )
    return "\n".join([*lines, COLAB] if "google.colab" in sys.modules else lines)


def page(found: list[dict[str, Any]]) -> str:
    """The same as a page of HTML."""
    cells = "".join(
        f"<tr><td>{'✓' if r['passed'] else '·'}</td><td>{html.escape(r['exercise'])}</td>"
        f"<td>{html.escape(r['question'])}</td><td>{r['points']}</td><td>{html.escape(r['passed'] or '')}</td>"
        f"<td>{r['tries']}</td></tr>"
        for r in found
    )
    gained, whole = sum(r["points"] for r in found if r["passed"]), sum(r["points"] for r in found)
    style = (
        "body{font-family:sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
        "table{border-collapse:collapse}td,th{padding:.3rem .7rem;text-align:left;border-bottom:1px solid #8888}"
    )
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("", "exercise", "question", "points", "passed", "wrong tries")
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Progress</title><style>{style}</style><h1>Progress</h1>"
        f"<p>{gained} of {whole} points. Kept on this machine only.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></html>\n"
    )
