"""Labels of some fields as a file of another program: whose, in which format, and the download."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from db.engine import Store
from db.fields import StoredField
from db.label_export import Labels
from db.labels import newest_event
from mitosis_core.errors import ConcentricError
from mitosis_core.interchange import FORMATS
from mitosis_core.plurals import count_noun
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service.label_files import ExportedFile, choices, export_file, says
from pages.shared.shell import plain


def show_export(store: Store, fields: Sequence[StoredField], who: Person, stem: str = "labels") -> None:
    """Everything that is needed to take the labels of these fields away. stem: of the file's name."""
    offered = choices(store, fields, who)
    if not fields or not offered:
        st.caption("There are no labels to export yet: nobody has reviewed these fields, and no version analysed them.")
        return
    fields = _of_cases(fields)
    left, right = st.columns(2)
    whose = left.selectbox("Labels", list(offered), key=session.EXPORTED_LABELS)
    name = right.selectbox(
        "Format", list(FORMATS), format_func=lambda one: FORMATS[one].title, key=session.EXPORTED_FORMAT
    )
    labels = _options(offered[whose], left)
    right.caption(plain(says(FORMATS[name])))
    asked = (labels, tuple(field.id for field in fields), name, newest_event(store))
    if st.button("Export", icon=":material/file_export:", help=count_noun(len(fields), "field")):
        session.keep_export(asked, _made(store, labels, fields, name, stem))
    if made := session.kept_export(asked):
        st.download_button(
            f"Download {made.name}",
            made.content,
            made.name,
            made.mime,
            icon=":material/download:",
            type="primary",
            on_click="ignore",
        )
        for line in made.says.splitlines():
            st.caption(plain(line))


def _of_cases(fields: Sequence[StoredField]) -> Sequence[StoredField]:
    """The fields of the cases that are chosen; all while none is."""
    cases = sorted({field.case for field in fields if field.case})
    if len(cases) < 2:
        return fields
    chosen = st.multiselect("Cases", cases, key=session.EXPORTED_CASES, placeholder="All cases")
    return [field for field in fields if field.case in chosen] if chosen else fields


def _options(labels: Labels, place: st.delta_generator.DeltaGenerator) -> Labels:
    if labels.kind in ("reader", "readers"):
        unfinished = place.checkbox("Unfinished fields too", key=session.EXPORT_UNFINISHED)
        return Labels(labels.kind, labels.name, unfinished=unfinished)
    if labels.kind == "version":
        own = place.checkbox("From the version's own threshold on", value=True, key=session.EXPORT_OWN_THRESHOLD)
        if not own:
            return Labels("version", labels.name, place.slider("Lowest score", 0.0, 1.0, 0.5, 0.01))
    return labels


def _made(store: Store, labels: Labels, fields: Sequence[StoredField], name: str, stem: str) -> ExportedFile | None:
    try:
        with st.spinner("Writing…"):
            return export_file(store, labels, fields, name, stem)
    except ConcentricError as error:
        st.error(plain(str(error)))
        return None
