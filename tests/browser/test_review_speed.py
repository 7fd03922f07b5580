"""Reviewing quickly, in a real browser with the real server: fewer actions, and nothing changed by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.labels import reviewed_fields
from db.preferences import change_preferences, read_preferences
from db.reviews import history, review_of
from tests.browser.review_bench import PROPOSED, SIDE, Bench, Desk, bench, shared, until

__all__ = ["bench", "shared"]  # fixtures
pytestmark = pytest.mark.browser
FIRST, SECOND = PROPOSED[:2]  # those above the threshold
EMPTY = (500, 600)


@pytest.fixture(autouse=True)
def _as_it_comes(shared: Bench) -> Iterator[None]:
    yield
    change_preferences(shared.store, "", advance=True, key_layout="standard")


def selected(desk: Desk) -> tuple[float, float] | None:
    """Where the selected mark is."""
    mark = desk.page.locator(".mark.selected")
    if not mark.count():
        return None
    x, y = mark.get_attribute("transform").split("(")[1].split(")")[0].split()
    return float(x) - 0.5, float(y) - 0.5


def right_click(desk: Desk, place: tuple[float, float], choice: str) -> None:
    desk.page.mouse.click(*desk.at(*place), button="right")
    desk.page.get_by_role("menuitem", name=choice).click()


# ---- after a verdict


def test_a_verdict_leads_to_the_next_cell_and_after_the_last_to_the_whole_field(bench: Bench) -> None:
    desk = bench.desk("Advance")
    desk.keys("n", "1")
    assert selected(desk) == SECOND
    x, y = desk.at(*SECOND)
    box = desk.page.locator(".stage").bounding_box()
    assert (x, y) == pytest.approx((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), abs=2)  # panned to it
    desk.keys("2")
    assert selected(desk) is None
    desk.page.get_by_text("All cells of this field are decided.").first.wait_for()
    assert desk.page.locator(".sheet").bounding_box()["height"] <= box["height"] + 1
    desk.saved()
    assert bench.verdicts("Advance") == ["lookalike", "mitosis"]
    desk.keys("j").ready(1)
    assert selected(desk) == FIRST
    assert review_of(bench.store, bench.fields[0].id, "Advance").state == "in_review"


def test_a_second_thought_on_a_cell_stays_at_it(bench: Bench) -> None:
    desk = bench.desk("Again")
    desk.keys("n", "1", "0")
    desk.click(*EMPTY)
    desk.keys("2", "3").saved()
    assert bench.verdicts("Again") == ["mitosis", "unsure"]


def test_advancing_is_switched_off_and_stays_so(bench: Bench) -> None:
    desk = bench.desk("Off")
    desk.page.get_by_label("Advance").uncheck()
    until(desk.page, lambda: not read_preferences(bench.store, "").advance)
    desk.keys("n", "1")
    assert selected(desk) == FIRST
    desk.open(0).keys("n", "1")
    assert selected(desk) == SECOND  # the first is decided: N leads to the second, and the verdict stays there


def test_a_field_with_three_proposals_and_two_misses_takes_six_actions(browser: Any, tmp_path: Path) -> None:
    """Ten without advancing: N and a verdict for each, 0 to see the whole field, two clicks, F."""
    one = Bench(browser, tmp_path, scores=[0.9, 0.8, 0.7])
    one.server.start()
    try:
        desk = one.desk("Six")
        desk.keys("n", "1", "1", "2", "f").ready(1)
        assert selected(desk) == FIRST  # of the next field
        desk.keys("1", "1", "2")
        desk.click(300, 600)
        desk.click(600, 700)
        desk.keys("f").ready(2).saved()
        assert one.verdicts("Six", 1) == ["lookalike", "mitosis", "mitosis", "mitosis", "mitosis"]
        assert review_of(one.store, one.fields[1].id, "Six").state == "complete"
    finally:
        for context in one.contexts:
            context.close()
        one.server.kill()


# ---- at the cell


def test_the_verdict_is_given_at_the_cell(bench: Bench) -> None:
    desk = bench.desk("Ring")
    right_click(desk, FIRST, "Look-alike")
    right_click(desk, EMPTY, "Unsure")
    desk.saved()
    assert bench.verdicts("Ring") == ["lookalike", "unsure"]
    right_click(desk, EMPTY, "Delete")
    desk.saved()
    assert bench.verdicts("Ring") == ["lookalike"]


def test_the_ring_by_keyboard_and_a_press_beside_it_changes_nothing(bench: Bench) -> None:
    desk = bench.desk("RingKeys")
    desk.keys("n", "o", "ArrowRight", "Enter").saved()
    assert bench.verdicts("RingKeys") == ["lookalike"]
    desk.keys("o", "Escape", "o", "3").saved()
    assert bench.verdicts("RingKeys") == ["lookalike", "unsure"]
    before = bench.kinds("RingKeys")
    desk.page.mouse.click(*desk.at(*EMPTY), button="right")
    desk.click(700, 700)
    desk.page.locator(".verdict-ring").wait_for(state="hidden")
    desk.saved()
    assert bench.kinds("RingKeys") == before


def test_a_long_press_of_a_finger_opens_the_ring(bench: Bench) -> None:
    desk = bench.desk("Finger", has_touch=True)
    touch = desk.page.context.new_cdp_session(desk.page)
    x, y = desk.at(*FIRST)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    desk.page.get_by_role("menuitem", name="Unsure").wait_for()
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    desk.page.get_by_role("menuitem", name="Unsure").tap()
    desk.saved()
    assert bench.verdicts("Finger") == ["unsure"]


# ---- the keys


@pytest.mark.parametrize(
    ("layout", "keys"),
    [("standard", "n12f"), ("left hand", "d12f"), ("right hand", "l78m")],
)
def test_a_field_is_reviewed_with_one_hand(bench: Bench, layout: str, keys: str) -> None:
    desk = bench.desk(f"Hand {layout}")
    desk.page.get_by_role("button", name="Keys", exact=True).click()
    desk.page.get_by_label("Layout of the keys").select_option(layout)
    until(desk.page, lambda: read_preferences(bench.store, "").key_layout == layout)
    rows = desk.page.locator(".help dt").all_inner_texts()
    assert keys[0].upper() in rows and keys[-1].upper() in rows
    assert len(set(rows)) == len(rows)  # no key means two things
    desk.keys("Escape")
    desk.viewer.focus()
    desk.keys(*keys).ready(1)
    assert bench.verdicts(desk.reader) == ["lookalike", "mitosis"]


def test_the_keys_work_after_other_pages_and_after_clicks_that_type_nothing(bench: Bench) -> None:
    desk = bench.desk("Focus")
    desk.page.get_by_text("History", exact=True).click()
    desk.page.get_by_text("no changes yet").wait_for()
    desk.page.get_by_text("Review", exact=True).last.click()
    desk.ready(0)
    desk.keys("n")
    assert selected(desk) == FIRST
    desk.page.get_by_text("fields done").click()
    desk.page.locator(".viewer:focus").wait_for()
    desk.page.get_by_label("Case of").click()  # there one types
    desk.page.wait_for_timeout(600)
    assert not desk.page.locator(".viewer:focus").count()
    desk.page.get_by_text("Click here to use the keys").click()
    desk.keys("1").saved()
    assert bench.verdicts("Focus") == ["mitosis"]


# ---- nothing by mistake


def test_a_double_click_only_zooms(bench: Bench) -> None:
    desk = bench.desk("Double")
    width = desk.page.locator(".sheet").bounding_box()["width"]
    desk.page.mouse.dblclick(*desk.at(*EMPTY))
    desk.saved()
    assert desk.page.locator(".sheet").bounding_box()["width"] > 2 * width
    assert bench.verdicts("Double") == [] and desk.page.locator(".mark").count() == 2
    desk.keys("Control+Shift+Z", "Control+z").saved()  # nothing to be brought back
    assert bench.verdicts("Double") == []
    desk.keys("0")
    desk.page.mouse.dblclick(*desk.at(*FIRST))
    desk.saved()
    assert bench.verdicts("Double") == [] and selected(desk) == FIRST


def test_two_clicks_at_two_places_are_two_marks(bench: Bench) -> None:
    desk = bench.desk("Two places")
    desk.click(500, 600)
    desk.click(560, 600)
    desk.saved()
    assert bench.verdicts("Two places") == ["mitosis"] * 2


def test_nothing_changes_while_one_only_looks(bench: Bench) -> None:
    desk = bench.desk("Looker")
    desk.keys("l")
    desk.page.get_by_text("Look only: nothing is changed").first.wait_for()
    desk.click(*EMPTY)
    desk.click(*FIRST)
    desk.keys("1", "x", "Delete", "f", "ArrowRight")
    desk.page.mouse.click(*desk.at(*EMPTY), button="right")
    desk.page.mouse.move(*desk.at(*FIRST))
    desk.page.mouse.down()
    desk.page.mouse.move(*desk.at(600, 700), steps=4)
    desk.page.mouse.up()
    desk.keys("]").ready(1)
    desk.saved()
    assert history(bench.store, bench.fields[0].id, "Looker") == []
    desk.keys("l", "n", "1").saved()
    assert bench.verdicts("Looker", 1) == ["mitosis"]


# ---- the case


def test_the_gallery_shows_all_fields_of_the_case_and_stores_to_the_right_one(bench: Bench) -> None:
    desk = bench.desk("Gallery")
    desk.page.wait_for_timeout(500)  # the fields that come next are fetched ahead
    asked: list[str] = []
    desk.page.on("request", lambda request: asked.append(request.url))
    desk.keys("k")
    tiles = desk.page.locator(".tile")
    tiles.nth(5).wait_for()
    assert tiles.count() == 6
    until(desk.page, lambda: sum("/api/crops/" in url for url in asked) == 6)
    assert not [url for url in asked if "/api/images/" in url]
    names = desk.page.locator(".tile .picture").evaluate_all("all => all.map((one) => one.title.slice(0, 2))")
    desk.keys(*"121212")
    desk.saved()
    given = list(zip(names, ["mitosis", "lookalike"] * 3, strict=True))
    for field in range(3):
        assert bench.verdicts("Gallery", field) == sorted(verdict for name, verdict in given if name == f"f{field}")
    assert sorted(names) == ["f0", "f0", "f1", "f1", "f2", "f2"]
    tile = tiles.filter(has=desk.page.locator("[title^='f2']")).first
    tile.locator(".picture").click()
    desk.ready(2)
    assert selected(desk) in (FIRST, SECOND)
    desk.page.locator(".case-gallery").wait_for(state="hidden")


def test_a_verdict_is_clicked_and_undone_in_the_gallery(bench: Bench) -> None:
    desk = bench.desk("Clicked")
    desk.keys("k")
    tile = desk.page.locator(".tile", has=desk.page.locator("[title^='f1']")).first
    tile.get_by_role("button", name="Unsure", exact=True).click()
    desk.saved()
    assert bench.verdicts("Clicked", 1) == ["unsure"] and not bench.verdicts("Clicked", 0)
    desk.page.get_by_role("button", name="Undo the last verdict").click()
    desk.saved()
    assert bench.verdicts("Clicked", 1) == []


def test_the_strip_leads_to_a_field_and_back_and_reload_work(bench: Bench) -> None:
    desk = bench.desk("Strip")
    desk.keys("n", "1", "2", "f").ready(1)
    desk.page.locator(".thumbnail[data-state='complete']").wait_for()
    desk.page.locator(".thumbnail").nth(2).click()
    desk.ready(2)
    until(desk.page, lambda: f"field={bench.fields[2].id}" in desk.page.url)
    desk.page.reload()
    desk.ready(2)
    desk.page.go_back()
    desk.ready(1)


def test_a_case_has_an_address(bench: Bench) -> None:
    desk = bench.desk("Address")
    desk.page.goto(f"{bench.server.address}/review?reader=Address&case=case")
    desk.ready(0)
    desk.page.goto(f"{bench.server.address}/review?reader=Address&case=nowhere")
    desk.page.get_by_text("There is no case named nowhere").wait_for()


def test_a_case_that_is_read_leads_on(browser: Any, tmp_path: Path) -> None:
    one = Bench(browser, tmp_path)
    one.server.start()
    try:
        desk = one.desk("End")
        for field in range(3):
            desk.ready(field)
            desk.keys(*(("n",) if field == 0 else ()), "1", "2", "f")
        desk.page.get_by_text("Case case is read").wait_for()
        assert desk.page.get_by_text("3 mitoses in 3 fields").count()
        desk.page.get_by_role("button", name="Retrain").wait_for()
    finally:
        for context in one.contexts:
            context.close()
        one.server.kill()


# ---- looking closer


def test_marks_are_hidden_while_the_key_is_held_and_switched_by_a_tap(bench: Bench) -> None:
    desk = bench.desk("Hide")
    marks = desk.page.locator(".mark").first
    desk.page.keyboard.down("v")
    desk.page.wait_for_timeout(400)
    assert not marks.is_visible()
    desk.page.keyboard.up("v")
    assert marks.is_visible()
    desk.keys("v")
    assert not marks.is_visible()
    desk.keys("v")
    assert marks.is_visible()


def test_brightness_and_contrast_change_the_display_and_are_reset(bench: Bench) -> None:
    desk = bench.desk("Bright")
    desk.keys("b")
    desk.page.get_by_label("Brightness", exact=True).fill("1.5")
    assert "brightness(1.5)" in desk.page.locator("img.field").get_attribute("style")
    desk.keys("]").ready(1)
    assert "brightness(1.5)" in desk.page.locator("img.field").get_attribute("style")
    desk.page.get_by_role("button", name="Brightness and contrast as they were").click()
    assert not desk.page.locator("img.field").evaluate("image => image.style.filter")


@pytest.mark.parametrize("taps", [False, True])
def test_the_ruler_measures_in_um(bench: Bench, taps: bool) -> None:
    desk = bench.desk(f"Ruler {taps}")
    desk.keys("m")
    desk.page.mouse.move(*desk.at(200, 600))
    desk.page.mouse.down()
    if taps:
        desk.page.mouse.up()
    desk.page.mouse.move(*desk.at(600, 600), steps=4)
    if taps:
        desk.page.mouse.down()
    desk.page.mouse.up()
    text = desk.page.locator(".ruler-length").inner_text()  # 400 pixels of 0.25 µm
    assert text.endswith(" µm") and float(text.split()[0]) == pytest.approx(100, abs=1)
    desk.saved()
    assert bench.kinds(desk.reader) == []


def test_a_comment_is_kept_with_the_cell_and_shown_in_the_history(bench: Bench) -> None:
    desk = bench.desk("Comment")
    desk.click(*EMPTY)
    desk.keys("c")
    desk.page.keyboard.type("rx, out of focus")
    desk.keys("Enter").saved()
    desk.keys("2").saved()
    (mark,) = review_of(bench.store, bench.fields[0].id, "Comment").standing
    assert (mark.comment, mark.verdict) == ("rx, out of focus", "lookalike")
    desk.page.get_by_text("History", exact=True).click()
    desk.page.locator(".viewer[data-editable]").wait_for(state="detached")
    desk.page.mouse.move(*desk.at(*EMPTY))
    desk.page.locator(".tag", has_text="“rx, out of focus”").wait_for()
    desk.page.get_by_text("Look only", exact=True).first.wait_for()


# ---- several readers


def test_a_dispute_is_settled_by_one_key(browser: Any, tmp_path: Path) -> None:
    one = Bench(browser, tmp_path)
    one.server.start()
    try:
        for reader, keys in (("Ann", "n11f"), ("Bob", "n12f")):
            desk = one.desk(reader)
            desk.keys(*keys).ready(1).saved()
        desk.page.get_by_text("Agreement", exact=True).click()
        desk.page.get_by_text("Dispute 1 of 1").wait_for()
        picture = desk.page.locator(".dispute img")
        until(desk.page, lambda: picture.evaluate("image => image.naturalWidth > 0"))
        desk.keys("1")
        desk.page.get_by_text("No cell is disputed").wait_for()
        assert one.verdicts("Bob") == ["mitosis", "mitosis"]
        assert len(reviewed_fields(one.store)[0].mitoses_xy_px) == 2
    finally:
        for context in one.contexts:
            context.close()
        one.server.kill()


# ---- tablets


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (768, 1024)])
def test_on_a_tablet_nothing_is_cut_and_the_verdicts_are_in_reach(bench: Bench, width: int, height: int) -> None:
    desk = bench.desk(f"Tablet {width}", has_touch=True)
    desk.page.set_viewport_size({"width": width, "height": height})
    desk.page.wait_for_timeout(400)
    assert desk.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert desk.viewer.evaluate("one => one.scrollWidth <= one.clientWidth")
    panel = desk.page.locator(".panel")
    assert panel.evaluate("one => one.scrollWidth <= one.clientWidth")
    desk.page.touchscreen.tap(*desk.at(*FIRST))
    verdict = desk.page.get_by_role("group", name="Verdict").get_by_role("button", name="Look-alike")
    box = verdict.bounding_box()
    assert box["height"] >= 44 and box["y"] + box["height"] <= height
    verdict.tap()
    desk.saved()
    assert bench.verdicts(desk.reader) == ["lookalike"]


def test_a_missed_cell_is_marked_by_keys_alone(bench: Bench) -> None:
    desk = bench.desk("Keys alone")
    desk.keys("ArrowRight", "ArrowDown", "Shift+ArrowRight")
    aim = desk.page.locator(".aim")
    aim.wait_for()
    box, sheet = aim.bounding_box(), desk.page.locator(".sheet").bounding_box()
    scale = sheet["width"] / SIDE
    middle = [
        (box[axis] + box[size] / 2 - sheet[axis]) / scale - 0.5 for axis, size in (("x", "width"), ("y", "height"))
    ]
    desk.keys("o", "2").saved()
    assert bench.verdicts("Keys alone") == ["lookalike"]
    (mark,) = review_of(bench.store, bench.fields[0].id, "Keys alone").standing
    assert (mark.x, mark.y) == pytest.approx(middle, abs=1)
    desk.click(500, 500)
    aim.wait_for(state="hidden")


def test_the_whole_viewer_is_in_sight_below_what_stands_above_it(bench: Bench) -> None:
    desk = bench.desk("In sight")
    for following in (1, 2, 2):
        desk.keys("n", "1", "1", "f").ready(following)
    desk.page.get_by_text("is read:").wait_for()  # a row more
    for width, height in ((1440, 900), (1024, 768), (768, 1024)):
        desk.page.set_viewport_size({"width": width, "height": height})

        def ends(height: int = height) -> bool:
            box = desk.viewer.bounding_box()
            return 0 < height - box["y"] - box["height"] < 80

        until(desk.page, ends)


def test_what_says_that_all_is_decided_hides_no_cell(bench: Bench) -> None:
    desk = bench.desk("Nothing hidden")
    desk.keys("n", "1", "1").saved()
    said = desk.page.get_by_text("All cells of this field are decided.").first
    said.wait_for()
    stage, line = desk.page.locator(".stage").bounding_box(), said.bounding_box()
    assert line["x"] >= stage["x"] + stage["width"] or line["y"] >= stage["y"] + stage["height"]


# A field that the viewer shows ahead of the page, and then what the page said of the field before, late.
LATE = """async () => {
  const host = [...document.querySelectorAll("*")].find((one) => one.shadowRoot?.querySelector(".viewer"));
  const { viewer } = [host.shadowRoot, ...host.shadowRoot.querySelectorAll("*")].find((one) => one.viewer);
  const { component } = viewer, before = component.data;
  const [field, ahead] = Object.entries(before.next_fields.fields)[0];
  viewer.showAhead(ahead, viewer.triggers + 1);
  viewer.update({ ...component, data: { ...before, last_step: viewer.triggers } });
  await new Promise((done) => setTimeout(done, 4000));
  return [field, viewer.root.dataset.ready];
}"""


def test_a_slow_server_throws_nobody_back_to_the_field_that_was_left(bench: Bench) -> None:
    desk = bench.desk("Slow server")
    ahead, shown = desk.page.evaluate(LATE)
    assert shown == ahead != str(bench.fields[0].id)
