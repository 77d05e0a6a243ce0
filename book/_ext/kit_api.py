"""The API from the docstrings: autodoc and napoleon, told how our plain docstrings are to be read."""

from __future__ import annotations

import inspect
import re
import textwrap

from clkit.catalogue import SECTION

ALIASES = (
    "Architecture",
    "Array",
    "ArrayLike",
    "Draw",
    "Estimator",
    "Rule",
    "Select",
)  # shown by their names
# A field of a class or an argument of a function on its line: name, default, and the comment that says what it is.
DECLARED = re.compile(r"^ {4}(\w+): .+?(?: = (.+?))?,?  # (.+)$", re.M)


def restructured(text: str) -> str:
    """Plain text as reStructuredText that shows it unchanged, `words` in backticks as code."""
    parts = re.split(r"`([^`]+)`", text)
    parts[::2] = [re.sub(r"([\\*_|])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [rf"\ ``{part}``\ " for part in parts[1::2]]
    return re.sub(r"^(\d+\w?)\.", r"\1\\.", "".join(parts), flags=re.M)  # "3. ..." would become a list


def paragraph(text: str) -> str:
    """A drawing or a command keeps its lines; a method's sections become fields."""
    if "-->" in text or text.startswith("    "):
        return ".. code-block:: text\n\n" + textwrap.indent(textwrap.dedent(text), "   ")
    if SECTION.match(text):
        text = "\n".join(f":{name}: {' '.join(body.split())}" for name, body in SECTION.findall(text))
    return restructured(text)


def docstring(app, what, name, thing, options, lines) -> None:
    """autodoc-process-docstring, before napoleon's: also lists the comments behind fields and arguments."""
    blocks = [paragraph(block) for block in re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))]
    found = DECLARED.findall(inspect.getsource(thing)) if what in ("class", "function") else []
    if found:
        items = [f"   * ``{field}``: {restructured(meaning)}" for field, _, meaning in found]
        blocks.append("\n".join([f":{'Arguments' if what == 'function' else 'Fields'}:", *items]))
    lines[:] = "\n\n".join([*blocks, ""]).split("\n")


def signature(app, what, name, thing, options, text, returns) -> tuple[str | None, str | None]:
    """autodoc-process-signature: a default by its name where it is a function, by dots where it is made anew."""
    text = re.sub(r"<(?:function |class ')(?:\w+\.)*(\w+)'?>", r"\1", text or "")
    return text.replace("<factory>", "..."), returns


def skip(app, what, name, thing, skipped, options) -> bool | None:
    """autodoc-skip-member: no data, and of a class only what it defines and explains."""
    if what != "class" or name.startswith("_"):
        return None
    own = type(thing) is property or (inspect.isroutine(thing) and "." in thing.__qualname__)
    return not own or not thing.__doc__


def setup(app) -> None:
    """Called by kit_reference."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("autodoc-process-docstring", docstring, priority=100)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    config = app.config
    config.autodoc_default_options = {"members": True, "undoc-members": True}
    config.autodoc_member_order, config.autodoc_inherit_docstrings = "bysource", False
    config.autodoc_type_aliases = {name: name for name in ALIASES}
    config.autodoc_preserve_defaults = True
    config.napoleon_use_param = config.napoleon_use_rtype = False
    config.add_module_names = config.toc_object_entries = False
    config.nitpick_ignore_regex += [("py:.*", ".*")]  # types of other libraries have no page here
