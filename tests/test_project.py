"""The frame of the repository: versions, addresses, commands, and that no method stands without its proof."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from clkit import cli

ROOT = Path(__file__).resolve().parent.parent
BOOK = ("assign.py", "book.py", "notebooks.py", "plots.py", "references.py", "source.py", "widgets.py")
EXTRA_OF = {**dict.fromkeys(BOOK, "book"), "sweep.py": "cluster"}  # files of clkit that an extra must serve
CHAPTERS = ("tug_of_war", "gradient", "modular", "memory", "meta", "whole")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
LOCKED = {canonicalize_name(r.name): r for r in map(Requirement, PINS)}


def requirements() -> list[Requirement]:
    groups = (PROJECT["dependencies"], *EXTRAS.values())
    return [Requirement(line) for lines in groups for line in lines]


def version(name: str) -> Version:
    return Version(str(LOCKED[canonicalize_name(name)].specifier).removeprefix("=="))


@cache
def files() -> list[Path]:
    """What git tracks or would track."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip(reason="not a git checkout: " + listed.stderr.strip())
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.is_file() and "vendor" not in path.parts]


def texts() -> list[tuple[Path, str]]:
    read = []
    for path in files():
        data = path.read_bytes()
        if b"\0" not in data:
            read.append((path, data.decode()))
    return read


# Versions


@pytest.mark.parametrize("line", PINS)
def test_lock_pins_one_public_version(line: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; (python_version|sys_platform) .+)?", line)


def test_lock_is_for_any_machine() -> None:
    assert version("torch") == Version("2.13.0")
    assert not [name for name in LOCKED if name.startswith(("nvidia", "cuda", "triton", "uv", "clkit"))]
    assert len(LOCKED) == len(PINS)
    assert 'sys_platform == "darwin"' in str(LOCKED["appnope"].marker)


def test_lock_satisfies_pyproject() -> None:
    for requirement in requirements():
        assert version(requirement.name) in requirement.specifier, requirement


def test_lock_holds_what_pyproject_leads_to_and_no_more() -> None:
    lock = runpy.run_path(str(ROOT / "tools/lock.py"))
    missing: set[str] = set()  # packages of other systems and Pythons: what they bring cannot be seen here
    reached = set().union(*(lock["closure"](*target, missing) for target in lock["TARGETS"]))
    assert reached <= set(LOCKED), "run `make lock`"
    here = {canonicalize_name(d.name) for d in metadata.distributions()}
    unseen = set(LOCKED) - here if missing else set()
    assert set(LOCKED) - reached <= unseen, "nothing asks for these"


def test_pyproject_has_lower_bounds_only() -> None:
    bounded = {r.name for r in requirements() for s in r.specifier if s.operator != ">="}
    assert bounded == {"jupyter-book"}
    assert all(r.specifier for r in requirements())
    assert PROJECT["requires-python"] == ">=3.11"


def test_environment_equals_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert Version(python.removeprefix("python=")) >= Version("3.11")
    assert pip == "pip"
    lines = packages["pip"]
    pins = [Requirement(line) for line in lines if not line.startswith("-")]
    assert {r.name for r in pins} == {
        *("torch", "jupyter-book", "matplotlib", "ipywidgets", "papermill", "nbval", "pytest")
    }
    for pin in pins:
        assert str(pin.specifier) == f"=={version(pin.name)}"
    assert [line for line in lines if line.startswith("-")] == ["-c requirements.lock", "-e .[book,dev]"]
    asked = {canonicalize_name(r.name): r for r in requirements()}
    assert all(version(pin.name) in asked[canonicalize_name(pin.name)].specifier for pin in pins)


