"""The reference pages say what the code says: catalogue, verbs, glossary, conventions, API, changes."""

import re
import shutil
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from importlib import import_module
from inspect import isclass, isfunction
from pkgutil import walk_packages

import pytest
import yaml

import clkit
from clkit import book, catalogue

BOOK = book.ROOT / "book"
PAGES = BOOK / "reference"
REVIEW = """
    backward transfer, catastrophic forgetting, credit assignment, curriculum learning, descent direction,
    forward transfer, gradient, gradient descent, independent and identically distributed, inductive biases,
    loss function, neural network, non-stationary, sparse representation or gradients
"""  # the terms of the review's glossary; those printed bold in its text are the same
OURS = """
    ablation, accuracy matrix, buffer, capacity, claim, column, control, exemplar, fisher information, forgetting,
    inner loop, intransigence, lateral connection, learned accuracy, outer loop, plasticity, profile, projection,
    proximal step, query set, record, rehearsal, replica, reservoir, savings, scenario, smallest effect of interest,
    stability gap, strength, stream, support set, task, verb, verdict, class-incremental, domain-incremental,
    task-incremental
"""
MODULES = [m.name for m in walk_packages(clkit.__path__, "clkit.") if not m.ispkg]
MODULES = [
    name for name in MODULES if not name.startswith("clkit.exercises.")
]  # questions, on a page of their own
# text of a page: value of the row that begins with ...; each worked by hand
NUMBERS = {
    # the best before the end is 90 and 90, the end 60 and 70: (30 + 20) / 2
    ("forgetting", "forgetting,"): "25.0",
    # just after learning 80 and 90: (20 + 20) / 2
    ("forgetting", "minus backward"): "20.0",
    # before its turn task 2 has 30 and task 3 has 60, before training 10 and 20: (20 + 40) / 2
    ("forward_transfer", "$T-1$ tasks, less row 0"): "30.0",
    ("forward_transfer", "the same sum"): "20.0",  # (20 + 40) / 3
    ("forward_transfer", "$T-1$ tasks, less guessing"): "35.0",  # (20 + 50) / 2
    ("forward_transfer", "$T-1$ tasks, nothing"): "45.0",  # (30 + 60) / 2
    ("forward_transfer", "all entries"): "40.0",  # (30 + 30 + 60) / 3
    ("average", "average accuracy"): "70.0",  # (60 + 70 + 80) / 3
    ("average", "all entries"): "78.3",  # (80 + 90 + 90 + 60 + 70 + 80) / 6
    ("average", "learned"): "83.3",  # (80 + 90 + 80) / 3
    ("backward_transfer", "backward transfer, the last"): "−20.0",  # (60 - 80 + 70 - 90) / 2
    ("backward_transfer", "all entries"): "−10.0",  # (90 - 80 + 60 - 80 + 70 - 90) / 3
    ("backward_transfer", "its positive"): "0.0",
    ("backward_transfer", "remembering"): "80.0",
    (
        "intransigence",
        "reference trained on tasks",
    ): "4.7",  # (80 + 90 + 94) / 3 - (80 + 90 + 80) / 3 = 14 / 3
    ("intransigence", "reference trained on all"): "6.7",  # (86 + 90 + 94) / 3 - 250 / 3 = 20 / 3
    ("fisher", "exact"): "0.0900 | 0.0099",  # p (1 - p)
    # the squared derivative is (1 - p)^2 for class 1, p^2 for class 2: (9 * 0.01 + 0.81) / 10, and 0.01^2
    ("fisher", "empirical"): "0.0900 | 0.0001",
    ("fisher", "none of these"): "0.0000 | 0.0001",  # (9 * 0.1 - 0.9) / 10 = 0, and 0.01^2
    ("replay", "mean over"): "0.84",  # (32 + 8 * 0.2) / 40
    ("replay", "mean of the two"): "0.60",
    ("replay", "sum"): "1.20",
    # differences 2, 3, 1: mean 2, deviation 1; t is 4.303 with 2 degrees of freedom: 4.303 / sqrt 3
    ("intervals", "paired, $t$"): "2.0 ± 2.5",
    ("intervals", "paired, 1.96"): "2.0 ± 1.1",  # 1.96 / sqrt 3
    # variances 100 and 111: t is 2.776 with 4 degrees of freedom: 2.776 sqrt(211 / 3)
    ("intervals", "unpaired"): "2.0 ± 23.3",
    ("outputs", "task-incremental"): "1, 2 | 1 | right",  # of the scores 2 and 1
    ("outputs", "class-incremental, after task 1"): "1, 2 | 1 | right",
    ("outputs", "class-incremental, after task 2"): "1, 2, 3, 4 | 3 | wrong",  # of 2, 1, 3 and 0
    ("verdicts", "9, 10, 11"): "7.5 to 12.5 | supported",  # 10 +- 4.303 / sqrt 3, beyond 5
    ("verdicts", "4, 10, 16"): "−4.9 to 24.9 | mixed",  # 10 +- 6 * 2.484
    ("verdicts", "3, 3, 4"): "1.9 to 4.8 | not supported here",  # 10 / 3 +- 0.577 * 2.484
    ("digits", "57.139 | 0.43"): "57.1\u00a0±\u00a00.4\u00a0%",
    ("digits", "57.139 | 2.10"): "57\u00a0±\u00a02\u00a0%",
}


