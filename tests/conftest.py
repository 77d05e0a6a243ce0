"""What holds for every test: one thread, and no window for figures. A browser for those that need one."""

import os
import shutil

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "agg"

import torch  # reads the number of threads when it is imported

torch.set_num_threads(1)

INSTALL = "no Chromium: apt-get install chromium (Debian, Ubuntu), brew install --cask chromium (macOS)"


@pytest.fixture(scope="session")
def chromium():
    """A headless browser; without one a test is skipped, in continuous integration it fails."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    if not any(found):
        if os.environ.get("CI") == "true":
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=next(filter(None, found)), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def javascript(chromium):
    """A function: (name of an interactive, list of settings) -> what its `compute` makes of each."""
    from clkit import widgets

    page = chromium.new_page()

    def compute(name, settings):
        page.evaluate(f"() => {{{widgets.javascript(name)}}}")
        return page.evaluate("([name, all]) => all.map(s => kit.made[name].compute(s))", [name, settings])

    yield compute
    page.close()


@pytest.fixture
def interactive(chromium):
    """A function: (name of an interactive, values that it starts from) -> a page on which it is drawn."""
    from clkit import widgets

    page = chromium.new_page()

    def start(name, values):
        page.set_content('<div id="root"></div>')
        page.add_script_tag(content=widgets.javascript(name))
        page.evaluate(
            "([name, all]) => kit.start(name, document.getElementById('root'), all)", [name, values]
        )
        return page

    yield start
    page.close()
