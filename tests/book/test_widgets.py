"""What a reader can move, as HTML; the built page moves it in tests/book/test_page.py."""

import json
import re

import ipywidgets
import pandas as pd

from clkit import errors, plots, widgets

DATA = pd.DataFrame(
    [
        (scenario, f"task {task}", update, mean, mean - 5, mean + 5)
        for scenario, shift in (("domain", 0), ("class", 10))
        for task in (1, 2)
        for update, mean in ((0, 20.0 + shift), (50, 60.4 + shift), (100, 80.0 + shift))
    ],
    columns=["scenario", "task", "update", "mean", "low", "high"],
)


def player(tmp_path):
    return widgets.player(
        plots.Page("notebook", str(tmp_path)),
        DATA,
        name="play",
        alt="Accuracy of two tasks rises from 20 to 80 percent in both scenarios.",
        command="clkit run",
        switch="scenario",
        x="update",
        by="task",
        xlabel="update",
        ylabel="accuracy (%)",
        marks=[50],
    )


def test_a_player_holds_every_frame_and_its_numbers(tmp_path):
    page = player(tmp_path).html
    content = json.loads(re.search(r"data = (\{.*?\});", page)[1])
    width = widgets.WIDTH - widgets.LEFT - widgets.RIGHT
    assert content["places"] == [0, width / 2, width]
    assert content["labels"] == ["0", "50", "100"]
    assert content["values"] == [[["20 %", "60 %", "80 %"]] * 2, [["30 %", "70 %", "90 %"]] * 2]
    assert page.count('data-run="') == page.count('type="radio"') == 2 and 'max="2"' in page
    assert (tmp_path / "notebook-play.csv").read_text().count("\n") == 13


def test_a_player_draws_the_mean_to_scale(tmp_path):
    page = player(tmp_path).html
    height = widgets.HEIGHT - widgets.TOP - widgets.BOTTOM
    first = re.search(r'<g data-run="0">.*?fill="none"', page)[0]
    tops = [float(pair.split()[1]) for pair in re.findall(r'd="M([^"Z]*)" fill="none"', first)[0].split("L")]
    assert tops == [round(height * (1 - mean / 100), 1) for mean in (20, 60.4, 80)]


def test_a_guess_hides_the_figure_and_keeps_its_digest(tmp_path):
    figure = plots.Figure("<figure>MEASURED</figure>", "figure curve: 1 rows; means x 1")
    choices = [("It stays.", [1, 1], "No: it falls."), ("It falls.", [1, 0], "Yes: at once.")]
    made = widgets.guess("What happens?", choices, figure=figure, why="Because <b>so</b>.")
    assert made.digest == figure.digest
    inside = made.html[made.html.index("<details>") : made.html.index("</details>")]
    assert "MEASURED" in inside and "Because <b>so</b>." in inside
    assert "checked" not in made.html and '["No: it falls.","Yes: at once."]' in made.html


def test_a_test_is_not_live():
    assert not plots.live()


def test_exploring_computes_with_the_chosen_values_and_shows_errors():
    def make(number, word):
        if number == 2:
            raise errors.ClkitError("number < 2, please.")
        return plots.Figure(f"{word}{number}", "")

    box = widgets.explore(make, {"number": [1, 2], "word": ["a", "b"]})
    number, word, button, view = box.children
    assert not any(type(child) is ipywidgets.Output for child in box.children)
    word.value = "b"
    button.click()
    assert view.value == plots.STYLE + "b1" and not button.disabled
    number.value = 2
    button.click()
    assert view.value == "<pre>number &lt; 2, please.</pre>" and not button.disabled
    number, word, view = widgets.explore(make, {"number": [1, 2], "word": ["a", "b"]}, live=True).children
    assert view.value == plots.STYLE + "a1"  # shown at once
    word.value = "b"
    assert view.value == plots.STYLE + "b1"
    number.value = 2
    assert view.value == "<pre>number &lt; 2, please.</pre>"
