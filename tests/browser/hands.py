"""Two readers in front of the Review page, one with a mouse and one with a keyboard alone; what they do is counted.

Each knows where the mitoses of a field are, as a pathologist who looks at it does, and corrects what was proposed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot
from typing import Any

from db.fields import StoredField

Place = tuple[float, float]
SAME_UM = 5.0  # a proposal this near to a mitosis is one
_ARROW_PX = 80  # of the screen, by which an arrow key moves the field


@dataclass
class FieldActions:
    """What one field took. proposals: that were judged; missed: that were added."""

    name: str
    proposals: int = 0
    missed: int = 0
    actions: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Clicks and keys."""
        return self.actions.total()


class Reader:
    """At a page of one field after the other. truth: places of mitoses in pixels, by the name of the field."""

    def __init__(self, page: Any, truth: Mapping[str, Sequence[Place]] | None) -> None:
        self.page, self.truth = page, truth
        self.viewer = page.locator(".viewer")
        self.fields: list[FieldActions] = []

    def read(self, one: StoredField) -> FieldActions:
        """Judge every proposal of the field on show, add what is missed, and finish it."""
        self.viewer_of(one).wait_for()
        self.fields.append(FieldActions(one.name))
        left = list(self.truth.get(one.name, ())) if self.truth is not None else None
        while (proposed := self.next_proposal(one)) is not None:
            near = self._near(left, proposed, one.um_per_px)
            if left is not None and near is not None:
                left.remove(near)
            self.judge(mitosis=left is None or near is not None)
            self.fields[-1].proposals += 1
        for place in left or ():
            self.add(place)
            self.fields[-1].missed += 1
        self.viewer.and_(self.page.locator("[data-outbox='0']")).wait_for()
        self.finish()
        return self.fields[-1]

    def viewer_of(self, one: StoredField) -> Any:
        """The viewer, once it shows this field."""
        return self.page.locator(f".viewer[data-ready='{one.id}']")

    def undecided(self) -> list[dict[str, Any]]:
        """The proposals on show, with their places."""
        return list(self.page.evaluate(_UNDECIDED))

    def next_proposal(self, one: StoredField) -> Place | None:
        """Go to the next proposal and tell where it is; None when all are judged."""
        waiting = self.undecided()
        if not waiting:
            return None
        if not any(point["selected"] for point in waiting):
            self.go_to(waiting[0])
            waiting = self.undecided()
        chosen = next(point for point in waiting if point["selected"])
        return chosen["x"], chosen["y"]

    @staticmethod
    def _near(left: Sequence[Place] | None, place: Place, um_per_px: float) -> Place | None:
        reach = SAME_UM / um_per_px
        known = [one for one in left or () if hypot(one[0] - place[0], one[1] - place[1]) <= reach]
        return min(known, key=lambda one: hypot(one[0] - place[0], one[1] - place[1]), default=None)

    def count(self, kind: str) -> None:
        """One action more on the field on show."""
        self.fields[-1].actions[kind] += 1

    def on_screen(self, place: Place) -> Place:
        """Where a pixel of the field is on the screen."""
        x, y, scale = self.page.evaluate(_SHEET)
        return x + (place[0] + 0.5) * scale, y + (place[1] + 0.5) * scale

    def go_to(self, point: dict[str, Any]) -> None:
        """Select this proposal."""
        raise NotImplementedError

    def judge(self, *, mitosis: bool) -> None:
        """Say what the selected proposal is."""
        raise NotImplementedError

    def add(self, place: Place) -> None:
        """Mark a mitosis that was missed."""
        raise NotImplementedError

    def finish(self) -> None:
        """Finish the field; the next one comes."""
        raise NotImplementedError


class MouseReader(Reader):
    """Clicks only."""

    def _press(self, name: str) -> None:
        self.page.locator(".panel").get_by_role("button", name=name).first.click()
        self.count("click")

    def go_to(self, point: dict[str, Any]) -> None:
        """By a click on its ring."""
        self.page.mouse.click(*self.on_screen((point["x"], point["y"])))
        self.count("click")

    def judge(self, *, mitosis: bool) -> None:
        """By the buttons of the panel."""
        self._press("Accept as mitosis" if mitosis else "Not a mitosis")

    def add(self, place: Place) -> None:
        """By a click on the cell; where another mark is so near that the click takes that one, once more with Shift."""
        before = self.viewer.get_attribute("data-points")
        for held in ([], ["Shift"]):
            for key in held:
                self.page.keyboard.down(key)
            self.page.mouse.click(*self.on_screen(place))
            for key in held:
                self.page.keyboard.up(key)
            self.count("click")
            if self.viewer.get_attribute("data-points") != before:
                break

    def finish(self) -> None:
        """By its button."""
        self._press("Finish this field and go on")


class KeyboardReader(Reader):
    """Keys only."""

    def _press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.count("key")

    def go_to(self, point: dict[str, Any]) -> None:
        """N goes to the next cell without a verdict."""
        self._press("n")

    def judge(self, *, mitosis: bool) -> None:
        """By 1 and X."""
        self._press("1" if mitosis else "x")

    def add(self, place: Place) -> None:
        """Bring the cell into the middle by the arrows, the last bit with Shift, and say there what it is."""
        self._press("Escape")
        for step, held in ((_ARROW_PX, ""), (_ARROW_PX / 8, "Shift+")):
            for axis, (back, on) in enumerate((("ArrowLeft", "ArrowRight"), ("ArrowUp", "ArrowDown"))):
                for _ in range(60):
                    away = self.on_screen(place)[axis] - self.middle()[axis]
                    if abs(away) <= step / 2:
                        break
                    self._press(f"{held}{on if away > 0 else back}")
        self._press("o")
        self._press("1")

    def middle(self) -> Place:
        """Of the stage, on the screen."""
        box = self.page.locator(".stage").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def finish(self) -> None:
        """By F."""
        self._press("f")


_VIEWER = """const host = [...document.querySelectorAll("*")].find((one) => one.shadowRoot?.querySelector(".viewer"));
  const root = host.shadowRoot;"""
_UNDECIDED = f"""() => {{ {_VIEWER}
  const open = [...root.querySelectorAll(".gallery .crop.open:not([hidden])")];
  const selected = (one) => one.getAttribute("aria-pressed") === "true";
  return open.map((one) => ({{ x: one.point.x, y: one.point.y, selected: selected(one) }}));
}}"""
_SHEET = f"""() => {{ {_VIEWER}
  const box = root.querySelector(".sheet").getBoundingClientRect();
  const image = root.querySelector(".sheet");
  return [box.x, box.y, box.width / image.offsetWidth];
}}"""
