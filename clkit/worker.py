"""What runs inside the box: the cells of a submission, then calls of its functions, one request at a time.

It needs nothing of clkit, knows no expected value and judges nothing. Requests and replies are lines of JSON on
descriptors kept aside; what the student's code prints goes nowhere. The kernel refuses new processes and sockets
(`_seal`), the audit hook explains what may not be used (`_hook`).
"""

from __future__ import annotations

import builtins
import ctypes
import importlib
import json
import os
import platform
import random
import re
import resource
import signal
import struct
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

globals()["__builtins__"] = dict(
    vars(builtins)
)  # of the functions below; cells may replace what is in `builtins`

DEEPEST, LONGEST, WORDS = 6, 100_000, 1000  # of an answer, as in clkit.exercise: nesting, values, characters
MODULES = (
    "ctypes _ctypes socket _socket multiprocessing _multiprocessing subprocess _posixsubprocess pty".split()
)
REFUSED = frozenset(
    "os.fork os.forkpty os.posix_spawn os.exec os.spawn os.system os.kill os.killpg pty.spawn subprocess.Popen "
    "gc.get_objects gc.get_referrers gc.get_referents".split()
)
CHANGES = frozenset("chmod chown link mkdir remove rename rmdir symlink truncate utime".split())  # of os
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SPARE = 1 << 22  # bytes of the longest reply

# Numbers of system calls: [fork, vfork,] execve, execveat, socket, ptrace, process_vm_readv and _writev, kill,
# pidfd_send_signal, io_uring_setup; memory that no limit counts (memfd_create, shmget), unshare, setns, mount; for
# both machines memfd_secret and the newer calls that mount; then clone.
NEWER = (447, 428, 429, 430, 431, 432)
CALLS = {
    "x86_64": (
        0xC000003E,
        (57, 58, 59, 322, 41, 101, 310, 311, 62, 424, 425, 319, 29, 272, 308, 165, *NEWER),
        56,
    ),
    "aarch64": (
        0xC00000B7,
        (221, 281, 198, 117, 270, 271, 129, 424, 425, 279, 194, 97, 268, 40, *NEWER),
        220,
    ),
}


class Late(BaseException):
    """The time of a cell or a call is over."""


class BadAnswer(Exception):
    """An answer is not plain data."""


