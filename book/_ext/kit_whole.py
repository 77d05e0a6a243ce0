"""The closing chapter, written at build time: claims, desiderata side by side, methods still to come."""

from __future__ import annotations

import base64
import html
from collections import Counter
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import kit_bibliography
import numpy as np
import pandas as pd
from docutils import nodes
from kit_catalogue import title
from kit_markdown import escape, table

from clkit import claims, tables
from clkit.claims import CHAPTERS
from clkit.desiderata import DESIDERATA
from clkit.errors import ClkitError
from clkit.metrics import Interval
from clkit.references import Reference, references

ASSERTIONS = 50  # of the review that an experiment can test, by our count
# Units that begin so are differences between shares of examples, such as accuracies.
IN_POINTS = {"accuracy", "examples", "forgetting", "intransigence", "transfer", "shortfall"}
COLUMNS = ("data", "cost", "kept", "fast", "learned", "transfer", "not told")  # in the order of Box 1


def of(part: dict[str, float | None]) -> Interval:
    """The interval stored as JSON."""
    return Interval(part["mean"], part["low"], part["high"])  # type: ignore[arg-type]


def amount(part: dict[str, float | None], unit: str) -> str:
    """A number of a claim with its interval and unit.

    Differences between shares of examples in percentage points, other fractions (of updates, of a mode) in percent,
    all else as it is.
    """
    if IN_POINTS & set(unit.replace(",", "").split(" ")[:2]):
        return points(part)
    kind = unit.split(", ")[-1]
    if kind == "fraction":
        return tables.percent(of(part))
    number, word = tables.with_interval(of(part)), kind.split(" ")[0]
    return f"{number} {word.removesuffix('s') if number == '1' else word}"  # a long word may go on a new line


def points(part: dict[str, float | None]) -> str:
    """A fraction with its interval in percentage points."""
    return tables.percent(of(part), "\u00a0points")


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
        shown = points(stored["reported"][rest.removeprefix("points ")])
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
        if np.isclose(stored["low"], stored["high"], rtol=1e-9, atol=0) and not claims.find(row["id"]).exact:
            effect += ", in every replica"
        said = f"{escape(row['says'])} *Against:* {escape(row['control'])}."
        cells = [
            row["id"],
            f"**{row['verdict']}**",
            said,
            effect,
            smallest,
            f"{{doc}}`/{row['section']}/index`",
        ]
        rows.append(cells)
    return table(
        ("Claim", "Verdict", "The review says, in our words", "Effect", "Counts from", "Chapter"), rows
    )


def registered(book: Path) -> str:
    """How many of the review's assertions are registered."""
    count = len(claims.registered())
    return (
        f"The review makes {ASSERTIONS} assertions that an experiment can test, by our count. {count} of them are "
        f"registered so far and have a row here; {ASSERTIONS - count} are still to be measured."
    )


def remarks(book: Path) -> str:
    """Where a row of the table says more, or less, than it seems to."""
    rows = [changed(), half_lives(), signed(), just_below(), nothing_subtracted(), end_of_grid(), both_ways()]
    return "Some rows need a word more:\n\n" + "\n".join(f"- {line}" for line in rows)


def changed() -> str:
    """W2 was decided by another quantity at first."""
    w2, passes = result("W2"), result("W2")["reported"]["spared to the target: skip known"]
    if passes["low"] < claims.find("W2").smallest or w2["verdict"] != "not supported here":
        raise ClkitError("W2: 'supported by backward passes, not by updates' no longer holds.")
    return (
        "**W2 was changed after it had been measured once.** It first counted backward passes saved "
        f"({tables.percent(of(passes))}), which would be *supported*. But the review speaks of data, so it now counts "
        f"updates saved: {tables.percent(of(w2['own']))}, *{w2['verdict']}*."
    )


def half_lives() -> str:
    """What the bare zero of T2 stands for, and that its smallest effect was changed."""
    halves = [result("T2")["reported"][f"half-life, {arm}"] for arm in ("both present", "task 1 absent")]
    run, now = halves[0]["mean"], claims.find("T2").smallest
    if any(half["low"] != run or half["high"] != run for half in halves):
        raise ClkitError("T2: 'both half-lives lie beyond the run' no longer holds.")
    if result("T2")["effects"] != [0.0] * result("T2")["replicas"] or now != 500:
        raise ClkitError("T2: 'nothing depends on it' no longer holds.")
    return (
        "**T2 compares half-lives.** A half-life is the number of updates until the accuracy of task 1 above guessing "
        f"has halved. Within the {run:.0f} updates of the run it has not halved, neither where task 1 is absent nor "
        f"where it stays present. Both count as {run:.0f}, so the difference of 0 is a bound that both hit, and not "
        f'two equal half-lives. But a half-life of at least {run:.0f} updates is not "quickly". T2 was changed, '
        f"too: it first counted from 100 updates, now from {now:.0f}. The verdict is the same either way."
    )


