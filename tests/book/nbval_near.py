"""A plugin for `nbval --nbval-lax`: cells that are not tagged are compared too, but their numbers only nearly.

On another CPU the last digits of a training run differ. A number may then differ by TOLERANCE of itself or
by POINTS, whichever is more (most numbers are percent); the words between the numbers must be the same. The
drawing and the script of a player are left out, their data are compared.
"""

import re

TOLERANCE, POINTS = 0.05, 3
NUMBER = re.compile(r"[-−]?\d+(?:,\d{3})*(?:\.\d+)?")
DRAWN = re.compile(r"<script>.*?</script>|<path[^>]*>", re.S)


def near(old, new):
    """Do the texts differ in their numbers only, and these little?"""
    old, new = DRAWN.sub("", old), DRAWN.sub("", new)
    if NUMBER.sub("0", old) != NUMBER.sub("0", new):
        return False
    pairs = zip(values(old), values(new), strict=True)
    return all(abs(a - b) <= max(POINTS, TOLERANCE * abs(a)) for a, b in pairs)


def values(text):
    return [float(number.replace("−", "-").replace(",", "")) for number in NUMBER.findall(text)]


class Near(str):
    """Text that equals what is near to it."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return near(self, other)

    def __ne__(self, other):
        return not near(self, other)


def pytest_collection_modifyitems(items):
    for cell in items:
        if not cell.options["check"]:
            cell.options["check"] = True
            exact = cell.sanitize
            cell.sanitize = lambda text, exact=exact: Near(exact(text))
