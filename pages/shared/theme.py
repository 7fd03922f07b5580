"""The choice between light and dark, which Streamlit's menu offers, for all pages alike."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.shared.navigation import TITLES

_component = st.components.v2.component(
    "concentric_theme", js="// the theme\n" + Path(__file__).with_name("theme.js").read_text(encoding="utf-8")
)


def remember_theme() -> None:
    """Streamlit keeps the choice for the address at which the tab was opened; here every page keeps it."""
    _component(key="theme", data=["", *TITLES], height="content")
