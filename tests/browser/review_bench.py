"""The Review page over a folder of its own, and readers in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db.engine import Store, open_store
from db.fields import StoredField, add_field
from db.predictions import save_prediction
from db.reviews import history, review_of
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.types import Detections, Field, Prediction
from tests.browser.conftest import Server

SIDE = 1024
PROPOSED = [(200, 300), (500, 300), (800, 300)]
SCORES = [0.9, 0.8, 0.3]  # the last lies below the threshold


class Bench:
    """A server over a folder of its own, with three fields."""

    def __init__(self, browser: Any, folder: Path, scores: Sequence[float] = SCORES, url: str = "") -> None:
        self.scores = scores
        self.browser = browser
        self.server = Server("tests/browser/fake_app.py", folder, CONCENTRIC_DATABASE=url)
        self.store: Store = open_store(folder, url=url)
        self.fields = [self._add(number) for number in range(3)]
        self.contexts: list[Any] = []
        self.violations: list[str] = []

    def _listen(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.violations.append(message.text)

    def _add(self, number: int) -> StoredField:
        pixels = draw_sample_field(seed=number + 10).field.pixels
        stored, _ = add_field(self.store, Field(pixels, 0.25, f"f{number}.png"), case="case")
        found = Detections(np.array(PROPOSED), np.array(self.scores), np.full(3, 60))
        save_prediction(self.store, stored.id, Prediction(found, 0.5, "fake-1", 0.1, stored.area_mm2))
        return stored

    def desk(self, reader: str = "Anna", field: int = 0, *, server: Server | None = None, **context: Any) -> Desk:
        one = self.browser.new_context(viewport={"width": 1440, "height": 900}, **context)
        one.set_default_timeout(30_000)
        one.on("console", self._listen)
        self.contexts.append(one)
        return Desk(self, one.new_page(), reader, server or self.server).open(field)

    def verdicts(self, reader: str = "Anna", field: int = 0) -> list[str]:
        return sorted(mark.verdict for mark in review_of(self.store, self.fields[field].id, reader).standing)

    def kinds(self, reader: str = "Anna", field: int = 0) -> list[str]:
        """What was changed, without the notes of the time spent."""
        events = history(self.store, self.fields[field].id, reader)
        return [event.kind for event in events if event.kind != "time"]


class Desk:
    """A reader in front of the page. Places are pixels of the image."""

    def __init__(self, bench: Bench, page: Any, reader: str, server: Server) -> None:
        self.bench, self.page, self.reader, self.server = bench, page, reader, server
        self.viewer = page.locator(".viewer")

    def open(self, field: int) -> Desk:
        self.page.goto(f"{self.server.address}/review?reader={self.reader}&field={self.bench.fields[field].id}")
        return self.ready(field)

    def ready(self, field: int) -> Desk:
        self.page.locator(f".viewer[data-ready='{self.bench.fields[field].id}']").wait_for()
        return self

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.at(x, y))

    def at(self, x: float, y: float) -> tuple[float, float]:
        box = self.page.locator(".sheet").bounding_box()
        scale = box["width"] / SIDE
        return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale

    def draw_area(self, start: tuple[float, float], end: tuple[float, float]) -> Desk:
        self.page.get_by_role("button", name="Draw the reviewed area").click()
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=4)
        self.page.mouse.up()
        return self

    def keys(self, *keys: str) -> Desk:
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def saved(self) -> Desk:
        self.page.locator(".viewer[data-outbox='0']").wait_for()
        return self


@pytest.fixture(scope="module")
def shared(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(browser, tmp_path_factory.mktemp("review"))
    bench.server.start()
    yield bench
    bench.server.kill()


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    """The server of this module; every test has its own reader."""
    yield shared
    for context in shared.contexts:
        context.close()
    shared.contexts.clear()
    assert not shared.violations


def until(page: Any, true: Callable[[], bool]) -> None:
    """Wait for something in the database that the page cannot show."""
    for _ in range(200):
        if true():
            return
        page.wait_for_timeout(50)
    pytest.fail("it did not become true")
