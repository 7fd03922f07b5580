"""Cases: every case and its fields."""

from __future__ import annotations

import streamlit as st

from db.fields import list_cases, list_fields
from mitosis_core.errors import ConcentricError
from mitosis_core.plurals import count_noun
from pages.shared import navigation
from pages.shared.shell import empty_page, open_page, plain
from pages.shared.store import the_store


def main() -> None:
    """The page."""
    open_page("Cases")
    try:
        store = the_store()
        cases = list_cases(store)
        if not cases:
            empty_page("No field is stored yet. Open fields and press **Keep for review**.", "Open fields", "detect")
        for case in cases:
            named = plain(case) or "Without a case"
            about = count_noun(len(list_fields(store, case)), "field")
            st.page_link(navigation.page("review"), label=f"{named}: {about}", query_params={"case": case})
    except ConcentricError as error:
        st.error(plain(str(error)))


main()
