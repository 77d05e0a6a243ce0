"""Write requirements.lock: exact versions, those of this environment, of all that pyproject.toml leads to.

A package that only another system or Python asks for gets a marker; where it is not installed here, pip
installs it first, so that its version is one that goes with the others.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = {"linux": "Linux", "darwin": "Darwin"}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TARGETS = list(product(SYSTEMS, PYTHONS))
# The CUDA build of torch pins its own parts, and the CPU build has none of them.
TORCH_PARTS = ("nvidia-", "cuda-", "triton")
HEADER = """\
# Exact versions of every package, for Linux and macOS, Python 3.11 or newer. Written by `make lock`.
# On Linux, `make TORCH_INDEX=https://download.pytorch.org/whl/cpu ...` takes the smaller CPU build of torch.
"""


def roots() -> list[Requirement]:
    """What pyproject.toml asks for, with every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]


def applies(requirement: Requirement, system: str, python: str, extra: str) -> bool:
    environment = {
        "sys_platform": system,
        "platform_system": SYSTEMS[system],
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": extra,
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def closure(system: str, python: str, missing: set[str]) -> set[str]:
    """Names that the project leads to on one system and Python; `missing` takes those not installed here."""
    seen: set[tuple[str, str]] = set()
    todo = [(requirement, "") for requirement in roots()]
    while todo:
        requirement, asked_with = todo.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(TORCH_PARTS) or not applies(requirement, system, python, asked_with):
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                lines = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                missing.add(name)
                continue
            todo += [(Requirement(line), extra) for line in lines]
    return {name for name, _ in seen}


def marker(targets: list[tuple[str, str]]) -> str:
    """The environment marker that holds on exactly these (system, Python) pairs."""
    systems = sorted({system for system, _ in targets})
    pythons = sorted({python for _, python in targets}, key=PYTHONS.index)
    first, last = PYTHONS.index(pythons[0]), PYTHONS.index(pythons[-1])
    if len(targets) != len(systems) * len(pythons) or last - first + 1 != len(pythons):
        raise SystemExit(f"no simple marker for {targets}")
    parts = [f'sys_platform == "{systems[0]}"'] if len(systems) == 1 else []
    if len(pythons) == 1:
        return " and ".join([*parts, f'python_version == "{pythons[0]}"'])
    if first > 0:
        parts.append(f'python_version >= "{pythons[0]}"')
    if last + 1 < len(PYTHONS):
        parts.append(f'python_version < "{PYTHONS[last + 1]}"')
    return " and ".join(parts)


def lock() -> str:
    missing: set[str] = set()
    needed = {target: closure(*target, missing) for target in TARGETS}
    if missing:
        print("installing what another system or Python needs:", *sorted(missing), flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *sorted(missing)], check=True)
        importlib.invalidate_caches()
        return lock()
    lines = []
    for name in sorted(set().union(*needed.values())):
        where = marker([target for target in TARGETS if name in needed[target]])
        pin = f"{name}=={Version(metadata.version(name)).public}"
        lines.append(f"{pin} ; {where}" if where else pin)
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = lock()
    temporary = ROOT / "requirements.lock.tmp"
    temporary.write_text(text)
    os.replace(temporary, ROOT / "requirements.lock")
    print(f"requirements.lock: {len(text.splitlines()) - len(HEADER.splitlines())} packages")
