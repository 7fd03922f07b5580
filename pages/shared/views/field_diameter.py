"""The question for the microscope's field, alike wherever counts are carried to ten of them."""

from __future__ import annotations

import streamlit as st

from db.preferences import change_preferences, read_preferences
from mitosis_core.errors import ConcentricError
from mitosis_core.scoring import counting
from pages.shared import session
from pages.shared.access import person
from pages.shared.shell import plain
from pages.shared.store import the_store


def field_diameter_mm() -> float:
    """The user's diameter, the same wherever counts are carried to ten fields."""
    return float(st.session_state.get(session.DIAMETER) or _kept())


def ask_field_diameter(about: str | None = None) -> None:
    """Kept under session.DIAMETER, in mm, and for the user in the store. about: help beside it."""
    st.session_state[session.DIAMETER] = field_diameter_mm()
    least, most = counting.POSSIBLE_DIAMETERS_MM
    common = ", ".join(f"{mm:.2f}" for mm in counting.COMMON_FIELD_DIAMETERS_MM)
    st.number_input(
        "Diameter of your high-power field (mm)",
        min_value=least,
        max_value=most,
        step=0.01,
        format="%.3f",
        key=session.DIAMETER,
        help=" ".join(filter(None, [about, f"Common are {common} mm."])),
        on_change=_keep,
    )
    with st.expander("From field number and objective"):
        number = st.number_input(
            "Field number of the eyepiece (mm)", value=22.0, step=0.5, format="%.1f", key=session.FIELD_NUMBER
        )
        lens = st.number_input(
            "Magnification of the objective", value=40.0, step=10.0, format="%.0f", key=session.OBJECTIVE
        )
        try:
            diameter = round(counting.field_diameter_mm(number, lens), 3)
            st.button(f"Use {diameter:.2f} mm", on_click=_use, args=(diameter,), key="use-diameter")
        except ConcentricError as error:
            st.caption(plain(str(error)))


def _kept() -> float:
    """What this user has chosen before; the common one while the store cannot be used."""
    try:
        return read_preferences(the_store(), person().name).field_diameter_mm
    except ConcentricError:
        return counting.FIELD_DIAMETER_MM


def _use(diameter: float) -> None:
    st.session_state[session.DIAMETER] = diameter
    _keep()


def _keep() -> None:
    try:
        change_preferences(the_store(), person().name, field_diameter_mm=float(st.session_state[session.DIAMETER]))
    except ConcentricError as error:  # counted with it all the same
        st.toast(plain(str(error)))
