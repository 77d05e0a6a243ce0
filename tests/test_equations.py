"""Each labelled equation has one line that computes it and a test that proves it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LABEL = re.compile(r"\S  # eq: ([a-z0-9-]+)$", re.M)  # at the end of a line of code
NAMED = re.compile(r"\beq: ([a-z0-9-]+)")


def test_each_label_has_one_line_and_a_test() -> None:
    """Two lines for one label would leave open which computes it; a label without a test is unproven."""
    lines = Counter(
        label for file in (ROOT / "clkit").rglob("*.py") for label in LABEL.findall(file.read_text())
    )
    proved = {
        label for file in (ROOT / "tests").rglob("test_*.py") for label in NAMED.findall(file.read_text())
    }
    assert lines and max(lines.values()) == 1, [label for label, count in lines.items() if count > 1]
    assert lines.keys() <= proved, sorted(lines.keys() - proved)
