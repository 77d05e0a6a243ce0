"""Figures of the book: one style, drawn for a light and a dark page, with their data beside them.

A drawing function takes the axes and the theme: `draw(axes, theme)`. `curves`, `matrix` and `intervals` make
one from a table with one row per drawn value; that table is the figure's CSV.
"""

from __future__ import annotations

import base64
import html
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from clkit.errors import ClkitError
from clkit.files import write_text


@dataclass(frozen=True)
class Theme:
    """Colours of one page: text and axes, background, grid, and lines in their fixed order."""

    name: str
    ink: str
    paper: str
    grid: str
    lines: tuple[str, ...]
    map: str  # colour map of heat maps, from low to high


# Okabe and Ito's palette, darkened or lightened until each line has a contrast of 3:1 against its page.
LIGHT = Theme(
    "light",
    "#222832",
    "#ffffff",
    "#d8dbe0",
    ("#0072b2", "#c24e00", "#00795a", "#a8497f", "#7a6200", "#4d5663"),
    "Blues",
)
DARK = Theme(
    "dark",
    "#ced6dd",
    "#121212",
    "#3a424d",
    ("#5cb8f2", "#ff9a52", "#36cfa3", "#eaa0cb", "#e8d44d", "#aab4c0"),
    "viridis",
)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.6)), (0, (7, 2, 1, 2)), (0, (3, 1.5)), (0, (7, 2, 1, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")

ASSETS = Path(__file__).parent / "assets"  # JavaScript of the interactives, and the look of the kit's parts
STYLE = f"<style>{(ASSETS / 'kit.css').read_text(encoding='utf-8')}</style>"

Draw = Callable[[Axes, Theme], None]


def live() -> bool:
    """True where a person runs the notebook: a kernel, and not the book's own execution or a test of it.

    A figure then brings its style with it; the pages of the book have it already.
    """
    from IPython import get_ipython

    executing = "CLKIT_EXECUTING" in os.environ or "PYTEST_VERSION" in os.environ
    return not executing and getattr(get_ipython(), "kernel", None) is not None


@dataclass(frozen=True)
class Figure:
    """What a figure cell shows: HTML, and as plain text a digest of its data, which nbval compares."""

    html: str
    digest: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": STYLE + self.html if live() else self.html, "text/plain": self.digest}


@dataclass(frozen=True)
class Prose:
    """Markdown that a cell emits, so that every number in the text comes from an output."""

    text: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/markdown": self.text, "text/plain": self.text}


SMALLER = 0.88  # panels of several, against one alone
BEYOND = 0.03  # inches that a label may leave the picture


@dataclass(frozen=True)
class Page:
    """The figures of one notebook."""

    name: str  # the notebook's file name without its ending
    out_dir: str | None = None  # folder of the data files; None: data, beside the notebook

    def figure(
        self,
        draw: Draw | Sequence[Draw],
        *,
        name: str,  # of the figure, in the file name of its data
        alt: str,  # what the figure shows, with its numbers, for a reader who does not see it
        data: pd.DataFrame,  # the numbers drawn
        command: str,  # Python that makes `data` again, in the name data
        caption: str = "",  # one or two sentences under the figure
        size: tuple[float, float] = (4.6, 3.1),  # inches of one panel
    ) -> Figure:
        """Draw the panels for a light and a dark page and write the figure's data as CSV.

        Warns where something leaves the picture.

        Raises:
            ClkitError: no description.
        """
        panels = [draw] if callable(draw) else list(draw)
        if (
            len(panels) > 1
        ):  # they are shown smaller, side by side: drawn smaller, too, their text stays readable
            size = (SMALLER * size[0], SMALLER * size[1])
        pairs = ["".join(_picture(panel, theme, size, name) for theme in (LIGHT, DARK)) for panel in panels]
        body = "".join(f'<div class="kit-panel">{pair}</div>' for pair in pairs)
        body = f'<div class="kit-panels" role="img" aria-label="{html.escape(alt)}">{body}</div>'
        return self.frame(body, name=name, alt=alt, data=data, command=command, caption=caption)

    def frame(
        self, body: str, *, name: str, alt: str, data: pd.DataFrame, command: str, caption: str = ""
    ) -> Figure:
        """Put HTML of any kind into a figure with caption, command and data, and write the data."""
        if len(alt.split()) < 8:
            raise ClkitError(f"alt of figure {name!r} must say what the figure shows, with its numbers.")
        text = data.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        file = f"{self.name}-{name}.csv"
        write_text(Path(os.environ.get("CLKIT_FIGURE_DATA") or self.out_dir or "data") / file, text)
        link = "data:text/csv;base64," + base64.b64encode(text.encode()).decode()
        source = (
            f'<div class="kit-source"><a download="{file}" href="{link}">The numbers as CSV</a><details>'
            f"<summary>Python that makes them</summary>"
            f'<pre tabindex="0"><code>{html.escape(command)}</code></pre></details></div>'
        )
        words = caption + source
        start = f'<figure class="kit-figure" id="{self.name}-{name}">'
        return Figure(f"{start}{body}<figcaption>{words}</figcaption></figure>", digest(name, data))


def digest(name: str, data: pd.DataFrame) -> str:
    """One line that changes when the data do: the rows, and the mean of each column of numbers."""
    means = [f"{key} {value:.3g}" for key, value in data.select_dtypes("number").mean().items()]
    return f"figure {name}: {len(data)} rows; means {', '.join(means)}"


def curves(
    data: pd.DataFrame, *, x: str, by: str, xlabel: str, ylabel: str, marks: Sequence[float] = ()
) -> Draw:
    """Lines with interval bands, one for each value of column `by`, from columns `x`, `mean`, `low`, `high`.

    marks: places on the x axis to mark, such as task boundaries.
    """

    def draw(axes: Axes, theme: Theme) -> None:
        for place in marks:
            axes.axvline(place, color=theme.ink, linewidth=0.8, linestyle=":", zorder=1)
        for number, (label, part) in enumerate(data.groupby(by, sort=False)):
            every = max(1, len(part) // 8)
            axes.plot(
                part[x], part["mean"], label=str(label), markevery=(number, every), **_line(number, theme)
            )
            colour = theme.lines[number % len(theme.lines)]
            axes.fill_between(part[x], part["low"], part["high"], color=colour, alpha=0.18, linewidth=0)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        _legend(axes, data[by].nunique())

    return draw


def intervals(data: pd.DataFrame, *, x: str, by: str, xlabel: str, ylabel: str) -> Draw:
    """Points with intervals, side by side for each value of `by` at each value of `x`."""

    def draw(axes: Axes, theme: Theme) -> None:
        places = {value: number for number, value in enumerate(data[x].unique())}
        groups = list(data.groupby(by, sort=False))
        for number, (label, part) in enumerate(groups):
            at = part[x].map(places) + 0.22 * (number - (len(groups) - 1) / 2)
            spread = [part["mean"] - part["low"], part["high"] - part["mean"]]
            look = {**_line(number, theme), "linestyle": "none", "markersize": 6}
            axes.errorbar(at, part["mean"], yerr=spread, label=str(label), capsize=3, elinewidth=1.4, **look)
        axes.set_xticks(list(places.values()), [str(value) for value in places])
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        _legend(axes, len(groups))

    return draw


def matrix(
    data: pd.DataFrame, *, row: str, column: str, title: str, limits: tuple[float, float] = (0, 100)
) -> Draw:
    """A heat map of column `mean` with its numbers: values of `row` downwards, of `column` across."""

    def draw(axes: Axes, theme: Theme) -> None:
        table = data.pivot(index=row, columns=column, values="mean")
        table = table.loc[data[row].unique(), data[column].unique()]
        image = axes.imshow(table, cmap=theme.map, vmin=limits[0], vmax=limits[1], aspect="auto")
        for (i, j), value in np.ndenumerate(table.to_numpy()):
            red, green, blue, _ = image.cmap(image.norm(value))
            bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45
            axes.text(
                j, i, f"{value:.0f}", ha="center", va="center", color="#111111" if bright else "#ffffff"
            )
        axes.set_xticks(range(table.shape[1]), [str(value) for value in table.columns])
        axes.set_yticks(range(table.shape[0]), [str(value) for value in table.index])
        axes.set_xlabel(column)
        axes.set_ylabel(row)
        axes.set_title(title)
        axes.grid(False)
        axes.tick_params(length=0)

    return draw


def _line(number: int, theme: Theme) -> dict:
    return {
        "color": theme.lines[number % len(theme.lines)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def _legend(axes: Axes, entries: int) -> None:
    columns = 1 if entries == 1 else 3 if entries > 4 else 2
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=columns,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.2,
    )


def _style(theme: Theme) -> dict[str, object]:
    shades = dict.fromkeys(
        ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), theme.ink
    )
    return {
        **shades,
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.paper),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
        **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"), 10.5),
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.8,
        "lines.markersize": 4.5,
        "font.family": "DejaVu Sans",
        "svg.hashsalt": "clkit",
    }


def _picture(draw: Draw, theme: Theme, size: tuple[float, float], name: str) -> str:
    with style.context(["default", _style(theme)]):  # a reader's own matplotlibrc changes nothing
        canvas = Canvas(figsize=size, layout="constrained")
        draw(canvas.subplots(), theme)
        stream = StringIO()
        canvas.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        drawn = canvas.get_tightbbox()
    out = {"left": -drawn.x0, "right": drawn.x1 - size[0], "below": -drawn.y0, "above": drawn.y1 - size[1]}
    if max(out.values()) > BEYOND:
        where = ", ".join(f"{side} by {by:.2f}" for side, by in out.items() if by > BEYOND)
        warnings.warn(
            f"figure {name!r} leaves its panel of {size[0]:.1f} x {size[1]:.1f} inches, {where}: shorten the labels of "
            "its legend or its axes, or give a larger size.",
            stacklevel=3,
        )
    drawing = stream.getvalue().partition("<svg")
    text = re.sub(r'(?<= [dxy]=")[^"]+', lambda path: _short(path[0]), "".join(drawing[1:]))  # half the bytes
    source = quote(re.sub(r"\s+", " ", text).replace('"', "'"), safe=" /:;,=()'")
    place = 'class="only-light"' if theme is LIGHT else 'class="only-dark dark-light" style="display:none"'
    return f'<img {place} alt="" src="data:image/svg+xml,{source}">'  # the panels have the text


def _short(path: str) -> str:
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".rstrip("0").rstrip("."), path)
