"""The closing chapter, written at build time: claims, desiderata side by side, methods still to come."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import kit_bibliography
import pandas as pd
from docutils import nodes
from kit_catalogue import title
from kit_markdown import escape, table

from clkit import claims, tables
from clkit.claims import CHAPTERS
from clkit.desiderata import DESIDERATA
from clkit.errors import ClkitError
from clkit.metrics import Interval
from clkit.references import references

COLUMNS = ("data", "cost", "kept", "fast", "learned", "transfer", "not told")  # in the order of Box 1


def of(part: dict[str, float | None]) -> Interval:
    """The interval stored as JSON."""
    return Interval(part["mean"], part["low"], part["high"])  # type: ignore[arg-type]


def amount(part: dict[str, float | None], unit: str) -> str:
    """A number of a claim with its interval: fractions in percentage points, all else as it is."""
    words = unit.split(", ")
    if words[-1] in ("fraction", "average accuracy"):
        return tables.percent(of(part), "\u00a0points")
    return tables.with_interval(of(part), " " + words[-1].split(" ")[0])  # a long word may go on a new line


def result(id: str) -> dict[str, Any]:
    """A stored claim, with `own`: its effect as an interval."""
    stored = claims.stored(id)
    if stored is None:
        raise ClkitError(f"claim {id} has no stored result: clkit claims --run {id}")
    return stored | {"own": {"mean": stored["effect"], "low": stored["low"], "high": stored["high"]}}


def measured(name: str, rawtext: str, text: str, lineno: int, inliner, options=None, content=None):
    """{measured}`G1`: the effect of a claim; {measured}`G1 learned: agem`: what it reports beside it, in percent.

    {measured}`W1 points ...` and {measured}`T2 updates ...` give it in another unit.
    """
    id, _, rest = text.partition(" ")
    stored = result(id)
    if not rest:
        shown = amount(stored["own"], claims.find(id).unit)
    elif rest.startswith("points "):
        shown = tables.percent(of(stored["reported"][rest.removeprefix("points ")]), "\u00a0points")
    elif rest.startswith("updates "):
        shown = tables.with_interval(of(stored["reported"][rest.removeprefix("updates ")]), "\u00a0updates")
    else:
        shown = tables.percent(of(stored["reported"][rest]))
    return [nodes.inline(rawtext, shown, classes=["kit-measured"])], []


def claims_table(book: Path) -> str:
    """Every registered claim with what came out."""
    rows = []
    for row in claims.table():
        stored = result(row["id"])
        smallest = "exactly 0" if claims.find(row["id"]).exact else least(row)
        effect = amount(stored["own"], row["unit"])
        said = f"{escape(row['says'])} *Against:* {escape(row['control'])}."
        cells = [
            row["id"],
            said,
            effect,
            smallest,
            f"**{row['verdict']}**",
            f"{{doc}}`/{row['section']}/index`",
        ]
        rows.append(cells)
    return table(
        ("claim", "The review says, in our words", "Effect", "Counts from", "Verdict", "Chapter"), rows
    )


def least(row: dict[str, Any]) -> str:
    """The smallest effect of interest, in the unit of the effect."""
    return amount({"mean": row["smallest"], "low": None, "high": None}, row["unit"])


def side_by_side(scenario: str):
    """The seven desiderata of every method that ran in a scenario; the best of each column in bold."""

    def write(book: Path) -> str:
        scores = result("W1")["curves"]["scores"][scenario]
        best = [
            max((s[i]["mean"] for s in scores.values() if s[i]["mean"] is not None), default=None)
            for i in range(len(COLUMNS))
        ]
        rows = [[linked(name), *map(cell, row, best)] for name, row in scores.items()]
        return table(("method", *COLUMNS), rows, "---:")

    return write


def linked(name: str) -> str:
    """A method, with a link to its entry in the catalogue."""
    return f"[`{name}`](#method-{name})"


def cell(part: dict[str, float | None], best: float | None) -> str:
    """A number with its interval."""
    if part["mean"] is None or best is None:
        return "–"
    text = tables.percent(of(part), "")
    return f"**{text}**" if part["mean"] >= best - 5e-4 else text


def front(book: Path) -> str:
    """Who is not beaten in each scenario."""
    found = result("W1")["curves"]
    rows = [
        (name, str(len(found["scores"][name])), ", ".join(map(linked, kept)))
        for name, kept in found["front"].items()
    ]
    return table(("scenario", "methods", "not beaten by any other on all desiderata"), rows)


def numbers(book: Path) -> str:
    """The printed numbers and the full tables of `clkit.desiderata` as a file to download."""
    curves = result("W1")["curves"]
    rows = [
        {"scenario": scenario, "method": method, **row}
        for scenario, group in curves["scores"].items()
        for method, scores in group.items()
        for row in [*printed(scores), *curves["table"][scenario][method]]
        if row["mean"] is not None
    ]
    data = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", float_format="%.6g")
    link = "data:text/csv;base64," + base64.b64encode(data.encode()).decode()
    command = html.escape(
        'from clkit import claims\nresult = claims.measure("W1")'
    )  # a blank line would end the HTML
    return (
        f'<div class="kit-source"><a download="whole-desiderata.csv" href="{link}">All metrics as CSV</a>'
        "<details><summary>Python that makes them</summary>"
        f'<pre tabindex="0"><code>{command}</code></pre></details></div>'
    )


def printed(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The seven numbers of a method as rows of the file, fractions as in the other rows."""
    return [
        {"number": i, "desideratum": DESIDERATA[i], "metric": f"column {name!r}", **part, "unit": "fraction"}
        for i, (name, part) in enumerate(zip(COLUMNS, scores, strict=True), start=1)
    ]


def learners(book: Path) -> str:
    """The episodic learners, which have no stream: loss and accuracy on a new task, bytes and operations."""
    stored, rows = result("L5")["reported"], []
    for name in ("maml", "joint_pretraining"):
        part = [stored[f"label_swap: accuracy at step {step}, {name}"] for step in (0, 1, 10)]
        cost = stored[f"label_swap: operations in training, {name}"]["mean"] / 1e9
        size = stored[f"label_swap: bytes kept, {name}"]["mean"]
        rows.append([linked(name), *(tables.percent(of(p), "") for p in part), f"{size:,.0f}", f"{cost:.1f}"])
    head = (
        "learner",
        "before",
        "after 1 step",
        "after 10 steps",
        "bytes kept",
        "operations in training, 10⁹",
    )
    return table(head, rows, "---:")


def to_come(book: Path) -> str:
    """The methods of the review that the kit does not have yet, by chapter."""
    works = [
        work
        for _, work in kit_bibliography.numbered(references(book / "references.bib"))
        if work.role == "method" and kit_bibliography.here(work).startswith("to come")
    ]
    rows = []
    for chapter in CHAPTERS:
        keys = list(dict.fromkeys(work.key for work in works if work.chapter == chapter))
        if keys:
            rows.append(
                [escape(title(book, chapter)), str(len(keys)), "; ".join(f"{{cite:t}}`{k}`" for k in keys)]
            )
    return table(("chapter", "works", "to come"), rows)


PARTS = {
    "claims": claims_table,
    **{f"desiderata-{scenario}": side_by_side(scenario) for scenario in ("task", "domain", "class")},
    "front": front,
    "all-metrics": numbers,
    "learners": learners,
    "to-come": to_come,
}


def setup(app):
    app.add_role("measured", measured)
