"""Grade a folder of submissions into a CSV, and a page of feedback for each student.

Each submission runs in a process of its own, inside a box (bubblewrap): no network, nothing to read but Python,
nothing to write but an empty folder. It gets arguments and gives plain data (clkit/worker.py); expected values,
limits and comparison stay in this process, which believes nothing that comes out of the box.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import html
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clkit import exercise as exercises
from clkit.errors import ClkitError, counted
from clkit.exercise import BadAnswer, Exercise, Question, Verdict, examine, plain
from clkit.files import write_text

SEED = 20  # of the inputs; the notebook takes another
CELL, CALL, WHOLE = 10.0, 5.0, 60.0  # seconds for a cell, for a call, for all of a submission
GRACE = 2.0  # seconds more until the process is killed
START = 120.0  # seconds until a process has imported torch from a cold disk
IMPORTS, MOST = 30.0, 100  # seconds for what the cells import, and how many modules
DEATHS = 3  # a submission whose process ended so often is not started again
MEMORY, FILES = 2 << 30, 64 << 20  # bytes a submission may take beyond its imports; of its working folder
LARGEST, LINE = 20 << 20, 8 << 20  # bytes of a notebook, of a reply
ROOT = Path(__file__).resolve().parent
WITHHELD = ("assign", "exercise", "grade", "worker")  # modules of clkit that the box does not show
FOREIGN = (
    "torch",
    "matplotlib",
    "scipy",
    "pandas",
    "sklearn",
    "clkit",
)  # imported before the refusals, if asked for
NEVER = {"__main__", "tests", "testing", "conftest", "_internal"}  # parts of names of modules that run things
IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+([\w., \t]*)", re.M)
INSTALL = (
    "clkit grade runs submissions inside bubblewrap, which is not installed: apt-get install bubblewrap (Debian, "
    "Ubuntu), dnf install bubblewrap (Fedora). With --unsafe it does without: then a submission can read and change "
    "your files."
)


class Unreadable(ClkitError):
    """A submission that cannot be run: why, and what its author can do."""


class NoStart(BaseException):
    """No process can be started on this machine: no fault of a submission, so nothing may catch it as one."""


def grade(
    folder: Path,
    out: Path,
    exercise: str | Path | None = None,
    jobs: int = 2,
    unsafe: bool = False,
    progress: bool | None = None,
) -> list[dict[str, Any]]:
    """Grade every notebook in `folder` and write `out` (CSV) and `<out>-feedback/<student>.html`.

    Finished submissions are kept in `<out>.cache.json`, so that an interrupted run goes on where it stopped and
    only what changed is graded again. The column `manual` of an existing CSV is kept, by student.

    Args:
        exercise: name of a public exercise, or the .py file of your own; None: what the notebooks say.
        jobs: submissions at once.
        unsafe: without bubblewrap. The limits and the refusals remain, but files can be read and changed.
        progress: show a bar; None = where the output is a terminal.

    Returns:
        The rows of the CSV, and `was`: the total in the CSV before where it differs, else None.
    """
    folder, out = Path(folder), Path(out)
    counted("jobs", jobs)
    if sys.platform != "linux":
        raise ClkitError("clkit grade needs Linux: run it there, under WSL on Windows, or in a container.")
    if not unsafe and shutil.which("bwrap") is None:
        raise ClkitError(INSTALL)
    files = _submissions(folder)
    named = exercises.load(exercise if exercise is not None else _named(files))
    before = _matched(_before(out, named), {_cell(student) for student in files})
    check = _check_key(_source(named, exercise))
    found = _results(files, named, check, out, _Crew(named, exercise, unsafe), jobs, progress)
    rows = [
        _row(student, str(files[student].relative_to(folder)), found[student], before) for student in files
    ]
    here = {_cell(student) for student in files}
    gone = [_gone(named, old) for name, old in before.items() if name not in here and old["manual"]]
    _write(out, named, rows + gone)
    for student in files:
        write_text(_place(out, student), page(student, named, found[student]))
    for row in rows:
        if row["was"] is not None:
            print(f"{row['student']}: {row['was']} -> {row['total']} points", file=sys.stderr)
    return rows + gone


# The folder


def _submissions(folder: Path) -> dict[str, Path]:
    """Student -> notebook. The student is the file's name; where two share it, the path below `folder`."""
    if not folder.is_dir():
        raise ClkitError(f"{folder} is not a folder. Give the folder that holds the submissions.")
    every = sorted(folder.rglob("*"))  # links and folders, too: each gets a row that says what is wrong
    seen = [p for p in every if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    files = [path for path in seen if path.suffix.lower() == ".ipynb"]
    if not files:
        raise ClkitError(f"{folder} holds no notebook (.ipynb).")
    count = Counter(path.stem.casefold() for path in files)
    made = {}
    for path in files:
        unique = count[path.stem.casefold()] == 1
        made[_clean(path.stem if unique else path.relative_to(folder).with_suffix("").as_posix())] = path
    if len(made) < len(files):
        raise ClkitError(
            "two submissions have the same name but for unreadable letters or .ipynb: rename one."
        )
    return dict(sorted(made.items()))


def _named(files: dict[str, Path]) -> str:
    """The public exercise that most notebooks name."""
    known = exercises.exercises()
    votes: Counter[str] = Counter()
    for path in files.values():
        try:
            votes[_clean(str(_notebook(_bytes(path)).get("metadata", {})["clkit"]["exercise"]))] += 1
        except (Unreadable, AttributeError, KeyError, TypeError):
            continue
    best = [(name, number) for name, number in votes.most_common() if name in known]
    if not best or (len(best) > 1 and best[0][1] == best[1][1]):
        said = ", ".join(sorted(votes)) or "none"
        raise ClkitError(
            f"the notebooks do not agree on one exercise (named: {said}): say --exercise NAME, or "
            "--exercise FILE.py for one of your own."
        )
    return best[0][0]


def _bytes(path: Path) -> bytes:
    """What the file holds. A link is not followed: it may lead to the solution."""
    try:
        with open(
            path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        ) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, "")
            if found.st_size > LARGEST:
                raise Unreadable("the file is larger than 20 MB: clear the outputs and submit it again.")
            return file.read()
    except IsADirectoryError:  # or a pipe
        raise Unreadable("this is not a file: submit the .ipynb file that Jupyter saves.") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unreadable("the file is a link: submit the file itself.") from None
        raise Unreadable(f"the file cannot be read: {error.strerror}.") from None


