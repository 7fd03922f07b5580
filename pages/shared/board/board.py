"""The board of cases as Streamlit sees it: a component of plain JavaScript that draws every card in one piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from mitosis_core.image.whole_slide import WHOLE_SLIDE_SUFFIXES
from pages.shared.board.routes import files_token, largest_file_mb
from pages.shared.person import Person
from pages.shared.service.case_board import STATES, Board, Card, Tile
from pages.shared.viewer.images import thumbnail_picture
from pages.shared.viewer.routes import image_url

_HERE = Path(__file__).parent
_PARTS = ("elements.js", "upload.js", "card.js", "board.js")
_JS = "// the board of cases\n" + "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _PARTS)
_component = st.components.v2.component(
    "concentric_board", js=_JS, css=(_HERE / "board.css").read_text(encoding="utf-8")
)


def board_data(board: Board, who: Person, *, search: str = "", um_per_px: float | None = None) -> dict[str, Any]:
    """What the board shows, as JSON. search: what the address asks for. um_per_px: for files that do not say theirs."""
    viewer = who.name or "everybody"  # so that addresses, and with them the browser's cache, outlive the session
    return {
        "cards": [_card(card, viewer) for card in board.cards],
        "refused": [{"id": one.id, "name": one.name, "says": one.problem} for one in board.refused],
        "states": STATES,
        "search": search,
        "scanner": f"{um_per_px:g} µm/px" if um_per_px else "",
        "may": {"add": who.may("reviewer"), "delete": who.may("admin")},
        "files": {
            "url": "/api/files",
            "token": files_token(who.name) if who.may("reviewer") else "",
            "most_bytes": largest_file_mb() * 1_000_000,
            "only_named": WHOLE_SLIDE_SUFFIXES,
        },
    }


def show_board(data: Mapping[str, Any], *, key: str, on_wish: Callable[[], None]) -> None:
    """Mount it. on_wish: the user wants something done, see `wish`."""
    _component(key=key, data=data, on_wish_change=on_wish)


def wish(key: str) -> dict[str, Any]:
    """What the user wants, inside on_wish: {kind, ...}; empty for nothing."""
    value = st.session_state.get(key, {}).get("wish")
    return dict(value) if isinstance(value, Mapping) else {}


def _card(card: Card, viewer: str) -> dict[str, Any]:
    return {
        "case": card.name,
        "state": card.state,
        "word": card.word,
        "detected": card.detected,
        "detecting": card.detecting,
        "figure": card.figure,
        "area_mm2": round(card.area_mm2, 3),
        "readers": [[one.reader, one.done, one.all] for one in card.readers],
        "next": card.next_step,
        "step": card.step,
        "tiles": [_tile(tile, viewer) for tile in card.tiles],
    }


def _tile(tile: Tile, viewer: str) -> dict[str, Any]:
    return {
        "id": tile.field.id,
        "name": tile.field.name,
        "url": image_url(thumbnail_picture(tile.field.digest), viewer),
        "state": tile.state,
        "count": tile.count,
        "read": tile.read,
        "excluded": tile.excluded,
        "says": tile.says,
    }
