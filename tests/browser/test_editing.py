"""Editing in a real browser: every change reaches the server once, whatever happens on the way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import ROOT, _wait_for
from tests.browser.fake_reviews import SCORES, SIZE

pytestmark = pytest.mark.browser

PROPOSALS = [f"p1-{place}" for place, score in enumerate(SCORES) if score >= 0.5]
PROPOSED = [(200 + 150 * place, 300) for place in range(len(PROPOSALS))]
EMPTY = (500, 600)  # places without a mark
EMPTY_TOO = (700, 600)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the viewer over reviews in memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("editing") / "log.txt"
    command = [sys.executable, "-m", "streamlit", "run", "tests/browser/editing_app.py", "--server.port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        log.open("w") as file,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:
            one = f"http://127.0.0.1:{port}"
            _wait_for(one, process, log)
            yield one
        finally:
            process.terminate()


class Desk:
    """A reader at the viewer. Places are pixels of the image."""

    def __init__(self, page: Any, address: str, user: str) -> None:
        self.page, self.address, self.user = page, address, user
        self.viewer = page.locator(".viewer")

    def open(self, asked: str = "") -> Desk:
        self.page.goto(f"{self.address}/?user={self.user}{asked}")
        self.ready("1")
        return self

    def ready(self, field: str) -> None:
        self.page.locator(f".viewer[data-ready='{field}']").wait_for()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image is on the screen."""
        box = self.page.locator(".sheet").bounding_box()
        scale = box["width"] / SIZE
        return box["x"] + (x + 0.5) * scale, box["y"] + (y + 0.5) * scale

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.at(x, y))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        end_on_screen = self.at(*end)
        self.page.mouse.down()
        self.page.mouse.move(*end_on_screen, steps=5)
        self.page.mouse.up()

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saved(self) -> None:
        self.page.locator(".viewer[data-outbox='0']").wait_for()

    def review(self, field: str = "1") -> dict[str, Any]:
        """What the server holds once nothing is on its way any more."""
        self.saved()
        asked = {"user": self.user, "field": field}
        return dict(self.page.request.get(f"{self.address}/test/review", params=asked).json())

    def marks(self, field: str = "1") -> dict[str, Any]:
        return dict(self.review(field)["marks"])

    def kinds(self) -> list[str]:
        return [op["kind"] for op in self.review()["ops"] if op["kind"] not in ("time", "state")]

    def fail(self, mode: str) -> None:
        """How the server answers this reader from now on; "" as it should."""
        self.page.request.post(f"{self.address}/test/mode", params={"user": self.user, "mode": mode})

    def send_from_elsewhere(self, change: dict[str, Any]) -> None:
        """A change from another window of the same reader."""
        op = {"op_id": f"{time.time_ns():032x}", "client": "elsewhere", "seq": 1, "t": 1, "field": "1", "base": 2**50}
        headers = {"X-Concentric-Token": self.user}
        self.page.request.post(f"{self.address}/api/ops", data={"field": "1", "ops": [op | change]}, headers=headers)

    @property
    def refused(self) -> Any:
        """The notice of what the server did not take."""
        return self.page.locator(".refused")

    def kept_refused(self) -> list[Any]:
        """What the browser keeps of it."""
        kept = self.page.evaluate(
            "Object.entries(localStorage).filter(([key]) => key.startsWith('concentric-refused/'))"
        )
        return [one for _, text in kept for one in json.loads(text)]

    @property
    def selected(self) -> str | None:
        mark = self.page.locator(".mark.selected")
        return mark.get_attribute("data-id") if mark.count() else None


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    one = browser.new_context(viewport={"width": 1440, "height": 900})
    one.set_default_timeout(20_000)
    yield one
    one.close()


@pytest.fixture
def stranger(context: Any, address: str, request: pytest.FixtureRequest) -> Desk:
    """A reader whose reviews nobody else has touched, before the page is opened."""
    return Desk(context.new_page(), address, request.node.name.replace("[", "-").replace("]", ""))


@pytest.fixture
def desk(stranger: Desk) -> Desk:
    return stranger.open()