def _notebook(data: bytes) -> dict[str, Any]:
    if not data.strip():
        raise Unreadable("the file is empty: save the notebook and submit it again.")
    try:
        made = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        made = None
    if type(made) is not dict or not {"cells", "nbformat", "worksheets"} & made.keys():
        raise Unreadable("the file is not a notebook: submit the .ipynb file that Jupyter saves.")
    form = made.get("nbformat")
    if type(form) is int and form > 4:
        raise Unreadable(f"notebook format {form} is newer than 4: save it as format 4 and submit it again.")
    if form != 4 or type(made.get("cells")) is not list:
        raise Unreadable(
            "the notebook's format is too old or damaged: open it in Jupyter, save, submit again."
        )
    return made


def _code(made: dict[str, Any]) -> list[str]:
    """The sources of the code cells."""
    sources = []
    for cell in made["cells"]:
        if type(cell) is not dict or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        parts = source if type(source) is list else [source]
        if any(type(part) is not str for part in parts):
            raise Unreadable("a cell of the notebook is damaged: open it in Jupyter, save, submit again.")
        sources.append("".join(parts))
    return sources


# The box


class _Crew:
    """Starts workers, knows those alive, and ends them all when the grader is interrupted."""

    def __init__(self, named: Exercise, source: str | Path | None, unsafe: bool) -> None:
        self.unsafe, self.alive, self.stopped = unsafe, set[_Worker](), False
        rooms = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
        hidden = [str(ROOT / room) + "/" for room in rooms] + [str(ROOT / f"{name}.py") for name in WITHHELD]
        hidden += [str(_source(named, source).with_suffix(end)) for end in (".py", ".ipynb")]
        sites = _sites("numpy", "torch")
        self.preload = ["torch"] if named.torch else []
        self.setup = {
            "path": [*sites, str(ROOT.parent)],
            "refused": [f"clkit.{name}" for name in (*rooms, *WITHHELD)],
            "hidden": hidden,
            "memory": MEMORY,
            "cpu": int(START + WHOLE),
        }
        self.command = _unboxed() if unsafe else [*_box(sites), sys.executable, "-P", "-B", "/worker.py"]

    def launch(self, modules: list[str]) -> _Worker | None:
        """A worker that has imported what it may; None where these modules end it, or take too long.

        Raises:
            NoStart: it does not start on this machine, whatever the modules.
        """
        worker = _Worker(self)
        begun = worker.ask({**self.setup, "preload": self.preload}, START) is not None
        if begun and worker.ask({"load": modules}, IMPORTS) is not None:
            return worker
        worker.kill()
        if self.stopped:
            raise NoStart("the grader was stopped.")
        if not (begun and modules):
            raise NoStart(f"the process of a submission does not start here: {self._why()}")
        return None

    def _why(self) -> str:
        """What the box, or Python in it, says."""
        tried = [*self.command[:-1], "-c", "import numpy"]
        with tempfile.TemporaryDirectory() as folder:
            made = subprocess.run(tried, cwd=folder, env=_environment(folder), capture_output=True, text=True)
        said = made.stderr.strip().splitlines()
        return f"{said[-1] if said else 'out of time or memory'}. Is bubblewrap allowed to make namespaces?"

    def stop(self) -> None:
        self.stopped = True
        for worker in list(self.alive):
            worker.end()


