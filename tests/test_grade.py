"""The grader: points and reasons, hostile submissions, what is kept, and that nothing is left behind.

Two functions are asked for: `scaled(x, factor)`, 2 points, and `summed(x)`, 1 point.
"""

import csv
import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from clkit import exercise, worker
from clkit import grade as grading
from clkit.errors import ClkitError
from clkit.grade import grade

EXERCISE = """
import numpy as np
from clkit.exercise import Exercise, Mistake, Question, matches

EXERCISE = Exercise("two", "gradient", (
    Question(
        "scaled", 2, "Multiply an array by a factor.",
        lambda rng: [(rng.normal(size=(3, 2)), 0.5), (rng.normal(size=4), 3.0)],
        lambda answer, x, factor: matches(x * factor, answer),
        (Mistake(lambda x, factor: x + factor, "You added <b>the factor</b>."),),
        ("Look at * in numpy.", "b", "c"),
    ),
    Question(
        "summed", 1, "Add up an array.",
        lambda rng: [(rng.normal(size=5),)],
        lambda answer, x: matches(x.sum(), answer),
        (Mistake(lambda x: x.mean(), "That is the mean."),),
        ("Look at np.sum.", "b", "c"),
    ),
))
"""
SCALED = "import numpy as np\n\ndef scaled(x, factor):\n    return x * factor\n"
SUMMED = "import numpy as np\n\ndef summed(x):\n    return float(np.sum(x))\n"


