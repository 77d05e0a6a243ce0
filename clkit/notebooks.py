"""The book's notebooks: which are out of date, and their execution.

Beside each executed notebook `<name>.ipynb` stands its sidecar `<name>.run.json`: the key of all that the
outputs depend on, and when, how long and on what it ran. Data of its figures: `data/<name>-<figure>.csv`.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from clkit.errors import ClkitError
from clkit.files import write_text

LIMITS = {"quick": (300, 450), "paper": (4 * 3600, 12 * 3600)}  # seconds for a cell, for a notebook
APART = (  # no output of a notebook depends on these
    *("assign.py", "bench.py", "book.py", "cli.py", "exercise.py", "grade.py", "notebooks.py"),
    *("progress.py", "references.py", "worker.py"),
)
APART_CELLS = {"injected-parameters", "setup"}  # the setup cell acts on Colab only
PACKAGES = ("torch", "numpy", "scikit-learn", "matplotlib")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CLKIT_EXECUTING": "1"}


def key(notebook: Path, profile: str, root: Path) -> str:
    """What the outputs of a notebook depend on, as a hash.

    Its code cells, the injected parameters, the floor of the package, the package's files of its own chapter,
    the stored results, the JavaScript and the lock. The paper profile, which runs copies, hashes the text cells too.
    """
    kinds = ("code",) if profile == "quick" else ("code", "markdown")
    cells = [c for c in read(notebook).cells if c.cell_type in kinds and not APART_CELLS & set(tags(c))]
    package = root / "clkit"
    files = [path for path in package.glob("*.py") if path.name not in APART]
    files += [*(package / notebook.parent.name).rglob("*.py"), *(package / "results").rglob("*.json")]
    files += (package / "assets").glob("*.js")
    digest = hashlib.sha256(json.dumps([[c.source for c in cells], parameters(profile)]).encode())
    for path in sorted([*files, *root.glob("requirements.lock")]):
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def parameters(profile: str) -> dict[str, object]:
    """What papermill injects: nothing for quick, whose values are the defaults in the parameters cell."""
    if profile == "quick":
        return {}
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"profile": profile, "replicas": 10, "device": device, "seed": 0, "out_dir": "data"}


def sidecar(notebook: Path) -> Path:
    """Where the record of a notebook's execution stands."""
    return notebook.with_suffix(".run.json")


def stale(notebook: Path, profile: str, root: Path) -> bool:
    """True when the stored outputs do not belong to the present code."""
    record = sidecar(notebook)
    if not record.exists():
        return True
    if json.loads(record.read_text(encoding="utf-8"))["key"] != key(notebook, profile, root):
        return True
    return any(cell.execution_count is None for cell in executed_cells(read(notebook)))


def execute(paths: list[Path], *, profile: str, jobs: int, root: Path) -> None:
    """Execute notebooks in place, `jobs` processes at a time; each is replaced only when it ran to its end.

    Raises:
        ClkitError: a cell failed (names notebook and cell), or a notebook did not end.
    """
    if not paths:
        return
    failed = []
    bar = tqdm(total=len(paths), unit="notebook", desc="executing", disable=None)  # None: in a terminal
    with ThreadPoolExecutor(jobs) as pool, bar:
        pending = {pool.submit(_execute_one, path, profile, root) for path in paths}
        while pending:
            done, pending = wait(pending, timeout=1)
            failed += [error for error in (future.exception() for future in done) if error]
            bar.update(len(done))
            bar.refresh()
    if failed:
        raise failed[0] if len(failed) == 1 else ClkitError("\n\n".join(str(error) for error in failed))


def _execute_one(notebook: Path, profile: str, root: Path) -> None:
    before = key(notebook, profile, root)
    with tempfile.TemporaryDirectory() as folder:
        output, data = Path(folder) / notebook.name, Path(folder) / "data"
        start = time.monotonic()
        _papermill(notebook, output, data, profile)
        seconds = round(time.monotonic() - start, 1)
        executed = clean(read(output))
        write_text(notebook, nbformat.writes(executed) + "\n")
        _keep(data, notebook)
    record = {"key": before, "seconds": seconds, **circumstances(executed)}
    write_text(sidecar(notebook), json.dumps(record, indent=1) + "\n")


