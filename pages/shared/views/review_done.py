"""The end of a queue: what has been read, and the way on to the result, the next case or a new version."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from db.engine import Store
from db.splits import case_of
from mitosis_core.plurals import count_noun
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service import reviewing
from pages.shared.service.reviewing import ANY_CASE, QueueEntry
from pages.shared.shell import plain


def show_done(store: Store, entries: Sequence[QueueEntry], entry: QueueEntry, reader: str, who: Person) -> None:
    """One row above the field, when its case is read, or that of the field that was finished just now."""
    just = next((one for one in entries if one.field.id == st.session_state.get(session.CASE_READ)), entry)
    for one in (entry, just):
        read = reviewing.of_case(entries, one.field)
        if not any(of_case.is_open for of_case in read):
            _show_row(store, read, reader, who, elsewhere=case_of(one.field) != case_of(entry.field))
            return


def _show_row(store: Store, read: Sequence[QueueEntry], reader: str, who: Person, *, elsewhere: bool) -> None:
    """elsewhere: the queue has gone on to another case already."""
    field = read[0].field
    mitoses = sum(one.review.mitoses for one in read if one.review.state != "excluded")
    name = f"Case {plain(field.case)}" if field.case else plain(field.name)
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        said = f"**{name} is read:** {count_noun(mitoses, 'mitosis')} in {count_noun(len(read), 'field')}."
        st.markdown(said, width="stretch")
        if st.button("Result", type="primary", icon=":material/lab_profile:"):
            st.switch_page("pages/results.py", query_params={"case": case_of(field)})
        coming = None if elsewhere else reviewing.next_case(store, reader, case_of(field))
        if coming:
            title = plain(coming.case or coming.name)
            st.button(f"Next case: {title}", icon=":material/skip_next:", on_click=_open, args=(coming.id, coming.case))
        if who.may("admin") and st.button("Retrain", icon=":material/model_training:"):
            st.switch_page("pages/retrain.py")


def _open(field_id: int, case: str) -> None:
    st.session_state[session.FIELD_ID] = field_id
    if st.session_state.get(session.CASE):
        st.session_state[session.CASE] = case or ANY_CASE