# ---- every kind of change


def test_a_click_adds_and_the_keys_change_and_delete_it(desk: Desk) -> None:
    desk.click(*EMPTY)
    ((id_, mark),) = desk.marks().items()
    assert (mark["x"], mark["y"]) == pytest.approx(EMPTY, abs=1)
    assert mark["cls"] == "mitosis"
    assert desk.review()["state"] == "in_review"
    for key, verdict in (("2", "lookalike"), ("3", "unsure"), ("1", "mitosis")):
        desk.keys(key)
        assert desk.marks()[id_]["cls"] == verdict
    desk.keys("x")
    assert desk.marks() == {}
    assert desk.kinds() == ["add", "class", "class", "class", "delete"]


def test_new_marks_take_the_current_verdict(desk: Desk) -> None:
    desk.viewer.focus()
    desk.keys("2")
    desk.click(*EMPTY)
    desk.keys("Escape")
    desk.page.get_by_role("button", name="Unsure (3)").click()
    desk.click(*EMPTY_TOO)
    assert [mark["cls"] for mark in desk.marks().values()] == ["lookalike", "unsure"]


def test_dragging_a_mark_moves_it_and_dragging_elsewhere_moves_the_field(desk: Desk) -> None:
    desk.click(*EMPTY)
    desk.drag(EMPTY, (560, 640))
    (mark,) = desk.marks().values()
    assert (mark["x"], mark["y"]) == pytest.approx((560, 640), abs=1.5)
    view = desk.page.locator(".sheet").get_attribute("style")
    desk.drag(EMPTY_TOO, (760, 640))
    assert desk.page.locator(".sheet").get_attribute("style") != view
    assert desk.kinds() == ["add", "move"]


def test_arrows_nudge_the_selected_mark(desk: Desk) -> None:
    desk.click(*EMPTY)
    (before,) = desk.marks().values()
    desk.keys("ArrowRight", "Shift+ArrowUp")
    (after,) = desk.marks().values()
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((1, -5))


def test_shift_click_adds_beside_another(desk: Desk) -> None:
    desk.click(*EMPTY)
    beside = (EMPTY[0] + 15, EMPTY[1])
    desk.click(*beside)
    assert len(desk.marks()) == 1
    desk.page.keyboard.down("Shift")
    desk.click(*beside)
    desk.page.keyboard.up("Shift")
    assert len(desk.marks()) == 2


def test_proposals_are_confirmed_rejected_undecided_and_moved(desk: Desk) -> None:
    assert desk.page.locator(".mark.thin").count() == len(PROPOSALS)
    desk.click(*PROPOSED[0])
    desk.keys("Enter")
    desk.click(*PROPOSED[1])
    desk.keys("x")
    assert {id_: mark["cls"] for id_, mark in desk.marks().items()} == {"p1-0": "mitosis", "p1-1": "lookalike"}
    desk.keys("Delete")
    assert list(desk.marks()) == ["p1-0"]
    desk.drag(PROPOSED[2], (520, 340))
    assert desk.marks()["p1-2"]["cls"] == "mitosis"
    assert desk.page.locator(".mark.thin").count() == 2
    desk.click(*PROPOSED[0])
    assert desk.page.locator(".tag").inner_text() == "Mitosis · model 0.95"


def test_accepting_all_shown_is_one_step(desk: Desk) -> None:
    desk.page.get_by_role("button", name="Accept every proposal shown").click()
    assert sorted(desk.marks()) == PROPOSALS
    assert desk.page.locator(".count strong").inner_text() == "4"
    desk.page.get_by_role("button", name="Undo").click()
    assert desk.marks() == {}
    desk.keys("n", "x", "n", "x", "n", "x")
    desk.page.get_by_text("Accept the 1 shown").wait_for()


def test_undo_and_redo_go_all_the_way(desk: Desk) -> None:
    desk.click(*EMPTY)
    desk.keys("2")
    desk.drag(EMPTY, (560, 640))
    desk.click(*PROPOSED[0])
    desk.keys("a")
    end = desk.marks()
    desk.keys(*["Control+z"] * 5)  # one more than there are
    assert desk.marks() == {}
    desk.keys("Control+Shift+Z", "Control+y", "Control+y", "Control+y")
    assert desk.marks() == end
    assert desk.kinds()[-4:] == ["restore", "class", "move", "restore"]


