"""The works that the book cites, read from its BibTeX file, and those that the methods name."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from clkit import catalogue
from clkit.errors import ClkitError


@dataclass(frozen=True)
class Reference:
    """One entry of the bibliography."""

    key: str  # what a page cites it by
    authors: tuple[str, ...]  # "Last, First"; of a collection its editors
    year: int
    title: str
    venue: str  # journal, conference, archive or publisher
    url: str
    review: tuple[int, ...]  # its numbers in the review's list
    chapter: str  # that treats it
    role: str  # "method": something to implement, "background": nothing; "" where the review does not list it
    misprint: str  # what the review's list prints instead


def references(path: Path) -> list[Reference]:
    """The entries of a BibTeX file, in its order."""
    from pybtex.database import parse_file  # comes with the tools of the book; methods do without

    found = []
    for key, entry in parse_file(str(path), "bibtex").entries.items():
        said = defaultdict(str, {name: re.sub(r"[{}\\]", "", text) for name, text in entry.fields.items()})
        people = tuple(str(one) for one in entry.persons.get("author") or entry.persons.get("editor", []))
        venue = said["journal"] or said["booktitle"] or said["howpublished"] or said["publisher"]
        url = f"https://doi.org/{said['doi']}" if said["doi"] else said["url"]
        numbers = tuple(int(number) for number in re.findall(r"\d+", said["review"]))
        ours = numbers, said["chapter"], said["role"], said["misprint"]
        found.append(Reference(key, people, int(said["year"]), said["title"], venue, url, *ours))
    return found


def cite_key(text: str) -> str:
    """The key of the first work in a text: "Finn, Abbeel and Levine (2017), equation 1" -> finn2017.

    Raises:
        ClkitError: the text does not begin with names and a year.
    """
    found = re.match(r"(?:the control of )?([^(]+) \((\d{4}[a-z]?)\)", text)
    if found is None:
        raise ClkitError(
            f"no work in {text!r}: begin with its authors and year, as in 'Zenke et al. (2017)'."
        )
    name = unicodedata.normalize("NFKD", re.split(r",| and | & | et al\b", found[1])[0]).lower()
    return "".join(letter for letter in name if letter.isascii() and letter.isalpha()) + found[2]


def of_methods() -> dict[str, str]:
    """Method -> key of the work its docstring names first, for each method that names one."""
    said = {name: catalogue.sections(cls).get("Reference", "") for name, cls in catalogue.methods().items()}
    return {name: cite_key(text) for name, text in said.items() if text}
