"""What holds for every page, light and dark: no serious fault of accessibility, nothing cut at a tablet's width."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from db.engine import open_store
from db.fields import add_field
from mitosis_core.image.sample_field import draw_sample_field
from pages.shared.navigation import TITLES
from tests.browser.conftest import Server

pytestmark = pytest.mark.browser

EMPTY, FILLED = "empty", "filled"
# In Streamlit's own markup, where we cannot mend it.
STREAMLITS = {
    # A table is a canvas; the hidden table it keeps for screen readers has cells that cannot be reached by scrolling.
    "scrollable-region-focusable": ".stDataFrame *",
}
# Inside a shadow root axe gives a list of selectors: nothing of Streamlit's.
MATCHES = "([[target], excused]) => typeof target === 'string' && document.querySelector(target)?.matches(excused)"


def axe_source() -> str:
    """axe-core as it comes with axe-playwright-python."""
    found = find_spec("axe_playwright_python")
    if found is None or not found.submodule_search_locations:
        pytest.skip("axe-core is not installed (pip install -r requirements-dev.txt)")
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=[EMPTY, FILLED])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over nothing, and one over two fields."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == FILLED:
        store = open_store(folder)
        for seed in (1, 2):
            add_field(store, draw_sample_field(seed, size_px=320, mitoses=3, lookalikes=2).field, case=f"A0{seed}")
        store.close()
    one = Server("tests/browser/fake_app.py", folder)
    try:
        yield one.start()
    finally:
        one.kill()


def new_page(browser: Any, **options: Any) -> Any:
    """A page in a context of its own: what it has loaded once, it keeps."""
    context = browser.new_context(bypass_csp=True, **options)
    context.set_default_timeout(60_000)
    return context.new_page()


def visit(page: Any, lab: Server, name: str) -> None:
    """Open a page of the app, wait until it stands still, and see that it is that page."""
    page.goto(f"{lab.address}/{name}{'?reader=Anna' if name == 'review' else ''}")
    page.locator(".st-key-frame h1").wait_for()
    page.locator("[data-test-script-state='notRunning']").wait_for()
    page.wait_for_function("!document.querySelector('[data-stale=true], [data-testid=stSkeleton]')")
    assert page.locator(".st-key-frame h1").inner_text() == TITLES[name or "cases"]
    assert page.get_by_text("Page not found").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(browser: Any, lab: Server, scheme: Any) -> None:
    axe, wrong = axe_source(), []
    page = new_page(browser, viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    for name in TITLES:
        visit(page, lab, name)
        page.evaluate(axe)
        for fault in page.evaluate("axe.run().then((all) => all.violations)"):
            excused = STREAMLITS.get(fault["id"])
            ours = [
                f"{node['html'][:160]}: {(node['failureSummary'] or '')[:200]}"
                for node in fault["nodes"]
                if not (excused and page.evaluate(MATCHES, [node["target"], excused]))
            ]
            if fault["impact"] in ("serious", "critical") and ours:
                wrong.append((name, fault["id"], ours))
    page.context.close()
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1024, 768])
def test_nothing_is_cut_at_the_width_of_a_tablet(browser: Any, lab: Server, width: int) -> None:
    page = new_page(browser, viewport={"width": width, "height": 1000})
    wide: dict[str, tuple[float, bool, float]] = {}
    for name in TITLES:
        visit(page, lab, name)
        over = page.evaluate(
            "Math.max(...['.stMain', '.stApp'].map((one) => document.querySelector(one))"
            ".map((one) => one.scrollWidth - one.clientWidth))"
        )
        frame = page.locator(".st-key-frame").bounding_box()
        bars = [one.bounding_box() for one in page.locator(".st-key-frame :is(h1, button, a):visible").all()]
        inside = all(one["x"] >= 0 and one["x"] + one["width"] <= width for one in bars)
        if over or not inside or frame["height"] > 60:
            wide[name] = (over, inside, frame["height"])
    page.context.close()
    assert not wide


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor"))


def test_light_and_dark_follow_the_system(browser: Any, lab: Server) -> None:
    page = new_page(browser, color_scheme="dark")
    visit(page, lab, "cases")
    assert background(page) == "rgb(23, 21, 26)"
    page.emulate_media(color_scheme="light")
    page.wait_for_function(
        "getComputedStyle(document.querySelector('.stApp')).backgroundColor === 'rgb(255, 255, 255)'"
    )
    page.context.close()


def test_the_choice_of_dark_holds_on_other_pages_and_after_a_reload(browser: Any, lab: Server) -> None:
    page = new_page(browser, color_scheme="light")
    visit(page, lab, "models")
    page.get_by_role("button", name="Main menu").click()
    assert page.get_by_text("Made with Streamlit").is_hidden()
    page.get_by_role("menuitemradio", name="Dark").click()
    page.wait_for_function("getComputedStyle(document.querySelector('.stApp')).backgroundColor === 'rgb(23, 21, 26)'")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Cases").click()
    page.get_by_role("heading", name="Cases", level=1).wait_for()
    page.reload()
    page.get_by_role("heading", name="Cases", level=1).wait_for()
    assert background(page) == "rgb(23, 21, 26)"
    page.context.close()


def test_the_bare_address_opens_the_cases(browser: Any, lab: Server) -> None:
    page = new_page(browser)
    visit(page, lab, "")
    page.wait_for_url("**/cases")
    page.context.close()
