"""What is recorded of a student's tries."""

import json

import pytest

import clkit
from clkit import progress
from clkit.cli import main
from clkit.errors import ClkitError
from clkit.exercise import exercises


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    path = tmp_path / "kept" / "progress.json"
    monkeypatch.setenv("CLKIT_PROGRESS", str(path))
    return path


def test_wrong_tries_are_counted_and_a_pass_stays():
    assert [progress.record("a", False), progress.record("a", False), progress.record("a", True)] == [1, 2, 2]
    assert progress.record("a", False) == 3
    assert progress.load()["a"]["passed"] and progress.load()["a"]["tries"] == 3


def test_a_check_is_recorded_and_shown(file, capsys):
    name = next(iter(exercises().values())).questions[0].name
    assert not clkit.check(name, lambda *_: None)
    assert json.loads(file.read_text())[name] == {"tries": 1, "passed": None}
    page = file.with_name("page.html")
    assert main(["progress", "--page", str(page)]) == 0
    said = capsys.readouterr().out
    assert (
        "1 wrong tries" in said and f"Kept in {file}, on this machine only." in said and "Colab" not in said
    )
    points = sum(q.points for e in exercises().values() for q in e.questions)
    assert f"0 of {points} points" in said and f"0 of {points} points" in page.read_text()
    assert main(["progress", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert next(row for row in rows if row["question"] == name)["tries"] == 1


def test_on_colab_it_says_that_the_record_lasts_a_session(monkeypatch):
    monkeypatch.setitem(progress.sys.modules, "google.colab", None)
    assert "when the session ends" in progress.text(progress.rows())


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": {"tries": "x", "passed": null}}'])
def test_a_broken_record_is_refused_and_left_alone(file, text):
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ClkitError, match="start anew"):
        progress.record("a", True)
    assert file.read_text() == text
