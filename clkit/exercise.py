"""Graded exercises: what a question asks, how an answer is judged, and the hints that follow.

An answer is judged as plain data (`plain`), so that an object of the student's cannot judge itself. Expected
values are not stored: `judge` tests properties, or computes a closed form for the arguments at hand.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clkit import progress
from clkit.errors import ClkitError, unknown

SEED = 0  # of the inputs in a notebook; the grader takes another
DEEPEST, LONGEST = 6, 100_000  # nesting and number of values of an answer

Arguments = Sequence[Any]  # numbers, strings, lists and numpy arrays of floats


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer."""

    answer: Callable[..., Any]  # what it gives for the arguments of a case
    hint: str  # what to say to who gives it


@dataclass(frozen=True)
class Question:
    """One function that a student writes."""

    name: str  # of the function; no two questions share one
    points: int
    asks: str  # one sentence
    inputs: Callable[[np.random.Generator], list[Arguments]]  # the cases: the arguments of each
    judge: Callable[..., str | None]  # (answer, *arguments) -> None where right, else what is wrong with it
    mistakes: tuple[Mistake, ...]
    ladder: tuple[str, str, str]  # hints, the next one with each further try


@dataclass(frozen=True)
class Exercise:
    """The questions of one notebook."""

    name: str  # of the notebook, without its ending
    chapter: str
    questions: tuple[Question, ...]
    torch: bool = False  # do the cells need torch?


@dataclass(frozen=True)
class Verdict:
    """What came out for one question."""

    right: bool
    case: int = 0  # the first that is wrong, from 1; 0 where all are right
    message: str = ""
    hint: str = ""  # of the typical mistake that the answer is, if it is one


class BadAnswer(ClkitError):
    """An answer is not plain data, or too much of it."""


def plain(answer: Any) -> Any:
    """An answer as JSON holds it: numpy arrays and scalars become lists and numbers.

    Raises:
        BadAnswer: another type, more than 100,000 values, or a number that is none.
    """
    found, left = _plain(answer, DEEPEST, LONGEST)
    return found


def _plain(answer: Any, deep: int, left: int) -> tuple[Any, int]:
    if type(answer).__module__ == "torch" and hasattr(type(answer), "detach"):
        answer = answer.detach().cpu().numpy()
    if type(answer) is np.ndarray or isinstance(answer, np.generic):
        if np.size(answer) > left:
            raise BadAnswer(f"the answer holds more than {LONGEST:,} values.")
        answer = answer.tolist()
    kind = type(answer)
    if answer is None or kind in (bool, int, float):
        return answer, left - 1
    if kind is str and len(answer) <= 1000:
        return answer, left - 1
    if kind in (list, tuple) and deep:
        parts = []
        for part in answer:
            made, left = _plain(part, deep - 1, left)
            if left < 0:
                raise BadAnswer(f"the answer holds more than {LONGEST:,} values.")
            parts.append(made)
        return parts, left
    raise BadAnswer(f"return numbers, lists or numpy arrays, not {kind.__name__}.")


def close(answer: Any, expected: Any, tolerance: float = 1e-6) -> bool:
    """Has the answer the shape of `expected`, and all its values, to `tolerance` of the largest of them?"""
    try:
        given, wanted = np.asarray(answer, float), np.asarray(expected, float)
    except (TypeError, ValueError, OverflowError):
        return False
    if given.shape != wanted.shape or not np.isfinite(given).all():
        return False
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    return bool((np.abs(given - wanted) <= tolerance * scale).all())


def matches(expected: Any, answer: Any, what: str = "the values are not right") -> str | None:
    """A judgement by comparison: None, or what is wrong: the shape, a NaN, or the values."""
    try:
        given = np.asarray(answer, float)
    except (TypeError, ValueError, OverflowError):
        return "return numbers"
    wanted = np.asarray(expected, float)
    if given.shape != wanted.shape:
        return f"the answer has shape {given.shape}, it should be {wanted.shape}"
    if not np.isfinite(given).all():
        return "the answer holds NaN or infinite values"
    return None if close(answer, expected) else what


def examine(question: Question, call: Callable[[Arguments], Any], seed: int = SEED) -> Verdict:
    """Call the student's function on every case and judge the answers, up to the first wrong one.

    call: arguments -> plain answer; what it raises is the student's error.
    """
    for case, arguments in enumerate(question.inputs(np.random.default_rng(seed)), start=1):
        try:
            answer = call(copy.deepcopy(arguments))
        except NotImplementedError:
            return Verdict(False, case, f"{question.name} is not written yet.", "")
        except BadAnswer as error:
            return Verdict(False, case, str(error))
        except Exception as error:
            return Verdict(False, case, f"{question.name} stopped: {type(error).__name__}: {error}")
        try:
            wrong = question.judge(answer, *copy.deepcopy(arguments))
        except Exception as error:  # an answer that the judge did not foresee
            wrong = f"the answer cannot be judged: {type(error).__name__}: {error}"
        if wrong:
            return Verdict(False, case, wrong, recognise(question, answer, arguments))
    return Verdict(True)


def recognise(question: Question, answer: Any, arguments: Arguments) -> str:
    """The hint of the typical mistake that gives this answer; "" where none does."""
    for mistake in question.mistakes:
        if close(answer, mistake.answer(*copy.deepcopy(arguments))):
            return mistake.hint
    return ""


def exercises() -> dict[str, Exercise]:
    """The public exercises, by name."""
    from clkit import exercises as package

    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    found = [importlib.import_module(f"clkit.exercises.{name}").EXERCISE for name in names]
    return {exercise.name: exercise for exercise in found}


def load(source: str | Path) -> Exercise:
    """An exercise by its name, or from a file that defines EXERCISE: a teacher's own."""
    path = Path(source)
    if path.suffix != ".py":
        known = exercises()
        if str(source) not in known:
            raise unknown("exercise", str(source), known)
        return known[str(source)]
    if not path.exists():
        raise ClkitError(
            f"{path} does not exist. An exercise of your own is a notebook and a .py file beside it."
        )
    spec = importlib.util.spec_from_file_location(f"bank_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if type(getattr(module, "EXERCISE", None)) is not Exercise:
        raise ClkitError(f"{path} must define EXERCISE, a clkit.exercise.Exercise.")
    return module.EXERCISE


def find(name: str) -> Question:
    """The question called `name`."""
    known = {question.name: question for exercise in exercises().values() for question in exercise.questions}
    if name not in known:
        raise unknown("question", name, known)
    return known[name]


def check(name: str, function: Callable[..., Any]) -> bool:
    """Try an answer: `clkit.check("name", function)`. Prints what is right or wrong, and a hint; no network.

    A typical mistake is answered with its own hint. Otherwise each further wrong try shows one hint more.

    Raises:
        ClkitError: there is no such question, or `function` is none.
    """
    question = find(name)
    if not callable(function):
        raise ClkitError(
            f"check needs the function itself: clkit.check({name!r}, {name}), without parentheses."
        )
    verdict = examine(question, lambda arguments: plain(function(*arguments)))
    tries = progress.record(name, verdict.right)
    print(_said(question, verdict, tries))
    return verdict.right


def _said(question: Question, verdict: Verdict, tries: int) -> str:
    """What `check` prints."""
    if verdict.right:
        return f"{question.name}: right."
    lines = [f"{question.name}: not yet. Case {verdict.case}: {verdict.message}"]
    shown = [verdict.hint] if verdict.hint else list(question.ladder[: min(tries, len(question.ladder))])
    return "\n".join(lines + [f"  Hint: {hint}" for hint in shown])