def main() -> None:
    """Answer requests until there are none."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    setup = json.loads(requests.readline())
    numpy = _imports(setup)
    replies.write(b"{}\n")
    replies.flush()
    _load(
        json.loads(requests.readline())["load"], setup["refused"]
    )  # may end here, and is then not asked for again
    _limit(setup)
    _seal()
    _forget(setup["refused"])
    home = types.ModuleType("__main__")
    home.__dict__["__builtins__"] = builtins
    home.__dict__["display"] = lambda *things, **options: None  # a notebook has it
    sys.modules["__main__"] = home
    signal.signal(signal.SIGALRM, _alarm)
    sys.addaudithook(_hook(setup["refused"], setup["hidden"], os.getcwd()))
    _serve(requests, replies, home.__dict__, numpy)


def _serve(requests: Any, replies: Any, names: dict[str, Any], numpy: Any) -> None:
    """The loop. What it needs is bound here: the cells may replace what modules hold."""
    decode, encode, leave = json.JSONDecoder().raw_decode, json.JSONEncoder().encode, os._exit
    replies.write(b"{}\n")
    replies.flush()
    while True:
        line = requests.readline()
        if not line:
            leave(0)
        request, _ = decode(line.decode())
        made = _timed(request, names, numpy)
        try:
            reply = encode(made).encode()
        except Exception as error:
            reply = encode({"error": ["BadAnswer", f"the answer cannot be written: {_said(error)}"]}).encode()
        if len(reply) > SPARE:
            reply = encode({"error": ["BadAnswer", "the answer is too long."]}).encode()
        replies.write(reply + b"\n")
        replies.flush()


def _timed(request: dict[str, Any], names: dict[str, Any], numpy: Any) -> dict[str, Any]:
    """{"answer": ...} or {"error": [kind, message]}."""
    try:
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        try:
            return {"answer": _done(request, names, numpy)}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Late:
        return {"error": ["Late", ""]}
    except BaseException as error:  # SystemExit and KeyboardInterrupt, too
        return {"error": [str(type(error).__name__), _said(error)]}


def _said(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except BaseException:
        return ""


def _alarm(number: int, frame: Any) -> None:
    raise Late


def _done(request: dict[str, Any], names: dict[str, Any], numpy: Any) -> Any:
    """Run a cell, or call a function."""
    random.seed(0)
    numpy.random.seed(0)
    # default_rng() and all others without a seed take theirs from here
    numpy.random.bit_generator.randbits = random.Random(0).getrandbits
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "cell" in request:
        exec(_compiled(request["cell"]), names)
        return None
    name = request["call"]
    if not callable(names.get(name)):
        raise BadAnswer(f"the notebook defines no function {name}.")
    return plain(names[name](*[_decoded(value, numpy) for value in request["arguments"]]), numpy)


def _compiled(source: str) -> types.CodeType:
    """A cell without the lines that only IPython understands."""
    try:
        return compile(source, "<cell>", "exec")
    except SyntaxError:
        if re.match(r"\s*%%(?!time|capture|timeit)", source):  # another language
            return compile("", "<cell>", "exec")
        lines = re.sub(r"(?m)^([ \t]*)(?:[%!?].*|[\w., ]+= *[%!].*|[\w.]+\?{1,2}[ \t]*)$", r"\1pass", source)
        return compile(lines, "<cell>", "exec")


def _decoded(value: Any, numpy: Any) -> Any:
    """An argument as it was sent: arrays are numpy's again."""
    if type(value) is dict:
        return numpy.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
    return [_decoded(part, numpy) for part in value] if type(value) is list else value


def plain(answer: Any, numpy: Any) -> Any:
    """The rules of clkit.exercise.plain: exact types only, so that no object of the student's speaks for itself."""
    return _plain(answer, DEEPEST, [LONGEST], numpy)


def _plain(answer: Any, deep: int, left: list[int], numpy: Any) -> Any:
    if type(answer).__module__ == "torch" and hasattr(type(answer), "detach"):
        answer = answer.detach().cpu().numpy()
    if type(answer) is numpy.ndarray or isinstance(answer, numpy.generic):
        if answer.size > left[0]:
            raise BadAnswer(f"the answer holds more than {LONGEST:,} values.")
        answer = answer.tolist()
    kind = type(answer)
    left[0] -= 1
    if left[0] < 0:
        raise BadAnswer(f"the answer holds more than {LONGEST:,} values.")
    if answer is None or kind in (bool, int, float) or (kind is str and len(answer) <= WORDS):
        return answer
    if kind in (list, tuple) and deep:
        return [_plain(part, deep - 1, left, numpy) for part in answer]
    raise BadAnswer(f"return numbers, lists or numpy arrays, not {kind.__name__}.")


def _imports(setup: dict[str, Any]) -> Any:
    """What loads through ctypes or reads many files comes before the hook; returns numpy."""
    sys.path += [folder for folder in setup["path"] if folder not in sys.path]
    import numpy
    import numpy.testing  # cells use its assertions

    _load(setup["preload"], setup["refused"])
    try:
        import clkit
    except ImportError:
        clkit = sys.modules["clkit"] = types.ModuleType("clkit")
    clkit.check = lambda *things, **options: True  # practice; the judge is outside
    return numpy


def _load(names: list[str], refused: list[str]) -> None:
    for name in names:
        home, _, last = name.rpartition(".")
        try:
            if not _within(name, refused) and getattr(sys.modules.get(home), last, None) is None:
                importlib.import_module(name)
        except BaseException:  # SystemExit, too; the cell that asks for it will say so
            pass
    if "torch" in sys.modules:
        _warm(sys.modules["torch"])


