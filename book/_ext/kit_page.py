"""What the kit adds to each page of the book: the "verified on" line, the launch buttons, no Thebe."""

from __future__ import annotations

import json
import re
from pathlib import Path

from docutils import nodes

from clkit import plots

PLACEHOLDER = "https://github.com/OWNER/REPO"
NO_ADDRESS = (
    "The repository of this book has no public address yet, so its pages carry no *Open in Colab* button. "
    "`make address URL=...` sets the address and brings the button."
)
ADDRESS = "Each section opens in Google Colab through the rocket button at its top."

UNCHECKED = (
    " The numbers of this page are those of the paper profile. Its sentences were checked against the quick profile "
    "only: where a sentence and a number disagree, believe the number."
)


def launch_buttons(app, config):
    """Leave out every link to the repository while its address is the placeholder."""
    options = config.html_theme_options
    unset = options.get("repository_url", PLACEHOLDER) == PLACEHOLDER
    if unset:
        for name in ("launch_buttons", "use_repository_button", "use_issues_button", "repository_url"):
            options.pop(name, None)
    config.myst_substitutions["colab_notice"] = NO_ADDRESS if unset else ADDRESS


def add_assets(app, config):
    """The look of figures comes with the package, for pages and for notebooks alike."""
    config.html_static_path.append(str(plots.ASSETS))


def drop_thebe(app, pagename, templatename, context, doctree):
    """Jupyter Book 1.x emits Thebe's script twice, an error on every page; the kit does not use it."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in (script.filename or "").lower() + script.attributes.get("body", "").lower()
    ]


MARKUP = re.compile(r"(<(pre|script|style|svg)\b.*?</\2>|<[^>]*>)", re.DOTALL)


def bind(html: str) -> str:
    """A number and its percent sign stay on one line: in running text, not in code, scripts and tags."""
    place, made = 0, []
    for match in MARKUP.finditer(html):
        made += [re.sub(r"(?<=\d) %", "\u00a0%", html[place : match.start()]), match[0]]
        place = match.end()
    return "".join([*made, re.sub(r"(?<=\d) %", "\u00a0%", html[place:])])


def bind_page(app, pagename, templatename, context, doctree):
    context["body"] = bind(context.get("body", ""))


def verified(record: dict) -> str:
    """The sentence at the foot of an executed page, from the notebook's sidecar."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    settings = ", ".join(f"{name} {record['parameters'][name]}" for name in ("profile", "replicas", "seed"))
    return (
        f"Verified on {record['date']}: {record['seconds']:.0f} seconds on {record['parameters']['device']} "
        f"({record['processor']}), {settings}; {versions}."
    ) + (UNCHECKED if record["parameters"]["profile"] == "paper" else "")


def foot(app, doctree):
    """Put the verified line at the end of a page that was executed."""
    sidecar = Path(app.env.doc2path(app.env.docname)).with_suffix(".run.json")
    if sidecar.exists():
        app.env.note_dependency(str(sidecar))
        text = verified(json.loads(sidecar.read_text(encoding="utf-8")))
        doctree.append(nodes.paragraph("", text, classes=["kit-verified"]))


def setup(app):
    app.connect("config-inited", launch_buttons)
    app.connect("config-inited", add_assets)
    app.connect("doctree-read", foot)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", bind_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
