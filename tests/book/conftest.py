"""Fixtures of the book's tests."""

import shutil
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = 'profile = "quick"\nreplicas = 10\ndevice = "cpu"\nseed = 0\nout_dir = None'
FIGURE = """
import pandas as pd
from clkit import plots
page = plots.Page("small", out_dir)
data = pd.DataFrame({"x": [0, 1], "mean": [1.0, 2.0], "low": [0.5, 1.5], "high": [1.5, 2.5], "line": "one"})
print("profile", profile)
page.figure(
    plots.curves(data, x="x", by="line", xlabel="steps", ylabel="value (%)"),
    name="rise", alt="One line that rises from 1 to 2 in a single step.", data=data, command="clkit run",
)
"""


@pytest.fixture(scope="session")
def root():
    """The clone of the repository."""
    return ROOT


@pytest.fixture
def tiny(tmp_path):
    """A function that makes a book of one page and one notebook with the given last cell."""

    def make(last="print(1 + 1)"):
        book = tmp_path / "book"
        for name in ("_ext", "assets"):
            shutil.copytree(
                ROOT / "book" / name, book / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("vendor")
            )
        shutil.copy(ROOT / "_config.yml", tmp_path)
        (book / "part").mkdir(exist_ok=True)
        (book / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: part/small\n")
        (book / "index.md").write_text("# Tiny\n\n{{ colab_notice }}\n")
        (book / "references.bib").write_text("")
        cell = nbformat.v4.new_code_cell
        cells = [nbformat.v4.new_markdown_cell("# Small", id="title"), cell(PARAMETERS, id="parameters")]
        cells += [cell(FIGURE, id="figure"), cell(last, id="last")]
        cells[1].metadata["tags"] = ["parameters"]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), book / "part" / "small.ipynb")
        return book / "part" / "small.ipynb"

    return make
