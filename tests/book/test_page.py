"""The built book in headless Chromium, opened from the disk as a reader opens it."""

import pytest

from clkit import book, notebooks

BOOK = book.ROOT / "book"
PAGES = [path.relative_to(BOOK).with_suffix("").as_posix() for path in book.pages(BOOK)] + ["search"]
SECTION = "tug_of_war/catastrophic_forgetting"
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

    def open_page(name, size="wide", theme="light"):
        context = chromium.new_context(viewport=SIZES[size], color_scheme=theme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("console", report)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url[:200]}"))
        page.on("request", watch)
        page.goto(f"{site.as_uri()}/{name}.html")
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_from_the_disk_in_every_size_and_theme(visit, name, size, theme):
    page = visit(name, size, theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"], "scrolls sideways"
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert not page.evaluate(WIDER), "wider than their place"
    broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.alt || i.src)")
    assert not broken
    assert page.locator("mjx-merror").count() == 0


def test_every_section_is_among_the_pages_and_small_enough(site, root):
    for path in book.notebooks(root / "book"):
        page = site / path.relative_to(root / "book").with_suffix(".html")
        assert page.stat().st_size <= 2_000_000
        assert notebooks.sidecar(path).exists() and "Verified on" in page.read_text()


def test_formulas_are_rendered(visit, root):
    page = visit(SECTION)
    page.wait_for_selector("mjx-container")
    source = (root / "book" / f"{SECTION}.ipynb").read_text()
    assert page.locator("mjx-container[display=true]").count() == source.count(")$$ (eq-") + source.count(
        "$$ (eq-"
    )
    assert "$" not in page.locator("article p").first.inner_text()


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


def test_an_equation_links_to_the_line_that_computes_it(visit):
    page = visit(SECTION)
    page.click("a[href='#eq-step']")
    assert page.locator(":target").inner_text().strip() == "optimizer.step()"


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
        assert page.locator(".kit-panel img:visible").count() == page.locator(".kit-panel:visible").count()


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
    player.locator("label", has_text="class-incremental").click()
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
    data = pd.read_csv(root / "book" / "tug_of_war" / "data" / "catastrophic_forgetting-scenarios.csv")
    for number, (_, part) in enumerate(data.groupby("scenario", sort=False)):
        player.locator("input[type=radio]").nth(number).check()
        last = part[part["update"] == part["update"].max()]
        assert values(player) == [f"{value:.0f} %" for value in last["mean"]]


@pytest.mark.parametrize("choice", [0, 1, 2])
def test_a_guess_is_answered_and_opens_the_figure(visit, choice):
    guess = visit(SECTION).locator(".kit-guess")
    assert not guess.locator(".kit-why").is_visible() and guess.get_by_role("status").inner_text() == ""
    if choice == 2:
        guess.locator("summary").first.press("Enter")  # without a guess, by keyboard
        assert guess.get_by_role("status").inner_text() == ""
    else:
        guess.locator("input[type=radio]").nth(choice).check()
        assert len(guess.get_by_role("status").inner_text()) > 3
    assert guess.locator(".kit-why").is_visible() and guess.locator("img:visible").count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", SECTION])
def test_axe_has_no_serious_finding(visit, name, theme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(name, theme=theme)
    page.add_style_tag(content="* { animation: none !important; transition: none !important; }")
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    options = {"preload": False}  # it fetches, which file:// refuses
    found = Axe().run(page, options=options).response["violations"]
    serious = [
        f"{v['id']}: {n['html'][:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for n in v["nodes"]
    ]
    assert not serious
