"""The committed notebooks: rules on what they hold, and one execution of each that proves text and figures.

The execution is nbval's, in a process of its own, with the data of the figures written to a temporary folder.
On the CPU and the versions on which the notebook was recorded, every text output must be the same. Elsewhere
the last digits of a training run differ: there nbval compares the cells tagged `nbval-check-output`, and the
figure data must agree to 15 % of each column's range and, on average, to 3 %.
"""

import json
import os
import re
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest

from clkit import book, notebooks

PATHS = book.notebooks(book.ROOT / "book")
PARAMETERS = {"profile", "replicas", "device", "seed", "out_dir"}
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def recorded_here(path):
    """Was the notebook executed on this CPU model with these versions?"""
    record = json.loads(notebooks.sidecar(path).read_text())
    here = notebooks.circumstances(notebooks.read(path))
    return all(record[name] == here[name] for name in ("processor", "versions"))


@every_notebook
def test_a_fresh_run_gives_the_committed_text_and_figure_data(path, root, tmp_path):
    strict = recorded_here(path)
    command = [sys.executable, "-m", "pytest", "--nbval" if strict else "--nbval-lax", "--nbval-current-env"]
    command += [
        "--nbval-cell-timeout",
        "300",
        "--nbval-sanitize-with",
        str(root / "tests" / "nbval_sanitize.cfg"),
    ]
    command += ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "filterwarnings=default", str(path)]
    environment = {**os.environ, **notebooks.ENVIRONMENT, "CLKIT_FIGURE_DATA": str(tmp_path), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, (
        f"`clkit book` executes what changed.\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
    )
    committed = sorted((path.parent / "data").glob(f"{path.stem}-*.csv"))
    assert [file.name for file in committed] == sorted(file.name for file in tmp_path.iterdir())
    for file in committed:
        same_data(pd.read_csv(file), pd.read_csv(tmp_path / file.name), strict)


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


@every_notebook
def test_every_figure_has_alt_text_a_command_and_its_data(path):
    html = "".join(
        output.data.get("text/html", "")
        for cell in notebooks.executed_cells(notebooks.read(path))
        for output in cell.outputs
        if "data" in output
    )
    pictures = re.findall(r"<img [^>]*>", html) + re.findall(r'<svg [^>]*role="img"[^>]*>', html)
    assert pictures
    for picture in pictures:
        words = re.search(r'(?:alt|aria-label)="([^"]*)"', picture)[1].split()
        assert len(words) >= 8 and re.search(r"\d", " ".join(words)), (
            f"alt without numbers: {' '.join(words)}"
        )
    figures = re.findall(r'<figure class="kit-figure" id="([^"]+)">(.*?)</figure>', html, re.S)
    assert len(figures) == html.count("<figure")
    for name, body in figures:
        assert re.search(r"Numbers: <code>\S.*?</code>", body), name
        assert f'download="{name}.csv"' in body and (path.parent / "data" / f"{name}.csv").exists(), name
