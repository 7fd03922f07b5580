"""The question for the microscope's field, alike wherever counts are carried to ten of them."""

from __future__ import annotations

import streamlit as st

from mitosis_core.scoring import counting
from pages.shared import session


def ask_field_diameter(about: str | None = None) -> None:
    """Kept under session.DIAMETER, in mm. about: help beside it."""
    diameters = counting.COMMON_FIELD_DIAMETERS_MM
    st.selectbox(
        "Diameter of your high-power field (mm)",
        diameters,
        index=diameters.index(counting.FIELD_DIAMETER_MM),
        format_func=lambda mm: f"{mm:.2f}",
        key=session.DIAMETER,
        help=about,
    )
