"""The student version of a master: complete, and without anything of the solution."""

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
    ],
)
def test_a_master_with_a_mistake_is_refused_and_nothing_is_written(written, tmp_path, sources, said):
    with pytest.raises(ClkitError, match=said):
        assign.assign(str(written(*sources)), tmp_path / "class")
    assert not (tmp_path / "class").exists()


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
