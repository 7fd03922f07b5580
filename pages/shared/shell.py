"""What every page has in common."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from db.disk_space import disk_space_warning
from db.engine import data_folder
from mitosis_core import __version__
from mitosis_core.errors import ConcentricError
from mitosis_core.interchange.safe_csv import safe_cell
from pages.shared import navigation
from pages.shared.access import Person, login, person
from pages.shared.frame import show_frame
from pages.shared.markdown import plain

__all__ = ["empty_page", "name_tab", "open_page", "plain", "safe_rows", "show_table", "show_unexpected_error"]

log = logging.getLogger("concentric")

# Files of our own: the browser would fetch Streamlit's icons for tabs from the internet.
_ICON = str(Path(__file__).with_name("icon.svg"))
_LOGO = str(Path(__file__).with_name("logo.svg"))  # in a colour that shows on light and on dark
_STYLE = f"<style>{Path(__file__).with_name('page.css').read_text(encoding='utf-8')}</style>"
_ABOUT = (
    f"Concentric {__version__} counts mitoses in high-power fields of H&E slides. For research, not for diagnosis.\n\n"
    "The guide and the methods are on the page About."
)


def open_page(title: str, needs: str = "reader") -> Person:
    """First line of every page: Streamlit may run a page without app.py. Stops the page for who may not see it."""
    name_tab(title)
    st.logo(_LOGO, size="small")
    st.html(_STYLE)
    try:
        who = person()
    except ConcentricError as error:
        st.error(plain(str(error)))
        st.stop()
    show_frame(title, who, allowed=who.may(needs))
    if not who.may(needs):
        _refuse(who, needs)
        st.stop()
    if said := disk_space_warning(data_folder()):
        st.warning(plain(said), icon=":material/hard_drive:")
    return who


def name_tab(title: str, subject: str = "") -> None:
    """The title of the browser's tab. subject: the case or field on show, "" for none."""
    words = [subject, title, "Concentric"]
    st.set_page_config(
        page_title=" · ".join(filter(None, words)), page_icon=_ICON, layout="wide", menu_items={"About": _ABOUT}
    )


def empty_page(sentence: str, button: str, target: str) -> None:
    """What a page shows that has nothing to show yet: what it is for, and the one button that leads on.

    target: the name of a page, as in the address.
    """
    with st.container(key="empty", horizontal_alignment="center", gap="medium"):
        st.markdown(sentence)
        if st.button(button, type="primary"):
            st.switch_page(navigation.page(target))


def _refuse(who: Person, needs: str) -> None:
    """The whole page for somebody who may not see it: one sentence and, for a stranger, the log-in."""
    with st.container(key="empty", horizontal_alignment="center", gap="medium"):
        if who.name:
            st.markdown(f"**No access.** This page needs the role {needs}. The operator of this server can assign it.")
            return
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
    return st.dataframe(safe_rows(rows), hide_index=True, placeholder="", **options)


def show_unexpected_error(error: Exception) -> bool:
    """For unexpected errors: a sentence on the page, the details in the log."""
    log.error("a page failed", exc_info=error)
    st.error("An unexpected error occurred on this page. Please reload it; details are in the server's log.")
    return True
