"""Markdown from plain text and rows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence


def escape(text: str) -> str:
    """Plain text as Markdown that shows it unchanged, but for `words` in backticks."""
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"([\\*_\[\]<>|{}$~^#])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def summary(thing: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "---") -> str:
    """A table; `align` is the rule under all columns but the first, "---:" for numbers."""
    lines = [head, ["---"] + [align] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
