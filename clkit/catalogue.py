"""Every method of the kit, read from the code."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from clkit.claims import CHAPTERS
from clkit.errors import ClkitError, unknown
from clkit.learner import Learner
from clkit.method import Method

ROOT = Path(__file__).parent
BASES = (Method, Learner)
SECTION = re.compile(r"^(Reference|Needs|Keeps|Departs): *(.*?)(?=^\w+: |\Z)", re.S | re.M)


@lru_cache
def methods() -> dict[str, type[Any]]:
    """Command name -> class, of everything in `clkit.controls`, `clkit.learner` and the chapters."""
    modules = ["method", "controls", "learner"]
    for chapter in CHAPTERS:
        modules += [f"{chapter}.{m.name}" for m in iter_modules([str(ROOT / chapter)]) if m.name != "claims"]
    found: dict[str, type[Any]] = {}
    for module in (import_module(f"clkit.{name}") for name in modules):
        for cls in vars(module).values():
            if (
                inspect.isclass(cls)
                and issubclass(cls, BASES)
                and cls.__module__ == module.__name__
                and cls.listed
            ):
                found[cls.name] = cls
    return found


def find(name: str) -> type[Any]:
    """The class called `name` on the command line."""
    if name not in methods():
        raise unknown("method", name, methods())
    return methods()[name]


def make(name: str, settings: dict[str, str] | None = None) -> Any:
    """An object of the method `name` with settings as a command line gives them.

    Raises:
        ClkitError: no such method or setting, or a value that cannot be read; names what exists.
    """
    cls = find(name)
    defaults = {f.name: f.default for f in fields(cls)}
    values = {}
    for key, text in (settings or {}).items():
        if key not in defaults:
            raise unknown(f"setting of {name}", key, defaults)
        values[key] = _read(cls, key, defaults[key], text)
    return cls(**values)


def _read(cls: type[Any], key: str, default: Any, text: str) -> Any:
    if callable(default):
        named = _alternatives(default)
        if text not in named:
            raise unknown(f"value of {key}", text, named)
        return named[text]
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ClkitError(f"{key} of {cls.name} must be true or false, not {text!r}.")
        return text.lower() == "true"
    try:
        return type(default)(text)
    except ValueError:
        kind = "whole number" if isinstance(default, int) else "number"
        raise ClkitError(f"{key} of {cls.name} must be a {kind}, not {text!r}.") from None


def _alternatives(default: Any) -> dict[str, Any]:
    """What may stand for a function or class: those of its own module that are called alike."""
    module, shape = inspect.getmodule(default), list(inspect.signature(default).parameters)
    found = {}
    for name, value in vars(module).items():
        own = callable(value) and getattr(value, "__module__", "") == default.__module__
        if own and not name.startswith("_") and inspect.isclass(value) == inspect.isclass(default):
            if list(inspect.signature(value).parameters) == shape:
                found[name] = value
    return found


def sections(cls: type[Any]) -> dict[str, str]:
    """The docstring's parts: title, Reference, Needs, Keeps, Departs, each on one line."""
    text = inspect.cleandoc(cls.__doc__ or "")
    parts = {name: " ".join(body.split()) for name, body in SECTION.findall(text)}
    return {"title": " ".join(text.split("\n\n")[0].split()), **parts}


def entry(cls: type[Any]) -> dict[str, Any]:
    """One row of the catalogue."""
    parts, module = sections(cls), cls.__module__.removeprefix("clkit.")
    folder, _, file = module.rpartition(".")
    test = Path("tests") / folder / f"test_{file}.py"
    return {
        "name": cls.name,
        "title": parts["title"],
        "reference": parts.get("Reference", ""),
        "chapter": cls.chapter,
        "file": f"clkit/{module.replace('.', '/')}.py",
        "verbs": sorted(cls.defines()),
        "needs": sorted(cls.needs),
        "keeps": parts.get("Keeps", ""),
        "test": str(test),
    }
