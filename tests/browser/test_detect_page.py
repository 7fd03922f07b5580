"""The Detect page in a real browser: what only a browser can show."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mitosis_core.image.sample_field import draw_sample_field

pytestmark = pytest.mark.browser

Boxes = npt.NDArray[np.float64]
MITOSES, LOOKALIKES = 6, 8  # of the sample: scores 0.95, 0.90, ... and 0.45, 0.40, ...


@pytest.fixture
def viewer(page: Any) -> Any:
    """The viewer with the analysed sample."""
    page.get_by_role("button", name="Try a sample field").click()
    one = page.locator(".viewer[data-ready]")
    one.wait_for()
    page.wait_for_function(f"({ROOT_JS}).querySelector('img.field').naturalWidth > 0")
    return one


# The component lives in a shadow root, into which querySelector does not look.
ROOT_JS = "[...document.querySelectorAll('*')].find((e) => e.shadowRoot?.querySelector('.viewer')).shadowRoot"


def view(page: Any) -> str:
    return str(page.locator(".sheet").get_attribute("style"))


def boxes(page: Any) -> tuple[Boxes, Boxes]:
    """The image and all rings on the screen as rows of x, y, width, height, at one moment: the page may move."""
    box = "(one) => { const at = one.getBoundingClientRect(); return [at.x, at.y, at.width, at.height]; }"
    image, rings = page.evaluate(
        f"() => {{ const root = {ROOT_JS}, box = {box};"
        "return ['img.field', '.mark .ring'].map((kind) => [...root.querySelectorAll(kind)].map(box)); }"
    )
    assert all(width > 10 and height > 10 for _, _, width, height in rings), "a ring can be seen"
    return np.array(image[0]), np.array(rings)


def circles(page: Any) -> list[tuple[float, float]]:
    """Centres of all rings on the screen."""
    return [(x + width / 2, y + height / 2) for x, y, width, height in boxes(page)[1].tolist()]


def slide_to(page: Any, score: float) -> None:
    page.locator(".score input").fill(str(score))
    page.locator(".score input").dispatch_event("change")


def test_every_mitosis_has_a_ring_round_it(page: Any, viewer: Any) -> None:
    image, rings = boxes(page)
    scale = image[2] / 1024
    expected = (draw_sample_field().mitoses_xy_px + 0.5) * scale + image[:2]
    found = rings[:, :2] + rings[:, 2:] / 2
    assert len(found) == MITOSES
    away = np.linalg.norm(found[:, None] - expected[None], axis=2).min(axis=0)
    assert away.max() < 1.5
    assert page.locator(".count").inner_text().split() == ["6", "mitoses"]


def test_the_score_slider_changes_rings_count_and_table(page: Any, viewer: Any) -> None:
    page.locator(".score input").fill("0.41")  # still being dragged
    assert page.locator(".mark").count() == MITOSES + 1
    assert page.locator(".crop:visible").count() == MITOSES + 1
    assert page.locator(".count").inner_text().split() == ["7", "mitoses"]
    page.locator(".score input").dispatch_event("change")
    page.get_by_text("score 0.41").wait_for()
    page.get_by_role("button", name="reset").click()
    page.get_by_text("score 0.50").wait_for()
    assert page.locator(".mark").count() == MITOSES


def test_a_click_in_the_gallery_brings_the_cell_to_the_middle(page: Any, viewer: Any) -> None:
    page.locator(".crop").nth(2).click()
    stage = page.locator(".stage").bounding_box()
    ring = page.locator(".mark.selected .ring").bounding_box()
    assert abs(ring["x"] + ring["width"] / 2 - stage["x"] - stage["width"] / 2) < 1.5
    assert abs(ring["y"] + ring["height"] / 2 - stage["y"] - stage["height"] / 2) < 1.5
    assert page.locator(".tag").inner_text() == "0.85"


def test_crops_show_the_cells(page: Any, viewer: Any) -> None:
    page.wait_for_function(
        f"[...({ROOT_JS}).querySelectorAll('.crop canvas')].every((c) => "
        "c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[3] === 255)"
    )


def test_the_view_survives_a_rerun(page: Any, viewer: Any) -> None:
    page.locator(".crop").nth(1).click()
    page.keyboard.press("+")
    before = view(page)
    slide_to(page, 0.3)
    page.get_by_text("score 0.30").wait_for()
    assert view(page) == before
    assert page.locator(".mark.selected").count() == 1


def test_keys_work_in_the_viewer_and_do_not_leak(page: Any, viewer: Any) -> None:
    leaked = "window.leaked = []; document.addEventListener('keydown', (e) => window.leaked.push(e.key))"
    page.evaluate(leaked)
    viewer.focus()
    page.keyboard.press("n")
    assert page.locator(".tag").inner_text() == "0.95"
    page.keyboard.press("n")
    assert page.locator(".tag").inner_text() == "0.90"
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert page.locator(".tag").inner_text() == "0.70"
    for key in ("r", "c", "h", "-", "0"):
        page.keyboard.press(key)
    assert page.locator("img.heat").is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".mark.selected").count() == 0
    assert page.evaluate("window.leaked") == []


def test_the_wheel_zooms_at_the_pointer_and_dragging_moves(page: Any, viewer: Any) -> None:
    x, y = circles(page)[0]
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"!({ROOT_JS}).querySelector('.sheet').style.transform.endsWith('scale(1)')")
    assert min(abs(a - x) + abs(b - y) for a, b in circles(page)) < 1.5
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=4)
    page.mouse.up()
    assert min(abs(a - x - 60) + abs(b - y - 40) for a, b in circles(page)) < 1.5
    assert page.locator(".mark.selected").count() == 0


def test_a_click_on_a_ring_selects_it_and_beside_it_deselects(page: Any, viewer: Any) -> None:
    page.mouse.click(*circles(page)[0])
    assert page.locator(".mark.selected").count() == 1
    stage = page.locator(".stage").bounding_box()
    page.mouse.click(stage["x"] + stage["width"] - 5, stage["y"] + 5)
    assert page.locator(".mark.selected").count() == 0


def test_the_scale_bar_is_as_long_as_it_says(page: Any, viewer: Any) -> None:
    for key in ("0", "+", "+", "-"):
        viewer.press(key)
        bar, image = page.locator(".scale-bar"), page.locator("img.field").bounding_box()
        um = float(bar.inner_text().removesuffix(" µm"))
        assert bar.bounding_box()["width"] == pytest.approx(um / 0.25 * image["width"] / 1024, abs=1)


def test_files_with_a_bad_one_among_them(page: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    page.locator("input[type=file]").set_input_files(
        [
            {"name": "good.png", "mimeType": "image/png", "buffer": file.getvalue()},
            {"name": "bad.png", "mimeType": "image/png", "buffer": b"nonsense"},
        ]
    )
    page.get_by_text("How large is a pixel?").wait_for()
    page.get_by_role("combobox", name="Scanner").click()
    page.get_by_role("option").first.click()
    page.locator(".viewer[data-ready]").wait_for()
    assert page.locator(".mark").count() == 1
    assert page.get_by_text("bad.png").is_visible()


def test_nothing_is_asked_of_other_machines(browser: Any, server: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server}/detect")
    page.get_by_role("button", name="Try a sample field").click()
    page.locator(".viewer[data-ready]").wait_for(timeout=30_000)
    page.get_by_role("link", name="segmitos").click()
    page.get_by_text("Import a version").wait_for()
    page.close()
    elsewhere = [url for url in asked if not url.startswith((server, "data:", "blob:"))]
    assert elsewhere == []
