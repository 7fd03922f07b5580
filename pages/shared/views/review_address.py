"""The address of the Review page: ?case=NAME and ?field=ID, so that links, back and reload lead to the same field.

&at=X,Y leads on to a cell of it, once.
"""

from __future__ import annotations

import streamlit as st

from db.engine import Store
from db.fields import StoredField, list_fields
from db.splits import case_of
from pages.shared import session
from pages.shared.service.reviewing import ANY_CASE


def read_address(store: Store) -> str:
    """Put on review what the address names, unless the page wrote it. Returns a sentence when it is not there."""
    asked = (st.query_params.get("case", ""), st.query_params.get("field", ""))
    known = st.session_state.get(session.ADDRESS)
    old = st.session_state.pop(session.ADDRESS_IS_OLD, False)
    at = _place(st.query_params.get("at", ""))
    if (asked == known and at is None) or (known and old):
        return ""
    if asked == ("", ""):  # back from another page
        asked = known or asked
    case, number = asked
    fields = list_fields(store)
    field = next((one for one in fields if str(one.id) == number), None)
    if field is None and case:
        return _open_case(fields, case)
    if field is not None:
        _open_field(field, case)
        if at is not None:
            before = st.session_state.get(session.PLACE) or {"n": 0}
            st.session_state[session.PLACE] = {"field": field.id, "x": at[0], "y": at[1], "n": before["n"] + 1}
    return "" if field or not number else "The field of this address is no longer there."


def keep_on_review() -> None:
    """For callbacks of the page: the browser may not have taken up the newest address yet, and send the one before."""
    st.session_state[session.ADDRESS_IS_OLD] = True


def write_address(reader: str) -> None:
    """Let the address name the reader and what is on review."""
    case, field = st.session_state[session.CASE], str(st.session_state[session.FIELD_ID])
    wanted = {"reader": reader, **({"case": case} if case else {}), "field": field}
    st.session_state[session.ADDRESS] = (case, field)
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def _place(text: str) -> tuple[float, float] | None:
    """X,Y in pixels of the field; None for anything else."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        return None
    return (x, y) if abs(x) < 1e6 and abs(y) < 1e6 else None


def _open_case(fields: list[StoredField], case: str) -> str:
    """A case by its name, or by the name that `case_of` gives to a field without one."""
    found = next((one for one in fields if case_of(one) == case), None)
    if found is None:
        return f"There is no case named {case}."
    st.session_state.pop(session.FIELD_ID, None)
    st.session_state[session.CASE] = found.case
    if not found.case:
        _open_field(found, "")
    return ""


def _open_field(field: StoredField, case: str) -> None:
    """In the queue of the case that was named with it, else in that of all where the queue on show has it not."""
    st.session_state[session.FIELD_ID] = field.id
    st.session_state.pop(session.ONLY_ASKED, None)  # it may be one that the reader was not asked for
    if case == field.case:
        st.session_state[session.CASE] = case
    elif st.session_state.get(session.CASE) != field.case:
        st.session_state[session.CASE] = ANY_CASE
