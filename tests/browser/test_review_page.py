"""Reviewing in a real browser with the real server: what was clicked is in the database, once, whatever happens."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from db.fields import list_fields
from db.reviews import review_of
from tests.browser.review_bench import SCORES, Bench, Desk, bench, shared, until

__all__ = ["bench", "shared"]  # fixtures
pytestmark = pytest.mark.browser


def test_every_kind_of_change_reaches_the_database(bench: Bench) -> None:
    desk = bench.desk("Kinds")
    desk.click(500, 600)  # add
    desk.keys("2", "ArrowRight", "x", "Control+z")  # class, move, delete, restore
    desk.draw_area((100, 100), (900, 900)).saved()
    assert bench.kinds("Kinds") == ["state", "add", "class", "move", "delete", "restore", "area"]
    (mark,) = review_of(bench.store, bench.fields[0].id, "Kinds").standing
    assert mark.verdict == "lookalike" and (mark.x, mark.y) == (
        pytest.approx(501, abs=1.5),
        pytest.approx(600, abs=1.5),
    )
    assert review_of(bench.store, bench.fields[0].id, "Kinds").area.edges == pytest.approx((100, 100, 900, 900), abs=3)


def test_of_fifty_clicks_30_ms_apart_none_is_lost(bench: Bench) -> None:
    desk = bench.desk("Burst")
    for n in range(50):
        desk.click(100 + 85 * (n % 10), 420 + 110 * (n // 10))
        desk.page.wait_for_timeout(30)
    desk.saved()
    assert bench.verdicts("Burst") == ["mitosis"] * 50
    assert bench.kinds("Burst").count("add") == 50


def test_a_field_is_reviewed_by_keyboard_alone_and_the_next_one_comes(bench: Bench) -> None:
    desk = bench.desk("Keys")
    desk.keys("n", "Enter", "n", "x", "f").ready(1)
    desk.saved()
    assert bench.verdicts("Keys") == ["lookalike", "mitosis"]
    review = review_of(bench.store, bench.fields[0].id, "Keys")
    assert review.state == "complete"
    assert [mark.version for mark in review.standing] == ["fake-1", "fake-1"]
    desk.keys("[").ready(0)
    desk.keys("]").ready(1)


def test_the_time_spent_on_a_field_is_kept(bench: Bench) -> None:
    desk = bench.desk("Time")
    desk.keys("n")
    desk.page.wait_for_timeout(400)
    desk.keys("]").ready(1).saved()
    until(desk.page, lambda: 0.3 < review_of(bench.store, bench.fields[0].id, "Time").seconds < 30)


def test_two_readers_on_one_field_both_keep_their_verdicts(bench: Bench) -> None:
    one, two = bench.desk("One"), bench.desk("Two")
    for n in range(5):
        one.click(150 + 100 * n, 500)
        two.click(150 + 100 * n, 700)
    one.saved()
    two.saved()
    assert bench.verdicts("One") == bench.verdicts("Two") == ["mitosis"] * 5


def test_a_stale_window_does_not_undo_a_newer_click(bench: Bench) -> None:
    old, new = bench.desk("Stale"), bench.desk("Stale")
    new.keys("n", "2").saved()
    old.keys("n", "1")
    old.page.locator(".message", has_text="changed in another window").wait_for()
    assert bench.verdicts("Stale") == ["lookalike"]
    old.saved()
    until(old.page, lambda: old.page.locator("[aria-label*='Look-alike'] >> nth=0").count() > 0)


@pytest.mark.parametrize("key", ["x", "1"])
def test_undo_leaves_alone_what_another_window_has_said(bench: Bench, key: str) -> None:
    reader = f"Undoing {key}"
    old, new = bench.desk(reader), bench.desk(reader)
    new.keys("n", "1").saved()
    old.keys("n", key)
    old.page.locator(".message", has_text="the newer change stands").wait_for()
    old.saved()
    old.keys("Control+z").saved()
    assert bench.verdicts(reader) == ["mitosis"] and "delete" not in bench.kinds(reader)


def test_a_finished_field_is_locked_until_it_is_reopened(bench: Bench) -> None:
    desk = bench.desk("Locked")
    desk.keys("n", "1", "n", "1", "f").ready(1)
    desk.keys("[").ready(0)
    desk.keys("0")  # the whole field
    before = bench.kinds("Locked")
    desk.click(500, 700)
    desk.page.locator(".message", has_text="This field is finished. Reopen it to change it.").wait_for()
    desk.keys("n", "2", "x", "Delete", "Control+z")
    desk.saved()
    assert bench.kinds("Locked") == before
    desk.page.get_by_role("button", name="Review this field again").click()
    desk.page.get_by_text("In review", exact=True).wait_for()
    desk.keys("0")
    desk.click(500, 700)
    desk.saved()
    assert bench.kinds("Locked") == [*before, "state", "add"]


def test_a_reopened_field_is_finished_again_at_once(bench: Bench) -> None:
    desk = bench.desk("Again")
    desk.keys("n", "1", "n", "1", "f").ready(1)
    desk.keys("[").ready(0)
    desk.page.get_by_role("button", name="Review this field again").click()
    desk.page.get_by_text("In review", exact=True).wait_for()
    desk.keys("f").ready(1).saved()
    assert review_of(bench.store, bench.fields[0].id, "Again").state == "complete"


def test_a_field_with_proposals_only_outside_its_reviewed_area_is_passed_over(bench: Bench) -> None:
    desk = bench.desk("Outside", 1)
    desk.draw_area((100, 500), (900, 900)).saved()
    desk.page.get_by_text("0 cells").wait_for()
    desk.open(0)
    desk.keys("n", "1", "n", "1", "j").ready(2)


def test_a_click_on_a_field_that_was_finished_in_another_window_is_kept_aside_and_not_sent_again(bench: Bench) -> None:
    old, new = bench.desk("Elsewhere"), bench.desk("Elsewhere")
    new.keys("n", "1", "n", "1", "f").ready(1)
    sent: list[str] = []
    old.page.on("request", lambda request: request.url.endswith("/api/ops") and sent.append(request.url))
    old.click(500, 700)
    old.page.locator(".message", has_text="This field is finished.").wait_for()
    old.saved()  # nothing waits any more
    old.page.get_by_text("Complete", exact=True).wait_for()  # the page has brought what is so
    before = len(sent)
    old.page.wait_for_timeout(3000)
    assert len(sent) == before <= 3 and bench.verdicts("Elsewhere") == ["mitosis"] * 2
    old.page.get_by_text("NOT SAVED (1)").wait_for()  # it can be sent again once the field is reopened
    old.page.get_by_role("button", name="Review this field again").click()
    old.saved()
    old.page.get_by_role("button", name="Send what was not saved again").click()
    until(old.page, lambda: bench.verdicts("Elsewhere") == ["mitosis"] * 3)


def test_the_view_is_kept_while_the_page_runs_again(bench: Bench) -> None:
    desk = bench.desk("View")
    desk.keys("n", "z", "1")
    desk.page.wait_for_timeout(300)
    before = desk.page.locator(".sheet").get_attribute("style")
    desk.saved()
    desk.page.get_by_text("· in review").wait_for()  # the page has run again
    assert desk.page.locator(".sheet").get_attribute("style") == before


def test_nothing_is_lost_when_the_server_is_killed_under_a_reader(browser: Any, tmp_path: Path) -> None:
    bench = Bench(browser, tmp_path)
    bench.server.start()
    try:
        desk = bench.desk("Kill")
        desk.click(150, 500)
        desk.saved()
        bench.server.kill()
        for n in range(1, 8):
            desk.click(150 + 90 * n, 500)
        desk.page.locator(".pill", has_text="NOT SAVED").wait_for()
        assert "7" in desk.page.locator(".pill").inner_text()
        bench.server.start()
        desk.page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
        desk.open(0)
        until(desk.page, lambda: bench.verdicts("Kill") == ["mitosis"] * 8)
        desk.saved()
        assert bench.kinds("Kill").count("add") == 8
        assert desk.page.locator(".mark").count() == 8 + sum(score >= 0.5 for score in SCORES)
    finally:
        for context in bench.contexts:
            context.close()
        bench.server.kill()


def test_a_field_is_deleted_after_a_question(browser: Any, tmp_path: Path) -> None:
    bench = Bench(browser, tmp_path)
    bench.server.start()
    try:
        desk = bench.desk("Delete")
        desk.page.get_by_role("button", name="Delete this field…").click()
        assert len(list_fields(bench.store)) == 3
        desk.page.get_by_role("button", name="Delete field", exact=True).click()
        desk.ready(1)
        assert [one.id for one in list_fields(bench.store)] == [one.id for one in bench.fields[1:]]
    finally:
        for context in bench.contexts:
            context.close()
        bench.server.kill()


@pytest.mark.parametrize("trouble", ["damaged", "locked"])
def test_a_click_waits_for_a_store_that_cannot_be_used_when_the_server_starts(
    browser: Any, tmp_path: Path, trouble: str
) -> None:
    bench = Bench(browser, tmp_path)
    try:
        desk = _clicked_without_a_server(bench)
        file, mended = bench.store.file, tmp_path / "mended"
        bench.store.close()
        other = sqlite3.connect(file, isolation_level=None)
        if trouble == "locked":
            other.execute("BEGIN IMMEDIATE")
        else:
            other.close()
            file.rename(mended)
            file.write_bytes(b"no database " * 1000)
        bench.server.start()
        with desk.page.expect_response(lambda one: one.url.endswith("/api/ops") and one.status == 503) as answer:
            pass
        assert answer.value.headers["retry-after"] and answer.value.json()["error"]
        if trouble == "locked":
            other.execute("ROLLBACK")
            other.close()
        else:
            mended.rename(file)
        until(desk.page, lambda: bench.verdicts() == ["mitosis"])
        assert not desk.page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('concentric-refused'))")
    finally:
        for context in bench.contexts:
            context.close()
        bench.server.kill()


def _clicked_without_a_server(bench: Bench) -> Desk:
    bench.server.start()
    desk = bench.desk()
    bench.server.kill()
    desk.click(500, 600)
    desk.page.locator(".viewer:not([data-outbox='0'])").wait_for()
    return desk
