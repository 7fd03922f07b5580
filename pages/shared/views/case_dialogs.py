"""What is asked before something is done with many fields at once, or with a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from db.assignments import assign, unassign
from db.engine import Store
from db.fields import list_cases, rename_case
from db.preferences import change_preferences
from db.reviews import readers
from mitosis_core.errors import ConcentricError
from mitosis_core.plurals import count_noun
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service import case_actions, detecting
from pages.shared.service.importing import chosen_version
from pages.shared.shell import plain
from pages.shared.views.scanner import ask_scanner

# Whoever closes one draws the page, which then knows that none is open.
_dialog = partial(st.dialog, on_dismiss="rerun")


@_dialog("Set the case")
def _case(store: Store, who: Person, ids: Sequence[int], _: str) -> None:
    known = [case for case in list_cases(store) if case]
    case = st.selectbox("Case", known, index=None, accept_new_options=True, placeholder="Choose or type a name")
    label = f"Set the case of {count_noun(len(ids), 'field')}"
    _button(label, lambda: case_actions.put_into_case(store, ids, case or ""), ready=bool(case))


@_dialog("Rename a case")
def _rename(store: Store, who: Person, _: Sequence[int], case: str) -> None:
    name = st.text_input("Name", case, max_chars=100)
    there = name.strip() in list_cases(store) and name.strip() != case
    if there:
        st.info(f"The fields of {plain(case)} join those of {plain(name)}.")
    _button("Join the cases" if there else "Rename", lambda: rename_case(store, case, name), ready=name.strip() != case)


@_dialog("Ask a reader")
def _reader(store: Store, who: Person, ids: Sequence[int], _: str) -> None:
    name = st.selectbox(
        "Reader", readers(store), index=None, accept_new_options=True, placeholder="Choose or type a name"
    )
    fields, by = count_noun(len(ids), "field"), session.author(who)
    with st.container(horizontal=True):
        _button(f"Give {fields} to the reader", lambda: assign(store, ids, name or "", by=by), ready=bool(name))
        _button("Take back", lambda: unassign(store, ids, name or ""), ready=bool(name), main=False)


@_dialog("Exclude from the review")
def _exclude(store: Store, who: Person, ids: Sequence[int], _: str) -> None:
    reader = who.name or st.text_input("Reader", session.author(who), max_chars=60)
    st.markdown(
        f"{count_noun(len(ids), 'field')}, finished or not, will not count for this reader, nor be trained on. "
        "The marks stay, and the fields can be put back."
    )
    with st.container(horizontal=True):
        for label, excluded in (("Exclude", True), ("Put back", False)):
            _button(
                label,
                lambda excluded=excluded: case_actions.set_excluded(store, ids, reader, excluded),  # type: ignore[misc]
                ready=bool(reader.strip()),
                main=excluded,
            )


@_dialog("Detect again")
def _detect(store: Store, who: Person, ids: Sequence[int], _: str) -> None:
    names = detecting.list_versions()
    chosen = chosen_version(store, who.name)
    version = st.selectbox("Version", names, index=names.index(chosen) if chosen in names else 0)
    _button(
        f"Detect in {count_noun(len(ids), 'field')}",
        lambda: case_actions.detect_again(store, ids, version, by=session.author(who)),
    )


@_dialog("Set the µm per pixel")
def _scale(store: Store, who: Person, ids: Sequence[int], _: str) -> None:
    st.markdown(f"Of {count_noun(len(ids), 'field')}, in the place of what is known. They are analysed again at it.")
    given = ask_scanner("chosen_scanner", "chosen_um_per_px")
    version, by = chosen_version(store, who.name), session.author(who)
    _button(
        "Set", lambda: case_actions.correct_scale(store, ids, given or 0.0, version, by=by), ready=given is not None
    )


@_dialog("Scanner")
def _scanner(store: Store, who: Person, _: Sequence[int], __: str) -> None:
    known = session.recall(store, who).um_per_px
    st.markdown(f"Files that do not say how large a pixel is are taken to have {known or 0:g} µm per pixel.")
    given = ask_scanner("remembered_scanner", "remembered_um_per_px")
    with st.container(horizontal=True):
        _button("Use this one", lambda: _remember(store, who, given), ready=given is not None)
        _button("Ask me instead", lambda: _remember(store, who, None), main=False)


def _remember(store: Store, who: Person, um_per_px: float | None) -> None:
    change_preferences(store, who.name, um_per_px=um_per_px)


@_dialog("Delete fields?")
def _delete(store: Store, who: Person, ids: Sequence[int], _: str) -> None:
    st.markdown(plain(case_actions.say_what_goes(store, ids)))
    label = f"Delete {count_noun(len(ids), 'field')}"
    _button(label, lambda: case_actions.delete_fields(store, ids, by=session.author(who)))


def _button(label: str, act: Callable[[], str | None], *, ready: bool = True, main: bool = True) -> None:
    """Do it and close; what is wrong is said here, where the eye is."""
    if not st.button(label, type="primary" if main else "secondary", disabled=not ready):
        return
    try:
        with st.spinner("Storing…"):
            said = act()
    except ConcentricError as error:
        st.error(plain(str(error)))
        return
    if said:
        st.toast(plain(said))
    st.rerun()


DIALOGS: dict[str, Callable[[Store, Person, Sequence[int], str], None]] = {
    "case": _case,
    "rename": _rename,
    "reader": _reader,
    "exclude": _exclude,
    "detect": _detect,
    "scale": _scale,
    "scanner": _scanner,
    "delete": _delete,
}
