"""Cases, the home page: files come in here; every case with its fields, how far it is, and what comes next."""

from __future__ import annotations

import streamlit as st

from mitosis_core.errors import ConcentricError
from pages.shared.shell import open_page, plain
from pages.shared.store import the_store
from pages.shared.views.case_board import show_cases


def main() -> None:
    """The page."""
    who = open_page("Cases")
    try:
        show_cases(the_store(), who)
    except ConcentricError as error:
        st.error(plain(str(error)))


main()