class _Worker:
    """One process. A reply is None when there is none: it died, or was late and was killed."""

    def __init__(self, crew: _Crew) -> None:
        self.crew, self.late = crew, False
        # Its working folder where there is no box.
        self.folder = tempfile.TemporaryDirectory(prefix="clkit-grade-", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            crew.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder.name,
            env=_environment(self.folder.name if crew.unsafe else "/box"),
            start_new_session=True,
        )
        crew.alive.add(self)
        if crew.stopped:
            self.end()

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        assert self.process.stdin is not None and self.process.stdout is not None
        timer = threading.Timer(max(0.0, seconds), self._expire)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline(LINE)
        except OSError:
            line = b""
        finally:
            timer.cancel()
        try:
            reply = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            reply = None
        return reply if type(reply) is dict and not self.late else None

    def _expire(self) -> None:
        self.late = True
        self.end()

    def end(self) -> None:
        """Kill bubblewrap; everything in its namespace dies with it."""
        if self.process.returncode is None:  # not waited for yet: the number is still ours
            os.killpg(self.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End it, and leave nothing."""
        self.end()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # what was not read is thrown away
                pass
        self.crew.alive.discard(self)
        self.folder.cleanup()


def _environment(home: str) -> dict[str, str]:
    """All that a submission sees of it."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    fixed = {"PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "MPLBACKEND": "agg", "LANG": "C.UTF-8"}
    return {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, **one, **fixed}


def _unboxed() -> list[str]:
    return [sys.executable, "-P", "-B", str(ROOT / "worker.py")]


def _box(sites: Sequence[str]) -> list[str]:
    """bubblewrap's options: Python and libraries to read, an empty folder to write, no network, own processes."""
    box = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr"]
    if os.geteuid() == 0:
        box += ["--cap-drop", "ALL"]
    for path in map(Path, ("/bin", "/lib", "/lib64", "/lib32", "/libx32")):
        if path.is_symlink():
            box += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            box += ["--ro-bind", str(path), str(path)]
    for name in ("/etc/ld.so.cache", "/etc/alternatives"):
        box += ["--ro-bind-try", name, name]
    homes = {sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent), *sites}
    for home in sorted(homes):  # a folder comes before those inside it
        if home != "/usr" and not home.startswith("/usr/"):
            box += ["--ro-bind", home, home]
    box += ["--tmpfs", str(ROOT)]
    for path in sorted(ROOT.glob("*.py")):
        if path.stem not in WITHHELD:
            box += ["--ro-bind", str(path), str(path)]
    box += ["--ro-bind", str(ROOT / "worker.py"), "/worker.py", "--proc", "/proc", "--dev", "/dev"]
    box += ["--remount-ro", str(ROOT), "--remount-ro", "/dev", "--size", str(FILES), "--tmpfs", "/box"]
    return [*box, "--remount-ro", "/", "--chdir", "/box", "--"]


def _sites(*packages: str) -> list[str]:
    """The folders these packages are imported from."""
    specs = [importlib.util.find_spec(name) for name in packages]
    return sorted({str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin})


# One submission