def imported(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return {name for name in names if name not in sys.stdlib_module_names and name != "clkit"}


def test_what_clkit_imports_is_declared() -> None:
    other_name = {"sklearn": "scikit-learn", "yaml": "pyyaml", "IPython": "ipython"}
    declared = {"": PROJECT["dependencies"], **EXTRAS}
    names = {key: {canonicalize_name(Requirement(line).name) for line in declared[key]} for key in declared}
    run_time, used = names[""], set()
    for path in (ROOT / "clkit").rglob("*.py"):
        needed = {canonicalize_name(other_name.get(name, name)) for name in imported(path)}
        undeclared = needed - run_time - names[EXTRA_OF.get(path.name, "")]
        assert not undeclared, f"{path.name} imports {undeclared}: name them in pyproject.toml"
        used |= needed
    assert run_time <= used, f"nothing in clkit imports {run_time - used}"


# Address


def address(root: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, root / "tools/address.py", url], capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that hold the address, and a notebook whose cell installs clkit."""
    names = (
        "README.md",
        "CONTRIBUTING.md",
        "pyproject.toml",
        "CITATION.cff",
        "_config.yml",
        "tools/address.py",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    (tmp_path / "book/page.ipynb").write_text(f'"%pip install -q \\"clkit @ git+{configured()}\\"\\n"')
    return tmp_path


def configured() -> str:
    return yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


def test_addresses_agree() -> None:
    url = configured()
    assert f"`git clone {url}`" in (ROOT / "README.md").read_text()
    assert PROJECT["urls"]["Repository"] == url
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["repository-code"] == url
    for path, text in texts():
        if path.suffix in (".ipynb", ".md"):
            assert set(re.findall(r"git\+(https://[\w./-]+)", text)) <= {url}, path
    unset = url.endswith("OWNER/REPO")
    assert ("not decided yet" in (ROOT / "README.md").read_text()) == unset


def test_address_is_written_everywhere_and_back(copy: Path) -> None:
    before = {p: p.read_text() for p in copy.rglob("*") if p.is_file()}
    new = "https://gitlab.com/a-group/a.book"
    done = address(copy, new + ".git/")
    assert done.returncode == 0, done.stderr
    changed = {p.name for p, text in before.items() if p.read_text() != text}
    assert changed == {"README.md", "pyproject.toml", "CITATION.cff", "_config.yml", "page.ipynb"}
    assert configured() not in "".join(p.read_text() for p in before if p.parent.name != "tools")
    assert f'git+{new}\\"' in (copy / "book/page.ipynb").read_text()
    assert "not decided yet" not in (copy / "README.md").read_text()
    assert address(copy, configured()).returncode == 0
    assert {p: p.read_text() for p in copy.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://example.invalid/a/b",
        "http://github.com/a/b",
        "git@github.com:a/b",
        "https://github.com/a",
        "https://github.com/a/b/tree/main",
        "https://github.com/a/b c",
    ],
)
def test_address_refuses(copy: Path, url: str) -> None:
    before = {p: p.read_text() for p in copy.rglob("*") if p.is_file()}
    done = address(copy, url)
    assert done.returncode == 1
    assert "GitHub, GitLab or Bitbucket" in done.stderr
    assert {p: p.read_text() for p in copy.rglob("*") if p.is_file()} == before


# Methods and their proofs


def defines_a_method(path: Path) -> bool:
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    bases = {ast.unparse(base).split(".")[-1] for node in classes for base in node.bases}
    return bool(bases & {"Method", "Learner"})


def test_every_method_file_has_its_own_test_file() -> None:
    sources = [p for chapter in CHAPTERS for p in (ROOT / "clkit" / chapter).glob("*.py")]
    methods = [p for p in sources if defines_a_method(p)]
    assert methods
    without = [p for p in methods if not (ROOT / "tests" / p.parent.name / f"test_{p.name}").exists()]
    assert not without, f"write tests/<chapter>/test_<method>.py for {without}"


def test_every_test_file_of_a_chapter_proves_a_file_of_it() -> None:
    proofs = [p for chapter in CHAPTERS for p in (ROOT / "tests" / chapter).glob("test_*.py")]
    proved = {p: ROOT / "clkit" / p.parent.name / p.name.removeprefix("test_") for p in proofs}
    for p in proofs:
        if p.stem.endswith("_interactive"):  # proves the JavaScript that a page of the chapter brings
            proved[p] = ROOT / "clkit" / "assets" / f"{p.stem[len('test_') : -len('_interactive')]}.js"
    assert not [p for p, source in proved.items() if not source.exists()]


# Commands


def blocks(name: str) -> list[str]:
    return re.findall(r"```\n(.*?)```", (ROOT / name).read_text(), re.S)


def test_ci_runs_the_test_command_of_the_readme() -> None:
    build, test = blocks("README.md")[0].split("\n")[:2]
    assert (build, test) == ("make book", "make test")
    run = (ROOT / ".ci/run").read_text()
    assert os.access(ROOT / ".ci/run", os.X_OK)
    last = [line for line in run.splitlines() if line.startswith("make ")][-1]
    assert last == f"{test} </dev/null || status=$?" and run.endswith('\nexit "$status"\n')
    for name in ("tests.yml", "pages.yml"):
        steps = [s for job in workflow(name)["jobs"].values() for s in job["steps"]]
        assert {"tests.yml": test, "pages.yml": build}[name] in [s.get("run") for s in steps]


def test_commands_of_the_readme_exist() -> None:
    lines = re.findall(r"^clkit (.*?)(?:  .*)?$", (ROOT / "README.md").read_text(), re.M)
    commands = [cli.parser().parse_args(line.split()) for line in lines]
    assert (
        len({command.act for command in commands}) == 9
    )  # methods run compare claims bench book progress assign grade


def test_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    assert code.count("replicas=10") == 1
    exec(code.replace("replicas=10", "replicas=1"), {})
    header, *_, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["seed", "after", "task", "accuracy"]
    assert last.split()[:4] == ["29", "0", "5", "4"]  # 1 replica x 6 rows x 5 tasks


def workflow(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github/workflows" / name).read_text())


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    shown = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0
    assert sorted(re.findall(r"^  make (\w+) +\S", shown.stdout, re.M)) == sorted(targets)
    assert set(targets) >= {"book", "test", "slow", "check", "bench", "fresh", "address", "lock", "help"}
    assert set(re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text())) <= set(targets)


def test_old_python_is_refused_with_a_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(["make", "book", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode
    assert "needs Python 3.11 or newer" in done.stdout and "Python 3.9.2" in done.stdout
    assert not (tmp_path / ".venv").exists()


# What no file may hold


def test_no_file_names_the_machine_it_was_written_on() -> None:
    folders = "|".join(("home", "root", "Users", "tmp", "opt", "work", "mnt", "srv", "data"))
    machine = re.compile(rf"(?<![\w.:/-])/(?:{folders})/[\w.]")
    found = [f"{p.relative_to(ROOT)}: {m[0]}" for p, text in texts() for m in machine.finditer(text)]
    assert not found


def test_packages_come_from_public_addresses_only() -> None:
    public = {"github.com", "download.pytorch.org"}
    frame = [ROOT / name for name in ("requirements.lock", "pyproject.toml", "environment.yml", "Makefile")]
    paths = [
        *frame,
        ROOT / ".ci/run",
        ROOT / ".pre-commit-config.yaml",
        *ROOT.glob(".github/workflows/*.yml"),
    ]
    for path in paths:
        assert set(re.findall(r"https?://([^/\s\"']+)", path.read_text())) <= public, path


def test_files_end_with_one_newline() -> None:
    assert not [p for p, text in texts() if text and (not text.endswith("\n") or text.endswith("\n\n"))]
