"""What a reader can move: HTML with a few lines of JavaScript in the page, ipywidgets where a kernel runs."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from clkit.errors import unknown
from clkit.plots import ASSETS, LIGHT, STYLE, Figure, Page

WIDTH, HEIGHT = 460, 270  # of the player's drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 40
DASHES = ("none", "7 3", "2 3", "10 3 2 3", "5 2", "10 3 2 3 2 3")

PLAYER = """
(function () {
  var root = document.getElementById(ID), data = DATA;
  var slider = root.querySelector("input[type=range]"), button = root.querySelector("button"), timer = null;
  function show() {
    var run = +root.querySelector("input[type=radio]:checked").value, at = +slider.value, x = data.places[at];
    root.querySelectorAll("g[data-run]").forEach(function (g) {
      g.style.display = +g.dataset.run === run ? "" : "none";
    });
    root.querySelector("clipPath rect").setAttribute("width", x);
    root.querySelector(".kit-cursor").setAttribute("transform", "translate(" + x + " 0)");
    root.querySelectorAll("[data-value]").forEach(function (e, line) {
      e.textContent = data.values[run][line][at];
    });
    root.querySelector("[data-at]").textContent = data.labels[at];
    slider.setAttribute("aria-valuetext", data.labels[at]);
  }
  function stop() { clearInterval(timer); timer = null; button.textContent = "Play"; }
  button.addEventListener("click", function () {
    if (timer) { return stop(); }
    if (+slider.value >= +slider.max) { slider.value = 0; }
    button.textContent = "Pause";
    timer = setInterval(function () {
      slider.value = +slider.value + 1;
      show();
      if (+slider.value >= +slider.max) { stop(); }
    }, 120);
  });
  slider.addEventListener("input", function () { if (timer) { stop(); } show(); });
  root.querySelectorAll("input[type=radio]").forEach(function (e) { e.addEventListener("change", show); });
  show();
})();
"""

GUESS = """
(function () {
  var root = document.getElementById(ID), verdicts = DATA;
  root.querySelectorAll("input[type=radio]").forEach(function (e, number) {
    e.addEventListener("change", function () {
      root.querySelector("[role=status]").textContent = verdicts[number];
      root.querySelector("details").open = true;
    });
  });
})();
"""


def player(
    page: Page,
    data: pd.DataFrame,
    *,
    name: str,  # of the figure
    alt: str,  # what it shows, with its numbers
    command: str,  # Python that makes `data` again, in the name data
    switch: str,  # the column whose values the reader switches between
    x: str,  # the column along which the reader moves
    by: str,  # the column with one value per line
    xlabel: str,
    ylabel: str,  # of columns mean, low, high
    limits: tuple[float, float] = (0, 100),  # of the y axis
    form: str = "{:.0f} %",  # of a value in the key
    marks: Sequence[float] = (),  # places along x to mark
    caption: str = "",
) -> Figure:
    """Lines that a reader plays or scrubs along x, a set of them for each value of `switch`; no kernel."""
    options, lines, steps = (list(data[column].unique()) for column in (switch, by, x))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    places = [round(width * (step - steps[0]) / (steps[-1] - steps[0]), 1) for step in steps]
    groups, values = "", []
    for number, option in enumerate(options):
        parts = [data[(data[switch] == option) & (data[by] == line)] for line in lines]
        drawn = "".join(_band(places, part, height, colour, limits) for colour, part in enumerate(parts))
        groups += f'<g data-run="{number}"{" style=display:none" if number else ""}>{drawn}</g>'
        values.append([[form.format(value) for value in part["mean"]] for part in parts])
    root, key = f"{page.name}-{name}-player", _key([str(line) for line in lines], values[0])
    body = (
        f'<div class="kit-player" id="{root}">{_radios(root, switch, [str(option) for option in options])}'
        f'<div class="kit-drawing"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(alt)}">'
        f'<g transform="translate({LEFT} {TOP})">{_axes(steps, list(marks), xlabel, ylabel, limits)}'
        f'<clipPath id="{root}-clip"><rect y="-5" width="{width}" height="{height + 10}"/></clipPath>'
        f'<g clip-path="url(#{root}-clip)">{groups}</g>'
        f'<path class="kit-cursor" d="M0 0V{height}" transform="translate({width} 0)"/></g></svg>'
        f'<input type="range" aria-label="{html.escape(xlabel)}" min="0" max="{len(steps) - 1}" '
        f'value="{len(steps) - 1}" style="margin-left: calc({LEFT / WIDTH:.2%} - 8px); '
        f'width: calc({width / WIDTH:.2%} + 16px)"></div>'  # the middle of the thumb, 16px wide, under the cursor
        f'<div class="kit-controls"><button type="button">Play</button><span>{html.escape(xlabel)} '
        f"<span data-at>{steps[-1]:g}</span></span></div>{key}</div>"
    )
    content = {"places": places, "labels": [f"{step:g}" for step in steps], "values": values}
    body += _script(PLAYER, root, content)
    return page.frame(body, name=name, alt=alt, data=data, command=command, caption=caption)


def computed(
    page: Page,
    script: str,  # clkit/assets/<script>.js, which computes while the reader drags
    values: Mapping[str, object],  # plain numbers, texts and lists that it starts from
    *,
    name: str,  # of the figure
    alt: str,  # what it shows at the start, with its numbers
    data: pd.DataFrame,  # the numbers of the start, computed by Python
    command: str,  # Python that makes `data` again, in the name data
    caption: str = "",
) -> Figure:
    """A figure that JavaScript computes anew as its points and sliders move; no kernel."""
    root = f"{page.name}-{name}-computed"
    start = f"kit.start({json.dumps(script)}, document.getElementById(ID), DATA);"
    body = f'<div class="kit-computed" id="{root}" role="group" aria-label="{html.escape(alt)}"></div>'
    body += _script(javascript(script) + start, root, dict(values) | {"alt": alt})
    return page.frame(body, name=name, alt=alt, data=data, command=command, caption=caption)


def javascript(script: str) -> str:
    """The code of an interactive: what all share, and its own."""
    known = sorted(path.stem for path in ASSETS.glob("*.js") if path.stem != "interactive")
    if script not in known:
        raise unknown("interactive", script, known)
    return "".join((ASSETS / f"{part}.js").read_text(encoding="utf-8") for part in ("interactive", script))


def guess(
    question: str,
    choices: Sequence[
        tuple[str, Sequence[float], str]
    ],  # label, heights of the sketched curve (0 to 1), verdict
    *,
    figure: Figure,  # what was measured
    why: str,  # HTML under the figure
) -> Figure:
    """Ask the reader to pick a curve before the figure is seen; it opens with the choice, or by hand."""
    root = f"guess-{figure.digest.split(':')[0].split()[-1]}"
    labels = [f"{_sketch(heights)}<span>{html.escape(label)}</span>" for label, heights, _ in choices]
    body = (
        f'<div class="kit-guess" id="{root}">{_radios(root, question, labels, checked=-1)}'
        f'<p role="status"></p><details><summary>See what was measured</summary>{figure.html}'
        f'<p class="kit-why">{why}</p></details></div>'
    )
    return Figure(body + _script(GUESS, root, [verdict for _, _, verdict in choices]), figure.digest)


def explore(make: Callable[..., Figure], controls: dict[str, Sequence], *, live: bool = False) -> object:
    """With a kernel: a menu for each control and a button that shows `make(*values)`; ipywidgets >= 7.7.

    live: without a button, anew at every change; for what takes less than a second.
    """
    import ipywidgets

    menus = [ipywidgets.Dropdown(options=list(values), description=name) for name, values in controls.items()]
    button, view = ipywidgets.Button(description="Run"), ipywidgets.HTML()

    def run(_: object) -> None:
        button.disabled, view.value = True, "Running …"
        try:
            view.value = STYLE + make(*(menu.value for menu in menus)).html
        except ValueError as error:
            view.value = f"<pre>{html.escape(str(error))}</pre>"
        finally:
            button.disabled = False

    if live:
        for menu in menus:
            menu.observe(run, names="value")
        run(None)
        return ipywidgets.VBox([*menus, view])
    button.on_click(run)
    return ipywidgets.VBox([*menus, button, view])


def _band(
    places: list[float], part: pd.DataFrame, height: int, colour: int, limits: tuple[float, float]
) -> str:
    def path(column: str) -> list[str]:
        tops = height * (limits[1] - part[column].clip(*limits)) / (limits[1] - limits[0])
        return [f"{place:g} {top:.1f}" for place, top in zip(places, tops, strict=True)]

    shade = _colour(colour)
    band = "L".join(path("low") + path("high")[::-1])
    return (
        f'<path d="M{band}Z" fill="{shade}" opacity="0.18"/>'
        f'<path d="M{"L".join(path("mean"))}" fill="none" stroke="{shade}" stroke-width="2" '
        f'stroke-dasharray="{DASHES[colour % 6]}"/>'
    )


def _axes(
    steps: list[float],
    marks: list[float],
    xlabel: str,
    ylabel: str,
    limits: tuple[float, float],
) -> str:
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def text(place: str, words: str, anchor: str = "middle") -> str:
        return f'<text transform="translate({place})" text-anchor="{anchor}">{html.escape(words)}</text>'

    drawn = text(f"{width / 2:g} {height + 34}", xlabel) + text(f"-34 {height / 2:g}) rotate(-90", ylabel)
    for fifth in range(6):
        value, y = limits[0] + (limits[1] - limits[0]) * fifth / 5, height * (1 - fifth / 5)
        drawn += f'<path class="kit-grid" d="M0 {y:g}H{width}"/>' + text(f"-6 {y + 4:g}", f"{value:g}", "end")

    def across(value: float) -> float:
        return width * (value - steps[0]) / (steps[-1] - steps[0])

    for mark in marks:
        drawn += f'<path class="kit-mark" d="M{across(mark):.1f} 0V{height}"/>'
    few = 0 < len(marks) <= 5  # then the numbers stand where the marks do
    for value in [steps[0], *marks, steps[-1]] if few else steps[:: max(1, (len(steps) - 1) // 5)]:
        anchor = "end" if value == steps[-1] else "middle"
        drawn += text(f"{across(value):.1f} {height + 17}", f"{value:g}", anchor)
    return drawn


def _colour(number: int) -> str:
    """A colour of the page, or that of a light page where there is none: in Jupyter, on Colab."""
    return f"var(--kit-line-{number % 6}, {LIGHT.lines[number % 6]})"


def _key(lines: list[str], values: list[list[str]]) -> str:
    entries = ""
    for number, line in enumerate(lines):
        stroke = f'stroke="{_colour(number)}" stroke-width="2.5"'
        dash = f'<path d="M0 5H34" {stroke} stroke-dasharray="{DASHES[number % 6]}"/>'
        sample = f'<svg width="34" height="10" aria-hidden="true">{dash}</svg>'
        entries += f"<li>{sample} {html.escape(line)} <b data-value>{values[number][-1]}</b></li>"
    return f'<ul class="kit-key">{entries}</ul>'


def _radios(root: str, legend: str, labels: list[str], checked: int = 0) -> str:
    buttons = ""
    for number, label in enumerate(labels):
        state = " checked" if number == checked else ""
        buttons += f'<label><input type="radio" name="{root}" value="{number}"{state}>{label}</label>'
    return f"<fieldset><legend>{html.escape(legend)}</legend>{buttons}</fieldset>"


def _sketch(heights: Sequence[float]) -> str:
    points = " ".join(
        f"{5 + 90 * n / (len(heights) - 1):g},{50 - 42 * height:g}" for n, height in enumerate(heights)
    )
    return (
        '<svg viewBox="0 0 100 55" aria-hidden="true"><path class="kit-grid" d="M5 3V50H97"/>'
        f'<polyline points="{points}" fill="none" stroke="{_colour(0)}" stroke-width="2.5"/></svg>'
    )


def _script(code: str, root: str, data: object) -> str:
    content = json.dumps(data, separators=(",", ":"))
    text = re.sub(r"\b(ID|DATA)\b", lambda name: json.dumps(root) if name[0] == "ID" else content, code)
    return f"<script>{text.replace('</', '<' + chr(92) + '/')}</script>"
