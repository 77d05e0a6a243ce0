"""The review's list of references as a table, and what has to be corrected in it."""

from __future__ import annotations

import re

from kit_markdown import table
from pybtex.plugin import register_plugin
from pybtex.style.formatting.alpha import Style
from pybtex.style.labels import BaseLabelStyle

from clkit import catalogue
from clkit.references import Reference, of_methods


def numbered(found: list[Reference]) -> list[tuple[int, Reference]]:
    """The review's numbers in order, each with its work."""
    return sorted(((number, work) for work in found for number in work.review), key=lambda pair: pair[0])


def here(work: Reference) -> str:
    """What the kit does with a work: background, its files, or still to come."""
    if work.role == "background":
        return "background"
    methods = [catalogue.entry(catalogue.find(name)) for name, key in of_methods().items() if key == work.key]
    files = sorted({method["file"] for method in methods if method["file"].count("/") > 1})  # no controls
    shown = ", ".join(f"`{file}`" for file in files)
    if any(file.startswith(f"clkit/{work.chapter}/") for file in files):
        return shown
    # A part of it may serve another chapter, as online EWC does, which comes from Progress & Compress.
    chapter = f"[{work.chapter.replace('_', ' ')}]({work.chapter}/index.md)"
    return f"to come in {chapter}" + (f"; a part in {shown}" if files else "")


def all_references(found: list[Reference]) -> str:
    """Number, authors and year, title, and what it is here."""
    rows = [(str(n), f"{{cite:t}}`{work.key}`", work.title, here(work)) for n, work in numbered(found)]
    return table(("No.", "Work", "Title", "Here"), rows)


def misprints(found: list[Reference]) -> str:
    """What the review prints, and what it should be."""
    wrong = sorted((work for work in found if work.misprint), key=lambda work: work.review)
    rows = [
        (
            ", ".join(map(str, work.review)),
            work.misprint,
            f"{{cite:t}}`{work.key}`, {work.title}; {work.venue}",
        )
        for work in wrong
    ]
    return table(("No.", "The review prints", "It is"), rows)


class Labels(BaseLabelStyle):
    """A work is labelled as it is cited, with the letter that tells two works of a year apart: Liu 2019b."""

    def format_labels(self, sorted_entries):
        for entry in sorted_entries:
            person = (entry.persons.get("author") or entry.persons["editor"])[0]
            yield f"{str(person).split(',')[0]} {re.search(r'[0-9]{4}[a-z]?$', entry.key)[0]}"


class KitStyle(Style):
    default_label_style = Labels


def list_items(app, pagename, templatename, context, doctree):
    """Docutils calls the works a list, and then none of them an item of it: a reader by ear is told of none."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    app.connect("html-page-context", list_items)
    register_plugin("pybtex.style.formatting", "kit", KitStyle)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