@pytest.fixture
def extension(monkeypatch):
    """A function that imports a module of the book's extensions."""
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    return import_module


def names(text):
    return {" ".join(name.split()) for name in text.split(",")}


def text_of(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


class Grid(HTMLParser):
    """The figure as rows of cell texts."""

    def __init__(self, text):
        super().__init__()
        self.rows = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        if tag == "table":
            self.rows.append([])  # what follows is no cell


def test_every_method_has_an_entry_with_all_that_its_code_says(extension):
    pages = extension("kit_catalogue")
    made = pages.entries(BOOK)
    assert re.findall(r"^\(method-(\w+)\)=$", made, re.M) == sorted(
        catalogue.methods(),
        key=lambda name: clkit_chapters().index(catalogue.find(name).chapter),
    )
    plain = made.replace("\\", "")
    for name, cls in catalogue.methods().items():
        own = plain.split(f"(method-{name})=")[1].split("(method-")[0]
        parts, row = catalogue.sections(cls), catalogue.entry(cls)
        for said in [*parts.values(), *pages.description(cls), row["file"], row["test"]]:
            assert said.replace("\\", "") in own, (name, said)
        for setting, default, meaning in pages.settings(cls):
            assert f"| `{setting}` | `{default}` | {meaning} |" in own
        assert (book.ROOT / row["file"]).exists() and (book.ROOT / row["test"]).exists()


def clkit_chapters():
    return list(import_module("clkit.claims").CHAPTERS)


def test_every_method_has_a_row_in_the_table(extension):
    rows = extension("kit_catalogue").methods_table(BOOK).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == re.findall(
        r"^\(method-(\w+)\)=$", extension("kit_catalogue").entries(BOOK), re.M
    )
    ewc = next(row for row in rows if "`ewc`" in row)
    assert ewc.endswith("| rotated, domain-incremental | task boundaries | 4 P (1 + 2) |")
    assert all(row.count(" | ") == 5 for row in rows)


def test_the_figure_has_a_row_for_every_method_with_exactly_its_verbs(extension):
    found = {}
    for figure in ("streams_figure", "episodes_figure"):
        head, *rows = Grid(getattr(extension("kit_catalogue"), figure)(BOOK)).rows
        assert head[0] == "method"
        for row in rows:
            if len(row) > 1:  # else it is the title of a chapter, or the end
                assert {cell[1:] for cell in row[1:]} <= {"yes", "no"} and len(row) == len(head)
                found[row[0]] = {verb for verb, cell in zip(head, row, strict=True) if cell == "●yes"}
                assert all(cell in ("●yes", "·no") for cell in row[1:]), "the mark and the word disagree"
    assert found == {name: set(cls.defines()) for name, cls in catalogue.methods().items()}
    assert found["ewc"] == {"penalty", "after_step", "end_task"}
    assert found["replay"] == {"widen", "after_step"} and found["fine_tuning"] == set()
    assert found["maml"] == {"adapt", "outer_loss"}


def test_the_figure_counts_the_methods_of_each_verb(extension):
    words = extension("kit_catalogue").streams_figure(BOOK).split("<figcaption>")[1]
    streams = [cls for cls in catalogue.methods().values() if issubclass(cls, clkit.Method)]
    assert f"How many of {len(streams)} define it" in words
    assert re.search(r"<code>shape_grads</code> (\d+)", words)[1] == str(
        sum("shape_grads" in cls.defines() for cls in streams)
    )


def test_sections_are_those_whose_code_names_the_class_the_own_chapter_first(extension):
    found = {
        "memory/a": ("A", "from clkit.gradient.ewc import EWC"),
        "gradient/b": ("B", "EWC()"),
        "gradient/c": ("C", "MyEWC()"),
    }
    taught = extension("kit_catalogue").taught
    assert taught(catalogue.find("ewc"), found) == ["gradient/b", "memory/a"]
    assert taught(catalogue.find("agem"), found) == []


def test_a_docstring_becomes_markdown_that_shows_it_unchanged(extension):
    escape = extension("kit_markdown").escape
    assert escape("w*_s | x `a_b` <-") == r"w\*\_s \| x `a_b` \<-"


def test_the_glossary_has_the_terms_of_the_review_and_ours():
    terms = glossary()
    assert names(REVIEW) | names(OURS) <= set(terms)
    firsts = [name for name, is_first in terms.items() if is_first]
    assert firsts == sorted(firsts), "the terms are not in alphabetical order"
    intro = text_of("glossary").split("```{glossary}")[0]
    assert {term.lower() for term in re.findall(r"{term}`([^`]+)`", intro)} == names(REVIEW)


def glossary():
    """Term -> is it the first of its entry?"""
    lines = text_of("glossary").split("```{glossary}\n")[1].split("```")[0].splitlines()
    return {
        line.lower(): not before
        for before, line in zip(["", *lines], lines, strict=False)
        if line[:1].strip()
    }


def test_every_term_is_said_in_one_to_four_sentences_and_says_where_it_is_used():
    body = text_of("glossary").split("```{glossary}\n")[1].split("```")[0]
    for entry in body.split("\n\n"):
        said = " ".join(line.strip() for line in entry.splitlines() if line.startswith("  "))
        assert re.search(r"See {doc}`[\w/]+`\.$", said), entry
        assert 1 <= len(re.findall(r"[.:](?: |$)", said.split("See {doc}")[0])) <= 4, entry


@pytest.mark.parametrize("name, row", NUMBERS)
def test_the_numbers_of_the_conventions_are_those_worked_by_hand(extension, name, row):
    lines = extension("kit_worked").TABLES[name]().splitlines()
    found = [line for line in lines if line.startswith(f"| {row}")]
    assert len(found) == 1 and found[0].endswith(f"| {NUMBERS[name, row]} |"), lines


def test_what_the_conventions_say_of_measured_runs(extension):
    """Forgetting grows with what competes; its two forms are within a point of each other."""
    rows = [line.split(" | ") for line in extension("kit_worked").TABLES["measured"]().splitlines()[2:]]
    lost = [(float(row[2].split("\u00a0")[0]), float(row[3].split("\u00a0")[0])) for row in rows]
    task, domain, classes = (ours for ours, _ in lost[2:])
    assert [row[0] for row in rows[2:]] == [f"| split, {s}-incremental" for s in ("task", "domain", "class")]
    assert task < 5 < domain < 90 < classes
    assert all(abs(ours - other) < 1 for ours, other in lost)


def test_a_sampled_fisher_is_right_in_the_mean(extension):
    """Ten draws, of which each is 0.81 with chance 0.1, else 0.01: deviation 0.24 / sqrt 10, over 1000 runs 0.0024."""
    line = next(x for x in extension("kit_worked").fisher().splitlines() if x.startswith("| the same, mean"))
    assert float(line.split(" | ")[1]) == pytest.approx(0.09, abs=4 * 0.0024)


def test_the_conventions_use_every_worked_table(extension):
    used = re.findall(r"{kit-worked} (\w+)", text_of("conventions"))
    assert sorted(used) == sorted(extension("kit_worked").TABLES)
    assert text_of("conventions").count("**What it does to the numbers.**") == text_of("conventions").count(
        "\n## "
    )


def test_every_module_is_on_one_page_of_the_api():
    listed = [
        line
        for path in PAGES.glob("api_*.md")
        for line in re.findall(r"^\.\. automodule:: (\S+)$", path.read_text(encoding="utf-8"), re.M)
    ]
    assert sorted(listed) == sorted(MODULES)


def test_every_page_of_the_reference_is_in_the_table_of_contents():
    assert {path for path in book.pages(BOOK) if path.parent == PAGES} == set(PAGES.glob("*.md"))


def test_changes_name_the_version_and_every_chapter(extension):
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    folders = {chapter["file"].split("/")[0] for chapter in toc["parts"][0]["chapters"]}
    text, version = (
        text_of("changes"),
        re.search(r"\n## (\S+)", extension("kit_reference").CHANGES.read_text())[1],
    )
    latest = text.split(f"version {version.rstrip(',')}")[1].split("\n## ")[0]
    assert set(re.findall(r"{doc}`/(\w+)/index`", latest)) == folders
    assert "\n### 0.1.0, unreleased\n" in extension("kit_reference").changelog(BOOK)


def test_a_chapter_shows_its_sections_methods_and_measured_claims(extension):
    row = next(x for x in extension("kit_catalogue").holdings(BOOK).splitlines() if "/gradient/index" in x)
    assert "[`ewc`](#method-ewc)" in row and "`replay`" not in row
    assert row.endswith("| G1, G3 |")


def test_a_docstring_becomes_restructured_text_that_shows_it_unchanged(extension):
    """Sections of a method become fields, a drawing keeps its lines, and a number at the start is not a list."""
    paragraph = extension("kit_api").paragraph
    assert paragraph("Mean of |x*| over `rows` [R].") == r"Mean of \|x\*\| over \ ``rows``\  [R]."
    assert paragraph("1. Not a list.") == r"1\. Not a list."
    assert paragraph("Needs: w_i;\nof all.\nKeeps: 4 P.") == ":Needs: w\\_i; of all.\n:Keeps: 4 P."
    assert paragraph("a -->  b*") == ".. code-block:: text\n\n   a -->  b*"


@dataclass
class Declares:
    width: int = 3  # units of a layer
    names: dict[str, int] = field(default_factory=dict)  # w_i by name
    plain: int = 0


def test_the_comments_behind_fields_are_listed_below_the_docstring(extension):
    lines = ["Text."]
    extension("kit_api").docstring(None, "class", "Declares", Declares, None, lines)
    assert lines[2:] == [
        ":Fields:",
        "   * ``width``: units of a layer",
        r"   * ``names``: w\_i by name",
        "",
        "",
    ]


@pytest.fixture(scope="module")
def api(tmp_path_factory, root):
    """The text of the built pages of the API, by name."""
    folder = tmp_path_factory.mktemp("api")
    pages = folder / "book"
    for name in ("_ext", "assets"):
        shutil.copytree(root / "book" / name, pages / name, ignore=shutil.ignore_patterns("vendor"))
    shutil.copy(root / "_config.yml", folder)
    (pages / "reference").mkdir()
    files = sorted(PAGES.glob("api_*.md"))
    for path in files:
        shutil.copy(path, pages / "reference")
    toc = [{"file": f"reference/{name}"} for name in ["methods", *(path.stem for path in files)]]
    (pages / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "index", "chapters": toc}))
    (pages / "index.md").write_text("# Small\n\n{{ colab_notice }}\n")
    (pages / "reference" / "methods.md").write_text("# Methods\n")
    (pages / "references.bib").write_text("")
    site = book.render(pages, folder / "out", folder).parent
    return {
        path.stem: (site / "reference" / f"{path.stem}.html").read_text(encoding="utf-8") for path in files
    }


SIGNATURE = "class EWC(*, strength: float = 100.0, fisher: Estimator = exact_fisher, proximal: bool = True)"


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_in_the_api(api, name):
    text = "".join(api.values())
    module = import_module(name)
    for key, thing in vars(module).items():
        own = (isclass(thing) or isfunction(thing)) and thing.__module__ == name
        if own and not key.startswith("_"):
            assert f'id="{name}.{key}"' in text, key


def test_names_at_the_top_are_in_the_api(api):
    for name in clkit.__all__:
        assert f'id="{getattr(clkit, name).__module__}.{name}"' in "".join(api.values())


def test_the_api_shows_signatures_docstrings_and_comments_and_no_addresses(api):
    text = unescape(re.sub(r"<[^>]+>", "", api["api_methods"]))
    flat = " ".join(text.split())
    assert SIGNATURE in flat
    assert "strength: k (lambda), pull per unit of Fisher information" in flat
    assert "loss(batch: Batch) → Tensor" in flat and "How wrong are we on them? [R]" in flat
    assert "Departs: the pull is a proximal step" in flat
    assert not any(" at 0x" in page for page in api.values())
    assert all(len(page) < 2_000_000 for page in api.values())
