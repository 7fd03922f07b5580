"""Who is reading, where nobody logs in: chosen in one way, behind the name in the frame or on a page that needs it."""

from __future__ import annotations

import streamlit as st

from db.engine import Store
from db.reviews import readers
from mitosis_core.errors import ConcentricError
from pages.shared import session
from pages.shared.markdown import plain
from pages.shared.person import Person


def ask_name(store: Store, who: Person, about: str) -> str:
    """The name that verdicts and decisions are recorded with; "" while nobody has said: then it is asked for here.

    about: why this page needs it.
    """
    name = session.author(who)
    if not name:
        with st.container(border=True, width=620):
            st.markdown(f"**Who is reading?** {about}")
            choose_reader(store, who, key=session.PAGE_READER)
    return name


def choose_reader(store: Store, who: Person, *, key: str) -> None:
    """A list of the readers, in which a new name can be typed; what is chosen holds on every page from then on."""
    if st.session_state.pop(session.READER_CHANGED, False):
        st.rerun()  # the whole page: it may show what this reader has done
    name = session.author(who)
    st.session_state[key] = name or None
    st.selectbox(
        "Reader",
        sorted({*readers(store), *([name] if name else [])}, key=str.casefold),
        key=key,
        accept_new_options=True,
        placeholder="Choose or type a name",
        help="Verdicts and decisions are recorded under this name. It is remembered on this computer.",
        on_change=_change,
        args=(store, who, key),
    )
    if said := st.session_state.pop(session.READER_PROBLEM, ""):
        st.error(plain(said))


def _change(store: Store, who: Person, key: str) -> None:
    try:
        session.change_reader(store, who, st.session_state.get(key) or "")
        st.session_state[session.READER_CHANGED] = True
    except ConcentricError as error:
        st.session_state[session.READER_PROBLEM] = str(error)
