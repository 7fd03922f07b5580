"""Models: every version as a card, where it comes from, which one is active, and the way back."""

from __future__ import annotations

import streamlit as st

from db import versions
from db.engine import Store
from mitosis_core.errors import ConcentricError
from pages.shared import session
from pages.shared.service import training
from pages.shared.service.version_cards import version_cards
from pages.shared.service.version_comparison import FEWEST, MOST
from pages.shared.shell import open_page, plain, show_table
from pages.shared.store import the_store
from pages.shared.views import pictures
from pages.shared.views.reader_name import ask_name
from pages.shared.views.version_cards import show_cards, show_lineage

_DECIDED = {
    "promote": "promoted",
    "reject": "rejected",
    "roll_back": "rolled back to",
    "upload": "imported",
    "delete": "deleted",
}


def main() -> None:
    """The page."""
    who = open_page("Models")
    pictures.show_style()
    try:
        store = the_store()
        by = ask_name(store, who, "Decisions are recorded with a name.") if who.may("admin") else ""
        cards, bar = version_cards(store), st.container(horizontal=True, vertical_alignment="center")
        chosen = show_cards(store, cards, who, by)
        with bar:
            _offer_comparison(chosen)
        left, right = st.columns([2, 3], gap="large")
        with left:
            st.markdown("**Which was trained from which**")
            show_lineage(cards)
        with right:
            if who.may("admin"):
                _take_in(store, by)
            _show_decisions(store)
    except ConcentricError as error:
        st.error(plain(str(error)))


def _offer_comparison(chosen: list[str]) -> None:
    enough = FEWEST <= len(chosen) <= MOST
    if st.button(
        f"Compare {len(chosen)} versions" if enough else "Compare",
        type="primary" if enough else "secondary",
        disabled=not enough,
        icon=":material/compare:",
        key="compare",
    ):
        st.session_state[session.COMPARED] = chosen
        st.switch_page("pages/compare.py")
    if len(chosen) > MOST:
        st.caption(f"{len(chosen)} are chosen; at most four can be compared at once.")
    elif not enough:
        st.caption(
            "Choose two to four versions to compare them on your fields; not all cards were measured on the same."
        )


def _show_decisions(store: Store) -> None:
    said = versions.decisions(store)
    if not said:
        return
    with st.expander("Decisions"):
        show_table(
            [
                {
                    "when (UTC)": one.at.replace(tzinfo=None),
                    "what": _DECIDED.get(one.kind, one.kind),
                    "version": one.version,
                    "by": one.by,
                    "note": one.note,
                }
                for one in reversed(said)
            ],
        )


def _take_in(store: Store, by: str) -> None:
    with st.expander("Import a version"), st.form("import", clear_on_submit=True, border=False):
        file = st.file_uploader("A zip made by Download", ["zip"])
        if st.form_submit_button("Import") and file:
            try:
                st.success(f"Imported {plain(training.import_version(store, file.getvalue(), by=by))}.")
            except ConcentricError as error:
                st.error(plain(str(error)))


main()
