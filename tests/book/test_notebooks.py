"""The committed notebooks: rules on what they hold, and one execution of each that proves text and figures.

The execution is nbval's, in a process of its own, with the data of the figures written to a temporary folder.
On the CPU and the versions on which the notebook was recorded, every text output must be the same. Elsewhere
the last digits of a training run differ: there the cells tagged `nbval-check-output` must be the same, numbers in
the others may differ as tests/book/nbval_near.py says, and the figure data must agree to 15 % of each column's
range and, on average, to 3 %.
"""

import base64
import contextlib
import html
import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest

import clkit
from clkit import book, notebooks, plots, widgets

PATHS = book.notebooks(book.ROOT / "book")
PARAMETERS = {"profile", "replicas", "device", "seed", "out_dir"}
FIGURE = re.compile(r'<figure class="kit-figure" id="([^"]+)">(.*?)</figure>', re.S)
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_every_notebook_is_in_the_table_of_contents():
    found = (book.ROOT / "book").rglob("*.ipynb")
    assert {path for path in found if ".ipynb_checkpoints" not in path.parts} == set(PATHS)


def recorded_here(path):
    """Was the notebook executed on this CPU model with these versions?"""
    record = json.loads(notebooks.sidecar(path).read_text())
    here = notebooks.circumstances(notebooks.read(path))
    return all(record[name] == here[name] for name in ("processor", "versions"))


@every_notebook
def test_a_fresh_run_gives_the_committed_text_and_figure_data(path, root, tmp_path):
    strict = recorded_here(path)
    command = [sys.executable, "-m", "pytest", "--nbval-current-env"]
    command += ["--nbval"] if strict else ["--nbval-lax", "-p", "nbval_near"]
    command += [
        "--nbval-cell-timeout",
        "300",
        "--nbval-sanitize-with",
        str(root / "tests" / "nbval_sanitize.cfg"),
    ]
    command += ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "filterwarnings=default", str(path)]
    environment = {**os.environ, **notebooks.ENVIRONMENT, "CLKIT_FIGURE_DATA": str(tmp_path), "NO_COLOR": "1"}
    environment["PYTHONPATH"] = str(root / "tests" / "book")  # of the plugin
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, (
        f"`clkit book` executes what changed.\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
    )
    committed = sorted((path.parent / "data").glob(f"{path.stem}-*.csv"))
    assert [file.name for file in committed] == sorted(file.name for file in tmp_path.iterdir())
    for file in committed:
        same_data(pd.read_csv(file), pd.read_csv(tmp_path / file.name), strict)


@pytest.mark.parametrize(
    ("new", "good"),
    [
        ("Costs 34 ± 1 points, 1,448 kB.", True),
        ("Costs 31.2 ± 0.9 points, 1,500 kB.", True),  # 52 of 1,448 are 3.6 %
        ("Costs 38 ± 1 points, 1,448 kB.", False),  # 4 points
        ("Costs 34 ± 1 points, 1,548 kB.", False),  # 7 %
        ("Gains 34 ± 1 points, 1,448 kB.", False),
        ("Costs −34 ± 1 points, 1,448 kB.", False),
        ("Costs 34 points, 1,448 kB.", False),
    ],
)
def test_elsewhere_words_must_agree_and_numbers_nearly(root, new, good):
    near = runpy.run_path(str(root / "tests" / "book" / "nbval_near.py"))["near"]
    assert near("Costs 34 ± 1 points, 1,448 kB.", new) == good
    assert near("Same <script>1</script>.", "Same <script>9</script>.")


def same_data(old, new, strict):
    assert list(old.columns) == list(new.columns) and len(old) == len(new)
    for column in old:
        if not pd.api.types.is_numeric_dtype(old[column]):
            assert old[column].equals(new[column]), column
        elif strict:
            np.testing.assert_allclose(new[column], old[column], rtol=1e-4, atol=1e-6, err_msg=column)
        else:
            gap = (new[column] - old[column]).abs() / max(old[column].max() - old[column].min(), 1e-6)
            assert gap.isna().equals(old[column].isna()) and gap.max() <= 0.15 and gap.mean() <= 0.03, column


@pytest.mark.parametrize(
    ("change", "strict", "good"),
    [
        (0.0, True, True),
        (1e-3, True, False),
        (0.02, False, True),
        (0.05, False, False),
        (np.nan, False, False),
    ],
)
def test_the_comparison_of_figure_data_notices_a_change(change, strict, good):
    old = pd.DataFrame({"task": ["a", "b", "c"], "mean": [0.0, 0.5, 1.0]})
    new = old.assign(mean=old["mean"] + change)
    if good:
        return same_data(old, new, strict)
    with pytest.raises(AssertionError):
        same_data(old, new, strict)


@every_notebook
def test_the_outputs_belong_to_the_present_code(path, root):
    assert not notebooks.stale(path, "quick", root), (
        f"{path.name}: run `clkit book` and commit what it changed."
    )


@every_notebook
def test_outputs_are_complete_and_clean(path):
    cells = notebooks.executed_cells(notebooks.read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), (
        "run from top to bottom"
    )
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text  # warnings and progress bars
            bundle = output.get("data", {})
            assert not any("widget" in kind for kind in bundle), "widget state: use clkit.widgets"
            if "text/html" in bundle:
                assert "text/plain" in bundle and "object at 0x" not in bundle["text/plain"]