def test_the_reviewed_area_is_drawn_and_taken_back(desk: Desk) -> None:
    desk.page.get_by_role("button", name="Draw the reviewed area").click()
    desk.drag((100, 200), (700, 900))
    assert desk.review()["area"] == pytest.approx([100, 200, 700, 900], abs=2)
    desk.page.get_by_role("button", name="The whole field is reviewed").click()
    assert desk.review()["area"] is None
    desk.keys("Control+z")
    assert desk.review()["area"] is not None
    assert desk.marks() == {}


def test_what_lies_outside_the_reviewed_area_is_not_asked_for_and_does_not_count(desk: Desk) -> None:
    desk.keys("n", "1", "Escape")  # at x = 200
    desk.keys("0")
    desk.page.get_by_role("button", name="Draw the reviewed area").click()
    desk.drag((300, 200), (600, 900))  # round two of the other three proposals
    panel = desk.page.locator(".panel")
    verdict = panel.get_by_role("button", name="Mitosis (1)")
    assert panel.locator(".count").inner_text().split() == ["0", "mitoses", "+", "2", "proposed"]
    assert verdict.locator("b").inner_text() == "0"
    assert panel.get_by_text("2 cells, 1 outside").is_visible()
    desk.click(*EMPTY_TOO)
    desk.page.locator(".message", has_text="outside the reviewed area and does not count").wait_for()
    assert desk.page.locator(".tag").inner_text() == "Mitosis · outside the reviewed area"
    desk.keys("Escape", "f")
    desk.page.get_by_role("alertdialog").get_by_text("2 proposals are undecided.").wait_for()
    desk.keys("Escape")
    panel.get_by_role("button", name="Accept every proposal shown").click()
    assert sorted(id_ for id_ in desk.marks() if id_.startswith("p1")) == PROPOSALS[:3]
    assert panel.locator(".count strong").inner_text() == verdict.locator("b").inner_text() == "2"
    panel.get_by_text("All cells of this field are decided.").wait_for()
    desk.page.get_by_role("button", name="The whole field is reviewed").click()
    assert panel.locator(".count strong").inner_text() == verdict.locator("b").inner_text() == "4"
    assert panel.get_by_text("+ 1 proposed").is_visible()


def test_another_readers_mark_cannot_be_changed(desk: Desk) -> None:
    desk.click(204, 700)
    assert desk.page.locator(".tag").inner_text() == "Look-alike · Bob"
    desk.keys("1", "x", "ArrowLeft")
    desk.drag((204, 700), (250, 750))
    assert desk.marks() == {}


# ---- nothing is lost


def test_a_burst_of_clicks_loses_none(desk: Desk) -> None:
    places = [(60 + 95 * column, 420 + 110 * row) for row in range(5) for column in range(10)]
    for place in places:
        desk.click(*place)
        desk.page.wait_for_timeout(30)
    found = sorted((round(mark["y"] / 10), round(mark["x"])) for mark in desk.marks().values())
    assert found == [(y / 10, pytest.approx(x, abs=1)) for x, y in places]
    assert desk.page.locator(".mark").count() == 50 + len(PROPOSALS) + 1


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [("busy", "The database is busy."), ("page", "no proper answer"), ("expired", "Please reload the page.")],
)
def test_a_failing_server_shows_and_a_recovered_one_gets_everything(desk: Desk, mode: str, sentence: str) -> None:
    desk.fail(mode)
    desk.click(*EMPTY)
    pill = desk.page.locator(".pill")
    pill.get_by_text("NOT SAVED (2)").wait_for()  # the mark, and that the review has begun
    assert sentence in pill.inner_text()
    desk.click(*EMPTY_TOO)
    pill.get_by_text("NOT SAVED (3)").wait_for()
    desk.fail("")
    assert len(desk.marks()) == 2
    pill.wait_for(state="hidden")


