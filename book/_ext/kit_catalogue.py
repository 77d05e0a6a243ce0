"""The method catalogue as text: the table, an entry for each method, and the figure of methods by verbs."""

from __future__ import annotations

import html
import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

from kit_api import DECLARED
from kit_markdown import escape, summary, table

from clkit import claims, learner
from clkit.book import notebooks
from clkit.catalogue import SECTION, entry, methods
from clkit.catalogue import sections as parts_of
from clkit.learner import Learner
from clkit.method import VERBS, Method

MARKS = {True: ("kit-yes", "●", "yes"), False: ("kit-no", "·", "no")}


def heading(path: Path) -> str:
    """The first heading of a page or notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "".join(json.loads(text)["cells"][0]["source"])
    return re.search(r"^# +(.*)$", text, re.M)[1]


def sections(book: Path) -> dict[str, tuple[str, str]]:
    """Notebook without its ending -> its title and its code, in the order of the book."""
    found = {}
    for path in notebooks(book):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        found[path.relative_to(book).with_suffix("").as_posix()] = heading(path), code
    return found


def by_chapter(book: Path) -> dict[str, list[type]]:
    """Chapter -> its methods."""
    return {chapter: [c for c in methods().values() if c.chapter == chapter] for chapter in claims.CHAPTERS}


def title(book: Path, chapter: str) -> str:
    """What the chapter is called."""
    return heading(book / chapter / "index.md")


def taught(cls: type, found: dict[str, tuple[str, str]]) -> list[str]:
    """The sections whose code names the class, those of its own chapter first."""
    names = [name for name, (_, code) in found.items() if re.search(rf"\b{cls.__name__}\b", code)]
    return sorted(names, key=lambda name: not name.startswith(f"{cls.chapter}/"))


def default_stream(cls: type) -> str:
    """Of the command line, in words; an episodic learner has a distribution and no scenario."""
    return f"{cls.default[0]}, {cls.default[1]}-incremental" if issubclass(cls, Method) else cls.default


def methods_table(book: Path) -> str:
    """Every method in a row: what it does, where, what it needs and keeps."""
    rows = []
    for chapter, group in by_chapter(book).items():
        for row, cls in ((entry(cls), cls) for cls in group):
            needs = ", ".join(row["needs"]) or "nothing"
            keeps = re.split(r" \(?bytes", row["keeps"])[0]  # the formula; the entry has the rest
            cells = [
                escape(row["title"]),
                escape(title(book, chapter)),
                default_stream(cls),
                needs,
                escape(keeps),
            ]
            rows.append([f"[`{cls.name}`](#method-{cls.name})", *cells])
    return table(("method", "what it does", "chapter", "stream by default", "needs", "keeps, bytes"), rows)


def entries(book: Path) -> str:
    """An entry for each method under the title of its chapter."""
    found, text = sections(book), []
    for chapter, group in by_chapter(book).items():
        text += [f"### {title(book, chapter)}"] if group else []
        text += [method_entry(cls, found) for cls in group]
    return "\n\n".join(text)


def settings(cls: type) -> list[tuple[str, str, str]]:
    """Name, default and meaning of each setting, as the class or a base of it declares them on a line."""
    lines = (line for base in cls.__mro__[-2::-1] for line in DECLARED.findall(inspect.getsource(base)))
    known = {name: (name, default, meaning) for name, default, meaning in lines}
    return [known[field.name] for field in fields(cls)]


def description(cls: type) -> list[str]:
    """The docstring between its first sentence and its sections: paragraphs and `Word: ...`, each on one line."""
    text = SECTION.sub("", inspect.cleandoc(cls.__doc__))
    return [" ".join(part.split()) for part in re.split(r"\n\n|\n(?=[A-Z]\w+: )", text)[1:] if part.strip()]


def method_entry(cls: type, found: dict[str, tuple[str, str]]) -> str:
    """What the code says about one method."""
    row, parts = entry(cls), parts_of(cls)
    links = [f"{{doc}}`{found[name][0]} </{name}>`" for name in taught(cls, found)]
    module = row["file"].removesuffix(".py").replace("/", ".")
    items = {
        **{name: escape(parts[name]) for name in ("Reference", "Needs", "Keeps", "Departs")},
        "Verbs": ", ".join(f"`{verb}`" for verb in in_order(cls)) or "none: it is the base",
        "Stream": f"{default_stream(cls)}, unless told otherwise",
        "Code": f"{{py:class}}`{cls.__name__} <{module}.{cls.__name__}>` in `{row['file']}`",
        "Test": f"`{row['test']}`",
        "Section": "; ".join(links) or "none yet",
    }
    chosen = [(f"`{name}`", f"`{default}`", escape(meaning)) for name, default, meaning in settings(cls)]
    body = [f"(method-{cls.name})=", f"#### `{cls.name}`", escape(parts["title"])]
    body += [escape(part) for part in description(cls)]
    body.append(table(("setting", "default", "meaning"), chosen) if chosen else "No settings.")
    return "\n\n".join([*body, *(f"{name}\n: {said}" for name, said in items.items())])


def verbs_of(cls: type) -> tuple[str, ...]:
    """The verbs of the class's loop: seven for a stream, three for episodes."""
    return VERBS if issubclass(cls, Method) else learner.VERBS


