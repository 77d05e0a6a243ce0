"""Does nbgrader grade our masters? Run in an environment of its own that has nbgrader and numpy: see `make nbgrader`.

Each master is released as an assignment; a student who hands in the solution must get all points, one who hands in
the stub none.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """c = get_config()
c.CourseDirectory.root = {root!r}
c.ClearSolutions.code_stub = {{"python": "# YOUR CODE HERE\\nraise NotImplementedError"}}
c.Execute.timeout = 60
"""


def nbgrader(course: Path, *words: str) -> None:
    """One command of nbgrader, which finds our kit on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by name
    kit = {"PYTHONPATH": str(ROOT), "CLKIT_PROGRESS": str(course / "progress.json")}
    environment = {**os.environ, **kit, "PATH": path}
    command = [sys.executable, "-m", "nbgrader", *words]
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"nbgrader {' '.join(words)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def graded(course: Path, master: Path) -> dict[str, float]:
    """Student -> points, as nbgrader exports them."""
    name = master.stem
    for folder in ("source", "submitted/solved"):
        (course / folder / name).mkdir(parents=True)
        for file in (master, master.with_suffix(".py")):  # the check of a bank item lies beside it
            if file.exists():
                shutil.copy(file, course / folder / name)
    nbgrader(course, "generate_assignment", name)
    shutil.copytree(course / "release" / name, course / "submitted" / "stub" / name)
    nbgrader(course, "autograde", name)
    nbgrader(course, "export")
    with (course / "grades.csv").open() as file:
        return {
            row["student_id"]: float(row["score"])
            for row in csv.DictReader(file)
            if row["assignment"] == name
        }


def points(master: Path) -> float:
    cells = json.loads(master.read_text())["cells"]
    return sum(cell["metadata"].get("nbgrader", {}).get("points", 0) for cell in cells)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        (course / "nbgrader_config.py").write_text(CONFIG.format(root=folder))
        for master in sorted(ROOT.glob("exercises/*/*.ipynb")):
            found, whole = graded(course, master), points(master)
            print(f"{master.stem}: {found} of {whole}")
            if found != {"solved": whole, "stub": 0}:
                sys.exit(
                    f"{master.stem}: nbgrader should give {whole} points to the solution and none to the stub."
                )


if __name__ == "__main__":
    main()
