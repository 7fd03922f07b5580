"""Quick look: fields go in, their mitoses come out, circled, counted and given as a density; nothing is kept."""

from __future__ import annotations

import streamlit as st

from pages.shared import session
from pages.shared.person import Person
from pages.shared.shell import open_page
from pages.shared.views import quick_look as view
from pages.shared.views.quick_look_result import show_result
from pages.shared.views.tour import show_tour


def main() -> None:
    """The page."""
    who = open_page("Quick look")
    view.begin()
    if session.sample() and not view.has_files():
        show_tour()
    if not (view.has_files() or session.sample()):
        _welcome()
        return
    _look(who)


def _welcome() -> None:
    """The empty page: what happens here, and a way to try it."""
    _, middle, _ = st.columns([1, 3, 1])
    with middle:
        st.subheader("A quick look", anchor=False)
        st.markdown("Drop high-power fields (H&E) to see their mitoses circled, counted and given per mm².")
        view.uploader()
        st.button("Try a sample field", icon=":material/science:", on_click=session.show_sample, type="primary")
        st.caption("Nothing is kept here; cases are kept on the page Cases. For research, not for diagnosis.")


def _look(who: Person) -> None:
    """One row, then the image: fields appear one by one, the next one is analysed when those before it are drawn."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        switch = st.container(width="content")
        keep = st.container(width="content", horizontal=True)
        with st.popover("Fields and settings", icon=":material/tune:"):
            view.uploader()
            corrected = view.ask_correction()
            version = view.settings()
            alarms = st.container()
            # Asked for in the open while something waits for it, changed here later.
            scale = st.container()
    said = st.container()
    with said:
        view.tell_notice()
        files = view.with_scale(view.open_files(), corrected, scale)
        model = view.load(version)
        if model is None:
            return
        with alarms:
            view.tell_purpose(model)
            view.ask_false_alarms(model)
        files = view.with_answers(files, model)
        view.tell_problems(files)
        progress = st.empty()
    view.offer_to_keep(files, version, who, keep)
    show_result(files, model, switch)
    view.analyse_next(files, model, progress)


main()
