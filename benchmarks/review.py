"""Reviewing, in a real browser against the real server: from click to drawn, from click to stored.

    python -m benchmarks.review [--quick]

The field is drawn by the program; the folder of data is a temporary one. "Saved" is the time from the click to the
server's stamp on the event, taken when its transaction has the database, plus what such a transaction takes; "answered"
is the time until the browser has the server's word, so it includes the way back and the browser's own next frame.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.browser import CHROMIUM, FLAGS
from benchmarks.record import Figures, cpu_name, write_result
from db.engine import Store, open_store
from db.fields import add_field
from db.predictions import save_prediction
from db.reviews import Op, apply_ops, history, parse_op
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.model import list_versions
from mitosis_core.types import Detections, Field, Prediction

ROOT = Path(__file__).parent.parent
SIDE_PX = 2084
MANY_MARKS, MANY_EVENTS = 500, 2000

# Watches the viewer (in its shadow root) from the last pointer or key event on.
WATCH = """() => {
  const host = [...document.querySelectorAll("*")].find((e) => e.shadowRoot?.querySelector(".viewer"));
  const root = host.shadowRoot, viewer = root.querySelector(".viewer");
  const bench = (window.bench = { drawn: [], answered: [], clicked: [], opened: null, root });
  let start = null, drawn = false;
  for (const type of ["pointerup", "keydown"])
    root.addEventListener(type, (event) => {
      start = event.timeStamp;
      drawn = false;
      if (type === "pointerup") bench.clicked.push(performance.timeOrigin + start);
    }, true);
  const painted = (note) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => note(performance.now() - start);
    channel.port2.postMessage(0);
  });
  new MutationObserver(() => {
    if (start !== null && !drawn) { drawn = true; painted((ms) => bench.drawn.push(ms)); }
  }).observe(root.querySelector(".marks"), { childList: true, subtree: true });
  new MutationObserver((changes) => {
    for (const { attributeName } of changes) {
      if (attributeName === "data-outbox" && viewer.dataset.outbox === "0" && start !== null)
        bench.answered.push(performance.now() - start);
      // The viewer shows the next field from what it has; what the page says of it later changes nothing to wait for.
      if (attributeName === "data-ready" && bench.opened === null) painted((ms) => (bench.opened ??= ms));
    }
  }).observe(viewer, { attributes: true });
}"""
FRAMES = """(ms) => new Promise((done) => {
  const times = [];
  const tick = (now) => { times.push(now); now - times[0] < ms ? requestAnimationFrame(tick) : done(times); };
  requestAnimationFrame(tick);
})"""


def main() -> None:
    """Start server and browsers, measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path with fewer clicks")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        fields = fill(store)
        with server(Path(folder)) as address:
            figures = asyncio.run(measure(address, store, fields, clicks=12 if quick else 100))
    figures |= {"field_px": SIDE_PX, "machine": f"{cpu_name()}, {platform.system()}", "browser": "headless Chromium"}
    write_result("review-quick" if quick else "review", figures)


def fill(store: Store) -> dict[str, int]:
    """Three fields in this order: empty, one with many events, one with many marks; their numbers."""
    ids = {}
    for number, name in enumerate(("empty", "events", "marks")):
        pixels = draw_sample_field(size_px=SIDE_PX, seed=number).field.pixels
        stored = add_field(store, Field(pixels, 0.25, f"{name}.png"))[0]
        # Nothing proposed: what is measured is the reader's work, not the detector's.
        save_prediction(store, stored.id, Prediction(Detections(), 0.5, list_versions()[0], 0.0, stored.area_mm2))
        ids[name] = stored.id
    mark(store, ids["events"], MANY_MARKS, MANY_EVENTS)
    mark(store, ids["marks"], MANY_MARKS, MANY_MARKS)
    return ids


def mark(store: Store, field: int, marks: int, events: int) -> None:
    """Add marks in a loose grid, then move them about until there are that many events."""
    rng = np.random.default_rng(0)
    places = rng.uniform(20, SIDE_PX - 20, (events, 2)).round(1).tolist()
    ops = [
        _op(
            field,
            n + 1,
            kind="add" if n < marks else "move",
            id=f"m{n % marks}",
            x=x,
            y=y,
            cls=("mitosis", "lookalike", "unsure")[n % 3],
        )
        for n, (x, y) in enumerate(places)
    ]
    apply_ops(store, field, "Reader 1", ops)


def _op(field: int, seq: int, **own: Any) -> Op:
    common = {"op_id": uuid.uuid4().hex, "client": "bench", "seq": seq, "t": 0, "field": str(field), "base": 0}
    return parse_op(common | own)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Address of the app over a data folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = {**os.environ, "CONCENTRIC_DATA": str(folder)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=5)
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.2)
            yield address
        finally:
            process.terminate()


