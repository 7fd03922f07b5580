"""Review: a reader corrects the detections of one field after the other; each change is stored at once."""

from __future__ import annotations

import streamlit as st

from db.assignments import assigned_fields
from db.engine import Store
from db.fields import StoredField, delete_field, list_cases, list_fields, set_case
from db.reviews import reviews_of
from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model
from mitosis_core.plurals import count_noun
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service import detecting, reviewing
from pages.shared.service.waiting_for_scale import waiting_for_scale
from pages.shared.shell import empty_page, open_page, plain
from pages.shared.store import the_store
from pages.shared.views.field_diameter import ask_field_diameter
from pages.shared.views.field_history import show_history
from pages.shared.views.reader_agreement import show_agreement
from pages.shared.views.reader_name import ask_name
from pages.shared.views.review_address import read_address, write_address
from pages.shared.views.review_done import show_done
from pages.shared.views.review_queue import choose_field, read_queue, show_queue, start_at_the_top
from pages.shared.views.review_viewer import show_field

_MODES = ("Review", "History", "Agreement")
_CHOICES = (
    session.MODE,
    session.CASE,
    session.ORDER,
    session.VERSION,
    session.BLIND,
    session.OTHERS,
    session.ONLY_ASKED,
)


def main() -> None:
    """The page."""
    who = open_page("Review")
    try:
        store = the_store()
        asked = (st.query_params.get("case", ""), st.query_params.get("field", ""))
        if said := waiting_for_scale(store, *asked):
            empty_page(plain(said), "Give it on Cases", "cases")
            return
        if not list_fields(store):
            empty_page(
                "Correct what the detector has found: one click or key per mitosis, every change stored at once.",
                "Add fields",
                "cases",
            )
            return
        if reader := ask_name(store, who, "Each reader has verdicts of their own."):
            _review(store, reader, who)
    except ConcentricError as error:
        st.error(plain(str(error)))


def _review(store: Store, reader: str, who: Person) -> None:
    session.keep_given(*_CHOICES)
    if said := read_address(store):
        st.info(plain(said))
    if chosen := st.session_state.pop(session.NEXT_FIELD, None):
        st.session_state.update({session.FIELD_ID: chosen, session.MODE: _MODES[0], session.OTHERS: True})
    # One row above the image: which field, which way to look at it, and everything else behind buttons.
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        switch = st.container(horizontal=True, width="content", vertical_alignment="center")
        mode = st.segmented_control(
            "View", _MODES, key=session.MODE, default=_MODES[0], required=True, label_visibility="collapsed"
        )
        with st.popover("Queue and settings", icon=":material/tune:"):
            version = _settings(store, reader)
    entries = read_queue(store, reader, version)
    if not entries:
        asked = st.session_state.get(session.ONLY_ASKED)
        st.info("You were asked for no field of this case." if asked else "There is no field in this case.")
        return
    entry = choose_field(entries, switch)
    write_address(reader)
    if mode == "History":
        show_history(store, entry.field, reader, who)
    elif mode == "Agreement":
        show_agreement(store, reviewing.comparable(entries, who), reader, who)
    else:
        if who.may("reviewer"):
            show_done(store, entries, entry, reader, who)
        show_field(store, entry, entries, reader, version, who)
        show_queue(store, entries, version.version, who)
        if who.may("reviewer"):
            _field_settings(store, entry.field, who)


def _settings(store: Store, reader: str) -> Model:
    """What is in the queue and how it is shown; returns the version that proposes."""
    cases = [reviewing.ANY_CASE, *(case for case in list_cases(store) if case)]
    if st.session_state.get(session.CASE) not in cases:
        st.session_state[session.CASE] = reviewing.ANY_CASE
    st.selectbox("Case", cases, key=session.CASE, format_func=lambda case: case or "All cases")
    orders = list(reviewing.ORDERS)
    named = reviewing.ORDERS.__getitem__
    st.selectbox("Order", orders, key=session.ORDER, format_func=named, on_change=start_at_the_top)
    if assigned_fields(store, reader):
        st.toggle("Only the fields I was asked to read", key=session.ONLY_ASKED, on_change=start_at_the_top)
    else:
        st.session_state.pop(session.ONLY_ASKED, None)
    st.toggle("Blind: hide proposals and other readers until the field is finished", key=session.BLIND)
    st.toggle("Show the marks of other readers", key=session.OTHERS)
    ask_field_diameter()
    return detecting.load_model(
        st.selectbox("Version that makes the proposals", detecting.list_versions(), key=session.VERSION)
    )


def _field_settings(store: Store, stored: StoredField, who: Person) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = f"case-{stored.id}-{stored.case}"  # once the case is another one, whoever changed it, the box is new
        label = f"Case of {plain(stored.name)}"
        st.text_input(
            label, stored.case, max_chars=100, key=key, width=360, on_change=_set_case, args=(store, stored, key)
        )
        if who.may("admin") and st.button("Delete this field…", icon=":material/delete:"):
            _ask_to_delete(store, stored, who)


def _set_case(store: Store, stored: StoredField, key: str) -> None:
    try:
        set_case(store, stored.id, st.session_state[key])
    except ConcentricError as error:
        st.toast(plain(str(error)), icon=":material/error:")
        st.session_state[key] = stored.case


@st.dialog("Delete this field?")
def _ask_to_delete(store: Store, stored: StoredField, who: Person) -> None:
    known = len(reviews_of(store, stored.id))
    st.markdown(
        f"**{plain(stored.name)}**, its stored image and all marks of {count_noun(known, 'reader')} "
        "will be deleted. This cannot be undone."
    )
    if st.button("Delete field", type="primary"):
        delete_field(store, stored.id, by=session.author(who))
        st.rerun()


main()
