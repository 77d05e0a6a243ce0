"""The pipeline on a book of one notebook: what is executed, what an error does, what stays the same."""

import json

import nbformat
import pytest

from clkit import book, notebooks
from clkit.errors import ClkitError


def outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    return [output.get("text") for cell in cells for output in cell.get("outputs", []) if "text" in output]


def test_a_notebook_is_executed_once_and_again_when_it_changed(tiny, tmp_path):
    path = tiny("print(1 + 1)")
    page = book.build(root=tmp_path)
    assert page == tmp_path / "_build" / "html" / "index.html"
    assert outputs(path) == ["profile quick\n", "2\n"]
    assert "means x 0.5, mean 1.5" in path.read_text()  # (0 + 1) / 2 and (1 + 2) / 2
    data = path.parent / "data" / "small-rise.csv"
    assert data.read_text().splitlines()[1:] == ["0,1,0.5,1.5,one", "1,2,1.5,2.5,one"]
    record = json.loads(notebooks.sidecar(path).read_text())
    assert record["parameters"] == {
        "profile": "quick",
        "replicas": 10,
        "device": "cpu",
        "seed": 0,
        "out_dir": None,
    }

    before, first = path.stat().st_mtime_ns, path.read_bytes()
    book.build(root=tmp_path)
    assert path.stat().st_mtime_ns == before, "an unchanged notebook was executed"

    book.build(root=tmp_path, fresh=True)
    assert path.stat().st_mtime_ns > before
    assert path.read_bytes() == first, "two executions differ"

    path.write_text(path.read_text().replace("print(1 + 1)", "print(1 + 2)"))
    book.build(root=tmp_path)
    assert outputs(path) == ["profile quick\n", "3\n"]
    html = (page.parent / "part" / "small.html").read_text()
    assert "Verified on" in html and "10 replicas" not in html and "replicas 10" in html


