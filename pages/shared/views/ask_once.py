"""A far-reaching act asks once, in its place, in words that name the thing."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from mitosis_core.errors import ConcentricError
from pages.shared import session
from pages.shared.shell import plain


def ask_once(
    key: str,
    label: str,
    sentence: str,
    act: Callable[[str], object],
    *,
    icon: str,
    filled: bool = False,
    note: bool = False,
) -> None:
    """The button; when it was pressed, the sentence with a button that does it and one that does not.

    act: called with the note, "" where none is asked for; then the page runs anew. What it raises is shown. Where the
    sentence has changed since it was read, as when somebody else has decided meanwhile, nothing is done.
    """
    if st.session_state.get(session.ASKED) != key:
        if st.button(label, key=key, icon=icon, type="primary" if filled else "secondary"):
            st.session_state[session.ASKED] = key
            st.session_state.pop(session.ASKED_SENTENCE, None)
            st.rerun()
        return
    read = st.session_state.get(session.ASKED_SENTENCE, sentence)
    st.session_state[session.ASKED_SENTENCE] = sentence
    with st.container(border=True, width=420):  # in a row of buttons it would be as narrow as one
        st.markdown(sentence)
        why = st.text_input("Note", key=f"{key}-note", placeholder="Why (optional)") if note else ""
        with st.container(horizontal=True):
            sure = st.button(label, key=f"{key}-now", icon=icon, type="primary")
            if st.button("Cancel", key=f"{key}-not"):
                st.session_state.pop(session.ASKED, None)
                st.rerun()
    if sure and read != sentence:
        st.error("Somebody else has changed this meanwhile, so nothing was done. Please read it again.")
    elif sure:
        do(lambda: act(why))


def do(act: Callable[[], object]) -> None:
    """Do it and show the page anew, or say why it cannot be done."""
    try:
        act()
    except ConcentricError as error:
        st.error(plain(str(error)))
        return
    st.session_state.pop(session.ASKED, None)
    st.session_state.pop(session.VERSION, None)  # the other pages take up the champion
    st.rerun()
