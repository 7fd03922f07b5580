"""Disputes as pictures: each cell that readers call differently, what they said, and a key to settle it."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from db.disputes import settle
from db.engine import Store
from db.fields import StoredField
from db.reader_agreement import Compared
from mitosis_core.errors import ConcentricError
from mitosis_core.plurals import count_noun
from mitosis_core.scoring.agreement import ConsensusObject
from mitosis_core.vocabulary import VERDICTS, Verdict
from pages.shared import session
from pages.shared.person import Person
from pages.shared.shell import plain
from pages.shared.viewer.review_data import CLASSES, crop_url

CROP_UM = 48.0
_GLYPHS = {"circle": "●", "square": "■", "diamond": "◆"}
_LOOK: dict[str, tuple[str, str, str]] = {
    str(one["id"]): (_GLYPHS[one["shape"]], one["color"], one["label"]) for one in CLASSES
}
_STYLE = """<style>
.dispute { display: flex; gap: 20px; flex-wrap: wrap; align-items: center; }
.dispute img { width: min(420px, 100%); aspect-ratio: 1; object-fit: cover; border-radius: 8px; }
.dispute dl { display: grid; grid-template-columns: auto auto; gap: 6px 16px; margin: 0; font-size: 1rem; }
.dispute dt { font-weight: 600; }
.dispute dd { margin: 0; }
.dispute dd span { -webkit-text-stroke: 0.5px #10101a; }
</style>"""


def show_disputes(store: Store, compared: Sequence[Compared], reader: str, who: Person) -> None:
    """One dispute after the other, with a button and a key for each verdict."""
    found = [(field, one) for field in compared for one in field.disputes]
    found.sort(key=lambda pair: not _may_settle(pair[0], reader))  # what is to be done here comes first
    settled = sum(one.settled for field in compared for one in field.vote.cells)
    if not found:
        st.success(f"No cell is disputed{_settled(settled)}.")
        return
    place = min(st.session_state.get(session.DISPUTE, 0), len(found) - 1)
    field, cell = found[place]
    st.caption(f"Dispute {place + 1} of {len(found)}{_settled(settled)}")
    st.html(_STYLE + _picture(field, cell, reader))
    may = who.may("reviewer") and _may_settle(field, reader)
    with st.container(horizontal=True):
        for verdict, digit in zip(VERDICTS, "123", strict=True):
            st.button(
                _LOOK[verdict][2],
                key=f"settle-{verdict}",
                shortcut=digit,
                disabled=not may,
                on_click=_settle,
                args=(store, field.field, cell, reader, verdict),
            )
        for label, letter, by in (("Previous", "p", -1), ("Next", "n", 1)):
            st.button(
                label,
                key=f"dispute{by}",
                shortcut=letter,
                type="tertiary",
                on_click=_step,
                args=(place + by, len(found)),
            )
        st.button(
            "Open the field",
            key="dispute-open",
            type="tertiary",
            icon=":material/open_in_full:",
            on_click=_open,
            args=(field.field,),
        )
    if not may:
        st.caption("Only a reader whose finished review counts here can settle it.")


def _may_settle(field: Compared, reader: str) -> bool:
    """Whose verdict counts for the labels."""
    return reader in field.vote.reviews


def _settled(number: int) -> str:
    return f" · {count_noun(number, 'cell')} settled" if number else ""


def _picture(field: Compared, cell: ConsensusObject, reader: str) -> str:
    x, y = (float(at) for at in cell.xy_px)
    source = crop_url(field.field, x, y, CROP_UM / field.field.um_per_px, reader)
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{said}</dd>" for name, said in _said(field, cell).items())
    name = html.escape(field.field.name)
    return (
        f'<div class="dispute"><img src="{html.escape(source)}" alt="The disputed cell in {name}">'
        f"<dl><dt>Field</dt><dd>{name}</dd>{rows}</dl></div>"
    )


def _said(field: Compared, cell: ConsensusObject) -> dict[str, str]:
    """Reader -> verdict, as HTML; who finished the field without a mark there said that there is no mitosis."""
    said = dict.fromkeys(sorted(field.vote.reviews), "not marked")
    for name, verdict in cell.verdicts.items():
        glyph, colour, label = _LOOK[verdict]
        said[name] = f'<span style="color: {colour}">{glyph}</span> {label}'
    return said


def _settle(store: Store, field: StoredField, cell: ConsensusObject, reader: str, verdict: Verdict) -> None:
    x, y = (float(at) for at in cell.xy_px)
    try:
        problem = next((said for _, said in settle(store, field, reader, x, y, verdict).refused), "")
    except ConcentricError as error:
        problem = str(error)
    if problem:
        st.toast(plain(problem), icon=":material/error:")


def _step(place: int, number: int) -> None:
    st.session_state[session.DISPUTE] = place % number


def _open(field: StoredField) -> None:
    st.session_state[session.NEXT_FIELD] = field.id