def _warm(torch: Any) -> None:
    """The first step of an optimiser imports much more."""
    torch.set_num_threads(1)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    weight.sum().backward()
    optimizer.step()


def _limit(setup: dict[str, Any]) -> None:
    """Memory beyond what is loaded, processor time, sizes and numbers of files, processes."""
    try:
        with open("/proc/self/statm") as file:
            loaded = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        loaded = 1 << 30
    limits = {
        resource.RLIMIT_AS: loaded + setup["memory"],
        resource.RLIMIT_CPU: setup["cpu"],
        resource.RLIMIT_FSIZE: 1 << 26,
        resource.RLIMIT_NPROC: 64,  # root is not held by it: see _seal
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
    }
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def _seal() -> None:
    """Let the kernel refuse processes, programs, sockets, signals to others and uncounted memory, from here on.

    A filter of system calls (seccomp). Where the kernel has none, the limits, the hook and the box remain.
    """
    if platform.machine() not in CALLS:
        return
    machine, refused, clone = CALLS[platform.machine()]
    deny, allow, absent = (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050026)
    code = [(0x20, 0, 0, 4), (0x15, 1, 0, machine), deny, (0x20, 0, 0, 0), (0x35, 0, 1, 0x40000000), deny]
    for number in refused:
        code += [(0x15, 0, 1, number), deny]
    code += [
        (0x15, 0, 1, 435),
        absent,
    ]  # clone3, whose arguments a filter cannot read: libc falls back to clone
    code += [(0x15, 0, 3, clone), (0x20, 0, 0, 16), (0x45, 1, 0, 0x00010000), deny, allow]  # threads only
    packed = b"".join(struct.pack("HBBI", *line) for line in code)
    held = ctypes.create_string_buffer(packed)
    program = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(held)))
    control = ctypes.CDLL(None).prctl
    control(38, *map(ctypes.c_ulong, (1, 0, 0, 0)))  # no new privileges
    control(22, ctypes.c_ulong(2), program, ctypes.c_ulong(0), ctypes.c_ulong(0))


def _forget(refused: list[str]) -> None:
    """A refused module that was loaded must be imported again, which the hook sees."""
    for name in [name for name in sys.modules if _within(name, [*MODULES, *refused])]:
        del sys.modules[name]
        vars(sys.modules["clkit"]).pop(name.removeprefix("clkit."), None)


def _within(name: str, modules: Sequence[str]) -> bool:
    return name in modules or name.startswith(tuple(f"{module}." for module in modules))


def _hook(refused: list[str], hidden: list[str], folder: str) -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook: refuses with a sentence that says what and why.

    It explains, it does not guard: code in the same process can get around it. The guards are the kernel's filter
    and the box.
    """
    modules, paths, events, changes = (*MODULES, *refused), tuple(hidden), REFUSED, CHANGES

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and _within(arguments[0], modules):
            advice = ": write the function yourself" if arguments[0].startswith("clkit.") else ""
            raise ImportError(f"{arguments[0]} may not be used in graded work{advice}.")
        if event in events or event.startswith(("ctypes.", "socket.")):
            raise PermissionError(f"{event} may not be used in graded work.")
        if event == "open" and type(arguments[0]) in (str, bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if path.startswith(("/proc/", "/sys/", *paths)):
                raise PermissionError(f"{path} may not be read in graded work.")
            if arguments[2] & WRITES and not _inside(path, folder) and path != os.devnull:
                raise PermissionError(f"{path}: write in the working folder only.")
        if event.removeprefix("os.") in changes:
            for given in arguments:
                if type(given) in (str, bytes) and not _inside(os.path.realpath(os.fsdecode(given)), folder):
                    raise PermissionError(f"{os.fsdecode(given)}: change files in the working folder only.")

    return refuse


def _inside(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


if __name__ == "__main__":
    main()
