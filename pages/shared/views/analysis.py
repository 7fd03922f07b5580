"""The button that lets versions analyse stored fields, with its progress."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from db.engine import Store
from db.fields import StoredField
from pages.shared import cache
from pages.shared.service import detecting, reviewing
from pages.shared.shell import plain


def analyse_button(
    store: Store,
    waiting: Sequence[tuple[StoredField, str]],
    label: str,
    *,
    key: str,
    primary: bool = False,
    note: str = "",
) -> None:
    """Analyse every (field, version) of `waiting` when the button is pressed. note: a caption beside it.

    Each field is stored when it is done. A field that cannot be analysed gets a sentence; without one the page reruns.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            label,
            type="primary" if primary else "secondary",
            icon=":material/manage_search:",
            key=key,
            help="Each field is stored when it is done, so you can leave and continue later.",
        )
        if note:
            st.caption(note)
    if not pressed:
        return
    slot = st.empty()
    problems = reviewing.analyse_fields(
        store,
        waiting,
        detecting.load_model,
        cache.predictions(),
        lambda share, name: show_progress(slot, share, f"Analysing {plain(name)}"),
    )
    for problem in problems:
        st.warning(plain(problem))
    if not problems:
        st.rerun()


def show_progress(slot: st.delta_generator.DeltaGenerator, share: float, text: str) -> None:
    """A bar at `share`, 0 to 1, in the place of the one before."""
    slot.progress(share, text)
