"""The catalogue is read from the code, and the command line's words become settings."""

from __future__ import annotations

import pytest

from clkit import catalogue
from clkit.errors import ClkitError
from clkit.gradient.ewc import EWC
from clkit.importance import empirical_fisher


def test_sections_of_a_docstring() -> None:
    class Shown:
        """Says something over
        two lines.

        An equation.

        Reference: Someone (2001), equation 2.
        Needs: nothing.
        Keeps: 4 P bytes,
            and more.
        Departs: nothing.
        """

    assert catalogue.sections(Shown) == {
        "title": "Says something over two lines.",
        "Reference": "Someone (2001), equation 2.",
        "Needs": "nothing.",
        "Keeps": "4 P bytes, and more.",
        "Departs": "nothing.",
    }


def test_settings_are_read_by_the_type_of_their_default() -> None:
    method = catalogue.make("ewc", {"strength": "3", "proximal": "False", "fisher": "empirical_fisher"})
    assert isinstance(method, EWC)
    assert (method.strength, method.proximal, method.fisher) == (3.0, False, empirical_fisher)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"strenght": "1"}, "Did you mean strength"),
        ({"strength": "x"}, "must be a number"),
        ({"proximal": "1"}, "must be true or false"),
        ({"fisher": "exakt_fisher"}, "Did you mean exact_fisher"),
        ({"fisher": "torch"}, "unknown value of fisher"),
    ],
)
def test_what_cannot_be_read_is_named(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ClkitError, match=words):
        catalogue.make("ewc", settings)


def test_needs_and_kept_bytes_are_in_the_words_of_the_class() -> None:
    """What the docstring says it needs is what the class declares."""
    for name, cls in catalogue.methods().items():
        said = catalogue.sections(cls)["Needs"].lower()
        for need in cls.needs:
            assert all(word in said for word in need.split() if word not in ("in", "at")), (name, need)
        assert cls.needs or said.startswith("nothing"), name