@dataclass
class _Session:
    """A submission at work. Where its process ends, another runs what is left, some times."""

    crew: _Crew
    cells: list[str]
    notes: dict[int, str] = field(default_factory=dict)  # code cell -> what happened; 0: before the cells
    fatal: set[int] = field(default_factory=set)  # code cells that ended the process: left out from then on
    deaths: int = 0
    end: float = 0.0
    worker: _Worker | None = None

    def call(self, name: str, arguments: Sequence[Any]) -> Any:
        """A plain answer.

        Raises:
            BadAnswer: there is none; otherwise what the student's function raised, under its name.
        """
        while self.worker is None:
            self._start()
        kind, message, answer = self._ask({"call": name, "arguments": _encoded(arguments)}, CALL)
        if kind == "":
            return plain(answer)
        if kind in ("BadAnswer", "Late"):
            raise BadAnswer(message)
        if kind == "NotImplementedError":
            raise NotImplementedError(message)
        raise type(kind, (Exception,), {})(message)

    def _start(self) -> None:
        """Run the cells in a new process."""
        if self.deaths > DEATHS:
            raise BadAnswer("not graded: the notebook's process ended too often.")
        self.worker = self.crew.launch([] if 0 in self.notes else _foreign(self.cells))
        if self.worker is None:
            self.notes[0] = "an import ended the process, or took too long: nothing was imported ahead."
            self.worker = self.crew.launch([])
        self.end = self.end or time.monotonic() + WHOLE
        for number, source in enumerate(self.cells, start=1):
            if number in self.fatal:
                continue
            kind, message, _ = self._ask({"cell": source}, CELL)
            if self.worker is None:
                self.fatal.add(number)
            if kind == "Late" or self.worker is None:
                self.notes[number] = message
            elif kind not in ("", "AssertionError", "NotImplementedError"):  # visible tests may fail
                self.notes[number] = f"{kind}: {message}".removesuffix(": ")
            if self.worker is None:
                return

    def _ask(self, request: dict[str, Any], seconds: float) -> tuple[str, str, Any]:
        """(kind of error, message, answer); the kind is "" where there was none."""
        assert self.worker is not None
        left = self.end - time.monotonic()
        reply = self.worker.ask({**request, "seconds": seconds}, min(seconds + GRACE, left))
        if reply is None:
            late = self.worker.late
            self.close()
            self.deaths += 1
            if not late:
                return "BadAnswer", "the notebook ended the process.", None
            if left < seconds + GRACE:
                self.deaths = DEATHS + 1
                return "Late", f"the submission took longer than {WHOLE:g} seconds in all.", None
            return "Late", f"no end within {seconds:g} seconds.", None
        error = reply.get("error")
        if type(error) is not list:
            return "", "", reply.get("answer")
        kind, message = ([_clean(str(part)) for part in error] + ["", ""])[:2]
        return (kind or "Error"), f"no end within {seconds:g} seconds." if kind == "Late" else message, None

    def close(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker = None


def _foreign(cells: list[str]) -> list[str]:
    """The modules that the cells import, of those that cannot be loaded later."""
    names = set()
    for home, listed in IMPORT.findall("\n".join(cells)):
        names |= {home, *(f"{home}.{name}".strip(".") for name in re.findall(r"(?:^|,)\s*([\w.]+)", listed))}
    parts = {name: name.split(".") for name in names}
    return sorted(name for name in names if parts[name][0] in FOREIGN and not NEVER & {*parts[name]})[:MOST]


def _encoded(value: Any) -> Any:
    """An argument as JSON; what an array is stands beside its values."""
    if isinstance(value, np.ndarray):
        return {"array": value.ravel().tolist(), "shape": list(value.shape), "dtype": value.dtype.str}
    if isinstance(value, np.generic):
        return value.item()
    return [_encoded(part) for part in value] if isinstance(value, (list, tuple)) else value


def _result(path: Path, named: Exercise, crew: _Crew) -> dict[str, Any]:
    """One submission: {"questions": [{name, points, message, hint}], "reason": ..., "notes": [...]}."""
    try:
        made = _notebook(_bytes(path))
        session = _Session(crew, _code(made))
    except Unreadable as error:
        none = [{"name": q.name, "points": 0, "message": str(error), "hint": ""} for q in named.questions]
        return {"questions": none, "reason": str(error), "notes": []}
    try:
        verdicts = [(question, _verdict(question, session)) for question in named.questions]
    except NoStart as error:
        raise ClkitError(str(error)) from None
    finally:
        session.close()
    notes = [f"code cell {n}: {said}" if n else said for n, said in sorted(session.notes.items())]
    notes += _stranger(made, named)
    wrong = [_reason(question, verdict) for question, verdict in verdicts if not verdict.right]
    return {
        "questions": [_judged(question, verdict) for question, verdict in verdicts],
        "reason": "; ".join(wrong + notes[:3]),
        "notes": notes,
    }


def _verdict(question: Question, session: _Session) -> Verdict:
    try:
        return examine(question, lambda arguments: session.call(question.name, arguments), seed=SEED)
    except Exception as error:  # the judge met an answer that its author did not think of
        return Verdict(False, 0, f"the answer cannot be judged ({type(error).__name__}).")


def _judged(question: Question, verdict: Verdict) -> dict[str, Any]:
    points = question.points if verdict.right else 0
    hint = "" if verdict.right else verdict.hint or question.ladder[0]
    message = f"Case {verdict.case}: {_clean(verdict.message)}" if verdict.case else _clean(verdict.message)
    return {"name": question.name, "points": points, "message": message, "hint": hint}


def _reason(question: Question, verdict: Verdict) -> str:
    """In a few words: which question, which case, what, and whether many make this mistake."""
    message = _clean(verdict.message).rstrip(".").removeprefix(f"{question.name} ")
    case = f" (case {verdict.case})" if verdict.case else ""
    known = ", a typical mistake" if verdict.hint else ""
    return f"{question.name}{case}: {message}{known}"


def _stranger(made: dict[str, Any], named: Exercise) -> list[str]:
    """A word on a notebook that says it belongs to another exercise."""
    try:
        says = _clean(str(made["metadata"]["clkit"]["exercise"]))
    except (KeyError, TypeError):
        return []
    return [] if says == named.name else [f"the notebook says it is of the exercise {says!r}"]


def _clean(text: str) -> str:
    """One line that can be printed and is the same each time: no addresses, no control characters."""
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x...", " ".join(text.split()))
    kept = "".join(letter if letter.isprintable() else "?" for letter in text)
    return kept if len(kept) <= 300 else kept[:297] + "..."


# All of them, what is kept, what is written


def _results(
    files: dict[str, Path],
    named: Exercise,
    check: str,
    out: Path,
    crew: _Crew,
    jobs: int,
    progress: bool | None,
) -> dict[str, dict[str, Any]]:
    """Student -> result: kept from before, or graded now and kept at once."""
    place = out.with_name(f"{out.name}.cache.json")
    keys = {student: _key(path, check) for student, path in files.items()}
    kept = _kept(place)
    found = {student: kept[key] for student, key in keys.items() if key in kept}
    left = [student for student in files if student not in found]
    hidden = None if progress is None else not progress
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(files), initial=len(found), unit="submission", desc="grading", disable=hidden) as bar,
    ):
        futures = {pool.submit(_result, files[student], named, crew): student for student in left}
        try:
            for future in as_completed(futures):
                student = futures[future]
                found[student] = future.result()
                known = {keys[name]: result for name, result in found.items()}
                write_text(place, json.dumps(known, indent=1, sort_keys=True) + "\n")
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            crew.stop()
            raise
    return found


