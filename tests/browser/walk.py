"""One case the whole way in the real program: dropped, analysed, read by two readers, reported, exported, imported.

    python -m tests.browser.walk --fields FOLDER --out FOLDER [--truth CSV] [--um-per-px 0.25] [--without-pictures]

FOLDER of --fields holds the images of one case; --drawn N draws as many instead. --truth: `image,x_px,y_px,label`, by
which the two readers correct what is proposed; without it they confirm everything. What is printed: actions by field,
counts by verdict here and in the second installation. Into --out come the reports, the exported files and pictures of
every page.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.browser import CHROMIUM, FLAGS
from db.case_overview import read_overview
from db.engine import Store, open_store
from db.fields import StoredField, list_fields
from db.predictions import versions_by_field
from db.reviews import reviews_of
from mitosis_core.image.reading import IMAGE_SUFFIXES
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.interchange import FORMATS
from mitosis_core.model import DEFAULT_VERSION
from pages.shared.navigation import TITLES
from tests.browser.camera import Camera, wait_until_still
from tests.browser.conftest import Server, download
from tests.browser.hands import FieldActions, KeyboardReader, MouseReader, Place, Reader

Truth = Mapping[str, Sequence[Place]]
MOUSE, KEYS = "Anna", "Bert"  # who reads by what
REVIEW_STATES = {
    "ring": ("n", "o"),
    "grid": ("g",),
    "gallery": ("k",),
    "cross": ("ArrowRight",),
    "look-only": ("l",),
    "finish": ("f",),
}
SETTLE_MS = 500


@dataclass
class Installation:
    """A server over a data folder of its own, and a browser in front of it."""

    folder: Path
    server: Server
    store: Store
    page: Any

    def go(self, name: str, title: str, **query: str) -> None:
        """Open a page by its address, and wait until it stands still."""
        asked = "&".join(f"{key}={value}" for key, value in query.items())
        self.page.goto(f"{self.server.address}/{name}{'?' + asked if asked else ''}")
        self.page.get_by_role("heading", name=title, level=1).wait_for()
        wait_until_still(self.page)

    def download(self, button: str, into: Path) -> Path:
        """Press a button that gives a file; where the file lies then."""
        return download(self.page, button, into)


@contextmanager
def installation(browser: Any, folder: Path, app: str = "app.py") -> Iterator[Installation]:
    """The program over an empty data folder."""
    store = open_store(folder)
    server = Server(app, folder)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True, accept_downloads=True)
    context.set_default_timeout(120_000)
    try:
        yield Installation(folder, server.start(), store, context.new_page())
    finally:
        context.close()
        server.kill()
        store.close()


# ---- the stages


def drop(one: Installation, files: Sequence[Path]) -> None:
    """Let files fall on the middle of the home page, as the browser itself does it."""
    size = one.page.viewport_size
    data = {"items": [], "files": [str(file.resolve()) for file in files], "dragOperationsMask": 1}
    browser = one.page.context.new_cdp_session(one.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": size["width"] // 2, "y": size["height"] // 2}
        browser.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    browser.detach()


def add_case(one: Installation, files: Sequence[Path], um_per_px: float, camera: Camera) -> None:
    """Drop the files on the home page, say once how large a pixel is, and wait until all are analysed."""
    one.go("cases", "Cases")
    one.page.locator(".board[data-ready]").wait_for()
    camera.shoot(one.page, "cases-empty")
    drop(one, files)
    until(one, lambda: len(read_overview(one.store, DEFAULT_VERSION)) == len(files))
    if any(field.um_per_px is None for field in read_overview(one.store, DEFAULT_VERSION)):
        one.page.get_by_text("How large is a pixel?").wait_for()
        camera.shoot(one.page, "cases-scale", still=False)
        choose(one.page, "Scanner", "Another value")
        one.page.get_by_label("µm per pixel").fill(str(um_per_px))
        one.page.keyboard.press("Tab")
        one.page.get_by_role("button", name="Use it").click()
    until(one, lambda: any(seen for seen in versions_by_field(one.store).values()))
    camera.shoot(one.page, "cases-detecting", still=False)
    until(one, lambda: len(versions_by_field(one.store)) == len(files))
    one.page.get_by_text("To read").first.wait_for()
    camera.shoot(one.page, "cases-ready", still=False)


def choose(page: Any, label: str, option: str) -> None:
    """Of a list; a page that is drawn anew just then closes it again."""
    from playwright.sync_api import TimeoutError as NotThere

    chosen = page.get_by_role("option").filter(has_text=option).first
    for _ in range(6):
        page.get_by_role("combobox", name=label).first.click()
        try:
            chosen.click(timeout=5_000)
            return
        except NotThere:
            page.keyboard.press("Escape")
    raise AssertionError(f"{label} does not offer {option}")


def until(one: Installation, true: Any, seconds: float = 300) -> None:
    """Wait for something in the store."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        one.page.wait_for_timeout(200)


