"""The built book in headless Chromium, opened from the disk as a reader opens it."""

import nbformat
import pytest

from clkit import book, notebooks

BOOK = book.ROOT / "book"
PAGES = [path.relative_to(BOOK).with_suffix("").as_posix() for path in book.pages(BOOK)] + ["search"]
SECTIONS = [path.relative_to(BOOK).with_suffix("").as_posix() for path in book.notebooks(BOOK)]
SECTION = "tug_of_war/catastrophic_forgetting"
every_section = pytest.mark.parametrize("section", SECTIONS)
SIZES = {"wide": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}

# Parts of the kit that are wider than their place; code scrolls within its box.
WIDER = """[...document.querySelectorAll('article [class*="kit-"]')]
  .filter(e => e instanceof HTMLElement && !e.closest('pre') && e.scrollWidth > e.clientWidth + 1 && e.clientWidth)
  .map(e => `${e.className}: ${e.scrollWidth} > ${e.clientWidth}`)"""

pytestmark = pytest.mark.xdist_group("page")  # one build and one browser serve all


@pytest.fixture(scope="module")
def site(tmp_path_factory, root):
    """The folder of the rendered book; execution is not part of it."""
    return book.render(root / "book", tmp_path_factory.mktemp("book"), root).parent


@pytest.fixture
def visit(chromium, site):
    """Open a page; in the end there must have been no error and no request to another host."""
    troubles, contexts = [], []

    def report(message):
        if message.type in ("error", "warning"):
            troubles.append(message.text)

    def watch(request):
        if not request.url.startswith(("file://", "data:")):
            troubles.append(f"request to {request.url}")

    def failed(request):
        if "ERR_ABORTED" not in (request.failure or ""):  # the reader left the page while it was loading
            troubles.append(f"failed: {request.url[:200]}: {request.failure}")

    def open_page(name, size="wide", theme="light", touch=False, ending=".html"):
        context = chromium.new_context(
            viewport=SIZES[size], color_scheme=theme, reduced_motion="reduce", has_touch=touch
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", report)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", failed)
        page.on("request", watch)
        page.goto(f"{site.as_uri()}/{name}{ending}")
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


LOOKS = [("wide", "light"), ("phone", "dark")]  # of every page; the first page and a section in all four
EVERY_LOOK = [(name, *look) for name in PAGES for look in LOOKS]
EVERY_LOOK += [
    (name, *look) for name in ("index", SECTION) for look in (("wide", "dark"), ("phone", "light"))
]


@pytest.mark.parametrize(("name", "size", "theme"), EVERY_LOOK)
def test_a_page_opens_from_the_disk_and_is_accessible(visit, name, size, theme):
    page = visit(name, size, theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"], "scrolls sideways"
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert not page.evaluate(WIDER), "wider than their place"
    broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.alt || i.src)")
    assert not broken
    assert page.locator("mjx-merror").count() == 0
    assert not serious(page)


