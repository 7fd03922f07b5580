"""The question for the microscope's field, alike wherever counts are carried to ten of them."""

from __future__ import annotations

import streamlit as st

from db.preferences import change_preferences, read_preferences
from mitosis_core.scoring import counting
from pages.shared import session
from pages.shared.access import person
from pages.shared.store import the_store


def field_diameter_mm() -> float:
    """The user's diameter, the same wherever counts are carried to ten fields: the one kept in the store."""
    return read_preferences(the_store(), person().name).field_diameter_mm


def ask_field_diameter(about: str | None = None) -> None:
    """Kept for this user in the store, see `field_diameter_mm`. about: help beside it."""
    chosen = field_diameter_mm()
    st.session_state[session.DIAMETER] = chosen
    st.selectbox(
        "Diameter of your high-power field (mm)",
        sorted({*counting.COMMON_FIELD_DIAMETERS_MM, chosen}),
        format_func=lambda mm: f"{mm:.2f}",
        key=session.DIAMETER,
        help=about,
        on_change=_keep,
    )


def _keep() -> None:
    change_preferences(the_store(), person().name, field_diameter_mm=st.session_state[session.DIAMETER])
