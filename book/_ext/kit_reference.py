"""What pages hold of the code, written at build time: catalogue, figures, numbers, claims, bibliography, API."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import kit_api
import kit_bibliography
import kit_catalogue
import kit_exercises
import kit_paradigms
import kit_whole
import kit_worked
from docutils import nodes
from kit_markdown import escape, summary, table
from sphinx.util.docutils import SphinxDirective

import clkit
from clkit.references import references

PACKAGE = Path(clkit.__file__).parent
CHANGES = PACKAGE.parent / "CHANGELOG.md"


def top_names(book: Path) -> str:
    """The names that `clkit` itself offers, each with its home."""
    rows = []
    for name in clkit.__all__:
        thing = getattr(clkit, name)
        role, home = "class" if inspect.isclass(thing) else "func", thing.__module__
        rows.append((f"{{py:{role}}}`{name} <{home}.{name}>`", escape(summary(thing)), f"`{home}`"))
    return table(("name", "what it is", "defined in"), rows)


def changelog(book: Path) -> str:
    """The versions of the repository's changelog, one level deeper."""
    text = CHANGES.read_text(encoding="utf-8")
    return re.sub(r"^## ", "### ", text[text.index("\n## ") :], flags=re.M)


WRITTEN = {
    "table": kit_catalogue.methods_table,
    "entries": kit_catalogue.entries,
    "questions": kit_catalogue.questions,
    "chapters": kit_catalogue.holdings,
    "streams": kit_catalogue.streams_figure,
    "episodes": kit_catalogue.episodes_figure,
    "top": top_names,
    "changelog": changelog,
    "references": lambda book: kit_bibliography.all_references(references(book / "references.bib")),
    **kit_paradigms.FIGURES,
    **kit_whole.PARTS,
    **kit_exercises.PARTS,
    "misprints": lambda book: kit_bibliography.misprints(references(book / "references.bib")),
}


class Written(SphinxDirective):
    """A part of a page, as Markdown that is made anew when the package or a page changes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        book = Path(self.env.srcdir)
        pages = [
            *book.glob("*/*.ipynb"),
            *book.glob("*/index.md"),
            book / "_toc.yml",
            book / "references.bib",
        ]
        masters = PACKAGE.parent.glob("exercises/*/*.ipynb")
        for path in [*PACKAGE.rglob("*.py"), *PACKAGE.glob("results/*.json"), *pages, *masters, CHANGES]:
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(self.text(book), allow_section_headings=True)

    def text(self, book: Path) -> str:
        return WRITTEN[self.arguments[0]](book)


class Worked(Written):
    """A table of the page on conventions."""

    def text(self, book: Path) -> str:
        return kit_worked.TABLES[self.arguments[0]]()


def look(app, pagename, templatename, context, doctree) -> None:
    """Pages of tables have a few styles of their own."""
    if pagename.startswith(("reference/", "whole/")):
        app.add_css_file("reference.css")


def setup(app):
    kit_api.setup(app)
    kit_whole.setup(app)
    app.add_directive("kit-written", Written)
    app.add_directive("kit-worked", Worked)
    app.connect("html-page-context", look)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
