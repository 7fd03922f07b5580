"""What every page has in common."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from db.disk_space import disk_space_warning
from db.engine import data_folder
from mitosis_core.errors import ConcentricError
from mitosis_core.interchange.safe_csv import safe_cell
from pages.shared.access import Person, login, person

log = logging.getLogger("concentric")

# A file of our own: the browser would fetch Streamlit's icons for tabs from the internet.
_ICON = str(Path(__file__).with_name("icon.svg"))
_STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 4.3rem 1.5rem 2rem; max-width: 1800px; }
[data-testid="stHeader"] { background: var(--background-color, #fff); }
</style>"""


def open_page(title: str, needs: str = "reader") -> Person:
    """First line of every page: Streamlit may run a page without app.py. Stops the page for who may not see it."""
    st.set_page_config(page_title=f"{title} · Concentric", page_icon=_ICON, layout="wide")
    st.html(_STYLE)
    try:
        who = person()
    except ConcentricError as error:
        st.error(plain(str(error)))
        st.stop()
    if who.name:
        _say_who(who)
    if not who.may(needs):
        _refuse(who, needs)
        st.stop()
    if said := disk_space_warning(data_folder()):
        st.warning(plain(said), icon=":material/hard_drive:")
    return who


def _say_who(who: Person) -> None:
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        st.caption(f"{plain(who.name)} · {who.role.name.lower()}", width="content")
        if login() == "oidc":
            st.button("Log out", icon=":material/logout:", type="tertiary", on_click=st.logout)


def _refuse(who: Person, needs: str) -> None:
    """The whole page for somebody who may not see it: one sentence and, for a stranger, the log-in."""
    _, middle, _ = st.columns([1, 3, 1])
    with middle:
        if who.name:
            st.title("No access", anchor=False)
            st.markdown(f"This page needs the role {needs}. The operator of this server can assign it.")
            return
        st.title("Concentric", anchor=False)
        st.markdown("Please log in. A log-in lasts twelve hours.")
        if login() == "oidc":
            st.button("Log in", icon=":material/login:", type="primary", on_click=st.login)


def safe_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table, whose texts may be anything, without formulas: Streamlit offers every table as CSV."""
    return [
        {safe_cell(name): safe_cell(one) if isinstance(one, str) else one for name, one in row.items()} for row in rows
    ]


def show_table(rows: Iterable[Mapping[str, Any]], **options: Any) -> Any:
    """Rows as st.dataframe shows them, with its options and its answer."""
    return st.dataframe(safe_rows(rows), hide_index=True, **options)


def show_unexpected_error(error: Exception) -> bool:
    """For unexpected errors: a sentence on the page, the details in the log."""
    log.error("a page failed", exc_info=error)
    st.error("An unexpected error occurred on this page. Please reload it; details are in the server's log.")
    return True


def plain(text: str) -> str:
    """Text that Markdown shows as it is (file names may hold anything), on one line."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~$:&=@])", r"\\\1", re.sub(r"\s+", " ", text))
    # Addresses, :emoji: and :material/icons: are also looked for after Markdown was read: an invisible mark parts them.
    return re.sub(r"(?<=:)(?=\w|/|\\)|(?<=www)(?=\\\.)|(?=\\@)", "\u2060", escaped, flags=re.IGNORECASE)