def signed() -> str:
    """T3's negative effect speaks against the sentence."""
    own = result("T3")["own"]
    if own["high"] >= 0:
        raise ClkitError("T3: 'the pulls agree' no longer holds.")
    return (
        "**T3's effect is minus a cosine.** Gradients that oppose each other have a negative cosine, so opposition "
        f"would count from plus {claims.find('T3').smallest:g}. The effect is negative: in the end the two pulls "
        "agree more than they oppose each other."
    )


def just_below() -> str:
    """T4's printed interval seems to touch what it counts from."""
    own, smallest = result("T4")["own"], claims.find("T4").smallest
    if not 0 < smallest - own["high"] < 0.01:
        raise ClkitError("T4: 'ends just below' no longer holds.")
    return (
        f"**T4's interval ends at {100 * own['high']:.1f}**, before rounding: just below the {100 * smallest:.0f} "
        "points from which it counts."
    )


def nothing_subtracted() -> str:
    """T9's control is what is measured; the widths, at equal updates, are what can be compared."""
    gap = result("T9")["reported"]["task 1 in the end: joint, 4x minus 1x"]
    if gap["low"] <= 0:
        raise ClkitError("T9: 'the narrow network ends lower' no longer holds.")
    return (
        "**T9's effect is a plain drop**: joint training, its control, is itself what is measured. At equal updates "
        f"the narrowest network ends {points(gap)} below one four times as wide: "
        "{doc}`Capacity </tug_of_war/capacity>`."
    )


def end_of_grid() -> str:
    """T10 is read where hardly anything can move."""
    ewc, smallest = result("T10")["curves"]["ewc"], claims.find("T10").smallest
    best = int(np.argmax(ewc["average accuracy"]["mean"]))
    there = {end: ewc["cost"][end][best] for end in ("mean", "low", "high")}
    if there["high"] >= smallest:
        raise ClkitError("T10: 'not supported at the best strength' no longer holds.")
    return (
        f"**T10 is read at the largest strength of its grid, {ewc['strength'][-1]:,.0f}**, and so could hardly fail. "
        f"At the strength with the best average accuracy, {ewc['strength'][best]:g}, the effect is "
        f"{points(there)}, which would be *not supported here*: "
        "{doc}`Capacity </tug_of_war/capacity>`."
    )


def both_ways() -> str:
    """T12 says more than what decides it."""
    found, where = result("T12")["reported"], "joint, close rotations minus permutations"
    smallest = claims.find("T12").smallest
    plain = found[f"backward transfer: {where}"]
    alone = found[f"accuracy on task 1 in the end minus after as many updates on task 1 alone: {where}"]
    if not (plain["high"] < smallest and alone["low"] < smallest < alone["high"]):
        raise ClkitError("T12: 'backward transfer alone would not be supported' no longer holds.")
    return (
        "**T12 is decided by forward transfer**, though its sentence says backward, too. Between close rotations and "
        f"permutations backward transfer differs by {points(plain)}, which would be *not supported here*. "
        "Counted against as many updates on task 1 alone, the gain of task 1 differs by "
        f"{points(alone)}, which would be *mixed*."
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
    named, rows = cited(works), []
    for chapter in CHAPTERS:
        keys = list(dict.fromkeys(work.key for work in works if work.chapter == chapter))
        if keys:
            rows.append([escape(title(book, chapter)), str(len(keys)), "; ".join(named[key] for key in keys)])
    return table(("chapter", "works", "to come"), rows)


def cited(works: list[Reference]) -> dict[str, str]:
    """Key -> a work in a list: first author and year, and the title where a second work has the same."""
    first = {work.key: work for work in works}
    same = Counter(key.rstrip(ascii_lowercase) for key in first)
    return {
        key: f"{{cite:t}}`{key}`" + f" ({escape(work.title)})" * (same[key.rstrip(ascii_lowercase)] > 1)
        for key, work in first.items()
    }


PARTS = {
    "claims": claims_table,
    "registered": registered,
    "remarks": remarks,
    **{f"desiderata-{scenario}": side_by_side(scenario) for scenario in ("task", "domain", "class")},
    "front": front,
    "all-metrics": numbers,
    "learners": learners,
    "to-come": to_come,
}


def setup(app):
    app.add_role("measured", measured)
