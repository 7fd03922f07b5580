"""Compare: two to four versions of any methods on the same reviewed fields, pictures first. Opened from Models."""

from __future__ import annotations

import streamlit as st

from db.engine import Store
from db.fields import finished_field_ids
from db.labels import CONSENSUS, ReviewedField, label_readers
from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model
from pages.shared import session
from pages.shared.service import detecting, version_comparison
from pages.shared.shell import empty_page, open_page, plain
from pages.shared.store import the_store
from pages.shared.views import pictures
from pages.shared.views.version_comparison import show_version_comparison

_HELD_OUT, _EVERY = "Held out", "All finished"
_ADDRESS = "versions"  # ?versions=NAME,NAME


def main() -> None:
    """The page."""
    who = open_page("Compare")
    pictures.show_style()
    try:
        store = the_store()
        if not finished_field_ids(store):
            empty_page(
                "Compare tells which of two to four versions finds more on the same finished fields, and shows every "
                "cell on which they differ.",
                "Review fields",
                "review",
            )
            return
        models, fields = _choose(store)
        if _enough(models, fields):
            if doubts := version_comparison.overlap_warnings(store, [model.version for model in models], fields):
                st.warning(plain(" ".join(doubts)))
            show_version_comparison(store, models, fields, who)
    except ConcentricError as error:
        st.error(plain(str(error)))


def _choose(store: Store) -> tuple[list[Model], list[ReviewedField]]:
    """Which versions, by whose labels, on which fields."""
    names = detecting.list_versions()
    left, middle, right = st.columns([6, 2, 3], gap="medium")
    if session.COMPARED not in st.session_state:
        asked = st.query_params.get(_ADDRESS, "").split(",")
        st.session_state[session.COMPARED] = [name for name in asked if name in names] or names[:3]
    known = [name for name in st.session_state[session.COMPARED] if name in names]
    st.session_state[session.COMPARED] = known[: version_comparison.MOST]
    chosen = left.multiselect(
        "Versions",
        names,
        key=session.COMPARED,
        max_selections=version_comparison.MOST,
        help="Two to four, of any method. Make versions on the Retrain page, or import them on the Models page.",
    )
    st.query_params[_ADDRESS] = ",".join(chosen)
    source = middle.selectbox(
        "Labels",
        [CONSENSUS, *label_readers(store)],
        key=session.COMPARED_BY,
        format_func=lambda name: f"of {name}" if name else "Consensus",
    )
    which = right.segmented_control(
        "Fields",
        [_HELD_OUT, _EVERY],
        default=_HELD_OUT,
        required=True,
        key=session.COMPARED_ON,
        help="Held out: finished fields of cases that are never trained on here.",
    )
    if which == _EVERY:
        st.warning("Versions may have been trained on some of these fields; their figures are then too good.")
    return _load(chosen), version_comparison.fields_of(store, source, every=which == _EVERY)


def _load(names: list[str]) -> list[Model]:
    """The versions that can be used, and a sentence for each that cannot."""
    models = []
    for name in names:
        try:
            models.append(detecting.load_model(name))
        except ConcentricError as error:
            st.error(plain(str(error)))
    return models


def _enough(models: list[Model], fields: list[ReviewedField]) -> bool:
    """Whether there is something to compare; else what to do is said."""
    if len(models) < version_comparison.FEWEST:
        st.info("Please choose at least two versions, here or as cards on the Models page.")
        if st.button("Models", icon=":material/arrow_back:"):
            st.switch_page("pages/models.py")
    elif not fields:
        st.info(
            "None of the finished fields is held out. Fields are held out by case: please finish fields of a second "
            "case, or choose all finished fields."
        )
    return len(models) >= version_comparison.FEWEST and bool(fields)


main()
