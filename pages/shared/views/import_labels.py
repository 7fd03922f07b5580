"""Labels from a file of another program: what would happen, image by image, and then all of it or nothing."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from db.engine import Store
from db.label_import import SWAPPED, Import, ImportSettings, import_labels, preview_import
from mitosis_core.errors import ConcentricError
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.class_names import LABELS, SKIP
from mitosis_core.plurals import count_noun
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service.label_files import (
    SUFFIXES,
    FileContents,
    contents,
    on_disk,
    possible_formats,
    proposed_class,
    rows,
)
from pages.shared.shell import plain, show_table

_VERDICT = {"mitosis": "Mitosis", "lookalike": "Look-alike", "unsure": "Unsure", SKIP: "Ignore"}


def show_import(store: Store, who: Person) -> None:
    """Everything that is needed to take labels in."""
    given = st.file_uploader(
        "File with labels",
        SUFFIXES,
        key=session.IMPORTED_FILE,
        help="Of any format that can be exported. Its images must be stored here already: they are found by their "
        "pixels where the file says so, else by their name.",
    )
    if given is None:
        return
    try:
        with on_disk(given.name, given.getvalue()) as path:
            _show(store, who, path)
    except ConcentricError as error:
        st.error(plain(str(error)))


def _show(store: Store, who: Person, path: Path) -> None:
    left, right = st.columns(2)
    formats = possible_formats(path)
    name = right.selectbox("Format", formats, format_func=lambda one: FORMATS[one].title, key=session.IMPORTED_FORMAT)
    reader = left.text_input(
        "Reader", session.author(who), key=session.IMPORTED_READER, help="Whose labels they become."
    )
    with st.spinner("Reading…"):
        found = contents(path, name)
    classes = _classes(found)
    if not reader or classes is None:
        return
    settings = ImportSettings(
        reader,
        name,
        classes,
        of_reader=_of_reader(found),
        finish=st.checkbox(
            "Finish these fields",
            key=session.IMPORT_FINISHES,
            help="Only finished fields are counted, compared and learnt from.",
        ),
    )
    shown = preview_import(store, path, settings)
    if shown.swapped:
        st.warning(plain(SWAPPED))
        if not st.checkbox("Exchange x and y", key=session.IMPORT_SWAPS):
            return
        settings = ImportSettings(reader, name, classes, True, settings.of_reader, finish=settings.finish)
        shown = preview_import(store, path, settings)
    _confirm(store, path, settings, shown)


def _classes(found: FileContents) -> dict[str, str] | None:
    """What each class of the file is, as the user says; None while one of them is open."""
    if not found.classes:
        return {}
    chosen: dict[str, str] = {}
    options = [*LABELS, SKIP]
    columns = st.columns(min(4, len(found.classes)))
    for place, (name, number) in enumerate(sorted(found.classes.items())):
        proposed = proposed_class(name)
        answer = columns[place % len(columns)].selectbox(
            plain(f"{name or 'without a class'} ({count_noun(number, 'mark')}) is"),
            options,
            index=None if proposed is None else options.index(proposed),
            format_func=_VERDICT.__getitem__,
            key=f"{session.IMPORTED_CLASS}{name}",
            placeholder="Please choose",
        )
        if answer is not None:
            chosen[name] = answer
    return chosen if len(chosen) == len(found.classes) else None


def _of_reader(found: FileContents) -> str:
    if len(found.readers) < 2:
        return ""
    everybody = "All"
    answer = st.selectbox("Marks of", [everybody, *found.readers], key=session.IMPORTED_OF_READER)
    return "" if answer == everybody else answer


def _confirm(store: Store, path: Path, settings: ImportSettings, shown: Import) -> None:
    """The preview, and the button that does it."""
    done = st.session_state.pop(session.IMPORT_SAID, "")
    if done:
        st.success(done)
    show_table(rows(shown), height=min(420, 37 + 35 * len(shown.images)))
    refused = shown.total("refused")
    leave_out = bool(refused) and st.checkbox(
        f"Leave out {count_noun(refused, 'mark')} outside their image", key=session.IMPORT_LEAVES_OUT
    )
    changes = shown.total("new") + shown.total("changed")
    finishes = sum(image.finishes for image in shown.images)
    if not changes and not finishes:
        if not done:
            there = count_noun(shown.total("there"), "mark")
            st.info(f"Nothing to import: {there} of {plain(settings.reader)} are there already.")
        return
    wanted = [f"Import {count_noun(changes, 'mark')}"] if changes else []
    wanted += [f"finish {count_noun(finishes, 'field')}"] if finishes else []
    label = " and ".join(wanted)
    label = label[0].upper() + label[1:]
    if st.button(label, icon=":material/file_open:", type="primary", disabled=bool(refused) and not leave_out):
        with st.spinner("Importing…"):
            taken = import_labels(store, path, _leaving_out(settings, leave_out))
        st.session_state[session.IMPORT_SAID] = plain(_said(settings, taken))
        st.rerun()  # the table says what is stored now


def _said(settings: ImportSettings, taken: Import) -> str:
    """What was imported, in a sentence."""
    changed, finished = taken.total("changed"), sum(image.finishes for image in taken.images)
    parts = [f"{count_noun(taken.total('new'), 'mark')} imported for {settings.reader}"]
    parts += [f"{changed} with another class"] if changed else []
    parts += [f"{count_noun(finished, 'field')} finished"] if finished else []
    return f"{', '.join(parts)}."


def _leaving_out(settings: ImportSettings, leave_out: bool) -> ImportSettings:
    return ImportSettings(
        settings.reader,
        settings.format_name,
        settings.classes,
        settings.swap_xy,
        settings.of_reader,
        leave_out,
        settings.finish,
    )
