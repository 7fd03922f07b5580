"""Bars as HTML, and the style of what pages write as HTML. All text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

import streamlit as st

_CSS = Path(__file__).with_name("pictures.css")


def show_style() -> None:
    """Once on every page that shows such HTML."""
    st.html(f"<style>{_CSS.read_text(encoding='utf-8')}</style>")


def bars(rows: Iterable[tuple[str, float]]) -> str:
    """A bar for each (words, share of 1)."""
    cells = "".join(
        f'<span>{escape(words)}</span><span class="track"><span class="fill" style="width:{share:.1%}"></span></span>'
        f"<b>{share:.0%}</b>"
        for words, share in rows
    )
    return f'<div class="bars">{cells}</div>'
