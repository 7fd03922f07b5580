"""The home page without Streamlit: every case as a card, with its fields, how far it is, and what comes next."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from db.case_overview import FieldOverview, ReadBy, read_overview
from db.engine import Store
from db.incoming_files import RefusedFile, refused_files
from mitosis_core.plurals import count_noun

_DIGITS = re.compile(r"(\d+)")
READ = frozenset({"complete", "complete_empty", "excluded"})  # of a reader: nothing is left to do in the field
STATES = {  # of a case, in the order of its life
    "needs_scale": "Needs µm/px",
    "detecting": "Detecting",
    "failed": "Failed",
    "to_read": "To read",
    "reading": "Reading",
    "read": "Read",
}


@dataclass(frozen=True)
class Tile:
    """One field of a card. state: "needs_scale", "waiting", "running", "failed", "" when it can be read or is read.

    count: mitoses of the reader where there is a review, else detections, None while neither is known. says: all of it
    as a sentence.
    """

    field: FieldOverview
    state: str
    count: int | None
    read: bool
    excluded: bool
    says: str


@dataclass(frozen=True)
class ReaderProgress:
    """done of all fields that a reader was asked for; where nobody was asked, of all fields of the case."""

    reader: str
    done: int
    all: int


@dataclass(frozen=True)
class Card:
    """One case. name: "" for fields without one. state: a key of STATES. detected: of how many fields it is known.

    next_step: what to press next, "" for nothing. step: what that does: "review", "result", "scale" or "detect"; ""
    when it is only said.
    """

    name: str
    tiles: tuple[Tile, ...]
    state: str
    word: str
    detected: int
    figure: str
    readers: tuple[ReaderProgress, ...]
    next_step: str
    step: str

    @property
    def area_mm2(self) -> float:
        """Of all its fields whose µm/px is known."""
        return sum(tile.field.area_mm2 for tile in self.tiles)

    @property
    def detecting(self) -> bool:
        """Whether something is in the queue."""
        return any(tile.state in ("waiting", "running") for tile in self.tiles)


@dataclass(frozen=True)
class Board:
    """All cards, those of the last day first and by name within a day; and the files that could not be taken."""

    cards: tuple[Card, ...]
    refused: tuple[RefusedFile, ...]

    @property
    def waiting_for_scale(self) -> tuple[int, ...]:
        """Ids of the fields whose µm/px nobody has said."""
        return tuple(tile.field.id for card in self.cards for tile in card.tiles if tile.field.um_per_px is None)

    @property
    def detecting(self) -> bool:
        """Whether results are still coming in."""
        return any(card.detecting for card in self.cards)


def read_board(store: Store, reader: str, version: str) -> Board:
    """As one reader sees it; "" stands for whoever has read a field first. version: whose detections are counted."""
    cases: dict[str, list[FieldOverview]] = {}
    for one in read_overview(store, version):
        cases.setdefault(one.case, []).append(one)
    cards = [_card(case, fields, reader) for case, fields in cases.items()]
    cards.sort(key=lambda card: _in_order(card.name))
    cards.sort(key=lambda card: card.tiles[0].field.created_at.date(), reverse=True)
    return Board(tuple(cards), tuple(refused_files(store)))


def _in_order(name: str) -> list[int | str]:
    """Case 2 comes before case 10."""
    return [int(part) if part.isdecimal() else part.casefold() for part in _DIGITS.split(name)]


def _card(case: str, fields: Sequence[FieldOverview], reader: str) -> Card:
    tiles = tuple(_tile(one, _review(one, reader)) for one in fields)
    state = _state(tiles, reader)
    detected = sum(tile.field.detected is not None for tile in tiles)
    word = f"Detecting {detected} of {len(tiles)}" if state == "detecting" else STATES[state]
    if state == "failed":
        word = f"{sum(tile.state == 'failed' for tile in tiles)} failed"
    if state == "reading":
        word = f"{sum(tile.read for tile in tiles)} of {len(tiles)} read"
    next_step, step = _next_step(tiles, state, case)
    return Card(case, tiles, state, word, detected, _figure(tiles), tuple(_readers(fields)), next_step, step)


def _review(one: FieldOverview, reader: str) -> ReadBy | None:
    """The review that counts: of this reader, or without one the first that is finished."""
    if reader:
        return one.reviews.get(reader)
    known = list(one.reviews.values())
    return next((review for review in known if review.state in READ), known[0] if known else None)


def _tile(one: FieldOverview, review: ReadBy | None) -> Tile:
    state = "needs_scale" if one.um_per_px is None else one.detection if one.detection != "done" else ""
    read, excluded = bool(review and review.state in READ), bool(review and review.state == "excluded")
    said = [one.name]
    if state == "needs_scale":
        said.append("waits for its µm/px")
    elif state:
        said.append({"waiting": "waits for detection", "running": "is being analysed"}.get(state, one.message))
    if review and review.state != "unseen":
        count: int | None = review.mitoses
        said.append(
            "excluded" if excluded else f"{count_noun(review.mitoses, 'mitosis')}, {'read' if read else 'in review'}"
        )
    else:
        count = one.detected
        said += [f"{one.detected} detected by {one.version}"] if one.detected is not None else []
    return Tile(one, state, count, read, excluded, " · ".join(said))


def _state(tiles: Sequence[Tile], reader: str) -> str:
    states = Counter(tile.state for tile in tiles)
    if states["needs_scale"]:
        return "needs_scale"
    if states["waiting"] or states["running"]:
        return "detecting"
    if states["failed"]:
        return "failed"
    if all(tile.read for tile in tiles):
        return "read"
    begun = any(tile.read or _review(tile.field, reader) for tile in tiles)
    return "reading" if begun else "to_read"


def _next_step(tiles: Sequence[Tile], state: str, case: str) -> tuple[str, str]:
    """What leads on: its label, and its kind (see `Card`)."""
    left = [tile for tile in tiles if not tile.read]
    if not left:
        return ("Result", "result") if case else ("", "")
    if any(tile.field.detected is not None for tile in left):
        return (
            "Go on reading" if any(tile.read for tile in tiles) or state == "reading" else "Start reading"
        ), "review"
    if state == "needs_scale":
        return "Give µm/px", "scale"
    if any(tile.state == "failed" for tile in left) and state == "failed":
        return "Detect again", "detect"
    if state == "detecting":
        return f"Detecting {sum(tile.field.detected is not None for tile in tiles)} of {len(tiles)}", ""
    return "Detect", "detect"


def _figure(tiles: Sequence[Tile]) -> str:
    """What was counted so far, and by whom: readers where they have read, the detector elsewhere."""
    read = [tile for tile in tiles if tile.read and not tile.excluded]
    if read:
        counted = count_noun(sum(tile.count or 0 for tile in read), "mitosis")
        return counted if len(read) == len(tiles) else f"{counted} in {count_noun(len(read), 'field')} read"
    known = [tile.field for tile in tiles if tile.field.detected is not None]
    if not known:
        return ""
    versions = {field.version for field in known}
    by = versions.pop() if len(versions) == 1 else count_noun(len(versions), "version")
    return f"{sum(field.detected or 0 for field in known)} detected by {by}"


def _readers(fields: Sequence[FieldOverview]) -> Iterable[ReaderProgress]:
    asked: Mapping[str, int] = Counter(name for one in fields for name in one.assigned)
    seen = {name for one in fields for name, review in one.reviews.items() if review.state != "unseen"}
    for name in sorted({*asked, *seen}):
        done = sum(name in one.reviews and one.reviews[name].state in READ for one in fields)
        yield ReaderProgress(name, done, max(asked.get(name) or len(fields), done))