def serious(page):
    """What axe finds on the page that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    page.add_style_tag(content="* { animation: none !important; transition: none !important; }")
    options = {"preload": False, "resultTypes": ["violations"]}  # preloading fetches, which file:// refuses
    found = Axe().run(page, options=options).response["violations"]
    bad = [v for v in found if v["impact"] in ("serious", "critical")]
    return [f"{v['id']}: {n['html'][:200]}" for v in bad for n in v["nodes"]]


def test_every_section_is_among_the_pages_and_small_enough(site, root):
    assert not [file.name for file in site.rglob("*.html") if file.stat().st_size > 2_000_000]
    for path in book.notebooks(root / "book"):
        page = site / path.relative_to(root / "book").with_suffix(".html")
        assert notebooks.sidecar(path).exists() and "Verified on" in page.read_text()


@every_section
def test_formulas_are_rendered(visit, root, section):
    page = visit(section)
    page.wait_for_selector("mjx-container")
    cells = nbformat.read(root / "book" / f"{section}.ipynb", 4).cells
    words = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert page.locator("mjx-container[display=true]").count() >= words.count("$$") // 2 > 0
    assert page.locator("mjx-merror").count() == 0
    assert not [text for text in page.locator("article :is(p, li)").all_inner_texts() if "$" in text]


def test_links_inside_the_book_resolve(site):
    import re

    for file in site.rglob("*.html"):
        for link in re.findall(r'<a [^>]*href="([^"]+)"', file.read_text()):
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or file.name == "search.html":
                continue
            target = (file.parent / path).resolve() if path else file
            assert target.exists(), f"{file.name}: {link}"
            if anchor:
                assert f'id="{anchor}"' in target.read_text(), f"{file.name}: {link}"


TERMS = {  # of the glossary -> the page that treats it
    "Accuracy matrix": SECTION,
    "Catastrophic forgetting": SECTION,
    "Tug-of-war": "tug_of_war/two_weights",
    "Fisher information": "gradient/ewc_and_agem",
    "Projection": "gradient/ewc_and_agem",
    "Lateral connection": "modular/growing_networks",
    "Reservoir": "memory/rehearsal",
    "Exemplar": "memory/rehearsal",
    "Inner loop": "meta/contradictory_tasks",
    "Desiderata": "whole/index",
}


@pytest.mark.parametrize(("term", "name"), TERMS.items())
def test_search_finds_a_term_first_and_the_page_that_treats_it(visit, term, name):
    page = visit(f"search.html?q={term}", ending="")
    page.wait_for_function("/found/.test(document.querySelector('.search-summary')?.textContent)")
    links = page.eval_on_selector_all("ul.search li > a", "all => all.map(a => a.href)")
    found = [link.split("/html/")[1] for link in links]
    assert found[0] == f"reference/glossary.html#term-{term.replace(' ', '-')}"
    assert f"{name}.html" in found


def test_every_page_is_reached_from_the_first_by_its_links(visit):
    page = visit("index")
    page.locator(".bd-sidebar-primary a", has_text="Gradient-based methods").click()
    page.wait_for_url("**/gradient/index.html")
    page.locator("article a[href='ewc_and_agem.html']").first.click()
    page.wait_for_url("**/gradient/ewc_and_agem.html")
    page.locator("a.right-next").click()
    page.wait_for_url("**/modular/index.html")
    page.go_back()
    page.wait_for_url("**/gradient/ewc_and_agem.html")
    assert "EWC and A-GEM" in page.title()


def test_an_equation_links_to_the_line_that_computes_it(visit):
    page = visit(SECTION)
    page.click("a[href='#eq-step']")
    assert page.locator(":target").inner_text().strip() == "optimizer.step()"


def test_the_five_paradigms_are_described(visit):
    drawings = visit("index").locator(".kit-paradigms svg[role=img]")
    words = drawings.evaluate_all("all => all.map(d => d.getAttribute('aria-label').split(' ').length)")
    assert len(words) == 5 and min(words) >= 12


def test_one_picture_of_each_pair_is_seen(visit):
    for theme, other in (("light", "dark"), ("dark", "light")):
        page = visit(SECTION, theme=theme)
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        shown, hidden = (page.locator(f".kit-panel img.only-{name}") for name in (theme, other))
        assert shown.count() == hidden.count() > 0
        assert all(picture.is_visible() for picture in shown.all())
        assert not any(picture.is_visible() for picture in hidden.all())


def test_the_theme_button_changes_the_pictures(visit):
    page = visit(SECTION)
    for _ in range(3):
        page.locator("button.theme-switch-button").first.click()
        theme = page.evaluate("document.documentElement.dataset.theme")
        assert page.locator(f".kit-panel img.only-{theme}").first.is_visible()
        assert (
            page.locator(".kit-panel img:visible").count()
            == page.locator(".kit-panel:has(img):visible").count()
        )


def values(player):
    return player.locator("[data-value]").all_inner_texts()


def test_the_player_moves_by_keyboard(visit):
    player = visit(SECTION).locator(".kit-player")
    slider, at = player.locator("input[type=range]"), player.locator("[data-at]")
    end = values(player)
    slider.focus()
    slider.press("Home")
    start = values(player)
    assert at.inner_text() == "0" and start != end
    slider.press("ArrowRight")
    assert int(at.inner_text()) > 0
    assert slider.get_attribute("aria-valuetext") == at.inner_text()
    thumb = slider.evaluate("s => s.getBoundingClientRect().x + 8 + (s.offsetWidth - 16) * s.value / s.max")
    line = player.locator(".kit-cursor").evaluate("c => c.getBoundingClientRect().x")
    assert abs(thumb - line) <= 2, "the thumb is 16 pixels wide, its middle lies under the cursor"
    cursor = player.locator(".kit-cursor").get_attribute("transform")
    assert float(player.locator("clipPath rect").get_attribute("width")) == float(cursor[10:].split()[0]) > 0
    slider.press("End")
    assert values(player) == end
    player.locator("input[type=radio]").first.focus()
    player.page.keyboard.press("ArrowDown")
    assert player.locator("input[type=radio]:checked").get_attribute("value") == "1"
    assert values(player) != end
    shown = player.locator("g[data-run]").evaluate_all("all => all.map(g => g.style.display !== 'none')")
    assert shown == [False, True, False]


@pytest.mark.parametrize("size", SIZES)
def test_the_player_moves_by_mouse(visit, size):
    player = visit(SECTION, size).locator(".kit-player")
    player.scroll_into_view_if_needed()
    end, box = values(player), player.locator("input[type=range]").bounding_box()
    player.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    middle, steps = int(player.locator("[data-at]").inner_text()), values(player)
    assert 0 < middle and steps != end
    player.locator("label", has_text="400 updates").click()
    assert values(player) != steps


def test_the_player_plays_to_the_end_and_stops(visit):
    player = visit(SECTION).locator(".kit-player")
    slider, button = player.locator("input[type=range]"), player.get_by_role("button", name="Play")
    slider.evaluate("s => { s.value = s.max - 2; s.dispatchEvent(new Event('input')); }")
    button.click()
    assert player.get_by_role("button", name="Pause").is_visible()
    player.get_by_role("button", name="Play").wait_for(timeout=5000)
    assert slider.input_value() == slider.get_attribute("max")


def test_the_values_of_the_player_are_those_of_its_data(visit, root):
    import pandas as pd

    player = visit(SECTION).locator(".kit-player")
    data = pd.read_csv(root / "book" / "tug_of_war" / "data" / "catastrophic_forgetting-blocks.csv")
    for number, (_, part) in enumerate(data.groupby("blocks", sort=False)):
        player.locator("input[type=radio]").nth(number).check()
        last = part[part["update"] == part["update"].max()]
        assert values(player) == [f"{value:.0f} %" for value in last["mean"]]


@every_section
@pytest.mark.parametrize("choice", [0, 1, 2])
def test_a_guess_is_answered_and_opens_the_figure(visit, section, choice):
    guess = visit(section).locator(".kit-guess")
    assert guess.count() == 1 and guess.locator("input[type=radio]").count() == 3
    assert not guess.locator(".kit-why").is_visible() and guess.get_by_role("status").inner_text() == ""
    if choice == 2:
        guess.locator("summary").first.press("Enter")  # without a guess, by keyboard
        assert guess.get_by_role("status").inner_text() == ""
    else:
        guess.locator("input[type=radio]").nth(choice).check()
        assert len(guess.get_by_role("status").inner_text()) > 2
    assert guess.locator(".kit-why").is_visible() and guess.locator("img:visible").count() >= 1


@every_section
def test_every_section_can_be_moved(visit, section):
    assert visit(section).locator(".kit-player, .kit-computed").count() >= 1


def drawn(box):
    """What an interactive shows: its drawing and its numbers."""
    return box.evaluate(
        "b => [...b.querySelectorAll('svg, dd, output, [data-value]')].map(e => e.innerHTML).join()"
    )


@every_section
def test_what_is_computed_moves_by_keyboard(visit, section):
    for box in visit(section).locator(".kit-computed").all():
        for slider in box.locator("input[type=range]:enabled:visible").all():
            before, value = drawn(box), slider.input_value()
            slider.press("ArrowLeft" if value == slider.get_attribute("max") else "ArrowRight")
            assert slider.input_value() != value and drawn(box) != before, slider.get_attribute("aria-label")
        for field in box.locator("input[type=number]:visible").all():
            before = drawn(box)
            field.press("ArrowUp")
            assert drawn(box) != before, field.get_attribute("aria-label")
        for group in {radio.get_attribute("name") for radio in box.locator("input[type=radio]").all()}:
            before = drawn(box)
            box.locator(f"input[name='{group}']:checked").press("ArrowDown")
            assert drawn(box) != before, group
        assert box.locator("input, button, select").count() > 0


@every_section
@pytest.mark.parametrize("size", SIZES)
def test_what_is_computed_moves_by_mouse(visit, section, size):
    for box in visit(section, size).locator(".kit-computed").all():
        for handle in box.locator(".kit-point:visible").all():
            handle.scroll_into_view_if_needed()
            before, x, y = drawn(box), *middle(handle)
            page = box.page
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + 12, y - 9, steps=3)
            page.mouse.up()
            assert drawn(box) != before
        for slider in box.locator("input[type=range]:enabled:visible").all():
            slider.scroll_into_view_if_needed()
            before, place = drawn(box), slider.bounding_box()
            share = (float(slider.input_value()) - float(slider.get_attribute("min") or 0)) / (
                float(slider.get_attribute("max")) - float(slider.get_attribute("min") or 0)
            )
            to = 0.2 if share > 0.5 else 0.8
            box.page.mouse.click(place["x"] + to * place["width"], place["y"] + place["height"] / 2)
            assert drawn(box) != before, slider.get_attribute("aria-label")


def middle(handle):
    box = handle.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@every_section
def test_points_move_by_touch_and_the_page_stays(visit, section):
    page = visit(section, "phone", touch=True)
    for box in page.locator(".kit-computed").all():
        for handle in box.locator(".kit-point:visible").all():
            handle.scroll_into_view_if_needed()
            before, scrolled, (x, y) = drawn(box), page.evaluate("scrollY"), middle(handle)
            send = page.context.new_cdp_session(page).send
            send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
            for step in range(1, 6):
                points = [{"x": x + 3 * step, "y": y - 2 * step}]
                send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
            send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
            assert drawn(box) != before and page.evaluate("scrollY") == scrolled
