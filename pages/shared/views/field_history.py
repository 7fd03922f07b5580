"""History of a field: who changed what and when, a look at any earlier state, and the way back to it."""

from __future__ import annotations

import streamlit as st

from db.engine import Store
from db.fields import StoredField
from db.reviews import Event, restore
from pages.shared.person import Person
from pages.shared.service import reviewing
from pages.shared.shell import plain, show_table
from pages.shared.viewer.review_data import ReviewView, review_data
from pages.shared.viewer.viewer import show_review
from pages.shared.views.field_diameter import field_diameter_mm


def show_history(store: Store, stored: StoredField, reader: str, who: Person) -> None:
    """The whole page below the row of choices."""
    known = [reader, *sorted(reviewing.visible_reviews(store, stored, reader, who))]
    whose = (
        st.segmented_control("Whose review", known, format_func=plain, default=reader, required=True)
        if len(known) > 1
        else reader
    )
    events = reviewing.changes(store, stored.id, whose)
    if not events:
        st.info("This field has no changes yet.")
        return
    place = _place(events)
    event = events[place - 1]
    _show_at(store, stored, whose, event)
    said = f"{event.at:%d %b %Y %H:%M:%S} UTC · {plain(reviewing.describe_event(event))}"
    st.caption(f"After change {place} of {len(events)} · {said}")
    back = place < len(events) and whose == reader and who.may("reviewer")
    if back and st.button(
        "Restore this state", icon=":material/history:", help="Adds new changes; the history is kept"
    ):
        restore(store, stored.id, reader, event.id)
        st.rerun()
    show_table(_table(events))


def _key(events: list[Event]) -> str:
    return f"history-{events[0].id}-{events[-1].id}"


def _place(events: list[Event]) -> int:
    """How many changes to look at, by the slider; all of them at first."""
    if len(events) == 1:
        return 1
    return int(st.slider("Show the state after", 1, len(events), len(events), key=_key(events), format="change %d"))


def _show_at(store: Store, stored: StoredField, reader: str, event: Event) -> None:
    then = reviewing.review_at(store, stored.id, reader, event.id)
    sight = ReviewView(reader, 0.5, field_diameter_mm(), editable=False)
    show_review(review_data(stored, then, None, sight), key="history-viewer")


def _table(events: list[Event]) -> list[dict[str, object]]:
    return [
        {
            "change": place,
            "when (UTC)": event.at.replace(tzinfo=None),
            "reader": event.reader,
            "what": reviewing.describe_event(event),
            "x (px)": event.x,
            "y (px)": event.y,
        }
        for place, event in reversed(list(enumerate(events, 1)))
    ]