def notebook(*cells, named="two", form=4):
    code = [
        {"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "execution_count": None}
        for cell in cells
    ]
    text = {"cell_type": "markdown", "source": ["while True: pass"], "metadata": {}}
    head = {"nbformat": form, "nbformat_minor": 5, "metadata": {"clkit": {"exercise": named}}}
    return json.dumps({**head, "cells": [text, *code]})


GOOD = notebook(SCALED, SUMMED)
MISTAKE = notebook(SCALED.replace("*", "+"), SUMMED)


def scaled(*lines):
    """A cell whose `scaled` does this."""
    return "import numpy as np\ndef scaled(x, factor):\n" + "".join(f"    {line}\n" for line in lines)


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder with the exercise; temporary files go into it; `submit(name, text)` and `run(...)`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return Room(tmp_path)


class Room:
    def __init__(self, place):
        self.place, self.folder, self.out = place, place / "class", place / "grades.csv"
        self.exercise = place / "two.py"
        self.exercise.write_text(EXERCISE)
        for folder in (self.folder, place / "temporary"):
            folder.mkdir()

    def submit(self, **texts):
        for name, text in texts.items():
            (self.folder / f"{name}.ipynb").write_text(text)
        return self

    def run(self, **options):
        rows = grade(self.folder, self.out, self.exercise, progress=False, **options)
        return {row["student"]: row for row in rows}

    def csv(self):
        return list(csv.DictReader(self.out.read_text().splitlines()))


def test_points_reasons_and_hints(room):
    room.submit(ada=GOOD, bo=MISTAKE, cy=notebook(scaled("raise NotImplementedError"), SUMMED, "1 / 0"))
    room.submit(di=notebook(scaled("return (x * factor)[0]"), "summed = 3"))
    assert list(room.run()["ada"]) == [
        "student",
        "file",
        "scaled",
        "summed",
        "total",
        "reason",
        "manual",
        "was",
    ]
    lines = [
        "student,file,scaled,summed,total,reason,manual",
        "ada,ada.ipynb,2,1,3,,",
        'bo,bo.ipynb,0,1,1,"scaled (case 1): the values are not right, a typical mistake",',
        "cy,cy.ipynb,0,1,1,scaled (case 1): is not written yet; code cell 3: ZeroDivisionError: division by zero,",
        'di,di.ipynb,0,0,0,"scaled (case 1): the answer has shape (2,), it should be (3, 2); '
        'summed (case 1): the notebook defines no function summed",',
    ]
    assert room.out.read_text() == "".join(f"{line}\n" for line in lines)


def test_each_student_gets_a_page(room):
    room.submit(ada=GOOD, bo=MISTAKE, cy=notebook("raise ValueError('<script>alert(1)</script>')", SUMMED))
    room.run()
    pages = {path.stem: path.read_text() for path in (room.place / "grades-feedback").iterdir()}
    assert sorted(pages) == ["ada", "bo", "cy"]
    assert (
        "3 of 3 points" in pages["ada"] and pages["ada"].count("Right.") == 2 and "Hint" not in pages["ada"]
    )
    assert "1 of 3 points" in pages["bo"] and "scaled: 0 of 2 points" in pages["bo"]
    assert "<p>Case 1: the values are not right</p>" in pages["bo"]
    assert (
        "Hint: You added &lt;b&gt;the factor&lt;/b&gt;." in pages["bo"]
    )  # of the mistake; else the first one
    assert "Hint: Look at * in numpy." in pages["cy"] and "ValueError: &lt;script&gt;" in pages["cy"]
    for page in pages.values():
        assert "<script" not in page and "light dark" in page


def test_a_page_fits_a_telephone(room, chromium):
    room.submit(**{"a" * 90: notebook("raise ValueError('x' * 200)", SUMMED)})
    room.run()
    for scheme in ("light", "dark"):
        page = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
        page.goto((room.place / "grades-feedback" / f"{'a' * 90}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.close()


SNOOP = """
import glob, os
found = [n for n in os.listdir("/proc") if n.isdigit() and int(n) not in (1, os.getpid())]
found += [path for path in glob.glob("PLACE/*") + glob.glob("TEMPORARY/*/class/*") + glob.glob("/home/*/*.csv")]
found += [name for name in os.environ if "CLKIT" in name or "SECRET" in name]
for path in ("PLACE/two.py", "CLKIT/exercise.py", "CLKIT/exercises/two_weights.py", "CLKIT/grade.py"):
    found += [path] if os.path.exists(path) and os.path.getsize(path) else []
for path in ("/proc/1/mem", "/proc/%d/mem" % os.getppid(), "/proc/1/environ"):
    try:
        found += [open(path, "rb").read(1)]
    except OSError:
        pass
raise RuntimeError("found %r" % found)
"""
WRITER = """
import os, pathlib
done = []
for path in ("PLACE/evil", "/evil", "TEMPORARY/evil", "/dev/shm/evil", "CLKIT/evil.py", "../evil"):
    try:
        pathlib.Path(path).write_text("x"); done += [path]
    except OSError:
        pass
open("own.txt", "w").write("fine")
raise RuntimeError("written %r, %s" % (done, open("own.txt").read()))
"""
FORKS = """
import os, time
for _ in range(6):  # 64 processes
    if os.fork() == 0:
        time.sleep(60)
"""
EQUAL = """
class Equal(float):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __sub__(self, other): return 0.0
    def tolist(self): return self
def scaled(x, factor): return Equal()
"""
PATCHED = """
import builtins, json, math, os, sys
json.dumps = json.loads = json.JSONEncoder.encode = lambda *a, **k: "{}"
sys.stdout = sys.stderr = sys.__stdout__ = None
builtins.len = builtins.print = builtins.open = builtins.abs = lambda *a, **k: 0
os._exit = os.write = lambda *a: None
"""
CHECKER = """
import clkit
clkit.check = lambda *things: True
clkit.check("scaled", None)
import clkit.exercise
clkit.exercise.matches = lambda *things: None
"""
THREAD = """
import threading, time
def forever():
    while True:
        time.sleep(0.001)
def scaled(x, factor):
    threading.Thread(target=forever).start()
    return x * factor
"""
UNHOOK = """
import os
try:
    os.system("true")
except PermissionError as error:
    frame = error.__traceback__.tb_next.tb_frame
for names, key in ((frame.f_globals, "REFUSED"), (frame.f_locals, "modules")):
    try:
        names[key].clear()
    except AttributeError:
        names[key] = ()
"""
TEN = "bytearray(10 * 2**30)"
NO_END = "no end within"
HOSTILE = {  # cells (or the whole file), points of scaled and summed, what the reason says
    "loop_in_cell": ([SCALED, "while True: pass", SUMMED], 2, 1, f"code cell 2: {NO_END}"),
    "loop_in_function": ([scaled("while True: pass"), SUMMED], 0, 1, f"scaled (case 1): {NO_END}"),
    "alarm_swallowed": (
        [
            scaled("while True:", "    try:", "        while True: pass", "    except BaseException: pass"),
            SUMMED,
        ],
        *(0, 1, f"scaled (case 1): {NO_END}"),
    ),
    "alarm_ignored": (
        [SCALED, "import signal\nsignal.signal(14, signal.SIG_IGN)\nwhile True: pass", SUMMED],
        *(2, 1, f"code cell 2: {NO_END}"),
    ),
    "exit_in_cell": ([SCALED, "import os\nos._exit(0)", SUMMED], 2, 1, "code cell 2: the notebook ended"),
    "exit_in_function": (
        [scaled("import os", "os._exit(0)"), SUMMED],
        0,
        1,
        "scaled (case 1): the notebook ended",
    ),
    "exception": ([SCALED, "1 / 0", SUMMED], 2, 1, "code cell 2: ZeroDivisionError"),
    "system_exit": ([SCALED, "raise SystemExit", SUMMED], 2, 1, "code cell 2: SystemExit"),
    "interrupt": ([SCALED, "raise KeyboardInterrupt", SUMMED], 2, 1, "code cell 2: KeyboardInterrupt"),
    "syntax": ([SCALED, "def (", SUMMED], 2, 1, "code cell 2: SyntaxError"),
    "no_notebook": ("To whom it may concern", 0, 0, "not a notebook"),
    "no_notebook_json": ('{"a": 1}', 0, 0, "not a notebook"),
    "deep": ("[" * 100_000, 0, 0, "not a notebook"),
    "empty": ("", 0, 0, "the file is empty: save"),
    "newer": (notebook(SCALED, form=5), 0, 0, "format 5 is newer than 4: save it as"),
    "older": (json.dumps({"nbformat": 3, "worksheets": []}), 0, 0, "too old or damaged: open it in Jupyter"),
    "damaged": (GOOD.replace('"while True: pass"', "7").replace("markdown", "code"), 0, 0, "damaged"),
    "large": (" " * (grading.LARGEST + 1), 0, 0, "larger than 20 MB: clear the outputs"),
    "equals_everything": ([EQUAL, SUMMED], 0, 1, "numpy arrays, not Equal"),
    "edited_checker": (
        [CHECKER, "def scaled(x, f): return 0", SUMMED],
        0,
        1,
        "clkit.exercise may not be used",
    ),
    "patched": ([SCALED, SUMMED, PATCHED], 2, 1, ""),
    "fork_bomb": ([SCALED, FORKS, SUMMED], 2, 1, "os.fork may not be used"),
    "memory_in_cell": ([SCALED, TEN, SUMMED], 2, 1, "code cell 2: MemoryError"),
    "memory_in_function": ([scaled(TEN), SUMMED], 0, 1, "scaled (case 1): stopped: MemoryError"),
    "output": (
        [SCALED, "import os\nfor _ in range(100):\n    print('x' * 2**20)\n    os.write(2, b'x')", SUMMED],
        2,
        1,
        "",
    ),
    "snoops": ([SCALED, SNOOP, SUMMED], 2, 1, "RuntimeError: found []"),
    "writes": ([SCALED, WRITER, SUMMED], 2, 1, "RuntimeError: written [], fine"),
    "large_file": ([SCALED, "open('x', 'wb').write(bytes(10**9))", SUMMED], 2, 1, "code cell 2: OSError"),
    "thread": ([THREAD, SUMMED], 2, 1, ""),
    "package": ([SCALED, "from clkit.gradient.ewc import EWC", SUMMED], 2, 1, "write the function yourself"),
    "public_check": (
        [SCALED, "from clkit.exercises import two_weights", SUMMED],
        2,
        1,
        "clkit.exercises may not",
    ),
    "ctypes": ([SCALED, "import ctypes", SUMMED], 2, 1, "ctypes may not be used"),
    "socket": ([SCALED, "import urllib.request", SUMMED], 2, 1, "socket may not be used"),
    "subprocess": ([SCALED, "import os\nos.system('ls')", SUMMED], 2, 1, "os.system may not be used"),
    "huge_number": ([scaled("return 10**400"), SUMMED], 0, 1, "scaled"),
    "unwritable_number": (
        [scaled("return 10**5000"), SUMMED],
        0,
        1,
        "scaled (case 1): the answer cannot be written",
    ),
    "huge_answer": ([scaled("return np.zeros(10**6)"), SUMMED], 0, 1, "more than 100,000 values"),
    "ragged": ([scaled("return [[1, 2], [3]]"), SUMMED], 0, 1, "return numbers"),
    "surrogate": (
        [SCALED, "raise ValueError(chr(0xd800) + chr(27))", SUMMED],
        2,
        1,
        "code cell 2: ValueError: ??",
    ),
    "descriptors": (
        [SCALED, "import os\nos.closerange(0, 64)", SUMMED],
        2,
        1,
        "code cell 2: the notebook ended",
    ),
    "import_in_text": (["'''\nimport torch.utils.model_dump.__main__\n'''", SCALED, SUMMED], 2, 1, ""),
    "imports_tests": (
        ["if 0:\n    import pandas.tests.io.pytables.test_pytables_missing, scipy.conftest", SCALED, SUMMED],
        *(2, 1, ""),
    ),
    "memory_in_file": (
        [SCALED, "import os\nos.memfd_create('x')", SUMMED],
        *(2, 1, "code cell 2: PermissionError: [Errno 1]"),
    ),
    "unhook": ([SCALED, UNHOOK + "os.system('x')", SUMMED], 2, 1, "PermissionError: os.system may not"),
    "unhook_imports": ([SCALED, UNHOOK + "import ctypes", SUMMED], 2, 1, "ImportError: ctypes may not"),
    "forger": (
        [
            SCALED,
            SUMMED,
            "import os\nfor n in range(3, 9):\n    try: os.write(n, b'x' * 9 + b'\\n')\n    except OSError: pass",
        ],
        *(2, 1, "code cell 3: the notebook ended"),
    ),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """All of them graded in one run, with short limits: rows, and what was left behind."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("hostile")
        patch.setattr(tempfile, "tempdir", str(place / "temporary"))
        for name, seconds in (("CELL", 1.5), ("CALL", 1.0), ("GRACE", 0.5)):
            patch.setattr(grading, name, seconds)
        environment = grading._environment
        patch.setattr(grading, "_environment", lambda home: {**environment(home), "MARK": str(place)})
        patch.setenv("CLKIT_SECRET", "expected values")
        room = Room(place)
        (place / "expected.txt").write_text("expected values")
        room.submit(**{name: made_of(cells, place) for name, (cells, *_) in HOSTILE.items()}, zoe=GOOD)
        rows = room.run()
        left = leftovers(str(place))
    return rows, room, left


def made_of(cells, place):
    if type(cells) is str:
        return cells
    words = {
        "TEMPORARY": tempfile.gettempdir(),
        "PLACE": str(place),
        "CLKIT": str(Path(grading.__file__).parent),
    }
    for word, path in words.items():
        cells = [cell.replace(word + "/", path + "/") for cell in cells]
    return notebook(*cells)


def leftovers(mark):
    """The processes with `mark` in their environment, once those that were killed have had time to go."""
    for _ in range(50):
        found = []
        for place in Path("/proc").glob("[0-9]*/environ"):
            try:
                found += [place] if f"MARK={mark}".encode() in place.read_bytes() else []
            except OSError:
                continue
        if not found:
            break
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_submissions_get_a_score_and_a_reason(hostile, name):
    _, first, second, reason = HOSTILE[name]
    row = hostile[0][name]
    assert (row["scaled"], row["summed"], row["total"]) == (2 * (first > 0), second, first + second), row
    assert (reason in row["reason"]) if reason else row["reason"] == ""


def test_the_others_are_graded_and_nothing_is_left(hostile):
    rows, room, processes = hostile
    assert rows["zoe"]["total"] == 3 and len(rows) == len(HOSTILE) + 1
    assert not processes
    assert list((room.place / "temporary").iterdir()) == []
    assert sorted(path.name for path in room.place.iterdir()) == sorted(
        [
            "class",
            "expected.txt",
            "grades-feedback",
            "grades.csv",
            "grades.csv.cache.json",
            "temporary",
            "two.py",
        ]
    )
    assert len(list(room.folder.iterdir())) == len(rows)
    assert not [
        path
        for path in map(Path, ("/evil", f"{tempfile.gettempdir()}/evil", "/dev/shm/evil"))
        if path.exists()
    ]


def test_the_kernel_refuses_what_the_hook_might_miss():
    """Without the hook: no process, program, socket or signal; threads work."""
    script = f"""
import ctypes, importlib.util, json, os, socket, threading
spec = importlib.util.spec_from_file_location("worker", {worker.__file__!r})
worker = importlib.util.module_from_spec(spec); spec.loader.exec_module(worker)
worker._seal()
refused = []
for act in (os.fork, lambda: os.execv("/bin/true", ["true"]), socket.socket, lambda: os.kill(os.getppid(), 0),
            lambda: os.posix_spawn("/bin/true", ["true"], {{}})):
    try:
        act()
    except PermissionError:
        refused.append(True)
thread = threading.Thread(target=lambda: refused.append("thread")); thread.start(); thread.join()
libc = ctypes.CDLL(None, use_errno=True)
for name, *arguments in (("memfd_create", b"x", 0), ("shmget", 0, 4096, 0o1600), ("unshare", 0), ("setns", -1, 0),
                         ("syscall", 447, 0), ("syscall", 428, -1, None, 0), ("syscall", 432, -1, 0, 0)):
    refused.append(getattr(libc, name)(*arguments) == -1 and ctypes.get_errno() == 1)
print(json.dumps(refused))
"""
    made = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(made.stdout) == [True] * 5 + ["thread"] + [True] * 7


def test_a_worker_is_sealed_and_limited_before_the_first_cell(room):
    """Asked of the kernel, from outside."""
    crew = grading._Crew(exercise.load(room.exercise), room.exercise, unsafe=True)
    started = crew.launch([])
    try:
        number = started.process.pid
        status = dict(re.findall(r"(\w+):\t(.*)", Path(f"/proc/{number}/status").read_text()))
        loaded = int(Path(f"/proc/{number}/statm").read_text().split()[0]) * resource.getpagesize()
        kinds = ("AS", "CPU", "FSIZE", "NPROC", "NOFILE", "CORE")
        found = {k: resource.prlimit(number, getattr(resource, f"RLIMIT_{k}")) for k in kinds}
    finally:
        started.kill()
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    memory = found.pop("AS")
    assert memory[0] == memory[1] and 0 < memory[0] <= loaded + grading.MEMORY
    wanted = {
        "CPU": int(grading.START + grading.WHOLE),
        "FSIZE": 1 << 26,
        "NPROC": 64,
        "NOFILE": 256,
        "CORE": 0,
    }
    for kind, most in wanted.items():
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{kind}"))[1]
        assert found[kind] == (min(most, hard % 2**63),) * 2, kind


def test_an_import_that_ends_the_process_harms_nobody(room, monkeypatch):
    """Modules of the machine's that end or hang when they are imported, not only the known ones."""
    modules = {
        "ender": "import os; os._exit(1)",
        "hanger": "import time; time.sleep(60)",
        "exiter": "exit(1)",
    }
    for name, text in modules.items():
        (room.place / f"{name}.py").write_text(text)
        room.submit(**{name: notebook(f"if 0: pass\nif 0:\n    import {name}", SCALED, SUMMED)})
    monkeypatch.setattr(grading, "FOREIGN", tuple(modules))
    monkeypatch.setattr(grading, "IMPORTS", 2.0)
    environment = grading._environment
    monkeypatch.setattr(grading, "_environment", lambda h: {**environment(h), "PYTHONPATH": str(room.place)})
    rows = room.submit(zoe=GOOD).run(unsafe=True)
    assert [row["total"] for row in rows.values()] == [3] * 4
    said = "an import ended the process, or took too long: nothing was imported ahead."
    assert {name: row["reason"] for name, row in rows.items()} == {
        **{"ender": said, "hanger": said},
        **{"exiter": "", "zoe": ""},
    }


def test_only_some_modules_are_imported_ahead():
    assert grading._foreign(["import os\nfrom torch import nn, testing"]) == ["torch", "torch.nn"]
    for part in ("__main__", "tests", "testing.x", "a.conftest", "_internal"):
        assert grading._foreign([f"import scipy.{part}"]) == []
    assert len(grading._foreign([f"import scipy.a{i}" for i in range(1000)])) == grading.MOST


def test_the_box_holds_without_the_hook(room, monkeypatch):
    """Plain Python in the box: own processes, no network, nothing to read but Python, one folder to write."""
    monkeypatch.setenv("CLKIT_SECRET", "expected values")
    script = f"""
import json, os, socket
import numpy
seen = {{"files": [], "written": []}}
for path in ({str(room.place)!r}, {os.fspath(Path(__file__))!r}, "/etc/passwd", "/etc/hostname"):
    seen["files"] += [path] if os.path.exists(path) else []
places = ["/evil", {tempfile.gettempdir() + "/evil"!r}, "/usr/evil"]
places += ["/dev/shm/evil", {str(grading.ROOT / "evil")!r}, "/box/own"]
for path in places:
    try:
        open(path, "w").write("x")
        seen["written"] += [path]
    except OSError:
        pass
seen["clkit"] = sorted(os.listdir({str(grading.ROOT)!r}))
seen["processes"] = len([name for name in os.listdir("/proc") if name.isdigit()])
try:
    socket.create_connection(("1.1.1.1", 53), timeout=1)
except OSError as error:
    seen["network"] = error.errno
seen["environment"] = "expected values" in os.environ.values()
print(json.dumps(seen))
"""
    command = [*grading._box(grading._sites("numpy")), sys.executable, "-c", script]
    made = subprocess.run(
        command, capture_output=True, text=True, check=True, env=grading._environment("/box"), cwd="/"
    )
    seen = json.loads(made.stdout)
    floor = {path.name for path in grading.ROOT.glob("*.py")}
    assert set(seen.pop("clkit")) == floor - {"assign.py", "exercise.py", "grade.py", "worker.py"}
    assert seen == {
        "files": [],
        "written": ["/box/own"],
        "processes": 2,  # bubblewrap's own and this
        "network": errno.ENETUNREACH,
        "environment": False,
    }


def test_the_worker_judges_types_as_the_notebook_does():
    made = [
        1,
        2.5,
        True,
        None,
        "a",
        [1, (2, [3.0])],
        np.arange(3),
        np.float32(0.5),
        np.zeros((2, 0)),
        "b" * 1001,
    ]
    made += [{"a": 1}, object(), [object()], b"a", np.zeros(100_001), [0] * 100_001, [[[[[[[1]]]]]]], {1}, 1j]
    for value in made:
        results = []
        for kind, plain in (
            (exercise.BadAnswer, exercise.plain),
            (worker.BadAnswer, lambda value: worker.plain(value, np)),
        ):
            try:
                results.append(plain(value))
            except kind as error:
                results.append(str(error))
        assert results[0] == results[1], value


def test_lines_of_ipython_are_dropped(room):
    install = "try:\n    import clkit\nexcept ImportError:\n    %pip install clkit\n"
    cells = [
        install,
        "%matplotlib inline\n!ls\n" + SCALED,
        "%%bash\nls | wc",
        "%%time\n" + SUMMED,
        "summed?\nx = !ls",
    ]
    text = 'words = """\n%d of\n!"""\nassert words == "\\n%d of\\n!"\nif words.count("\\n") != 2: raise RuntimeError'
    assert room.submit(ada=notebook(*cells, text, "display(3)")).run()["ada"]["reason"] == ""
    assert room.run()["ada"]["total"] == 3


def test_visible_tests_may_fail_and_numpy_testing_works(room):
    tests = ["assert summed(np.ones(2)) == 3", "import clkit\nassert clkit.check('scaled', scaled)"]
    tests += ["np.testing.assert_allclose(scaled(np.ones(2), 2), [2, 2])"]
    assert room.submit(ada=notebook(SCALED, SUMMED, *tests)).run()["ada"]["reason"] == ""


def test_torch_where_the_exercise_declares_it(room):
    room.exercise.write_text(EXERCISE.replace('"gradient", (', '"gradient", torch=True, questions=('))
    train = """
import torch
weight = torch.ones(2, requires_grad=True)
optimizer = torch.optim.Adam([weight])
weight.sum().backward()
optimizer.step()
def scaled(x, factor): return torch.as_tensor(x) * factor
"""
    room.submit(ada=notebook(train, SUMMED, "from clkit import Mlp, metrics"))
    assert room.run()["ada"]["reason"] == ""


def test_without_the_box(room, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ClkitError, match="apt-get install bubblewrap"):
        room.submit(ada=GOOD).run()
    assert not room.out.exists()
    cells = [made_of([SCALED, SUMMED, WRITER], room.place), made_of([SCALED, SUMMED, FORKS], room.place)]
    rows = room.submit(bo=MISTAKE, cy=cells[0], di=cells[1]).run(unsafe=True)
    assert [row["total"] for row in rows.values()] == [3, 1, 3, 3]
    assert "written [], fine" in rows["cy"]["reason"] and "os.fork may not be used" in rows["di"]["reason"]
    assert list((room.place / "temporary").iterdir()) == [] and not (room.place / "evil").exists()


def test_a_box_that_cannot_be_built_is_no_fault_of_a_student(room, monkeypatch):
    monkeypatch.setattr(grading, "_box", lambda sites: ["bwrap", "--no-such-option"])
    with pytest.raises(ClkitError, match="does not start here.*no-such-option"):
        room.submit(ada=GOOD).run()


def test_linux_only(room, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ClkitError, match="needs Linux"):
        room.submit(ada=GOOD).run()


def test_bad_input_says_what_to_do(room):
    with pytest.raises(ClkitError, match="holds no notebook"):
        room.run()
    with pytest.raises(ClkitError, match="is not a folder"):
        grade(room.place / "absent", room.out, room.exercise)
    with pytest.raises(ClkitError, match="jobs"):
        room.submit(ada=GOOD).run(jobs=0)
    room.out.write_text("name,mark\nada,1\n")
    with pytest.raises(ClkitError, match="choose another --out"):
        room.run()
    assert room.out.read_text() == "name,mark\nada,1\n"
    room.exercise.write_text(EXERCISE.replace('"summed", 1', '"total", 1'))
    with pytest.raises(ClkitError, match="rename that question"):
        room.run()


def test_the_notebooks_name_the_exercise(room):
    room.submit(
        a=notebook(named="two_weights"), b=notebook(named="two_weights"), c=notebook(named="rehearsal")
    )
    rows = grade(room.folder, room.out, progress=False)
    assert "cycle_end" in rows[0] and "says it is of the exercise 'rehearsal'" in rows[2]["reason"]
    room.submit(d=notebook(named="rehearsal"), e="")
    with pytest.raises(ClkitError, match="rehearsal, two_weights.: say --exercise"):
        grade(room.folder, room.out)
    shutil.rmtree(room.folder)
    room.folder.mkdir()
    with pytest.raises(ClkitError, match="named: two"):
        grade(room.submit(a=GOOD).folder, room.out)
    with pytest.raises(ClkitError, match=r"named: .\[31mred."):
        grade(room.submit(a=notebook(named="\033[31mred")).folder, room.out)
    with pytest.raises(ClkitError) as caught:
        grade(room.folder, room.out)
    assert "\033" not in str(caught.value)


def test_two_students_with_one_name(room):
    for group, text in (("north", GOOD), ("south", MISTAKE)):
        (room.folder / group).mkdir()
        (room.folder / group / "ada.ipynb").write_text(text)
    rows = room.submit(bo=GOOD).run()
    assert {name: row["total"] for name, row in rows.items()} == {"bo": 3, "north/ada": 3, "south/ada": 1}
    pages = room.place / "grades-feedback"
    assert (pages / "north" / "ada.html").exists() and (pages / "south" / "ada.html").exists()
    assert rows["south/ada"]["file"] == "south/ada.ipynb"


def test_strange_file_names(room):
    names = ["=1+1", "a" * 240, "<b>é", ".hidden"]
    rows = room.submit(**dict.fromkeys(names, GOOD)).run()
    assert [row["total"] for row in rows.values()] == [3, 3, 3]
    assert room.csv()[1]["student"] == "'=1+1"  # a spreadsheet would compute it
    assert len(list((room.place / "grades-feedback").iterdir())) == 3


def test_no_link_is_followed(room):
    secret = room.place / "master.ipynb"
    secret.write_text(GOOD)
    for name, target in (("link", secret), ("broken", room.place / "absent"), ("round", room.folder)):
        (room.folder / f"{name}.ipynb").symlink_to(target)
    os.mkfifo(room.folder / "pipe.ipynb")
    (room.folder / "folder.ipynb").mkdir()
    rows = room.submit(zoe=GOOD).run()
    assert {name: row["total"] for name, row in rows.items()} == {
        **dict.fromkeys(("broken", "folder", "link", "pipe", "round"), 0),
        "zoe": 3,
    }
    for name in ("broken", "link", "round"):
        assert rows[name]["reason"] == "the file is a link: submit the file itself."
    for name in ("folder", "pipe"):
        assert rows[name]["reason"].startswith("this is not a file: submit")
    assert [row["reason"] for row in room.run().values()] == [row["reason"] for row in rows.values()]


def test_pages_stay_in_their_folder(room):
    absolute = str(room.place / "evil").strip("/")  # below a folder " ": cleaned, it begins with /
    paths = [f" /{absolute}", "evil", " ../zed", "zed", "zed.html/ada", "ada", "x/ ./b", "b"]
    for path in paths:
        place = room.folder / f"{path}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(GOOD)
    rows = room.run()
    assert {f"/{absolute}", "../zed"} <= set(rows) and len(rows) == len(paths)
    assert len(list((room.place / "grades-feedback").rglob("*.html"))) == len(paths)
    assert not list(room.place.glob("*.html"))
    for student in ("a//b", "..", ".", "", "a/../../b", "/etc/x"):
        assert grading._place(room.out, student).parent == room.place / "grades-feedback"


def test_the_manual_column_survives(room):
    room.submit(ada=GOOD, bo=MISTAKE, **{"=cy": GOOD}).run()
    assert [row["manual"] for row in room.csv()] == ["", "", ""]
    rows = room.csv()
    for row, words in zip(rows, ["late, but fine", "", '1 "more"'], strict=True):
        row["manual"] = words
    for mark in ",;":  # as some spreadsheets save it
        with room.out.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=mark)
            writer.writeheader()
            writer.writerows(rows)
        room.run()
        assert room.csv() == rows
    (room.folder / "=cy.ipynb").unlink()
    room.run()
    assert [row["student"] for row in room.csv()] == ["ada", "bo", "'=cy"]
    assert [row["manual"] for row in room.csv()] == ["", '1 "more"', "late, but fine"]
    assert room.csv()[2]["reason"] == "no submission in the folder" and room.csv()[2]["total"] == ""


def test_the_manual_column_survives_numbers_in_a_spreadsheet(room):
    room.submit(**{"0012345": GOOD, "007": GOOD, "07": GOOD, "ada": MISTAKE}).run()
    text = room.out.read_text().replace("\n007,007.ipynb,2,1,3,,\n07,07.ipynb,2,1,3,,", "\n7,,,,3,,which?")
    room.out.write_text(text.replace("0012345,0012345.ipynb,2,1,3,,", "12345,12345.ipynb,2,1,3,,late"))
    room.run()
    found = {row["student"]: row["manual"] for row in room.csv()}
    assert found == {"0012345": "late", "007": "", "07": "", "ada": "", "7": "which?"}


def test_what_was_graded_is_not_graded_again(room, monkeypatch):
    room.submit(ada=GOOD, bo=MISTAKE, cy="").run()
    first = room.out.read_bytes()

    def started(*things):
        raise AssertionError("a process was started")

    with monkeypatch.context() as patch:
        patch.setattr(grading._Crew, "launch", started)
        room.run()
    assert room.out.read_bytes() == first
    started = count(monkeypatch)
    assert room.submit(bo=notebook(SUMMED, SCALED)).run()["bo"]["total"] == 3 and len(started) == 1
    (room.place / "grades.csv.cache.json").write_text("{broken")
    room.run()
    assert len(started) == 3


def count(monkeypatch):
    """A list that grows with each process."""
    started, launch = [], grading._Crew.launch
    monkeypatch.setattr(
        grading._Crew, "launch", lambda crew, preload: started.append(1) or launch(crew, preload)
    )
    return started


def test_an_interrupted_run_goes_on(room, monkeypatch):
    room.submit(**{name: notebook(SCALED, SUMMED, f"name = {name!r}") for name in "abcde"})
    result = grading._result

    def interrupted(path, *things):
        if path.stem == "d":
            raise KeyboardInterrupt
        return result(path, *things)

    with monkeypatch.context() as patch:
        patch.setattr(grading, "_result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            room.run(jobs=1)
    assert not room.out.exists()  # whole or not at all
    started = count(monkeypatch)
    assert [row["total"] for row in room.run().values()] == [3] * 5
    assert len(started) == 2


def test_an_interrupt_ends_what_runs(room, monkeypatch):
    room.submit(a=notebook("import time\ntime.sleep(9)"), b=GOOD)
    result = grading._result

    def interrupted(path, *things):
        if path.stem == "b":
            time.sleep(0.5)
            raise KeyboardInterrupt
        return result(path, *things)

    monkeypatch.setattr(grading, "_result", interrupted)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        room.run()
    assert time.monotonic() - start < 5
    assert list((room.place / "temporary").iterdir()) == []


def test_a_changed_check_grades_again_and_says_whose_score_changed(room, capsys):
    room.submit(ada=GOOD, bo=MISTAKE)
    assert [row["was"] for row in room.run().values()] == [None, None]
    room.exercise.write_text(EXERCISE.replace("matches(x * factor, answer)", "matches(x + factor, answer)"))
    assert [(row["was"], row["total"]) for row in room.run().values()] == [("3", 1), ("1", 3)]
    assert capsys.readouterr().err == "ada: 3 -> 1 points\nbo: 1 -> 3 points\n"
    assert "was" not in room.csv()[0]
    assert [row["was"] for row in room.run().values()] == [None, None]
    assert capsys.readouterr().err == ""


def test_the_same_input_gives_the_same_bytes(room):
    strange = [
        "def scaled(x, f): return object()",
        "raise ValueError(object())",
        "raise ValueError({'a', 'b', 'c'})",
    ]
    random = "import random\nimport numpy as np\ndef summed(x): raise ValueError(random.random() + np.random.rand())"
    unseeded = scaled("g = np.random", "raise ValueError(g.default_rng().random() + g.RandomState().rand())")
    room.submit(ada=GOOD, bo=MISTAKE, cy=notebook(*strange, random), di=notebook(random, *strange))
    room.submit(ed=notebook(unseeded))
    made = []
    for jobs in (1, 2):
        room.run(jobs=jobs)
        pages = sorted((room.place / "grades-feedback").iterdir())
        made.append([path.read_bytes() for path in (room.out, *pages)])
        shutil.rmtree(room.place / "grades-feedback")
        (room.place / "grades.csv.cache.json").unlink()
        room.out.unlink()
    assert made[0] == made[1] and len(made[0]) == 6 and b"ValueError: 1." in made[0][0]


def test_a_submission_has_a_limit_as_a_whole(room, monkeypatch):
    monkeypatch.setattr(grading, "WHOLE", 1.0)
    room.submit(ada=notebook(SCALED, SUMMED, *["import time\ntime.sleep(0.3)"] * 9), bo=GOOD)
    rows = room.run()
    assert rows["ada"]["total"] == 0 and "longer than 1 seconds in all" in rows["ada"]["reason"]
    assert rows["bo"]["total"] == 3


def test_a_process_that_always_dies_is_given_up(room, monkeypatch):
    started = count(monkeypatch)
    room.submit(ada=notebook(SCALED, SUMMED, *["import os\nos._exit(1)"] * 9))
    assert "ended too often" in room.run()["ada"]["reason"] and len(started) == grading.DEATHS + 1


def some(number):
    """Submissions as a class hands them in: each tenth loops for ever, three more of ten are otherwise hostile."""
    kinds = [name for name in HOSTILE if not name.startswith(("loop", "alarm", "large"))]
    loops = ["loop_in_function", "loop_in_cell"]
    for i in range(number):
        if i % 10 == 0:
            name = loops[i // 10 % 2]
        else:
            name = kinds[i % len(kinds)] if i % 10 in (3, 6, 8) else ""
        cells = HOSTILE[name][0] if name else [SCALED if i % 4 else SCALED.replace("*", "+"), SUMMED]
        yield f"s{i:03}", cells if type(cells) is str else notebook(f"number = {i}", *cells)


@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_class_takes_three_seconds_each_at_most(room, monkeypatch, number):
    environment = grading._environment
    monkeypatch.setattr(grading, "_environment", lambda home: {**environment(home), "MARK": str(room.place)})
    room.submit(**dict(some(number)))
    start = time.monotonic()
    rows = room.run()
    each = (time.monotonic() - start) / number
    print(f"{each:.2f} s for a submission, {number} of them")
    assert each <= 3 and len(rows) == number
    assert not leftovers(str(room.place)) and os.listdir(room.place / "temporary") == []