def test_what_was_not_saved_survives_a_reload(desk: Desk) -> None:
    asked = []
    desk.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    desk.fail("busy")
    desk.click(*EMPTY)
    desk.page.locator(".pill").wait_for()
    desk.page.reload()
    assert asked == ["beforeunload"]
    desk.page.locator(".pill").wait_for()
    assert desk.page.locator(".mark:not(.thin):not(.faint)").count() == 1
    desk.keys("n")
    desk.fail("")
    assert desk.kinds() == ["add"]


def test_a_closed_window_leaves_its_changes_to_the_next(desk: Desk, context: Any) -> None:
    other = Desk(context.new_page(), desk.address, desk.user).open()
    desk.fail("busy")
    desk.click(*EMPTY)
    other.page.bring_to_front()
    other.click(*EMPTY_TOO)
    for one in (desk, other):
        one.page.locator(".pill").wait_for()
    desk.page.close()
    other.page.on("dialog", lambda dialog: dialog.accept())
    other.page.reload()
    other.page.locator(".pill").wait_for()
    other.fail("")
    assert len(other.marks()) == 2


def test_a_field_that_is_refused_holds_up_no_other(desk: Desk) -> None:
    desk.fail("forbidden")
    desk.click(*EMPTY)
    desk.refused.get_by_text("2 changes were not saved: This field is not yours.").wait_for()
    desk.saved()
    assert len(desk.kept_refused()) == 2
    desk.page.locator(".mark:not(.thin):not(.faint)").wait_for(state="detached")
    desk.fail("")
    desk.click(*EMPTY_TOO)
    assert len(desk.marks()) == 1
    desk.refused.get_by_role("button", name="Discard").click()
    desk.page.get_by_role("alertdialog").get_by_role("button", name="Discard").click()
    desk.refused.wait_for(state="hidden")
    assert desk.kept_refused() == []


@pytest.mark.parametrize(("mode", "why"), [("broken", "unexpected happened."), ("broken page", "no proper answer.")])
def test_a_change_that_breaks_the_server_is_set_aside_and_the_others_go_on(desk: Desk, mode: str, why: str) -> None:
    sent: list[str] = []
    desk.page.on("request", lambda request: "/api/ops" in request.url and sent.append(request.post_data))
    desk.fail(mode)
    desk.page.get_by_role("button", name="Look-alike (2)").click()
    desk.click(*EMPTY)
    desk.page.locator(".pill").get_by_text("NOT SAVED (2)").wait_for()
    desk.keys("Escape", "1")
    desk.click(*EMPTY_TOO)
    desk.refused.get_by_text("One change was not saved:").wait_for()
    assert why in desk.refused.inner_text()
    assert [mark["cls"] for mark in desk.marks().values()] == ["mitosis"]
    assert desk.page.locator(".saved").inner_text() == "NOT SAVED (1)"
    often = len(sent)
    assert 3 < often < 12  # it was tried again, and then no more
    desk.page.reload()
    desk.refused.get_by_text("One change was not saved:").wait_for()
    with desk.page.expect_download() as download:
        desk.refused.get_by_role("button", name="Download").click()
    (kept,) = json.loads(download.value.path().read_text())
    assert kept["op"]["cls"] == "lookalike" and why in kept["why"] and set(kept) == {"op", "why"}
    assert len([body for body in sent[often:] if "lookalike" in body]) == 0
    desk.fail("")
    desk.refused.get_by_role("button", name="Send what was not saved again").click()
    desk.refused.wait_for(state="hidden")
    assert sorted(mark["cls"] for mark in desk.marks().values()) == ["lookalike", "mitosis"]
    assert desk.kept_refused() == []


def test_without_a_store_in_the_browser_it_works_in_memory(stranger: Desk) -> None:
    stranger.page.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('forbidden'); } })"
    )
    stranger.open()
    stranger.fail("busy")
    stranger.click(*EMPTY)
    stranger.page.locator(".pill").wait_for()
    stranger.fail("")
    assert len(stranger.marks()) == 1
    stranger.fail("forbidden")
    stranger.click(*EMPTY_TOO)
    stranger.refused.get_by_text("One change was not saved").wait_for()  # of memory