def read_case(one: Installation, hand: Reader, name: str, case: str, camera: Camera) -> list[FieldActions]:
    """Every field of the case, in the name of a reader."""
    one.go("review", "Review", reader=name, case=case)
    fields = list_fields(one.store, case)
    for number, field in enumerate(fields):
        hand.viewer_of(field).wait_for()
        if number == 0:
            one.page.wait_for_timeout(500)
            camera.shoot(one.page, f"review-{name}-first")
        hand.read(field)
    one.page.get_by_text("is read:").wait_for()
    camera.shoot(one.page, f"review-{name}-read")
    until(one, lambda: all(is_read(one.store, field, name) for field in fields))
    return hand.fields


def is_read(store: Store, field: StoredField, reader: str) -> bool:
    """Whether a reader has finished a field."""
    review = reviews_of(store, field.id).get(reader)
    return review is not None and review.state == "complete"


def counts(store: Store, reader: str) -> Counter[str]:
    """Standing marks of a reader over all fields, by verdict."""
    reviews = [reviews_of(store, field.id).get(reader) for field in list_fields(store)]
    return Counter(mark.verdict for review in reviews if review for mark in review.standing)


def report_case(one: Installation, case: str, out: Path, camera: Camera) -> list[Path]:
    """The reports, as files."""
    one.go("results", "Results", case=case)
    one.page.locator(".case-figures").wait_for()
    camera.shoot(one.page, "results")
    one.page.get_by_role("button", name="Report and export").click()
    one.page.get_by_role("button", name="Report (PDF)").wait_for()
    camera.shoot(one.page, "results-export")
    buttons = ("Report (PDF)", "Report (HTML)", "Marks (CSV)", "Annotated pictures (zip)")
    files = [one.download(button, out) for button in buttons]
    one.page.keyboard.press("Escape")
    return files


def export(
    one: Installation, case: str, reader: str, names: Sequence[str], out: Path, camera: Camera
) -> dict[str, Path]:
    """The labels of a reader of the case in every format, by its name."""
    files = {}
    one.go("results", "Results", case=case)
    one.page.get_by_text("Labels for other programs", exact=True).click()
    choose(one.page, "Labels", f"Reader {reader}")
    for name in names:
        choose(one.page, "Format", FORMATS[name].title)
        one.page.get_by_role("button", name=f"Download {case}").wait_for(state="detached")  # of the format before
        one.page.get_by_role("button", name="Export", exact=True).click()
        if not files:
            one.page.get_by_role("button", name=f"Download {case}").wait_for()
            camera.shoot(one.page, "results-labels")
        (out / name).mkdir(parents=True, exist_ok=True)
        files[name] = one.download(f"Download {case}", out / name)
    return files


def take_in(one: Installation, file: Path, name: str, reader: str, camera: Camera) -> None:
    """Import a file of labels for a reader, through the page."""
    one.go("data", "Data")
    one.page.get_by_text("Import labels", exact=True).click()
    one.page.locator('input[type="file"]').first.set_input_files(file)
    one.page.get_by_label("Reader", exact=True).fill(reader)
    one.page.keyboard.press("Enter")
    wait_until_still(one.page)
    one.page.get_by_text("Finish these fields").click()
    wait_until_still(one.page)
    if "import" not in " ".join(camera.taken):
        camera.shoot(one.page, "data-import")
    one.page.get_by_role("button", name="Import ").last.click()
    one.page.get_by_text(f"imported for {reader}").wait_for()


def look_around(one: Installation, case: str, camera: Camera) -> None:
    """Pictures of every page, and of what opens on the Review page, after the case was read."""
    if camera.folder is None:
        return
    for name, keys in REVIEW_STATES.items():
        one.go("review", "Review", reader="Carl", case=case)
        one.page.locator(".viewer[data-ready]").wait_for()
        for key in keys:
            one.page.keyboard.press(key)
            one.page.wait_for_timeout(SETTLE_MS)
        camera.shoot(one.page, f"review-{name}")
    for view in ("History", "Agreement"):
        one.go("review", "Review", reader=MOUSE, case=case)
        one.page.get_by_test_id("stButtonGroup").get_by_text(view, exact=True).click()
        wait_until_still(one.page)
        camera.shoot(one.page, f"review-{view.lower()}")
    for name, title in TITLES.items():
        one.go(name, title)
        camera.shoot(one.page, name)
    for button in ("Help", MOUSE):
        one.go("cases", "Cases", reader=MOUSE)
        one.page.locator(".st-key-frame").get_by_role("button", name=button).click()
        camera.shoot(one.page, f"frame-{button.lower()}")


