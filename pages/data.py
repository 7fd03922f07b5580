"""Data: labels out and in, where everything is kept, its copies, what is wrong with it, and who did what."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db import audit, doctor
from db.backup import make_copy
from db.engine import Store, data_folder, database_url
from db.fields import list_fields
from db.image_files import image_files
from db.merge import merge_archive
from mitosis_core.errors import ConcentricError
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service import backup_copies
from pages.shared.service.label_files import on_disk
from pages.shared.shell import open_page, plain, show_table
from pages.shared.store import the_store
from pages.shared.views.export import show_export
from pages.shared.views.import_labels import show_import


def main() -> None:
    """The page."""
    who = open_page("Data", needs="admin")
    try:
        _show(the_store(), who)
    except ConcentricError as error:  # the folder can be examined all the same
        st.error(plain(str(error)))
    _examine()


def _show(store: Store, who: Person) -> None:
    st.subheader("Labels and other installations", anchor=False)
    with st.expander("Export labels", icon=":material/file_export:"):
        show_export(store, list_fields(store), who)
    with st.expander("Import labels", icon=":material/file_open:"):
        show_import(store, who)
    with st.expander("Add another installation", icon=":material/merge:"):
        _add_archive(store)
    st.subheader("Data folder and its copies", anchor=False)
    standing, buttons = st.container(), st.container(horizontal=True)
    with buttons:
        pressed = st.button("Back up now", icon=":material/backup:")
    if pressed:
        _back_up(store)  # first, so that what it made is shown
    _show_standing(backup_copies.backup_status(store), standing, buttons)
    st.subheader("Audit trail", anchor=False)
    st.caption("All changes to reviews, decisions about versions and deleted fields, oldest first.")
    with st.container(horizontal=True):
        for form in audit.FORMATS:
            st.download_button(
                f"Audit ({form.upper()})",
                backup_copies.audit_file(store, form),
                f"audit.{form}",
                backup_copies.MIME[form],
                icon=":material/download:",
                on_click="ignore",
            )
    if rows := backup_copies.deleted(store):
        st.markdown("**Deleted fields**")
        show_table(rows)


def _add_archive(store: Store) -> None:
    given = st.file_uploader(
        "Archive of another installation",
        ["zip"],
        key=session.MERGED_FILE,
        help="Made there by “Back up now”. What is here stays; images, reviews, versions and decisions are added. "
        "Larger ones: python -m db merge FILE",
    )
    if given is None or not st.button("Add", icon=":material/merge:"):
        return
    slot = st.progress(0.0, "Unpacking…")
    try:
        with on_disk(given.name, given.getbuffer()) as path:
            merged = merge_archive(store, path, lambda done, total: slot.progress(done / max(total, 1), "Unpacking…"))
        st.success(plain(merged.says))
        for note in merged.notes:
            st.info(plain(note))
    except ConcentricError as error:
        st.error(plain(str(error)))
    finally:
        slot.empty()


def _show_standing(stands: backup_copies.BackupStatus, place: DeltaGenerator, buttons: DeltaGenerator) -> None:
    with place:
        _show_figures(stands)
    if not stands.copies:
        return
    newest = stands.copies[0]
    if newest.bytes <= backup_copies.DOWNLOAD_BYTES:
        buttons.download_button(
            f"Download the last copy ({backup_copies.size(newest.bytes)})",
            newest.path.read_bytes,
            newest.path.name,
            "application/zip",
            icon=":material/download:",
            on_click="ignore",
        )
    else:
        place.caption(plain(f"The last copy, {backup_copies.size(newest.bytes)}: {newest.path}"))


def _show_figures(stands: backup_copies.BackupStatus) -> None:
    st.code(str(stands.folder), language=None)
    last = "none" if stands.last is None else backup_copies.age(datetime.now(UTC) - stands.last)
    for column, (label, value) in zip(
        st.columns(4),
        {
            "Size": backup_copies.size(stands.bytes),
            "Free on its disk": backup_copies.size(stands.free_bytes),
            "Age of the last copy": last,
            "Copies": str(len(stands.copies)),
        }.items(),
        strict=True,
    ):
        column.metric(label, value)
    if doubt := backup_copies.backup_warning(stands):
        st.warning(plain(doubt))
    st.caption(plain(f"{backup_copies.schedule_sentence()} Folder: {stands.copies_folder}."))


def _back_up(store: Store) -> None:
    slot = st.progress(0.0, "Copying…")
    try:
        made = make_copy(store, lambda done, total: slot.progress(done / max(total, 1), "Copying…"))
        st.success(plain(f"Copied and verified: {made.path}"))
    except ConcentricError as error:
        st.error(plain(str(error)))
    finally:
        slot.empty()


def _examine() -> None:
    st.subheader("Integrity check", anchor=False)
    if st.button(
        "Check", icon=":material/stethoscope:", help="Reads every image and recomputes every review from its changes."
    ):
        slot = st.progress(0.0, "Checking…")
        try:
            st.session_state[session.FINDINGS] = doctor.examine(
                data_folder(),
                lambda done, total: slot.progress(done / max(total, 1), f"Field {done} of {total}"),
                database_url(),
                image_files(data_folder()),
            )
        except ConcentricError as error:
            st.error(plain(str(error)))
        slot.empty()
    found: list[doctor.Finding] | None = st.session_state.get(session.FINDINGS)
    if found is None:
        return
    if doctor.is_sound(found):
        st.success(
            "No problem found: the database is intact, all images are present, all reviews agree with their changes."
        )
    for one in found:
        (st.warning if one.fault else st.info)(plain(one.says))
    if any(one.mendable for one in found):
        st.caption("Some of these can be repaired without loss: `python -m db doctor --repair`")


main()
