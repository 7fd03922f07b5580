"""The question for the µm per pixel, alike wherever a file does not say it."""

from __future__ import annotations

import streamlit as st

from mitosis_core.scale import SCANNER_PRESETS
from pages.shared import session


def ask_scanner(scanner_key: str, scale_key: str) -> float | None:
    """Which scanner, or another value in µm/px; None while there is no answer. The keys are of the session state."""
    scanner = st.selectbox(
        "Scanner",
        [*SCANNER_PRESETS, session.OTHER_SCANNER],
        index=None,
        format_func=lambda name: f"{name}: {SCANNER_PRESETS[name]:g} µm/px" if name in SCANNER_PRESETS else name,
        placeholder="Choose your scanner",
        key=scanner_key,
    )
    if scanner == session.OTHER_SCANNER:
        st.number_input("µm per pixel", value=None, step=0.01, format="%.4f", key=scale_key)
    return session.um_per_px(scanner_key, scale_key)
