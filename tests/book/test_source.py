"""The package's source in a page: true to the file, with anchors for equations."""

import html
import inspect
import re

import pytest

from clkit import errors
from clkit.nets import Mlp
from clkit.source import call, source
from clkit.streams import Rotated
from clkit.training import Training


def test_source_has_the_lines_numbers_and_anchors_of_the_package():
    lines, first = inspect.getsourcelines(errors.unknown)
    made = source(errors.unknown)
    assert made.digest == "".join(lines)
    assert "clkit/errors.py" in made.html and f"lines {first} to {first + len(lines) - 1}" in made.html
    shown = re.sub(r"<[^>]+>", "", re.search(rf'<span id="errors-{first + 1}">(.*)</span>\n', made.html)[1])
    assert html.unescape(shown) == f"{first + 1:4d} " + lines[1].rstrip("\n")


def labelled(rate):
    return -rate  # eq: descent


def test_a_labelled_line_can_be_linked_to():
    line = inspect.getsourcelines(labelled)[1] + 1
    for made in (source(labelled), source(labelled, {"descent": "-rate"})):
        assert re.search(rf'id="test_source-{line}">.*id="eq-descent">', made.html)
        assert "# eq:" not in made.html + made.digest and made.digest.endswith("return -rate\n")
    with pytest.raises(errors.ClkitError, match="0 lines of test_source.py hold 'gone'"):
        source(labelled, {"step": "gone"})


def test_a_call_names_what_is_not_the_default():
    assert call(Rotated(length=5, degrees=20)) == "clkit.Rotated()"
    training = Training(updates=(7, 7), network=Mlp(hidden=(400, 400)))
    assert call(training) == "clkit.Training(updates=(7, 7), network=clkit.Mlp(hidden=(400, 400)))"