# ---- old and new


def test_stale_data_does_not_undo_a_click(stranger: Desk) -> None:
    stranger.open("&stale")
    stranger.click(*EMPTY)
    assert len(stranger.marks()) == 1
    stranger.page.locator(".note").get_by_text("Stale 2").wait_for()  # the page has sent what it had at first
    assert stranger.page.locator(".mark:not(.thin):not(.faint)").count() == 1


def test_a_newer_change_from_another_window_stands(desk: Desk) -> None:
    desk.click(*EMPTY)
    ((id_, mark),) = desk.marks().items()
    desk.page.get_by_text("Server: 1 marks").wait_for()
    desk.send_from_elsewhere({**mark, "kind": "class", "cls": "unsure"})
    desk.keys("2")
    desk.page.locator(".message").get_by_text("the newer change stands").wait_for()
    assert desk.marks()[id_]["cls"] == "unsure"
    desk.page.locator(".tag").get_by_text("Unsure").wait_for()
    desk.keys("2")
    assert desk.marks()[id_]["cls"] == "lookalike"


def test_undo_leaves_alone_what_another_window_has_changed_since(desk: Desk) -> None:
    desk.keys("n", "1")
    ((id_, mark),) = desk.marks().items()
    desk.send_from_elsewhere({**mark, "kind": "class", "cls": "unsure"})
    desk.click(*EMPTY)
    desk.keys("Escape")
    desk.page.locator(f".crop.unsure[data-id='{id_}']").wait_for()  # the page has brought it
    desk.keys("Control+z", "Control+z")
    desk.page.locator(".message").get_by_text("the newer change stands").wait_for()
    assert {one: mark["cls"] for one, mark in desk.marks().items()} == {id_: "unsure"}


def test_the_view_and_the_selection_survive_reruns(desk: Desk) -> None:
    desk.click(*EMPTY)
    desk.keys("+", "+")
    view = desk.page.locator(".sheet").get_attribute("style")
    selected = desk.selected
    desk.page.get_by_text("Server: 1 marks").wait_for()
    assert desk.page.locator(".sheet").get_attribute("style") == view
    assert desk.selected == selected is not None


def test_words_it_does_not_know_do_no_harm(stranger: Desk) -> None:
    stranger.open("&odd")
    stranger.click(*EMPTY)
    assert len(stranger.marks()) == 1


# ---- keys, fingers, and going on


def test_a_field_by_keyboard_alone(desk: Desk) -> None:
    desk.keys("n", "a", "n", "x", "n", "3", "n", "1")
    assert [desk.marks()[id_]["cls"] for id_ in PROPOSALS] == ["mitosis", "lookalike", "unsure", "mitosis"]
    assert desk.page.locator(".count strong").inner_text() == "2"
    desk.keys("f")
    desk.ready("2")
    assert desk.review()["state"] == "complete"
    desk.keys("[")
    desk.ready("1")
    desk.page.get_by_text("Complete", exact=True).wait_for()
    desk.keys("PageDown")
    desk.ready("2")


def test_finishing_asks_about_undecided_proposals(desk: Desk) -> None:
    desk.keys("f")
    dialog = desk.page.get_by_role("alertdialog")
    dialog.get_by_text("4 proposals are undecided.").wait_for()
    desk.keys("Escape")
    dialog.wait_for(state="hidden")
    desk.keys("f", "Enter")
    dialog.wait_for(state="hidden")
    assert desk.review()["state"] == "unseen" and desk.marks() == {}
    desk.keys("f")
    dialog.get_by_role("button", name="Accept them all and finish").click()
    desk.ready("2")
    review = desk.review()
    assert review["state"] == "complete"
    assert sorted(review["marks"]) == PROPOSALS


def test_time_spent_is_told_when_the_field_is_left(desk: Desk) -> None:
    start = time.monotonic()
    desk.click(*EMPTY)
    desk.page.get_by_text("Server: 1 marks").wait_for()  # well over the tenth of a second that counts
    desk.keys("]")
    desk.ready("2")
    assert 0.1 <= desk.review()["seconds"] <= time.monotonic() - start


