"""How soon pages are there: a real server over 500 fields in 50 cases, and headless Chromium.

    python -m benchmarks.pages [--quick]

"Drawn" is the moment at which the page shows its title, its script has ended and nothing of the page before is left.
The fields of the store are small drawn ones: no page opens an image of full size to be drawn. The fourteen that are
dropped on Cases are of 1,024 px, and the shipped version looks at them.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.browser import CHROMIUM, FLAGS
from benchmarks.record import Figures, cpu_name, write_result
from benchmarks.serving import Server
from db.engine import open_store
from db.fields import add_field
from db.predictions import save_prediction
from db.preferences import change_preferences
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.types import Detections, Field, Prediction
from pages.shared.navigation import TITLES

FIELDS, CASES, SIDE_PX = 500, 50, 96
DROPPED, DROPPED_PX = 14, 1024
DRAWN = """(title) => document.querySelector('.st-key-frame h1')?.textContent === title
  && document.querySelector("[data-test-script-state='notRunning']")
  && !document.querySelector("[data-stale='true'], [data-testid='stSkeleton']")"""


def main() -> None:
    """Start servers and browsers, measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same way with fewer repeats")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        figures = measure(Path(folder), repeats=1 if quick else 5)
    figures |= {"fields": FIELDS, "cases": CASES, "dropped": DROPPED, "dropped_px": DROPPED_PX}
    figures |= {"machine": f"{cpu_name()}, {platform.system()}", "browser": "headless Chromium"}
    write_result("pages-quick" if quick else "pages", figures)


def fill(folder: Path) -> None:
    """Fields of which a version has found two cells in each."""
    store, rng = open_store(folder), np.random.default_rng(0)
    base = draw_sample_field(size_px=SIDE_PX, mitoses=0, lookalikes=0).field.pixels
    found = Detections(
        np.array([[20, 20], [60, 60]], np.float32), np.array([0.9, 0.4], np.float32), np.full(2, 60, np.float32)
    )
    for number in range(FIELDS):
        pixels = np.clip(base + rng.integers(-6, 7, base.shape), 0, 255).astype(np.uint8)
        case = f"C{number % CASES:02d}"
        kept = add_field(store, Field(pixels, 0.25, f"{case}_{number // CASES}.png"), case=case)[0]
        save_prediction(store, kept.id, Prediction(found, 0.5, DEFAULT_VERSION, 0.5, kept.area_mm2))
    change_preferences(store, "", reader="Anna", um_per_px=0.25)
    store.close()


def measure(folder: Path, repeats: int) -> Figures:
    """Medians, in seconds and MB."""
    from playwright.sync_api import sync_playwright

    starts: list[float] = []
    firsts: list[float] = []
    later: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for _ in range(repeats):
            with server(folder) as (one, healthy_s):
                starts.append(healthy_s)
                page = new_page(browser)
                firsts.append(seconds(partial(opened, page, one, "cases")))
                memory_first_mb = one.rss_bytes() / 1e6
                walk(page, {})  # what is imported once, by whoever comes first to a page, is not what pages take
                walk(page, later)
                memory_mb = one.rss_bytes() / 1e6
                page.context.close()
        with server(folder) as (one, _), tempfile.TemporaryDirectory() as files:
            dropped = drop(new_page(browser), one, Path(files))
        browser.close()
    by_page = {name: round(statistics.median(taken), 2) for name, taken in later.items() if taken}
    return {
        "healthy_s": round(statistics.median(starts), 2),
        "first_page_s": round(statistics.median(firsts), 2),
        "later_pages_s": round(statistics.median([*chain.from_iterable(later.values())]), 2),
        "slowest_page_s": max(by_page.values()),
        "page_s": by_page,
        **dropped,
        "memory_first_page_mb": round(memory_first_mb),
        "memory_every_page_mb": round(memory_mb),  # Retrain brings torch
    }


def walk(page: Any, taken: dict[str, list[float]]) -> None:
    """Go once through all pages by the navigation."""
    for name in [name for name in TITLES if name not in ("compare", "cases")] + ["cases"]:
        title = TITLES[name]
        link = page.get_by_test_id("stTopNavLink").filter(has_text=title)
        if not link.count():
            page.get_by_text("More", exact=True).click()
            link = page.get_by_test_id("stTopNavDropdownLink").filter(has_text=title)
        began = time.perf_counter()
        link.click()
        drawn(page, title)
        taken.setdefault(name, []).append(time.perf_counter() - began)


def drop(page: Any, one: Server, folder: Path) -> Figures:
    """Drop fields on Cases: until the first is shown, and until its detection is."""
    opened(page, one, "cases")
    files = [folder / f"Z9_{number + 1:02d}.png" for number in range(DROPPED)]
    for number, file in enumerate(files):
        Image.fromarray(draw_sample_field(100 + number, size_px=DROPPED_PX).field.pixels).save(file)
    card = page.locator(".card[data-case='Z9']")
    began = time.perf_counter()
    page.get_by_label("Add fields").locator("xpath=self::input").first.set_input_files(files)
    card.scroll_into_view_if_needed()  # cases stand by name, and pictures out of sight are not fetched
    card.locator(".tile img").first.wait_for()
    page.wait_for_function(
        "(one) => one.complete && one.naturalWidth > 0", arg=card.locator(".tile img").first.element_handle()
    )
    shown = time.perf_counter() - began
    card.locator(".tile .badge:visible").first.wait_for()
    analysed = time.perf_counter() - began
    return {"first_dropped_shown_s": round(shown, 2), "first_dropped_analysed_s": round(analysed, 2)}


def new_page(browser: Any) -> Any:
    """In a context of its own, with nothing in its cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    context.set_default_timeout(120_000)
    return context.new_page()


def opened(page: Any, one: Server, name: str) -> None:
    """Go to a page by its address, and wait until it is drawn."""
    page.goto(f"http://127.0.0.1:{one.port}/{name}")
    drawn(page, TITLES[name])


def drawn(page: Any, title: str) -> None:
    """Wait until a page is drawn."""
    page.wait_for_function(DRAWN, arg=title)


def seconds(act: Callable[[], Any]) -> float:
    """What something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


@contextmanager
def server(folder: Path) -> Iterator[tuple[Server, float]]:
    """The real server, and after how many seconds it answered."""
    one = Server(folder, folder / "server.log")
    healthy_s = seconds(one.start)
    try:
        yield one, healthy_s
    finally:
        one.stop()


if __name__ == "__main__":
    main()
