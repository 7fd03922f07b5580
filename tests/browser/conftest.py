"""One server and one Chromium for all browser tests; without Chromium they are skipped, saying so."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.browser import CHROMIUM, FLAGS

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser that does not answer in time on a busy machine is asked once more; the summary counts such tests."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["TimeoutError"]))


class Server:
    """One of our apps in its own process: start, kill, start again at the same address."""

    def __init__(self, app: str, folder: Path, *options: str, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "streamlit", "run", app, "--server.port", str(port), *options]
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "CONCENTRIC_DATA": str(folder), **environment}
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        with self._log.open("a") as file:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=file, stderr=subprocess.STDOUT
            )
        _wait_for(self.address, self._process, self._log)
        return self

    def kill(self) -> None:
        """At once and without warning, as by a power cut."""
        if self._process:
            self._process.kill()
            self._process.wait()


def download(page: Any, button: str, into: Path) -> Path:
    """Press a button that gives a file; where the file lies then."""
    with page.expect_download() as coming:
        page.get_by_role("button", name=button).click()
    file = into / coming.value.suggested_filename
    coming.value.save_as(file)
    return file


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app over the fake detector."""
    one = Server("tests/browser/fake_app.py", tmp_path_factory.mktemp("server"))
    try:
        yield one.start().address
    finally:
        one.kill()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=5)
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium for the tests of one file: while Playwright is open, no other test can run an event loop."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (set CHROMIUM to its path)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """With a failed test comes what its pages show: their text in the report, pictures in .cache/failed."""
    report = yield
    browser = getattr(item, "funcargs", {}).get("browser")
    if report.when == "call" and report.failed and browser is not None:
        pages = [page for context in browser.contexts for page in context.pages]
        report.sections += [_shown(page, f"{item.name}-{number}") for number, page in enumerate(pages)]
    return report


def _shown(page: Any, name: str) -> tuple[str, str]:
    picture = ROOT / ".cache" / "failed" / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}.png"
    try:
        page.screenshot(path=picture, timeout=5_000)
        return f"{page.url}, {picture}", page.locator("body").inner_text(timeout=5_000)
    except Exception as error:  # a page may be gone, and the failure itself is what counts
        return page.url, str(error)


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Any]:
    """A fresh session on the Quick look page."""
    # What Playwright waits for by a function, it evaluates as text, which the pages' policy forbids.
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    context.set_default_timeout(30_000)
    one = context.new_page()
    one.goto(f"{server}/detect")
    yield one
    context.close()