# ---- the whole way


def walk(
    browser: Any,
    files: Sequence[Path],
    truth: Truth | None,
    um_per_px: float,
    out: Path,
    *,
    names: Sequence[str],
    camera: Camera,
    app: str = "app.py",
) -> dict[str, Any]:
    """All stages; what was counted."""
    said: dict[str, Any] = {}
    case = files[0].stem.partition("_")[0]
    with installation(browser, out / "first", app) as first:
        add_case(first, files, um_per_px, camera)
        said["mouse"] = read_case(first, MouseReader(first.page, truth), MOUSE, case, camera)
        said["keyboard"] = read_case(first, KeyboardReader(first.page, truth), KEYS, case, camera)
        said["counts"] = {reader: counts(first.store, reader) for reader in (MOUSE, KEYS)}
        said["reports"] = report_case(first, case, out, camera)
        exported = export(first, case, MOUSE, names, out / "exported", camera)
        look_around(first, case, camera)
    with installation(browser, out / "second", app) as second:
        add_case(second, files, um_per_px, Camera(None))
        for name, file in exported.items():
            take_in(second, file, name, f"from {name}", camera)
        said["imported"] = {name: counts(second.store, f"from {name}") for name in exported}
    return said


def different(said: Mapping[str, Any]) -> list[str]:
    """The formats from which other counts came back than went out, of the verdicts that they hold."""
    went: Counter[str] = said["counts"][MOUSE]

    def held(name: str) -> Counter[str]:
        return Counter({verdict: went[verdict] for verdict in FORMATS[name].keeps.labels if went[verdict]})

    return [name for name, came in said["imported"].items() if came != held(name)]


def read_truth(file: Path) -> dict[str, list[Place]]:
    """The mitoses of a file of centroids, by image."""
    found: dict[str, list[Place]] = {}
    with file.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["label"] == "mitosis":
                found.setdefault(row["image"], []).append((float(row["x_px"]), float(row["y_px"])))
    return found


def draw(number: int, folder: Path, size_px: int = 1024) -> tuple[list[Path], dict[str, list[Place]]]:
    """Drawn fields of case D01 as PNG, which do not say their µm/px (it is 0.25), and their mitoses."""
    files, truth = [], {}
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(1, number + 1):
        drawn = draw_sample_field(seed, size_px=size_px)
        files.append(folder / f"D01_{seed:02d}.png")
        Image.fromarray(drawn.field.pixels).save(files[-1])
        truth[files[-1].name] = [(float(x), float(y)) for x, y in drawn.mitoses_xy_px]
    return files, truth


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--fields", type=Path, help="a folder with the fields of one case")
    source.add_argument("--drawn", type=int, help="this many drawn fields")
    parser.add_argument("--out", type=Path, required=True, help="a folder for what comes out of it")
    parser.add_argument("--truth", type=Path, help="the mitoses: image,x_px,y_px,label")
    parser.add_argument("--um-per-px", type=float, default=0.25, help="of the fields, where they do not say")
    parser.add_argument("--without-pictures", action="store_true", help="of the pages")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.fields:
        files = sorted(one for one in given.fields.iterdir() if one.suffix.lower() in IMAGE_SUFFIXES)
        truth = read_truth(given.truth) if given.truth else None
    else:
        files, truth = draw(given.drawn, given.out / "fields")
    from playwright.sync_api import sync_playwright

    camera = Camera(None if given.without_pictures else given.out / "pictures")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        said = walk(browser, files, truth, given.um_per_px, given.out, names=list(FORMATS), camera=camera)
        browser.close()
    tell(said)


def tell(said: Mapping[str, Any]) -> None:
    """Print what was counted."""
    for hand in ("mouse", "keyboard"):
        print(f"\nby {hand}: proposals judged, missed added, actions")
        for one in said[hand]:
            print(f"  {one.name}: {one.proposals}, {one.missed}, {one.total}")
        done = said[hand]
        print(
            f"  in all: {sum(one.proposals for one in done)}, {sum(one.missed for one in done)}, "
            f"{sum(one.total for one in done)}"
        )
    print("\ncounts by verdict:", {reader: dict(number) for reader, number in said["counts"].items()})
    print("imported:")
    for name, number in said["imported"].items():
        print(f"  {name}: {dict(number)}")
    print("other counts came back from:", different(said) or "no format")


if __name__ == "__main__":
    main()
