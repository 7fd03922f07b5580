"""The pages of the app: their files, their addresses, and where they stand in the navigation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import streamlit as st
from streamlit.navigation.page import Page

_PAGES = Path(__file__).parents[1]
TITLES = {
    "cases": "Cases",
    "review": "Review",
    "results": "Results",
    "retrain": "Retrain",
    "models": "Models",
    "compare": "Compare",
    "detect": "Quick look",
    "data": "Data",
    "about": "About",
}  # the name of the file, which is the address, and the title
_HOME = "cases"
_MORE = ("detect", "data", "about")
_HIDDEN = ("compare",)  # opened from Models


def is_in_the_row(title: str) -> bool:
    """Whether the page of this title has a tab of its own at the top."""
    return any(one == title for name, one in TITLES.items() if name not in (*_MORE, *_HIDDEN))


def page(name: str) -> Page:
    """For st.page_link and st.switch_page, which then need no path. name: as in the address."""
    seen: Literal["visible", "hidden"] = "hidden" if name in _HIDDEN else "visible"
    # No icons: browsers would fetch them for their tabs from the internet.
    return st.Page(_PAGES / f"{name}.py", title=TITLES[name], visibility=seen)


def sections() -> dict[str, list[Page]]:
    """What st.navigation shows at the top: the pages in the row, and those under "More"."""
    home = st.Page(_go_home, title="Concentric", default=True, visibility="hidden")
    return {
        "": [home, *(page(name) for name in TITLES if name not in _MORE)],
        "More": [page(name) for name in _MORE],
    }


def _go_home() -> None:
    """The bare address: the first page lies at an address of its own, which links and reloads keep."""
    st.switch_page(page(_HOME), query_params=dict(st.query_params))
