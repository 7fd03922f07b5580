"""The queue of the Review page: which field is on review, the way to the others, and the table of all of them."""

from __future__ import annotations

from collections import Counter

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db.engine import Store
from mitosis_core.model import Model
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service import detecting, reviewing
from pages.shared.service.reviewing import QueueEntry
from pages.shared.shell import plain, show_table
from pages.shared.views.analysis import analyse_button, show_progress
from pages.shared.views.review_address import keep_on_review


def read_queue(store: Store, reader: str, model: Model) -> list[QueueEntry]:
    """The queue as it stands now."""
    case, order = st.session_state[session.CASE], st.session_state[session.ORDER]
    if order == "novelty":
        slot = st.empty()
        reviewing.store_appearances(store, lambda share, name: show_progress(slot, share, f"Describing {plain(name)}"))
        slot.empty()
    only_asked = bool(st.session_state.get(session.ONLY_ASKED))
    return reviewing.queue(store, reader, model.version, case=case, order=order, only_asked=only_asked)


def choose_field(entries: list[QueueEntry], switch: DeltaGenerator) -> QueueEntry:
    """The field on review, with the widgets that lead to the others."""
    by_id = {entry.field.id: entry for entry in entries}
    asked = st.session_state.get(session.FIELD_ID)
    first_open = next((entry.field.id for entry in entries if entry.is_open), entries[0].field.id)
    st.session_state[session.FIELD_ID] = asked if asked in by_id else first_open
    with switch:
        for name, icon, by in (("Previous field", "chevron_left", -1), ("Next field", "chevron_right", 1)):
            st.button(f":material/{icon}:", on_click=move, args=(entries, by), help=name, key=f"step{by}")
        st.selectbox(
            "Field",
            list(by_id),
            key=session.FIELD_ID,
            on_change=keep_on_review,
            format_func=lambda key: by_id[key].label,
            label_visibility="collapsed",
            width=240,
        )
        done = sum(not entry.is_open for entry in entries)
        st.progress(done / len(entries), f"{done} of {len(entries)} fields done", width=180)
    return by_id[st.session_state[session.FIELD_ID]]


def move(entries: list[QueueEntry], by: int) -> None:
    """Put the next (1) or previous (-1) field on review."""
    keep_on_review()
    st.session_state[session.FIELD_ID] = reviewing.neighbour(entries, st.session_state[session.FIELD_ID], by)


def start_at_the_top() -> None:
    """Begin with the first open field, as after a change of the order."""
    st.session_state.pop(session.FIELD_ID, None)


def show_queue(store: Store, entries: list[QueueEntry], version: str, who: Person) -> None:
    """The table of all fields of the queue; for reviewers also the button that analyses those not analysed yet."""
    order = st.session_state[session.ORDER]
    if who.may("reviewer"):
        _offer_analysis(store, entries, version, order)
    show_table(
        reviewing.table(entries, order),
        column_config={
            "seconds": st.column_config.NumberColumn("time spent (s)", format="%.0f"),
            order: st.column_config.NumberColumn(
                format="%d" if order == "disagreement" else "%.2f", help=reviewing.ORDER_HELP.get(order)
            ),
        },
    )


def _offer_analysis(store: Store, entries: list[QueueEntry], version: str, order: str) -> None:
    """Why the order is not complete yet, and the button that analyses the missing fields."""
    others = [name for name in detecting.list_versions() if name != version]
    second = others[0] if others and order == "disagreement" else ""
    if order == "novelty" and not any(entry.order_value for entry in entries):
        st.caption(
            "No field is finished yet, so there is nothing to compare with. Fields are in the order they were added."
        )
    if order == "disagreement" and not others:
        st.caption("There is only one version, so there are no disagreements. Retrain makes a second version.")
    wanted = reviewing.not_analysed(store, entries, version, second)
    if not wanted:
        return
    waiting = Counter(name for _, name in wanted)
    label = "Analyse all fields" + (" with both versions" if len(waiting) > 1 else "")
    by = ", ".join(f"{number} of {len(entries)} by {plain(name)}" for name, number in waiting.items())
    late = "; until then they come last in this order" if order in ("uncertainty", "disagreement") else ""
    analyse_button(store, wanted, label, key="analyse-all", note=f"Not analysed yet: {by}{late}.")
