"""The bibliography: complete, keyed by one rule, in step with the methods and with what the pages cite."""

import re
from collections import Counter
from importlib import import_module

import pytest

from clkit import book, catalogue
from clkit.claims import CHAPTERS
from clkit.errors import ClkitError
from clkit.references import cite_key, of_methods, references

BOOK = book.ROOT / "book"
CITED = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


@pytest.fixture(scope="module")
def works():
    return references(BOOK / "references.bib")


@pytest.fixture(scope="module")
def listed(works):
    """The review's number -> its work."""
    return {number: work for work in works for number in work.review}


@pytest.fixture
def page(monkeypatch):
    """The extension that writes the tables of the page."""
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    return import_module("kit_bibliography")


def test_each_number_of_the_review_once(works, listed):
    """10 and 65 are one paper: 97 numbers, 96 works, which come first and in the review's order."""
    numbers = [work.review for work in works if work.review]
    assert sorted(sum(numbers, ())) == list(range(1, 98))
    assert len(numbers) == 96 and listed[10] is listed[65]
    assert numbers == sorted(numbers) == [work.review for work in works[:96]]


def test_keys_are_name_and_year(works):
    """Last name of the first author and year; a, b, c in the order of the file where both are the same."""
    plain = [cite_key(f"{work.authors[0].split(',')[0]} ({work.year})") for work in works]
    total, seen = Counter(plain), Counter()
    for work, key in zip(works, plain, strict=True):
        suffix = "abcd"[seen[key]] if total[key] > 1 else ""
        seen[key] += 1
        assert work.key == key + suffix


def test_every_entry_is_complete(works):
    for work in works:
        assert work.authors and work.title and work.venue and 1885 <= work.year <= 2026, work.key
        assert work.url.startswith("https://"), work.key
        assert all(re.fullmatch(r"[^,]+, [^,]+", name) for name in work.authors), work.key  # no "and others"
        assert bool(work.review) == (work.chapter in CHAPTERS) == (work.role in ("method", "background"))


def test_no_work_twice(works):
    """A preprint and its published version would share title or address."""
    for values in ([re.sub(r"\W", "", work.title.lower()) for work in works], [work.url for work in works]):
        assert max(Counter(values).values()) == 1, Counter(values).most_common(2)


def test_titles_keep_their_capitals():
    """The style of the bibliography lowers a title but for its first letter and what stands in braces."""
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    for title in re.findall(r"^  title +=\s*\{(.*)\},$", text, re.M):
        later = re.sub(r"\{[^}]*\}", "x", title)[1:]
        assert not re.search(r"[A-Z]", re.sub(r": [A-Z]", "", later)), title


@pytest.mark.parametrize(
    ("number", "name", "year"),
    [
        (9, "Aljundi, Rahaf", 2019),
        (10, "Aljundi, Rahaf", 2019),
        (14, "Arpit, Devansh", 2017),
        (22, "Yu, Tianhe", 2020),
        (25, "Aljundi, Rahaf", 2018),
        (26, "Nguyen, Cuong V.", 2018),
        (37, "Draelos, Timothy J.", 2017),
        (46, "Ring, Mark B.", 1997),
        (51, "Louizos, Christos", 2018),
        (97, "Caccia, Massimo", 2020),
    ],
)
def test_what_the_review_misprints_is_corrected(listed, number, name, year):
    work = listed[number]
    assert (work.authors[0], work.year) == (name, year)
    assert work.misprint and work.misprint not in (name, str(year))


def test_every_method_names_a_work_of_the_bibliography(works):
    """Whatever is in a chapter names one; controls may."""
    named = of_methods()
    assert set(named.values()) <= {work.key for work in works}, named
    in_chapters = {name for name, cls in catalogue.methods().items() if cls.__module__.count(".") == 2}
    assert in_chapters and in_chapters <= named.keys(), in_chapters - named.keys()
    assert (named["ewc"], named["maml"]) == ("kirkpatrick2017", "finn2017")


def test_what_is_implemented_is_called_a_method(works):
    roles = {work.key: work.role for work in works if work.review}
    assert {roles.get(key, "method") for key in of_methods().values()} == {"method"}


def test_every_citation_of_a_page_exists(works):
    pages = [path for kind in ("md", "ipynb") for path in sorted(BOOK.rglob(f"*.{kind}"))]
    texts = {path: CITED.findall(path.read_text(encoding="utf-8")) for path in pages}
    known = {work.key for work in works}
    assert sum(map(len, texts.values())) > 10
    for path, found in texts.items():
        for key in ",".join(found).split(",") if found else []:
            assert key.strip() in known, f"{path.relative_to(BOOK)} cites {key}"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Kirkpatrick et al. (2017), equation 3; one penalty (2018)", "kirkpatrick2017"),
        ("Chaudhry et al. (2019b), On tiny episodic memories", "chaudhry2019b"),
        ("Finn, Abbeel and Levine (2017), section 2.2", "finn2017"),
        ("Lopez-Paz and Ranzato (2017)", "lopezpaz2017"),
        ("the control of Kirkpatrick et al. (2017), figure 2", "kirkpatrick2017"),
        ("van de Ven, Tuytelaars and Tolias (2022)", "vandeven2022"),
        ("de Masson d'Autume et al. (2019)", "demassondautume2019"),
        ("Huszár (2018)", "huszar2018"),
        ("Sandford & Anderson (1999)", "sandford1999"),
    ],
)
def test_cite_key(text, key):
    assert cite_key(text) == key


def test_cite_key_says_what_to_write():
    with pytest.raises(ClkitError, match="begin with its authors and year"):
        cite_key("equation 3 of the paper")


def test_the_table_has_a_row_for_each_number(page, works):
    """One row a number, 10 and 65 of the same paper; what to correct, by number."""
    rows = page.all_references(works).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == [str(number) for number in range(1, 98)]
    assert rows[11].split("|")[2:] == rows[66].split("|")[2:]  # two lines of heading come first
    assert rows == page.all_references(works[::-1]).splitlines()
    wrong = [int(re.search(r"\d+", row)[0]) for row in page.misprints(works).splitlines()[2:]]
    assert wrong == sorted(wrong) and set(wrong) >= {7, 9, 10, 14, 22, 25, 26, 33, 37, 38, 46, 51, 97}


def test_what_the_kit_does_with_a_work(page, listed):
    assert page.here(listed[2]) == "background"
    assert page.here(listed[5]) == "`clkit/gradient/ewc.py`"  # and not the file of the controls
    partly = page.here(listed[39])  # of Progress & Compress, a modular method, there is its penalty
    assert "modular" in partly and "clkit/gradient/online_ewc.py" in partly
