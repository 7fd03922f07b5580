"""Who decides: known already, or asked for once and remembered."""

from __future__ import annotations

import streamlit as st

from db.engine import Store
from pages.shared import session
from pages.shared.person import Person


def ask_name(store: Store, who: Person, *, key: str) -> str:
    """The name that runs and decisions are recorded with; "" while nobody has said. What is typed here holds on every
    page from then on. Raises ConcentricError for a name that cannot be one."""
    session.recall(store, who)
    if not session.author(who):
        typed = st.text_input("Your name", key=key, placeholder="Runs and decisions are recorded with it", width=360)
        if typed and typed.strip():
            session.remember_reader(store, who, typed.strip())
            st.rerun()
    return session.author(who)
