"""What every page has in common."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import streamlit as st

from db.engine import data_folder
from db.room import warning

log = logging.getLogger("concentric")

# A file of our own: the browser would fetch Streamlit's icons for tabs from the internet.
_ICON = str(Path(__file__).with_name("icon.svg"))
_STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 4.3rem 1.5rem 2rem; max-width: 1800px; }
[data-testid="stHeader"] { background: var(--background-color, #fff); }
</style>"""


def open_page(title: str) -> None:
    """First line of every page: Streamlit may run a page without app.py."""
    st.set_page_config(page_title=f"{title} · Concentric", page_icon=_ICON, layout="wide")
    st.html(_STYLE)
    if said := warning(data_folder()):
        st.warning(plain(said), icon=":material/hard_drive:")


def say_it_went_wrong(error: Exception) -> bool:
    """For errors nobody foresaw: a sentence on the page, the details in the log."""
    log.error("a page failed", exc_info=error)
    st.error("Something went wrong on this page. Please reload it; if it stays, the server's log says why.")
    return True


def plain(text: str) -> str:
    """Text that Markdown shows as it is (file names may hold anything)."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~$:&])", r"\\\1", text)
