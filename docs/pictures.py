"""Takes the pictures of the documents from the running program: `python -m docs.pictures` (needs Chromium)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.browser import CHROMIUM, FLAGS
from mitosis_core.image.sample_field import draw_sample_field

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Quick look, Review and Results with drawn fields, 1440 x 900, as detect.jpg, review.jpg and results.jpg."""
    (HERE / "pictures").mkdir(exist_ok=True)
    port = free_port()
    data = tempfile.TemporaryDirectory()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=HERE.parent, env={**os.environ, "CONCENTRIC_DATA": data.name})
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            for _ in range(60):
                try:
                    page.goto(f"http://127.0.0.1:{port}/detect")
                    break
                except Exception:  # the server is still starting
                    page.wait_for_timeout(500)
            page.get_by_role("button", name="sample").click(timeout=60_000)
            page.locator(".viewer").wait_for(timeout=120_000)
            page.get_by_role("button", name="End the tour").click()
            take(page, "detect")
            add_case(page, f"http://127.0.0.1:{port}")
            take_review(page, f"http://127.0.0.1:{port}")
            browser.close()
    finally:
        server.terminate()
        server.wait()
        data.cleanup()


def drawn_files(folder: Path, number: int = 4) -> list[Path]:
    """Fields of one case like the sample, which itself is not offered for review, as files that say their µm/px."""
    import tifffile

    files = []
    for seed in range(1, number + 1):
        field = draw_sample_field(seed=seed).field
        assert field.um_per_px is not None
        per_cm = 1e4 / field.um_per_px
        files.append(folder / f"D01_{seed:02d}.tif")
        tifffile.imwrite(files[-1], field.pixels, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    return files


def add_case(page: Page, address: str) -> None:
    """Drawn fields of one case, detected."""
    page.goto(f"{address}/cases")
    with tempfile.TemporaryDirectory() as folder:
        files = drawn_files(Path(folder))
        chooser = page.get_by_label("Add fields").locator("xpath=self::input").first
        chooser.set_input_files(files, timeout=60_000)
        page.get_by_text("To read").first.wait_for(timeout=120_000)
        page.locator(".tile .badge:visible").nth(len(files) - 1).wait_for(timeout=120_000)


def take(page: Page, name: str) -> None:
    """The page as docs/pictures/NAME.jpg, once it stands still."""
    page.wait_for_timeout(2500)
    page.screenshot(path=HERE / "pictures" / f"{name}.jpg", type="jpeg", quality=85)


def take_review(page: Page, address: str) -> None:
    """A field of the case with a few verdicts, the cells of the case, and its result once all is read."""
    page.goto(f"{address}/review?reader=Anna&case=D01")
    viewer = page.locator(".viewer")
    viewer.and_(page.locator("[data-editable]")).wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    for key in ("n", "1", "1", "2", "3", "Escape", "0"):
        page.keyboard.press(key)
    page.locator(".viewer[data-outbox='0']").wait_for()
    page.mouse.move(5, 5)
    take(page, "review")
    for _ in range(4):
        field = viewer.get_attribute("data-ready")
        page.keyboard.press("f")
        page.get_by_role("button", name="Accept").last.click()
        page.locator(f".viewer:not([data-ready='{field}']), .panel .state[data-state='complete']").first.wait_for()
        page.wait_for_timeout(1500)
    page.goto(f"{address}/results?case=D01&by=reader:Anna")
    page.locator(".case-figures").wait_for(timeout=60_000)
    page.locator(".grid img").nth(6).wait_for()
    take(page, "results")


if __name__ == "__main__":
    main()
