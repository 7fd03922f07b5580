"""Models: every version, where it comes from, which one is active, and the way back."""

from __future__ import annotations

import json

import streamlit as st

from db import versions
from db.engine import Store
from mitosis_core.errors import ConcentricError
from mitosis_core.model import DEFAULT_VERSION
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service import training
from pages.shared.shell import open_page, plain, show_table
from pages.shared.store import the_store
from pages.shared.views.champion_challenger import show_comparison


def main() -> None:
    """The page."""
    who = open_page("Models")
    try:
        store = the_store()
        session.recall(store, who)
        if who.may("admin") and not session.author(who):
            st.text_input("Your name", key=session.READER, placeholder="Decisions are recorded with it", width=360)
        _show(store, who, session.author(who))
    except ConcentricError as error:
        st.error(plain(str(error)))


def _show(store: Store, who: Person, by: str) -> None:
    rows = training.overview(store)
    score = {"F1 on held-out fields": st.column_config.NumberColumn(format="%.3f")}
    show_table(rows, column_config=score)
    left, right = st.columns([3, 2], gap="large")
    with right:  # first, so that the way back is there whatever is wrong with a version
        _show_decisions(store, who, by)
        if who.may("admin"):
            _take_in(store, by)
    with left:
        name = st.selectbox("Version", [row["version"] for row in rows if row["state"] != "deleted"])
        _show_version(store, name, who, by)


def _show_version(store: Store, name: str, who: Person, by: str) -> None:
    stored, damage = name in [one.name for one in versions.list_stored(store)], training.damage(store, name)
    if damage:
        st.error(plain(damage))
    if stored:
        show_comparison(store, name, by, decide=who.may("admin"))
    if who.may("admin"):
        _take_out(store, name, by, stored=stored, damaged=bool(damage))
    if not damage:
        with st.expander("Model card"):
            st.json(json.loads(training.card_of(store, name).to_json()))


def _take_out(store: Store, name: str, by: str, *, stored: bool, damaged: bool) -> None:
    with st.container(horizontal=True):
        if not damaged:
            st.download_button("Download", training.export_version(store, name), f"{name}.zip", "application/zip",
                               icon=":material/download:", on_click="ignore")  # fmt: skip
        if stored and st.button("Delete this version", icon=":material/delete:"):
            versions.delete_version(store, name, by=by)
            st.rerun()


def _show_decisions(store: Store, who: Person, by: str) -> None:
    said, before = versions.decisions(store), versions.previous_champion(store, DEFAULT_VERSION)
    st.markdown(f"**Active: {plain(training.active(store))}**")
    if (
        before
        and who.may("admin")
        and st.button(f"Roll back to {plain(before)}", icon=":material/undo:", key="roll-back")
    ):
        versions.roll_back(store, DEFAULT_VERSION, by=by)
        st.session_state.pop(session.VERSION, None)
        st.rerun()
    if not said:
        return
    show_table(
        [{"when (UTC)": one.at.replace(tzinfo=None), "what": one.kind, "version": one.version, "by": one.by,
          "note": one.note} for one in reversed(said)],
    )  # fmt: skip


def _take_in(store: Store, by: str) -> None:
    with st.form("import", clear_on_submit=True):
        file = st.file_uploader("Import a version (a zip made by Download)", ["zip"])
        if st.form_submit_button("Import") and file:
            try:
                st.success(f"Imported {plain(training.import_version(store, file.getvalue(), by=by))}.")
            except ConcentricError as error:
                st.error(plain(str(error)))


main()
