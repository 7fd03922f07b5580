"""Takes the pictures of the documents from the running program: `python -m docs.pictures` (needs Chromium)."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """The Detect page with the sample field, 1440 x 900, as docs/pictures/detect.jpg."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=HERE.parent)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            for _ in range(60):
                try:
                    page.goto(f"http://127.0.0.1:{port}/")
                    break
                except Exception:  # the server is still starting
                    page.wait_for_timeout(500)
            page.get_by_role("button", name="sample").click(timeout=60_000)
            page.locator(".viewer").wait_for(timeout=120_000)
            page.wait_for_timeout(3000)  # the image and its circles have been drawn
            (HERE / "pictures").mkdir(exist_ok=True)
            page.screenshot(path=HERE / "pictures" / "detect.jpg", type="jpeg", quality=85)
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
