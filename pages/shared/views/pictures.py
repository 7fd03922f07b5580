"""Small pictures as HTML: thumbnails of fields, crops of cells, bars. All text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import streamlit as st

from db.fields import StoredField
from mitosis_core.plurals import count_noun
from pages.shared import session
from pages.shared.viewer.review_data import crop_url, thumbnail_url

CROP_UM = 40.0  # side of a crop
_CSS = Path(__file__).with_name("pictures.css")


def show_style() -> None:
    """Once on every page that shows such pictures."""
    st.html(f"<style>{_CSS.read_text(encoding='utf-8')}</style>")


def thumbnails(fields: Sequence[StoredField], mitoses: Mapping[int, int], most: int = 12) -> str:
    """The middles of fields with their numbers of mitoses, by field id; each opens its field in Review."""
    shown = "".join(_thumbnail(one, mitoses[one.id]) for one in fields[:most])
    more = f'<span class="more">and {len(fields) - most} more</span>' if len(fields) > most else ""
    return f'<div class="pics">{shown}{more}</div>'


def _thumbnail(field: StoredField, mitoses: int) -> str:
    url, says = thumbnail_url(field, session.user()), escape(f"{field.name}: {count_noun(mitoses, 'mitosis')}")
    return (
        f'<a class="thumb" href="review?field={field.id}" target="_self" title="{says}">'
        f'<img src="{escape(url)}" alt="{says}" loading="lazy"><span class="count">{mitoses}</span></a>'
    )


def crop(field: StoredField, x_px: float, y_px: float, *, ring: bool) -> str:
    """The cell at a place, with a ring where it is marked."""
    url = crop_url(field, x_px, y_px, CROP_UM / field.um_per_px, session.user())
    mark = '<span class="ring"></span>' if ring else ""
    return f'<span class="crop"><img src="{escape(url)}" alt="" loading="lazy">{mark}</span>'


def cell_link(field: StoredField, says: str, inside: str) -> str:
    """What is shown of a cell, as a link to its field in Review."""
    return (
        f'<a class="pair" href="review?field={field.id}" target="_self" title="{escape(says)}" '
        f'aria-label="{escape(says)}">{inside}<span class="name">{escape(field.name)}</span></a>'
    )


def bars(rows: Iterable[tuple[str, float]]) -> str:
    """A bar for each (words, share of 1)."""
    cells = "".join(
        f'<span>{escape(words)}</span><span class="track"><span class="fill" style="width:{share:.1%}"></span></span>'
        f"<b>{share:.0%}</b>"
        for words, share in rows
    )
    return f'<div class="bars">{cells}</div>'
