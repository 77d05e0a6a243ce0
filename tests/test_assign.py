"""The student version of a master: complete, and without anything of the solution."""

import re

import nbformat
import pytest

from clkit import assign
from clkit.cli import main
from clkit.errors import ClkitError

SOLUTION = """def double(x):
    # think of a sum
    ### BEGIN SOLUTION
    answer_of_the_sum = x + x
    return answer_of_the_sum
    ### END SOLUTION"""
TESTS = """assert double(1) == 2
### BEGIN HIDDEN TESTS
assert clkit.check("double", double)
### END HIDDEN TESTS"""


@pytest.fixture
def written(tmp_path):
    """A function that writes a master with the given cells."""

    def write(*sources):
        cells = [nbformat.v4.new_markdown_cell("# Double"), *map(nbformat.v4.new_code_cell, sources)]
        path = tmp_path / "double.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    return write


def test_the_solution_is_cut_and_the_hint_is_kept(written, tmp_path):
    path = assign.assign(str(written(SOLUTION, TESTS)), tmp_path / "class")
    code = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert code == [
        "def double(x):\n    # think of a sum\n    # YOUR CODE HERE\n    raise NotImplementedError",
        "assert double(1) == 2",
    ]


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (("x = 1",), "has no solution"),
        ((SOLUTION.replace("    ### END SOLUTION", ""),), "without ### END"),
        ((SOLUTION.replace("### BEGIN", "### END"),), "do not pair"),
        ((SOLUTION + "\n    ### BEGIN SOLUTION",), "without ### END"),
        ((SOLUTION, "# answer_of_the_sum = x + x"), "stand outside it"),
        (
            (SOLUTION, SOLUTION.replace("### BEGIN", "###BEGIN").replace("### END", "#### End")),
            "a marker is left",
        ),
        ((SOLUTION, SOLUTION.replace("SOLUTION\n", "SOLUTION \n")), "do not pair"),
    ],
)
def test_a_master_with_a_mistake_is_refused_and_nothing_is_written(written, tmp_path, sources, said):
    with pytest.raises(ClkitError, match=said):
        assign.assign(str(written(*sources)), tmp_path / "class")
    assert not (tmp_path / "class").exists()


def test_a_cell_to_fill_without_a_marked_solution_is_refused(written, tmp_path):
    path = written(SOLUTION, "def other(x):\n    return x")
    made = nbformat.read(path, 4)
    made.cells[-1].metadata["nbgrader"] = {"solution": True, "grade_id": "other"}
    nbformat.write(made, path)
    with pytest.raises(ClkitError, match="'other' has no solution marked"):
        assign.assign(str(path), tmp_path / "class")


def test_a_solution_in_the_metadata_is_found(written, tmp_path):
    path = written(SOLUTION)
    made = nbformat.read(path, 4)
    made.cells[0].metadata["note"] = "answer_of_the_sum = x + x"
    nbformat.write(made, path)
    with pytest.raises(ClkitError, match="stand outside it"):
        assign.assign(str(path), tmp_path / "class")


def test_links_to_the_book_lead_there_from_the_new_folder(tmp_path):
    made = nbformat.read(assign.assign("rehearsal", tmp_path / "class"), 4)
    link = re.search(r"\]\((\S+rehearsal\.ipynb)\)", made.cells[0].source)[1]
    target = (tmp_path / "class" / link).resolve()
    assert target == assign.MASTERS.parent / "book" / "memory" / "rehearsal.ipynb" and target.exists()


def test_with_an_address_links_lead_to_the_repository(tmp_path, monkeypatch):
    path = assign.master("rehearsal")
    given = path.read_text().replace("OWNER/REPO", "someone/book")
    copy = tmp_path / "exercises" / "memory" / path.name
    copy.parent.mkdir(parents=True)
    copy.write_text(given)
    monkeypatch.setattr(assign, "MASTERS", tmp_path / "exercises")
    made = nbformat.read(assign.assign("rehearsal", tmp_path / "class"), 4)
    assert "](https://github.com/someone/book/blob/main/book/memory/rehearsal.ipynb)" in made.cells[0].source


@pytest.mark.parametrize("path", sorted(assign.MASTERS.glob("*/*.ipynb")), ids=lambda path: path.stem)
def test_every_master_gives_a_notebook_that_runs_to_its_first_stub(path, tmp_path):
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    made = nbformat.read(assign.assign(str(path), tmp_path), 4)
    stubs = [cell.source for cell in made.cells if "raise NotImplementedError" in cell.source]
    assert set(assign.solutions(path)) == {
        cell.metadata.nbgrader.grade_id for cell in made.cells if cell.source in stubs
    }
    with pytest.raises(CellExecutionError, match="NotImplementedError"):
        NotebookClient(made, timeout=120, kernel_name="python3").execute()
    done = [cell for cell in made.cells if cell.get("execution_count")]
    assert done and "raise NotImplementedError" in "".join(cell.source for cell in done)


def test_the_command_names_what_it_wrote_and_what_there_is(tmp_path, capsys):
    assert main(["assign", "two_weights", "--out", str(tmp_path)]) == 0
    assert "two_weights.ipynb" in capsys.readouterr().out
    assert main(["assign", "no_such", "--out", str(tmp_path)]) == 2
    assert "rehearsal" in capsys.readouterr().err
