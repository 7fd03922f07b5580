"""Small pictures, each of which opens its field in Review, at the cell it shows: cells, pairs of them, whole fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

from db.fields import StoredField
from pages.shared import session
from pages.shared.viewer.review_data import crop_url, thumbnail_url

CROP_UM = 40.0  # side of a crop
CROP_PX, FIELD_PX = 96, 64  # on a page
_HERE = Path(__file__).parent
_component = st.components.v2.component(
    "concentric_picture_grid",
    html='<div class="grid"></div>',
    css=(_HERE / "picture_grid.css").read_text(encoding="utf-8"),
    js="// a grid of pictures\n" + (_HERE / "picture_grid.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Shot:
    """One image of a picture. ring: round the middle, where a mark is; under: a line below it."""

    url: str
    ring: bool = False
    under: str = ""


@dataclass(frozen=True)
class Sign:
    """A coloured character below a picture; grey where it does not hold."""

    glyph: str
    colour: str
    holds: bool


@dataclass(frozen=True)
class GridPicture:
    """One picture, of several shots beside each other perhaps.

    field: its id in the store; at: the place of its cell in pixels, None for a whole field. label: below it; badge: a
    number on it; title: shown on hover and read aloud; faint: it does not count.
    """

    shots: tuple[Shot, ...]
    field: int
    title: str
    label: str = ""
    at: tuple[float, float] | None = None
    badge: str = ""
    signs: tuple[Sign, ...] = ()
    faint: bool = False


def show_pictures(
    pictures: Sequence[GridPicture], *, side_px: int, key: str, fill: bool = False, most: int | None = None
) -> None:
    """The pictures, each image side_px wide, or with `fill` as wide as the row allows; those beyond `most` are counted.

    A click leads to Review.
    """
    shown = pictures if most is None else pictures[:most]
    data = {
        "side_px": side_px,
        "fill": fill,
        "more": len(pictures) - len(shown),
        "pictures": [asdict(one) for one in shown],
    }
    opened = _component(key=key, data=data, on_open_change=lambda: None).get("open")
    if isinstance(opened, int) and 0 <= opened < len(shown):
        one = shown[opened]
        st.session_state[session.FIELD_ID] = one.field
        query = {"field": str(one.field)} | ({"at": "{:.1f},{:.1f}".format(*one.at)} if one.at else {})
        st.switch_page("pages/review.py", query_params=query)


def cell_shot(field: StoredField, x_px: float, y_px: float, *, ring: bool = False, under: str = "") -> Shot:
    """The cell at a place, CROP_UM wide."""
    return Shot(crop_url(field, x_px, y_px, CROP_UM / field.um_per_px, session.user()), ring, under)


def field_shot(field: StoredField) -> Shot:
    """The middle of a field."""
    return Shot(thumbnail_url(field, session.user()))