def test_keys_do_not_leak(desk: Desk) -> None:
    desk.page.evaluate("window.leaked = []; document.addEventListener('keydown', (e) => window.leaked.push(e.key))")
    desk.keys(*"rcnaxzg123h", "Escape", "Control+z", "ArrowLeft", "[")
    assert set(desk.page.evaluate("window.leaked")) == {"Control"}


def test_the_grid_takes_one_key_for_a_cell(desk: Desk) -> None:
    desk.keys("g", "1", "2", "x", "3")
    assert [desk.marks()[id_]["cls"] for id_ in PROPOSALS] == ["mitosis", "lookalike", "lookalike", "unsure"]
    assert desk.page.locator(".crop").first.bounding_box()["width"] == 120
    desk.keys("ArrowLeft")
    assert desk.selected == PROPOSALS[2]
    desk.keys("Escape")
    assert desk.page.locator(".crop").first.bounding_box()["width"] == 76


def test_blind_reading_hides_the_proposals(stranger: Desk) -> None:
    stranger.open("&blind")
    stranger.page.get_by_text("Proposals are hidden until you finish").wait_for()
    assert stranger.page.locator(".mark.thin").count() == 0


def test_tap_adds_and_selects_and_two_fingers_zoom(browser: Any, address: str) -> None:
    context = browser.new_context(viewport={"width": 1024, "height": 900}, has_touch=True)
    context.set_default_timeout(20_000)
    desk = Desk(context.new_page(), address, "finger").open()
    desk.page.touchscreen.tap(*desk.at(*EMPTY))
    assert len(desk.marks()) == 1
    desk.page.touchscreen.tap(*desk.at(*PROPOSED[0]))
    assert desk.selected == PROPOSALS[0]
    before = desk.page.locator(".sheet").bounding_box()["width"]
    x, y = desk.at(*EMPTY_TOO)
    touch = context.new_cdp_session(desk.page)
    for kind, spread in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", None)):
        fingers = [] if spread is None else [{"x": x - spread, "y": y, "id": 1}, {"x": x + spread, "y": y, "id": 2}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    assert desk.page.locator(".sheet").bounding_box()["width"] == pytest.approx(2 * before, rel=0.02)
    assert desk.at(*EMPTY_TOO) == pytest.approx((x, y), abs=2)
    assert len(desk.marks()) == 1
    context.close()


def test_a_density_shows_once_there_is_a_mitosis_or_the_field_is_finished(desk: Desk) -> None:
    density = desk.page.locator(".density")
    assert not density.is_visible()
    desk.keys("n", "x", "n", "x", "n", "x", "n")
    assert not density.is_visible()
    desk.keys("1")
    assert density.is_visible() and density.inner_text().startswith("15.3 per mm²")
    desk.keys("x", "f")
    desk.ready("2")
    desk.keys("[")
    desk.ready("1")
    assert density.inner_text().startswith("0.0 per mm²") and density.is_visible()


def test_on_an_upright_tablet_the_whole_panel_is_in_sight(desk: Desk) -> None:
    desk.page.set_viewport_size({"width": 768, "height": 1024})
    desk.keys("n", "1")  # with a comment to write
    desk.page.get_by_role("textbox", name="Comment").wait_for()
    desk.page.get_by_text("Server: 1 marks").wait_for()
    desk.page.wait_for_timeout(400)  # until it is laid out anew
    foot = desk.page.locator(".foot").bounding_box()
    for name in (".slider.score", ".panel > .wide", ".gallery-head", ".crop >> nth=0", ".density", ".note"):
        box = desk.page.locator(name).bounding_box()
        assert box["y"] + box["height"] <= foot["y"], name


def test_every_button_has_a_name(desk: Desk) -> None:
    desk.click(*EMPTY)
    for button in desk.page.locator(".viewer button:visible:not(.crop):not(.reset)").all():
        assert button.get_attribute("aria-label")
        assert button.get_attribute("title")
