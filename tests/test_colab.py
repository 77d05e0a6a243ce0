"""What the first cell of a notebook does on Google Colab: it installs the kit and changes nothing that is there."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHON = "3.13.15"
# Colab's image of 19 August 2026, from github.com/googlecolab/backend-info. joblib is not in that extract: scikit-learn
# 1.6.1 brings it and asks for 1.2.0, so no more than that may be taken for granted.
SHIPPED = {
    "torch": "2.11.0",
    "numpy": "2.1.3",
    "scipy": "1.16.3",
    "pandas": "2.2.3",
    "scikit-learn": "1.6.1",
    "matplotlib": "3.10.0",
    "joblib": "1.2.0",
    "pooch": "1.9.0",
    "tqdm": "4.67.3",
    "ipywidgets": "7.7.1",
    "ipykernel": "6.17.1",
    "ipython": "7.34.0",
}
USED = ("ipywidgets", "ipykernel", "ipython")  # by notebooks, beside what the kit itself requires


def changed(requirements, shipped):
    """What pip would install or replace: it leaves alone what satisfies a requirement."""
    asked = [
        r for r in map(Requirement, requirements) if r.marker is None or r.marker.evaluate({"extra": ""})
    ]
    there = {str(r): shipped.get(canonicalize_name(r.name)) for r in asked}
    return [str(r) for r in asked if there[str(r)] is None or not r.specifier.contains(there[str(r)])]


def test_installing_the_kit_changes_nothing_of_colab():
    assert not changed(PROJECT["dependencies"], SHIPPED)
    assert SpecifierSet(PROJECT["requires-python"]).contains(PYTHON)


def test_what_notebooks_use_beside_it_is_served_by_colab():
    lines = [line for line in PROJECT["optional-dependencies"]["book"] if Requirement(line).name in USED]
    assert len(lines) == len(USED)
    assert not changed(lines, SHIPPED)


def test_a_change_would_be_noticed():
    assert changed(["numpy>=2.2", "torch>=2.4", "rich"], SHIPPED) == ["numpy>=2.2", "rich"]
