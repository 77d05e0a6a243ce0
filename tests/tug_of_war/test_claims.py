"""The claims of the chapter call studies of their own; what is left in the file itself is T1."""

from __future__ import annotations

from clkit.claims import CHAPTERS, registered


def test_the_chapter_registers_its_thirteen_claims() -> None:
    """T1 to T12 and W2, each with a control, a unit and a smallest effect.

    Two were changed after a first measurement: the smallest effect of T2, from 100 to 500 updates, and what W2 counts.
    """
    assert CHAPTERS[0] == "tug_of_war"
    own = {name: entry for name, entry in registered().items() if entry.section == "tug_of_war"}
    assert set(own) == {*(f"T{number}" for number in range(1, 13)), "W2"}
    assert all(entry.smallest > 0 and entry.control and entry.unit for entry in own.values())