async def measure(address: str, store: Store, fields: dict[str, int], clicks: int) -> Figures:
    """All measures against a running server at `address`."""
    from playwright.async_api import async_playwright

    async with async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await open_review(browser, address, fields["empty"], "Reader 1")
        one = await click_about(page, clicks)
        opened = await open_next(page)
        await page.close()
        page = await open_review(browser, address, fields["marks"], "Reader 1")
        fps = await pan(page)
        await page.close()
        four = await asyncio.gather(*(_reader(browser, address, fields["empty"], n, clicks) for n in range(2, 6)))
        await browser.close()
    commit_ms = transaction_ms(store, fields["empty"])
    saved = saved_ms(store, fields["empty"], "Reader 1", one["clicked"], commit_ms)
    together = [
        ms
        for n, clicked in enumerate(four, 2)
        for ms in saved_ms(store, fields["empty"], f"Reader {n}", clicked["clicked"], commit_ms)
    ]
    return {
        "drawn_ms": _median(one["drawn"]),
        "drawn_p95_ms": _p95(one["drawn"]),
        "saved_ms": _median(saved),
        "saved_p95_ms": _p95(saved),
        "saved_p95_ms_4_readers": _p95(together),
        "answered_ms": _median(one["answered"]),
        "answered_p95_ms_4_readers": _p95([ms for reader in four for ms in reader["answered"]]),
        "transaction_ms": round(commit_ms, 2),
        "load_2000_events_ms": round(opened, 1),
        "fps_500": round(fps, 1),
        "clicks": clicks,
    }


def saved_ms(store: Store, field: int, reader: str, clicked: list[float], commit_ms: float) -> list[float]:
    """From each click (ms since 1970) to its event in the database."""
    stamps = [event.at.timestamp() * 1000 for event in history(store, field, reader) if event.kind == "add"]
    return [stamp - click + commit_ms for click, stamp in zip(clicked, stamps, strict=True)]


def transaction_ms(store: Store, field: int) -> float:
    """What storing one change takes, from having the database to being on disk, at the median."""
    taken = []
    for n in range(30):
        op = _op(field, n + 1, kind="add", id=f"t{n}", x=5.0, y=5.0, cls="mitosis")
        started = time.perf_counter()
        apply_ops(store, field, "Nobody", [op])
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def _median(ms: list[float]) -> float:
    return round(statistics.median(ms), 1)


def _p95(ms: list[float]) -> float:
    return round(float(np.quantile(ms, 0.95)), 1)


async def open_review(browser: Any, address: str, field: int, reader: str) -> Any:
    """A page of its own browser session on the review of a field, its image loaded."""
    context = await browser.new_context(bypass_csp=True, viewport={"width": 1440, "height": 900})
    page = await context.new_page()
    await page.goto(f"{address}/review?reader={reader}&field={field}")
    await page.locator(f".viewer[data-ready='{field}']").wait_for(timeout=60_000)
    await page.evaluate(WATCH)
    await page.wait_for_function("bench.root.querySelector('img.field').naturalWidth > 0")
    return page


async def click_about(page: Any, clicks: int) -> dict[str, list[float]]:
    """Add marks here and there, each after the one before is stored; what every one took."""
    columns = int(np.ceil(np.sqrt(clicks)))
    for n in range(clicks):
        box = await page.locator(".stage").bounding_box()  # the page may still be settling
        x, y = 0.2 + 0.6 * (n % columns) / columns, 0.1 + 0.8 * (n // columns) / columns
        await page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        await page.wait_for_function(f"bench.answered.length > {n}")
        await asyncio.sleep(0.05)
    await page.locator(".viewer[data-outbox='0']").wait_for()
    return {name: await page.evaluate(f"bench.{name}") for name in ("drawn", "answered", "clicked")}


async def _reader(browser: Any, address: str, field: int, number: int, clicks: int) -> dict[str, list[float]]:
    return await click_about(await open_review(browser, address, field, f"Reader {number}"), clicks)


async def open_next(page: Any) -> float:
    """From the key to the next field, with its many events, drawn; in ms, the median of three."""
    taken: list[float] = []
    for _ in range(3):
        for key in ("]", "["):
            await page.evaluate("bench.opened = null")
            await page.locator(".viewer").press(key)
            await page.wait_for_function("bench.opened !== null")
            await asyncio.sleep(0.5)
            taken.append(await page.evaluate("bench.opened"))
    return statistics.median(taken[::2])


async def pan(page: Any) -> float:
    """Frames per second while a field with many marks is dragged about."""
    await page.locator(".viewer").press("+")
    box = await page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.keyboard.down("Space")
    await page.mouse.move(x + 3, y + 3)
    await page.mouse.down(button="middle")
    frames = asyncio.ensure_future(page.evaluate(FRAMES, 2000))
    started = time.monotonic()
    while not frames.done():
        angle = 4 * (time.monotonic() - started)
        await page.mouse.move(x + 150 * np.sin(angle), y + 100 * np.cos(angle))
        await asyncio.sleep(0.014)  # a mouse tells 60 places a second or a few more
    await page.mouse.up(button="middle")
    times: list[float] = await frames
    return 1000 * (len(times) - 1) / (times[-1] - times[0])


if __name__ == "__main__":
    main()
