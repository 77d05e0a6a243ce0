"""The package's source, shown in a page."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from clkit.errors import ClkitError
from clkit.plots import Figure


def source(thing: Callable | type, labels: dict[str, str] | None = None) -> Figure:
    """The source of a function or class as it stands in the package, each line with its number and an anchor.

    A line that ends in `# eq: label` is shown without it and has the anchor `eq-label`, to which an equation in
    the text can link; so has the one line that holds `labels[label]`.
    """
    lines, first = inspect.getsourcelines(thing)
    path = Path(inspect.getsourcefile(inspect.unwrap(thing)) or "")
    package = "/".join(path.parts[path.parts.index("clkit") :]) if "clkit" in path.parts else path.name
    text = re.sub(r"  # eq: .*", "", textwrap.dedent("".join(lines)))
    marked = {}
    for label, words in (labels or {}).items():
        at = [number for number, line in enumerate(lines) if words in line]
        if len(at) != 1:
            raise ClkitError(f"label {label!r}: {len(at)} lines of {path.name} hold {words!r}, one must.")
        marked[at[0]] = label
    rows = highlight(text, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).rstrip("\n").split("\n")
    body = ""
    for number, (row, plain) in enumerate(zip(rows, lines, strict=True), first):
        label = plain.split("# eq: ")[1].split()[0] if "# eq: " in plain else marked.get(number - first, "")
        mark = f' class="kit-equation" id="eq-{label}"' if label else ""
        anchor = f"{path.stem}-{number}"
        place = f'<span class="kit-number">{number:4d}</span>'
        body += f'<span id="{anchor}">{place} <span{mark}>{row}</span></span>\n'
    title = f"<code>{package}</code>, lines {first} to {first + len(lines) - 1}"
    code = f'<div class="highlight"><pre tabindex="0">{body}</pre></div>'
    return Figure(f'<div class="kit-code"><p>{title}</p>{code}</div>', text)


def call(thing: Any) -> str:
    """The Python that makes a stream, training or network anew: `clkit.Rotated(length=3)`."""
    values = {f.name: getattr(thing, f.name) for f in fields(thing) if getattr(thing, f.name) != f.default}
    shown = [f"{name}={call(v) if is_dataclass(v) else repr(v)}" for name, v in values.items()]
    return f"clkit.{type(thing).__name__}({', '.join(shown)})"
