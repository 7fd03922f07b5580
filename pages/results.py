"""Results: a case as it would be reported, with the figures, the pictures behind them and what is taken away."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db.case_counts import CaseCounts, CountBy, case_names
from db.case_marks import marks_csv
from db.engine import Store
from db.fields import get_field
from db.splits import case_of
from mitosis_core.errors import ConcentricError
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service import case_result, training
from pages.shared.service.waiting_for_scale import waiting_for_scale
from pages.shared.shell import empty_page, open_page, plain, show_table
from pages.shared.store import the_store
from pages.shared.views.analysis import show_progress
from pages.shared.views.case_result import show_figures, show_pictures_of, show_readers
from pages.shared.views.export import show_export
from pages.shared.views.field_diameter import ask_field_diameter, field_diameter_mm


def main() -> None:
    """The page."""
    who = open_page("Results")
    try:
        store = the_store()
        names = case_names(store)
        if said := waiting_for_scale(store, st.query_params.get("case", "")):
            empty_page(plain(said), "Give it on Cases", "cases")
        elif names:
            _case(store, names, who)
        else:
            _welcome()
    except ConcentricError as error:
        st.error(plain(str(error)))


def _welcome() -> None:
    """The empty page: what stands here, and how a case comes here."""
    empty_page(
        "Results give the count of a case, with its density, its mitotic score and the cells that were counted, "
        "and a report of it.",
        "Add images",
        "cases",
    )


def _case(store: Store, names: dict[str, str], who: Person) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        case = _choose_case(store, names)
        by = _choose_verdicts(store, case, who)
        with st.popover("Microscope", icon=":material/zoom_in:"):
            ask_field_diameter("Counts are also given per 10 of these fields.")
        export, onward = st.container(width="content"), st.container(width="content")
    if case_result.others_are_hidden(store, case, who):
        st.caption(
            "Others have read this case too. To keep your reading independent, their counts are shown "
            "once you have finished all its fields."
        )
    counts = _count(store, case, by)
    _offer_export(store, counts, export)
    _lead_on(counts, onward)
    _say_state(counts)
    figures = case_result.figures_of(counts, field_diameter_mm())
    if counts.counted:
        show_figures(figures, [one.name for one in counts.counted])
    show_pictures_of(store, counts, figures)
    show_readers(store, counts)
    with st.expander("Labels for other programs", icon=":material/file_export:"):
        show_export(store, [one.field for one in counts.fields], who, case_result.safe_file_name(names[case]))
    _show_details(counts)


def _choose_case(store: Store, names: dict[str, str]) -> str:
    """The case on show, kept in the address; typing in the box searches."""
    asked = st.query_params.get("case") or _case_on_review(store) or st.session_state.get(session.RESULT_CASE)
    _begin_with(session.RESULT_CASE_BOX, names, asked, st.session_state.get(session.RESULT_CASE))
    case = st.selectbox(
        "Case",
        list(names),
        key=session.RESULT_CASE_BOX,
        format_func=names.__getitem__,
        width=260,
        help="Type to search",
    )
    st.query_params["case"] = st.session_state[session.RESULT_CASE] = case
    return case


def _begin_with(box: str, options: Collection[str], asked: str | None, shown: str | None) -> None:
    """What stands in a box: what is asked for, where that is not what was shown last; else what was chosen in it."""
    if st.session_state.get(box) not in options or (asked in options and asked != shown):
        st.session_state[box] = asked if asked in options else next(iter(options))


def _case_on_review(store: Store) -> str:
    """The case of the field that came on review since this page was left; "" when none did."""
    field = st.session_state.get(session.FIELD_ID)
    if field is None or field == st.session_state.get(session.RESULT_FIELD):
        return ""
    st.session_state[session.RESULT_FIELD] = field
    try:
        return case_of(get_field(store, field))
    except ConcentricError:  # deleted since
        return ""


def _choose_verdicts(store: Store, case: str, who: Person) -> CountBy:
    """Whose verdicts count; for detections also from which score on."""
    offered = case_result.choices(store, case, who, training.active(store))
    labels = {one.key: one for one in offered}
    asked = st.query_params.get("by") or st.session_state.get(session.RESULT_BY)
    _begin_with(session.RESULT_BY_BOX, labels, asked, st.session_state.get(session.RESULT_BY))
    key = st.selectbox(
        "Counted by",
        list(labels),
        key=session.RESULT_BY_BOX,
        width=300,
        format_func=lambda key: case_result.choice_label(labels[key]),
    )
    st.query_params["by"] = st.session_state[session.RESULT_BY] = key
    by = labels[key]
    return by if by.reviewed else _with_threshold(by)


def _with_threshold(by: CountBy) -> CountBy:
    """The lowest score that counts: that of the version, unless another is given."""
    given = st.number_input(
        "Score from",
        min_value=0.0,
        max_value=1.0,
        value=None,
        step=0.05,
        format="%.2f",
        width=170,
        placeholder="default",
        key=session.RESULT_SCORE,
    )
    return CountBy(by.kind, by.name, given)


def _count(store: Store, case: str, by: CountBy) -> CaseCounts:
    slot = st.empty()
    counts = case_result.count(
        store, case, by, lambda share, name: show_progress(slot, share, f"Measuring the tissue of {plain(name)}")
    )
    slot.empty()
    return counts


def _offer_export(store: Store, counts: CaseCounts, slot: DeltaGenerator) -> None:
    """What is taken away: made when it is asked for."""
    name = case_result.safe_file_name(counts.case)
    diameter_mm = field_diameter_mm()
    final = counts.is_final and counts.by.reviewed
    with (
        slot,
        st.popover(
            "Report and export",
            icon=":material/download:",
            disabled=not counts.counted,
            type="primary" if final else "secondary",
        ),
    ):
        for kind, mime in (("PDF", "application/pdf"), ("HTML", "text/html")):
            st.download_button(
                f"Report ({kind})",
                partial(case_result.report, store, counts, diameter_mm, kind.lower()),
                f"{name}_report.{kind.lower()}",
                mime,
                on_click="ignore",
                width="stretch",
            )
        st.download_button(
            "Marks (CSV)",
            lambda: marks_csv(store, case_result.count_again(store, counts)),
            f"{name}_marks.csv",
            "text/csv",
            on_click="ignore",
            width="stretch",
        )
        st.download_button(
            "Annotated pictures (zip)",
            lambda: case_result.annotated_pictures(store, case_result.count_again(store, counts)),
            f"{name}_pictures.zip",
            "application/zip",
            on_click="ignore",
            width="stretch",
        )


def _lead_on(counts: CaseCounts, slot: DeltaGenerator) -> None:
    """The way to what is still to do in this case."""
    if counts.by.reviewed and counts.is_final:
        return
    label = "Continue reading" if counts.by.reviewed else "Read this case"
    if slot.button(label, type="primary", icon=":material/arrow_forward:"):
        st.switch_page("pages/review.py", query_params={"case": counts.case})


def _say_state(counts: CaseCounts) -> None:
    """What has to be known before the figures are read."""
    if not counts.by.reviewed:
        st.warning(
            f"**Not reviewed.** These are detections of {plain(counts.by.name)}; no reader has confirmed them.",
            icon=":material/visibility_off:",
        )
    if counts.state:
        st.info(plain(counts.state), icon=":material/hourglass_empty:")


def _show_details(counts: CaseCounts) -> None:
    """Everything that is needed to count it again."""
    with st.expander("Details"):
        show_table(case_result.details(counts))


main()