@every_notebook
def test_no_place_of_any_machine_is_named(path):
    text = re.sub(r"base64,[\w+/=]+", "", path.read_text())
    assert not re.findall(r"(?:/home/|/root/|/Users/|/tmp/|[A-Z]:\\\\)\S*", text)


@every_notebook
def test_the_first_cells_serve_colab_and_papermill(path, root):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), "cells need their own ids"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    address = re.search(r"^  url: (\S+)", (root / "_config.yml").read_text(), re.M)[1]
    assert "setup" in notebooks.tags(code[0])
    assert "import clkit" in code[0].source and f'%pip install -q "clkit @ git+{address}"' in code[0].source
    assert [cell for cell in code if "parameters" in notebooks.tags(cell)] == [code[1]]
    values = {}
    exec(code[1].source, {}, values)
    assert set(values) == PARAMETERS and values["profile"] == "quick"


@every_notebook
def test_cells_for_a_kernel_are_left_out_of_every_run(path):
    for cell in notebooks.read(path).cells:
        tagged = {"skip-execution", "nbval-skip"} & set(notebooks.tags(cell))
        assert len(tagged) in (0, 2), "papermill needs skip-execution, nbval nbval-skip"
        assert not tagged or not cell.outputs


def page_of(path):
    """All HTML that the cells of a notebook show."""
    cells = notebooks.executed_cells(notebooks.read(path))
    return "".join(output.get("data", {}).get("text/html", "") for cell in cells for output in cell.outputs)


@every_notebook
def test_every_figure_has_a_description_with_numbers(path):
    page = page_of(path)
    figures = FIGURE.findall(page)
    assert figures and len(figures) == page.count("<figure")
    for name, body in figures:
        words = re.findall(r'role="(?:img|group)" aria-label="([^"]*)"', body)
        assert len(words) == 1, f"figure {name} needs one description, it has {len(words)}"
        assert len(words[0].split()) >= 8 and re.search(r"\d", words[0]), f"figure {name}: {words[0]!r}"
        assert all('alt=""' in picture for picture in re.findall(r"<img [^>]*>", body)), (
            f"{name} is read twice"
        )


@every_notebook
def test_the_data_under_a_figure_are_those_of_its_file(path):
    for name, body in FIGURE.findall(page_of(path)):
        link = re.search(rf'download="{name}\.csv" href="data:text/csv;base64,([\w+/=]+)"', body)
        assert link, f"figure {name} has no data"
        assert base64.b64decode(link[1]).decode() == (path.parent / "data" / f"{name}.csv").read_text(), name


@every_notebook
def test_python_under_a_figure_makes_its_numbers_and_cells_for_a_kernel_run(path, tmp_path, monkeypatch):
    """In this process, with two replicas and a seventh of the updates; what prose says may then be false."""
    full = clkit.run

    def small(method, stream=None, training=None, **settings):
        training = training or clkit.Training()
        every = -(-training.every // 7)
        whole = max(1, every)  # looks stay in step with the ends of the tasks
        less = tuple(max(whole, count // 7 // whole * whole) for count in training.updates)
        few = replace(training, updates=less, epochs=training.epochs / 7, every=every)
        return full(method, stream, few, **{**settings, "progress": False})

    shown = []
    monkeypatch.setattr(clkit, "run", small, raising=False)
    monkeypatch.setattr(
        widgets, "explore", lambda make, menus, **how: shown.append(make(*(m[-1] for m in menus.values())))
    )
    monkeypatch.setenv("CLKIT_FIGURE_DATA", str(tmp_path))
    frame, pages = plots.Page.frame, []

    def keep(*arguments, **settings):
        made = frame(*arguments, **settings)
        pages.append(made.html)
        return made

    monkeypatch.setattr(plots.Page, "frame", keep)
    names = {"clkit": clkit}
    code = [cell for cell in notebooks.read(path).cells if cell.cell_type == "code"]
    for cell in code:
        if "setup" not in notebooks.tags(cell):
            with contextlib.suppress(AssertionError):
                exec(cell.source, names)
        if "parameters" in notebooks.tags(cell):
            names["replicas"] = 2
    assert len(shown) == sum("skip-execution" in notebooks.tags(cell) for cell in code)
    assert all("<figure" in figure.html for figure in shown)
    for name, body in FIGURE.findall("".join(pages)):
        if name.startswith(path.stem):
            again = {}
            exec(html.unescape(re.search(r"<pre[^>]*><code>(.*?)</code></pre>", body, re.S)[1]), again)
            made = pd.read_csv(tmp_path / f"{name}.csv")
            same_data(made, again["data"][list(made.columns)].reset_index(drop=True), True)


@every_notebook
def test_a_notebook_names_the_tests_that_prove_its_equations(path, root):
    words = "\n".join(cell.source for cell in notebooks.read(path).cells)
    named = set(re.findall(r"`(test_\w+)`", words))
    written = "\n".join(file.read_text() for file in (root / "tests").rglob("test_*.py"))
    assert named, "name the test functions that prove the equations"
    assert not [name for name in named if f"def {name}(" not in written]
    files = re.findall(r"`(tests/[\w/]+\.py)`", words)
    assert files and all((root / file).exists() for file in files)
