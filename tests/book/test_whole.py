"""The closing chapter: how many claims are registered, and what its remarks on them rest on."""

from importlib import import_module
from pathlib import Path

import pytest

from clkit import claims
from clkit.errors import ClkitError

BOOK = Path(__file__).resolve().parents[2] / "book"


@pytest.fixture
def whole(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    return import_module("kit_whole")


def test_registered_and_to_come_make_up_the_assertions_of_the_review(whole):
    count, said = len(claims.registered()), whole.registered(BOOK)
    assert 0 < count <= whole.ASSERTIONS == 50
    assert f"{count} of them are registered" in said and f"{50 - count} are still to be measured" in said
    assert len(whole.claims_table(BOOK).splitlines()) == 2 + count


def test_every_remark_is_about_a_row_and_stands_in_the_list(whole):
    said = whole.remarks(BOOK).split("\n\n", 1)[1].splitlines()
    ids = [line.removeprefix("- **")[:3].strip("'s ") for line in said]
    assert ids == ["W2", "T2", "T3", "T4", "T9", "T10", "T12"]
    assert set(ids) <= set(claims.registered())


def test_the_verdict_comes_early(whole):
    """A narrow screen shows the first two columns of the table."""
    rows = [[cell.strip() for cell in row.split(" | ")] for row in whole.claims_table(BOOK).splitlines()[2:]]
    verdicts = {f"**{claims.stored(row[0].strip('| '))['verdict']}**" for row in rows}
    assert {row[1] for row in rows} == verdicts


def test_the_table_marks_an_effect_that_is_the_same_in_every_replica(whole):
    rows = {row.split(" | ")[0].strip("| "): row for row in whole.claims_table(BOOK).splitlines()}
    assert "| 0 updates, in every replica |" in rows["T2"]
    assert "in every replica" not in rows["M1"], "exactly 0 is what M1 demands"
    assert "in every replica" not in rows["T1"]


def test_differences_of_accuracies_are_in_points_and_other_shares_in_percent(whole):
    """The accuracy in the unit of W2 is not what W2 measures."""
    shown = {row["id"]: whole.least(row) for row in claims.table()}
    of_examples = {id for id, text in shown.items() if text.endswith("\u00a0points")}
    assert of_examples == {"T1", "T4", "T5", "T9", "T10", "T12", "G1", "G3", "M1", "M2", "R2", "W1"}
    assert shown["T7"] == shown["T8"] == "25\u00a0%" and shown["T11"] == shown["W2"] == "20\u00a0%"
    assert (shown["T2"], shown["T3"], shown["L5"]) == ("500 updates", "0.5 cosine", "0.23 nats")


def test_one_has_no_plural(whole):
    def least(smallest):
        return whole.least({"smallest": smallest, "unit": "time to the finest, doublings"})

    assert [least(1.0), least(2.0), least(0.1)] == ["1 doubling", "2 doublings", "0.1 doublings"]


def test_works_that_share_name_and_year_are_told_apart_by_their_titles(whole):
    lines = whole.to_come(BOOK).splitlines()
    cells = [cell.strip() for line in lines[2:] for cell in line.split(" | ")[-1].strip("| ").split("; ")]
    assert len(set(cells)) == sum(int(line.split(" | ")[1]) for line in lines[2:])
    assert "{cite:t}`aljundi2019a` (Task-free continual learning)" in cells
    assert "{cite:t}`zenke2017`" in cells, "the only one of its name and year"


@pytest.mark.parametrize(
    ("id", "change", "remark"),
    [
        ("W2", lambda r: r["reported"]["spared to the target: skip known"].update(low=0.1), "changed"),
        ("T2", lambda r: r.update(effects=[1.0] * r["replicas"]), "half_lives"),
        ("T2", lambda r: r["reported"]["half-life, task 1 absent"].update(low=700.0), "half_lives"),
        ("T3", lambda r: r.update(high=0.1), "signed"),
        ("T4", lambda r: r.update(high=0.51), "just_below"),
        (
            "T9",
            lambda r: r["reported"]["task 1 in the end: joint, 4x minus 1x"].update(low=-0.1),
            "nothing_subtracted",
        ),
        ("T10", lambda r: r["curves"]["ewc"]["cost"].update(high=[0.5] * 10), "end_of_grid"),
        (
            "T12",
            lambda r: r["reported"]["backward transfer: joint, close rotations minus permutations"].update(
                high=0.2
            ),
            "both_ways",
        ),
    ],
)
def test_a_remark_that_no_longer_holds_stops_the_build(whole, monkeypatch, id, change, remark):
    getattr(whole, remark)()
    found = claims.stored(id)
    change(found)
    monkeypatch.setattr(whole.claims, "stored", lambda other: found if other == id else claims_stored(other))
    with pytest.raises(ClkitError, match=f"{id}: .* no longer holds"):
        getattr(whole, remark)()


claims_stored = claims.stored
