"""Takes the pictures of the documents from the running program: `python -m docs.pictures` (needs Chromium)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from mitosis_core.image.sample_field import draw_sample_field

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """The Detect and the Review page with the sample field, 1440 x 900, as docs/pictures/detect.jpg and review.jpg."""
    port = free_port()
    data = tempfile.TemporaryDirectory()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=HERE.parent, env={**os.environ, "CONCENTRIC_DATA": data.name})
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            for _ in range(60):
                try:
                    page.goto(f"http://127.0.0.1:{port}/detect")
                    break
                except Exception:  # the server is still starting
                    page.wait_for_timeout(500)
            page.get_by_role("button", name="sample").click(timeout=60_000)
            page.locator(".viewer").wait_for(timeout=120_000)
            page.wait_for_timeout(3000)  # the image and its circles have been drawn
            (HERE / "pictures").mkdir(exist_ok=True)
            page.screenshot(path=HERE / "pictures" / "detect.jpg", type="jpeg", quality=85)
            take_review(page, f"http://127.0.0.1:{port}")
            browser.close()
    finally:
        server.terminate()
        server.wait()
        data.cleanup()


def drawn_file(folder: Path) -> Path:
    """A field like the sample, which itself is not offered for review, as a file that says its µm/px."""
    import tifffile

    field = draw_sample_field(seed=1).field
    assert field.um_per_px is not None
    per_cm = 1e4 / field.um_per_px
    tifffile.imwrite(
        path := folder / "drawn.tif", field.pixels, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
    )
    return path


def take_review(page: Page, address: str) -> None:
    """Keep a drawn field, judge a few proposals, and take the picture."""
    page.goto(f"{address}/detect")
    with tempfile.TemporaryDirectory() as folder:
        page.locator("input[type=file]").set_input_files(drawn_file(Path(folder)), timeout=60_000)
        page.get_by_role("button", name="Keep for review").wait_for(timeout=120_000)
    page.get_by_role("button", name="Keep for review").click()
    page.get_by_role("button", name="Keep 1 field").click()
    page.locator(".board[data-ready] .tile").wait_for(timeout=60_000)
    page.goto(f"{address}/review?reader=Anna")
    page.locator(".viewer[data-editable]").wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    for key in ("n", "1", "n", "1", "n", "2", "n", "3", "Escape", "0"):
        page.keyboard.press(key)
    page.locator(".viewer[data-outbox='0']").wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path=HERE / "pictures" / "review.jpg", type="jpeg", quality=85)


if __name__ == "__main__":
    main()