def _papermill(notebook: Path, output: Path, data: Path, profile: str) -> None:
    cell_limit, limit = LIMITS[profile]
    command = [sys.executable, "-m", "papermill", str(notebook), str(output), "-k", "python3"]
    command += ["--cwd", str(notebook.parent), "--no-progress-bar", "--execution-timeout", str(cell_limit)]
    if parameters(profile):
        command += ["--parameters_yaml", json.dumps(parameters(profile))]
    environment = {**os.environ, **ENVIRONMENT, "CLKIT_FIGURE_DATA": str(data)}
    if profile == "paper":  # hours of training must not be lost to an `assert` on what a sentence says
        environment["PYTHONOPTIMIZE"] = "1"
    for _ in range(2):  # nbclient can wait for ever on a kernel that is idle
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            continue
        if done.returncode:
            raise _cell_error(notebook, output, done.stderr)
        return
    raise ClkitError(f"{notebook.name} did not end within {limit} seconds, twice. Make its cells do less.")


def _cell_error(notebook: Path, output: Path, stderr: str) -> ClkitError:
    cells = executed_cells(read(output)) if output.exists() else []
    for cell in cells:
        for error in [o for o in cell.outputs if o.output_type == "error"]:
            return ClkitError(
                f"{notebook.name}, code cell [{cell.execution_count}] failed{_place(error)}\n{error.ename}: "
                f"{error.evalue}\nMend the cell and run `clkit book` again; the last good book stays."
            )
    return ClkitError(f"{notebook.name} could not be executed:\n{stderr.strip()[-1500:]}")


def _place(error: NotebookNode) -> str:
    """The cell's failing line and its number, from IPython's traceback."""
    trace = plain("\n".join(error.traceback))
    frame = re.search(r"(?:Cell In|ipython-input)(?:.*\n)+?-+> *(\d+)(.*)", trace)
    frame = frame or re.search(r"(?:Cell In|ipython-input).*line (\d+)\n(.*)", trace)  # a syntax error
    return f" in line {frame[1]}:\n    {frame[2].strip()}" if frame else ":"


def plain(text: str) -> str:
    """Text of a terminal without its colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def clean(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs between two equal runs: times, paths, random ids, where a stream was split."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    language = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": language})
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if "injected-parameters" in tags(cell):
            cell.id = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    nbformat.validate(notebook)
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def circumstances(notebook: NotebookNode) -> dict[str, object]:
    """Of an execution that ended now: date, CPU, parameters of the notebook, versions."""
    settings: dict[str, object] = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(tags(cell)):
            exec(cell.source, {}, settings)
    versions = {name: importlib.metadata.version(name).split("+")[0] for name in PACKAGES}
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "parameters": settings,
        "versions": {"Python": platform.python_version(), **versions},
    }


def processor() -> str:
    """The model of this machine's CPU, on which the last digits of a training run depend."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    fields = ("model name", "cpu family", "model\t")
    found = {f: line.split(":")[1].strip() for f in fields for line in lines if line.startswith(f)}
    if "model name" not in found:
        return platform.processor() or platform.machine()
    return ", ".join([found["model name"], *(f"{f.strip()} {found[f]}" for f in fields[1:] if f in found)])


def _keep(data: Path, notebook: Path) -> None:
    target = notebook.parent / "data"
    for path in target.glob(f"{notebook.stem}-*.csv"):
        if not (data / path.name).exists():
            path.unlink()
    for path in data.glob("*.csv"):
        write_text(target / path.name, path.read_text(encoding="utf-8"))


def copy_outputs(source: Path, target: Path) -> None:
    """Put an executed notebook, its sidecar and its figure data over another copy of it."""
    (target.parent / "data").mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    shutil.copy2(sidecar(source), sidecar(target))
    for path in (source.parent / "data").glob(f"{source.stem}-*.csv"):
        shutil.copy2(path, target.parent / "data")


def read(path: Path) -> NotebookNode:
    """A notebook in the present format."""
    return nbformat.read(path, as_version=4)


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def executed_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells that an execution runs: all but those for a reader with a kernel."""
    return [c for c in notebook.cells if c.cell_type == "code" and "skip-execution" not in tags(c)]
