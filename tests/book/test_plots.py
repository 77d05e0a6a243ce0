"""Figures: deterministic, described, with their data, and readable in both themes."""

import base64
import re
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import matplotlib
import numpy as np
import pandas as pd
import pytest

from clkit import plots
from clkit.errors import ClkitError

ALT = "Two lines: one rises from 1 to 3 and one stays at 2."
DATA = pd.DataFrame(
    {"x": [0, 1, 0, 1], "line": ["a", "a", "b", "b"], "mean": [1.0, 3.0, 2.0, 2.0], "low": 0.5, "high": 3.5}
)
CURVES = plots.curves(DATA, x="x", by="line", xlabel="updates", ylabel="accuracy (%)", marks=[0.5])


def figure(tmp_path, draw=CURVES, alt=ALT, data=DATA):
    page = plots.Page("notebook", str(tmp_path))
    return page.figure(draw, name="lines", alt=alt, data=data, command="clkit run x --json")


def pictures(html):
    return [unquote(code) for code in re.findall(r'src="data:image/svg\+xml,([^"]+)"', html)]


def test_two_drawings_are_the_same_bytes_whatever_the_readers_settings(tmp_path):
    first = figure(tmp_path).html
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None}):
        assert figure(tmp_path).html == first


def test_a_light_and_a_dark_picture_each_with_the_text(tmp_path):
    html = figure(tmp_path, alt='Lines that are said to be "flat" and < 3 everywhere here.').html
    light, dark = pictures(html)
    assert plots.LIGHT.lines[0] in light and plots.LIGHT.lines[0] not in dark
    assert plots.DARK.lines[1] in dark and plots.DARK.paper in dark
    label = 'role="img" aria-label="Lines that are said to be &quot;flat&quot; and &lt; 3 everywhere here."'
    assert html.count(label) == 1 and html.count('alt=""') == 2  # read once
    assert html.index("only-light") < html.index(
        'only-dark dark-light" style="display:none"'
    )  # Jupyter: light


@pytest.mark.parametrize("alt", ["", "Accuracy of five tasks."])
def test_a_figure_without_a_description_is_refused(tmp_path, alt):
    with pytest.raises(ClkitError, match="'lines' must say what the figure shows"):
        figure(tmp_path, alt=alt)
    assert not list(tmp_path.iterdir())


def test_data_and_command_stand_under_the_figure(tmp_path, monkeypatch):
    data = DATA.assign(mean=[1 / 3, 3.0, 2.0, 2.0])
    made = figure(tmp_path / "made", data=data)
    written = (tmp_path / "made" / "notebook-lines.csv").read_text()
    assert written.splitlines()[1] == "0,a,0.333333,0.5,3.5"
    link = re.search(r'download="notebook-lines.csv" href="data:text/csv;base64,([\w+/=]+)"', made.html)
    assert base64.b64decode(link[1]).decode() == written
    assert "<code>clkit run x --json</code>" in made.html
    monkeypatch.setenv("CLKIT_FIGURE_DATA", str(tmp_path / "elsewhere"))
    figure(tmp_path / "unused", data=data)
    assert (tmp_path / "elsewhere" / "notebook-lines.csv").read_text() == written
    assert not (tmp_path / "unused").exists()


def test_the_digest_is_the_plain_text_and_follows_the_data(tmp_path):
    # means of x, mean, low, high: (0+1+0+1)/4, (1+3+2+2)/4, 0.5, 3.5
    made = figure(tmp_path)
    assert (
        made._repr_mimebundle_()["text/plain"]
        == "figure lines: 4 rows; means x 0.5, mean 2, low 0.5, high 3.5"
    )
    assert figure(tmp_path, data=DATA.assign(mean=2.1)).digest != made.digest


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [plots.LIGHT, plots.DARK], ids=lambda theme: theme.name)
def test_lines_and_text_stand_out_from_the_page(theme):
    def contrast(colour):  # WCAG 2.1: (lighter + 0.05) / (darker + 0.05)
        pair = sorted((luminance(colour), luminance(theme.paper)))
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    assert all(contrast(colour) >= 3 for colour in theme.lines)  # graphics
    assert contrast(theme.ink) >= 7  # text
    assert len(plots.DASHES) == len(plots.MARKERS) == len(theme.lines)  # never colour alone


def drawn(draw):
    axes = plots.Canvas().subplots()
    draw(axes, plots.LIGHT)
    return axes


def test_curves_draw_the_table(tmp_path):
    axes = drawn(CURVES)
    lines = [line for line in axes.lines if line.get_label() in ("a", "b")]
    assert [list(line.get_ydata()) for line in lines] == [[1, 3], [2, 2]]
    assert len({line.get_linestyle() for line in lines}) == len({line.get_marker() for line in lines}) == 2
    assert [list(line.get_xdata()) for line in axes.lines if line not in lines] == [[0.5, 0.5]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("updates", "accuracy (%)")
    band = axes.collections[0].get_datalim(axes.transData)
    assert (band.y0, band.y1) == (0.5, 3.5)


def test_intervals_draw_mean_and_both_ends():
    data = pd.DataFrame(
        {"task": [1, 2], "method": "a", "mean": [5.0, 6.0], "low": [4.0, 6.0], "high": [7.0, 6.5]}
    )
    axes = drawn(plots.intervals(data, x="task", by="method", xlabel="task", ylabel="accuracy (%)"))
    bars = axes.containers[0].lines[2][0].get_segments()
    assert [(low[1], high[1]) for low, high in bars] == [(4, 7), (6, 6.5)]


def test_a_matrix_writes_its_numbers_in_the_order_of_the_table():
    data = pd.DataFrame(
        {"after": ["start", "start", "one", "one"], "task": [2, 1, 2, 1], "mean": [9.6, 10.4, 50.0, 100.0]}
    )
    axes = drawn(plots.matrix(data, row="after", column="task", title="Fine-tuning"))
    assert [text.get_text() for text in axes.texts] == ["10", "10", "50", "100"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["start", "one"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "1"]


def test_a_legend_that_would_be_cut_is_noticed(tmp_path):
    long = DATA.assign(
        line=DATA["line"].map({"a": "a line whose name is much too long for it", "b": "and another one"})
    )
    draw = plots.curves(long, x="x", by="line", xlabel="updates", ylabel="accuracy (%)")
    with pytest.warns(UserWarning, match=r"figure 'lines' leaves its panel of 4.6 x 3.1 inches, left by"):
        figure(tmp_path, draw=draw)
    page = plots.Page("notebook", str(tmp_path))
    wide = page.figure(draw, name="lines", alt=ALT, data=long, command="x", size=(8.0, 3.1))
    assert wide.html


def test_a_number_and_its_percent_sign_stay_together_in_running_text(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
    bind = import_module("kit_page").bind
    assert bind("<p>95 % of 3 %</p>") == "<p>95\u00a0% of 3\u00a0%</p>"
    for kept in ("<pre>n = 7 % 3</pre>", '<img alt="95 % of them">', "<script>var a = 5 % 2;</script>"):
        assert bind(f"{kept} 1 %") == f"{kept} 1\u00a0%"