def test_the_key_covers_floor_chapter_results_and_lock_but_not_the_text(tiny, tmp_path):
    path = tiny()
    package = tmp_path / "clkit"
    seen = {notebooks.key(path, "quick", tmp_path)}
    for name in ("nets.py", "part/method.py", "results/T1.json", "../requirements.lock"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("1")
        seen.add(notebooks.key(path, "quick", tmp_path))
        (package / name).write_text("2")
        seen.add(notebooks.key(path, "quick", tmp_path))
    assert len(seen) == 9  # one without the files, two for each file
    last = notebooks.key(path, "quick", tmp_path)
    for name in ("cli.py", "other/method.py"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("1")
    path.write_text(path.read_text().replace("# Small", "# Larger"))
    assert notebooks.key(path, "quick", tmp_path) == last


def test_an_error_names_notebook_and_cell_and_leaves_the_last_good_book(tiny, tmp_path):
    path = tiny()
    page = book.build(root=tmp_path)
    good, outputs_before = page.read_bytes(), notebooks.sidecar(path).read_bytes()
    path = tiny("numbers = [1, 2]\nprint(numbers[5])")
    written = path.read_bytes()
    with pytest.raises(ClkitError) as error:
        book.build(root=tmp_path)
    message = str(error.value)
    assert "small.ipynb, code cell [3]" in message
    assert "in line 2:\n    print(numbers[5])\nIndexError: list index out of range" in message
    assert "numbers = [1, 2]" not in message
    assert page.read_bytes() == good
    assert path.read_bytes() == written and notebooks.sidecar(path).read_bytes() == outputs_before


def test_a_warning_in_a_page_is_fatal_and_leaves_the_last_good_book(tiny, tmp_path):
    tiny()
    page = book.build(root=tmp_path)
    good = page.read_bytes()
    (tmp_path / "book" / "index.md").write_text("# Tiny\n\n[nowhere](missing.md)\n")
    with pytest.raises(ClkitError, match=r"missing\.md"):
        book.build(root=tmp_path)
    assert page.read_bytes() == good


def test_the_paper_profile_runs_a_copy(tiny, tmp_path):
    path = tiny("print(1 + 1)\nassert profile == 'quick', 'what a sentence says'")
    book.build(root=tmp_path)
    committed = path.read_bytes()
    page = book.build("paper", root=tmp_path)
    copy = tmp_path / "_build" / "paper" / "book" / "part" / "small.ipynb"
    assert page == tmp_path / "_build" / "paper" / "html" / "index.html" and page.exists()
    assert path.read_bytes() == committed
    assert outputs(copy)[0] == "profile paper\n"
    built = [folder / "part" / "small.html" for folder in (page.parent, tmp_path / "_build" / "html")]
    assert ["believe the number" in text.read_text() for text in built] == [True, False]
    executed = copy.stat().st_mtime_ns
    book.build("paper", root=tmp_path)
    assert copy.stat().st_mtime_ns == executed, "an unchanged copy was executed again"


def test_a_notebook_that_hangs_is_tried_twice_and_then_named(tiny, tmp_path, monkeypatch):
    tiny("import time, pathlib\npathlib.Path('tries').open('a').write('x')\ntime.sleep(60)")
    monkeypatch.setitem(notebooks.LIMITS, "quick", (300, 4))
    with pytest.raises(ClkitError, match=r"small\.ipynb did not end within 4 seconds, twice"):
        book.build(root=tmp_path)
    assert (tmp_path / "book" / "part" / "tries").read_text() == "xx"


def test_cleaning_joins_streams_and_drops_what_a_run_leaves():
    stream = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in "abc"]
    stream.insert(2, nbformat.v4.new_output("stream", name="stderr", text="!"))
    cell = nbformat.v4.new_code_cell("print()", outputs=stream, id="one")
    cell.metadata.update({"papermill": {"duration": 1.0}, "execution": {"time": "now"}, "tags": ["kept"]})
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata={"papermill": {"input_path": "/somewhere/else"}}
    )
    cleaned = notebooks.clean(notebook)
    assert [(o.name, o.text) for o in cleaned.cells[0].outputs] == [
        ("stdout", "ab"),
        ("stderr", "!"),
        ("stdout", "c"),
    ]
    assert dict(cleaned.cells[0].metadata) == {"tags": ["kept"]}
    assert "papermill" not in cleaned.metadata


def test_bad_input_says_what_to_do(tmp_path):
    with pytest.raises(ClkitError, match="Did you mean quick"):
        book.build("quik")
    with pytest.raises(ClkitError, match="clone of the repository"):
        book.build(root=tmp_path)


@pytest.mark.parametrize(
    ("address", "button"), [("https://github.com/OWNER/REPO", False), ("https://github.com/a/b", True)]
)
def test_the_colab_button_needs_an_address(tiny, tmp_path, address, button):
    tiny()
    config = tmp_path / "_config.yml"
    config.write_text(config.read_text().replace("https://github.com/OWNER/REPO", address))
    page = book.build(root=tmp_path)
    link = "colab.research.google.com/github/a/b/blob/main/book/part/small.ipynb"
    assert (link in (page.parent / "part" / "small.html").read_text()) == button
    assert ("no public address yet" in page.read_text()) != button


@pytest.mark.parametrize(
    ("trace", "place"),
    [
        (
            "Cell In[3], line 2\n      1 a = [1]\n----> 2 a[5]\n      3 b\n\nIndexError",
            " in line 2:\n    a[5]",
        ),
        (
            "\x1b[36mCell In[3]\x1b[39m, line 1\n    a = = 1\n        ^\nSyntaxError",
            " in line 1:\n    a = = 1",
        ),
        ("no frame of the cell", ":"),
    ],
)
def test_the_failing_line_is_read_from_the_traceback(trace, place):
    error = nbformat.v4.new_output("error", ename="E", evalue="e", traceback=trace.split("\n"))
    assert notebooks._place(error) == place