def _source(named: Exercise, given: str | Path | None) -> Path:
    """The file that holds the questions."""
    own = given is not None and Path(given).suffix == ".py"
    return Path(str(given)).resolve() if own else ROOT / "exercises" / f"{named.name}.py"


def _check_key(source: Path) -> str:
    """Of all code that decides on points."""
    files = [source, ROOT / "exercise.py", ROOT / "worker.py", ROOT / "grade.py"]
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def _key(path: Path, check: str) -> str:
    try:
        return f"{hashlib.sha256(_bytes(path)).hexdigest()}-{check}"
    except Unreadable as error:
        return f"{error}-{check}"


def _kept(place: Path) -> dict[str, dict[str, Any]]:
    """Results of an earlier run; without them, all is graded again."""
    try:
        found = json.loads(place.read_text())
        return {key: dict(result) for key, result in found.items() if result["questions"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _before(out: Path, named: Exercise) -> dict[str, dict[str, str]]:
    """Student -> row of the CSV that is there."""
    names = set(_names(named))
    if not out.exists():
        return {}
    try:
        text = out.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        raise ClkitError(f"{out} cannot be read as text: move it away, or choose another --out.") from None
    head = text.split("\n", 1)[0]
    marks = max(",;\t", key=head.count)  # a spreadsheet may have saved it
    rows = list(csv.DictReader(io.StringIO(text), delimiter=marks))
    columns = set(rows[0]) if rows else {"student", "total", "manual", *names}
    if not {"student", "total", "manual"} <= columns or not columns & names:
        raise ClkitError(
            f"{out} holds no grades of the exercise {named.name}: choose another --out, or move it away."
        )
    return {row["student"]: {key: value or "" for key, value in row.items() if key} for row in rows}


def _matched(before: dict[str, dict[str, str]], names: set[str]) -> dict[str, dict[str, str]]:
    """The rows under the names of today: a spreadsheet writes 0012345 as 12345. Only where one fits one."""
    lost, new = _numbers(before.keys() - names), _numbers(names - before.keys())
    known = {lost[n][0]: new[n][0] for n in lost if len(lost[n]) == len(new.get(n, [])) == 1}
    return {known.get(name, name): row for name, row in before.items()}


def _numbers(names: set[str]) -> dict[str, list[str]]:
    """Number -> the names that write it."""
    made: dict[str, list[str]] = {}
    for name in names:
        if found := re.fullmatch(r"0*([0-9]+?)(?:\.0+)?", name):
            made.setdefault(found[1], []).append(name)
    return made


def _names(named: Exercise) -> list[str]:
    """Of the columns with points."""
    names = [question.name for question in named.questions]
    for name in set(names) & {"student", "file", "total", "reason", "manual", "was"}:
        raise ClkitError(f"the table of grades has a column {name!r} of its own: rename that question.")
    return names


def _row(
    student: str, file: str, result: dict[str, Any], before: dict[str, dict[str, str]]
) -> dict[str, Any]:
    old = before.get(_cell(student), {})
    total = sum(question["points"] for question in result["questions"])
    return {
        "student": student,
        "file": _clean(file),
        **{question["name"]: question["points"] for question in result["questions"]},
        "total": total,
        "reason": result["reason"],
        "manual": old.get("manual", ""),
        "was": old["total"] if old.get("total", "") not in ("", str(total)) else None,
    }


def _gone(named: Exercise, old: dict[str, str]) -> dict[str, Any]:
    """A row that only keeps what the teacher wrote."""
    empty = dict.fromkeys(("file", *_names(named), "total"), "")
    reason = "no submission in the folder"
    return {"student": old["student"], **empty, "reason": reason, "manual": old["manual"], "was": None}


def _cell(text: str) -> str:
    """A spreadsheet runs what begins like a formula: an apostrophe makes it text."""
    return f"'{text}" if text[:1] in tuple("=+-@") else text


def _write(out: Path, named: Exercise, rows: list[dict[str, Any]]) -> None:
    columns = ["student", "file", *_names(named), "total", "reason", "manual"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        safe = {"student": _cell(row["student"]), "file": _cell(row["file"])}
        writer.writerow([{**row, **safe}[column] for column in columns])
    write_text(out, text.getvalue())


def _place(out: Path, student: str) -> Path:
    """The student's page, inside the folder of pages. A file system takes names of 255 bytes."""
    parts = [_clean(part) for part in student.split("/")]
    taken = any(part.endswith(".html") for part in parts[:-1])  # a folder named like a page
    if taken or {"", ".", ".."} & {*parts} or max(len(part.encode()) for part in parts) > 200:
        student = hashlib.sha256(student.encode()).hexdigest()[:16]
    return out.with_name(f"{out.stem}-feedback") / f"{student}.html"


STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem;"
    "overflow-wrap:anywhere}h2{font-size:1.1rem;margin:1.8rem 0 .3rem;border-bottom:1px solid #8888}p{margin:.4rem 0}"
    ".hint{border-left:.25rem solid #2a78d6;padding-left:.7rem}"
)


def page(student: str, named: Exercise, result: dict[str, Any]) -> str:
    """What a student gets back, in HTML."""
    total = sum(got["points"] for got in result["questions"])
    whole = sum(question.points for question in named.questions)
    parts = []
    for question, got in zip(named.questions, result["questions"], strict=True):
        right = got["points"] == question.points
        hint = f'<p class="hint">Hint: {html.escape(got["hint"])}</p>' if got["hint"] else ""
        parts.append(
            f"<h2>{html.escape(question.name)}: {got['points']} of {question.points} points</h2>"
            f"<p>{html.escape(question.asks)}</p>"
            f"<p>{'Right.' if right else html.escape(got['message'])}</p>{hint}"
        )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in result["notes"])
    name = html.escape(f"{named.name}: {student}")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{name}</title>'
        f"<style>{STYLE}</style><main><h1>{name}</h1><p>{total} of {whole} points.</p>{''.join(parts)}"
        + (f"<h2>While the notebook ran</h2><ul>{notes}</ul>" if notes else "")
        + "</main></html>\n"
    )
