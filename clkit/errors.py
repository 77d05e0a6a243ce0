"""Errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real


class ClkitError(ValueError):
    """Bad input: the message names the argument and the fix."""


class ClosedDataError(ClkitError):
    """A method touched data of a task that is over."""


class UnfitError(ClkitError):
    """A method needs something that the stream does not give."""


class NonFiniteError(ClkitError):
    """Weights or scores stopped being numbers."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ClkitError:
    """The error for a name that does not exist, with the nearest names that do."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
    return ClkitError(f"unknown {kind} {name!r}. {hint}")


def positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise unless `value` is a finite number > 0 (>= 0 with `zero`)."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ClkitError(f"{name} must be a number, not {value!r}.")
    if not (value >= 0 if zero else value > 0) or value == float("inf"):
        raise ClkitError(f"{name} must be {'zero or more' if zero else 'greater than zero'}, not {value}.")


def counted(name: str, value: int, *, zero: bool = False) -> None:
    """Raise unless `value` is a whole number > 0 (>= 0 with `zero`)."""
    positive(name, value, zero=zero)
    if value != int(value):
        raise ClkitError(f"{name} must be a whole number, not {value}.")


def listed(name: str, value: object) -> None:
    """Raise unless `value` is a tuple or list."""
    if not isinstance(value, (tuple, list)):
        raise ClkitError(f"{name} must be a tuple of numbers, for example ({value},), not {value!r}.")