def in_order(cls: type) -> list[str]:
    """The verbs that a class defines, in the order in which the loop calls them."""
    return [verb for verb in verbs_of(cls) if verb in entry(cls)["verbs"]]


def streams_figure(book: Path) -> str:
    """The methods for streams by their verbs, as HTML."""
    return figure(book, Method)


def episodes_figure(book: Path) -> str:
    """The episodic learners by their verbs, as HTML."""
    return figure(book, Learner)


def figure(book: Path, base: type) -> str:
    """Methods by verbs: a disc where the method defines the verb."""
    groups = {name: [c for c in group if issubclass(c, base)] for name, group in by_chapter(book).items()}
    head, body = "".join(f'<th scope="col"><span>{verb}</span></th>' for verb in verbs_of(base)), ""
    for chapter, group in groups.items():
        name = html.escape(title(book, chapter))
        first = f'<tr><th scope="rowgroup" colspan="{len(verbs_of(base)) + 1}">{name}</th></tr>'
        body += f"<tbody>{first}{''.join(figure_row(cls) for cls in group)}</tbody>" if group else ""
    grid = f'<table><thead><tr><th scope="col">method</th>{head}</tr></thead>{body}</table>'
    words = counted([cls for group in groups.values() for cls in group], verbs_of(base))
    return f'<figure class="kit-verbs">{grid}<figcaption>{words}</figcaption></figure>'


def figure_row(cls: type) -> str:
    """One method: a disc or a dot for each verb, and a word for who listens."""
    cells = ""
    for verb in verbs_of(cls):
        look, mark, word = MARKS[verb in in_order(cls)]
        seen = f'<span aria-hidden="true">{mark}</span>'
        cells += f'<td class="{look}">{seen}<span class="visually-hidden">{word}</span></td>'
    anchor = f"#method-{cls.name.replace('_', '-')}"
    return f'<tr><th scope="row"><a href="{anchor}"><code>{cls.name}</code></a></th>{cells}</tr>'


def counted(group: list[type], verbs: tuple[str, ...]) -> str:
    """What the marks mean, and how many methods define each verb."""
    users = ", ".join(f"<code>{verb}</code> {sum(verb in in_order(cls) for cls in group)}" for verb in verbs)
    marks = "● the method defines the verb; · it leaves the verb to the base."
    return f"{marks} How many of {len(group)} define it: {users}."


def questions(book: Path) -> str:
    """Each verb and the question that it answers."""
    rows = [(f"`{verb}`", summary(getattr(Method, verb)).partition("?")[0] + "?") for verb in VERBS]
    return table(("verb", "the question it answers"), rows)


def holdings(book: Path) -> str:
    """What each chapter holds now: sections, methods, claims with a stored result."""
    found, measured, rows = sections(book), [c for c in claims.table() if c["verdict"]], []
    for chapter, group in by_chapter(book).items():
        pages = [f"{{doc}}`{s[0]} </{name}>`" for name, s in found.items() if name.startswith(f"{chapter}/")]
        names = ", ".join(f"[`{cls.name}`](#method-{cls.name})" for cls in group)
        ids = ", ".join(c["id"] for c in measured if c["section"] == chapter)
        cells = [f"{{doc}}`/{chapter}/index`", "; ".join(pages), names, ids]
        rows.append([cell or "none yet" for cell in cells])
    return table(("chapter", "sections", "methods", "claims measured"), rows)
