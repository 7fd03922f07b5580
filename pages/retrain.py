"""Retrain: the corrected fields become a challenger, and the page shows whether it is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import Field
from typing import Any

import streamlit as st

from db import runs, versions
from db.engine import Store
from db.labels import CONSENSUS, label_readers
from db.runs import Run
from mitosis_core.errors import ClusterUnusable, ConcentricError
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.plurals import duration
from pages.shared import session
from pages.shared.service import training
from pages.shared.service.training import Material
from pages.shared.shell import open_page, plain
from pages.shared.store import the_store
from pages.shared.views import charts, pictures
from pages.shared.views.learning_curve import show_learning_curve
from pages.shared.views.reader_name import ask_name
from pages.shared.views.run_answer import show_answer
from pages.shared.views.run_watch import watch_run
from pages.shared.views.training_material import show_material


def main() -> None:
    """The page."""
    who = open_page("Retrain", needs="admin")
    pictures.show_style()
    try:
        store = the_store()
        source = _choose_labels(store)
        known = training.material(store, source)
        by = ask_name(store, who, "Runs and decisions are recorded with a name.") if known.fields else ""
        if known.fields:
            show_material(store, known, by)
        past = runs.list_runs(store)
        first, second = st.container(), st.container()
        waits = _waits_for_an_answer(store, past)
        with second if waits else first:
            _offer(store, by, source, known, filled=not waits)
        with first if waits else second:
            _show_runs(store, past, by)
        _show_learning_curve(store, source, known)
    except ConcentricError as error:
        st.error(plain(str(error)))


def _choose_labels(store: Store) -> str:
    readers = label_readers(store)
    if len(readers) < 2:
        return CONSENSUS
    chosen = st.selectbox(
        "Labels",
        [CONSENSUS, *readers],
        width=360,
        format_func=lambda name: f"of {name}" if name else "Consensus of all readers",
        help="Only finished fields are used. A mitosis is a disc with an ignored ring; a look-alike is a hard "
        "negative; an unsure cell and everything outside the reviewed area are ignored.",
    )
    return str(chosen)


def _waits_for_an_answer(store: Store, past: Sequence[Run]) -> bool:
    """Whether something else than another run comes next: a run is on its way, or its version awaits a decision."""
    if any(run.is_open for run in past):
        return True
    there = {one.name for one in versions.list_stored(store)}
    decided = {one.version for one in versions.decisions(store)}
    return bool(past) and past[0].state == "done" and past[0].version in there - decided


def _offer(store: Store, by: str, source: str, known: Material, *, filled: bool) -> None:
    """The button, what it is warned of, and how long a run takes."""
    if known.plan.objection:
        if known.fields:
            st.warning(plain(known.plan.objection))
        else:
            st.markdown(
                "Retraining makes a better version from fields that you have finished: at least 2 fields of "
                "one case to learn from, and one of another case to judge it on."
            )
        if st.button("Review fields", type="primary", icon=":material/rate_review:"):
            st.switch_page("pages/review.py")
        return
    left, right = st.columns([2, 3], gap="medium", vertical_alignment="bottom")
    with left, st.spinner("Reading the versions…"):
        kinds = training.bases(store)
    base = left.selectbox(
        "Starts from",
        list(kinds),
        format_func=lambda name: f"{name} ({kinds[name]}{', active' if name == training.active(store) else ''})",
        help="The new version keeps the method of this one. SegMitos trains fastest.",
    )
    with right:
        settings = _settings(training.options(store, base))
    if known.plan.caution:
        st.warning(plain(known.plan.caution))
    _start(store, by, source, base, known, settings, filled=filled)


def _start(
    store: Store, by: str, source: str, base: str, known: Material, settings: dict[str, Any], *, filled: bool
) -> None:
    if wrong := training.wrong_setting(settings):
        st.error(plain(wrong))
        return
    waiting = any(run.is_open for run in runs.list_runs(store))
    here = _choose_computer()
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Queue another run" if waiting else "Retrain",
            type="primary" if filled else "secondary",
            icon=":material/model_training:",
        )
        expected_s = training.expected_s(store, known.plan, base, settings)
        if expected_s is not None:
            st.caption(f"About {duration(expected_s)}, by an earlier run on this machine.")
        elif st.button("How long will it take?", type="tertiary", icon=":material/timer:"):
            with st.spinner("Measuring…"):
                about = duration(training.measured_s(store, known.plan, base, settings))
            st.caption(f"About {about} on this machine.")
    if pressed:
        try:
            with st.spinner("Starting…"):
                run = training.start(store, by=by, source=source, settings=settings, base=base, here=here)
        except ClusterUnusable as error:
            st.error(plain(f"{error} The run can be done on this computer instead."))
            return
        st.session_state[session.RUN] = run.id
        st.rerun()


def _choose_computer() -> bool:
    """Whether the run stays on this computer; asked only where there is a cluster."""
    if not training.is_cluster_used():
        return True
    places = ["A worker of the cluster", "This computer"]
    return st.radio("Trains on", places, horizontal=True, key=session.TRAINS_ON) == places[1]


def _settings(options: Sequence[Field[Any]]) -> dict[str, Any]:
    """A number for each option that acts for the version a run starts from."""
    chosen: dict[str, Any] = {}
    if not options:
        return chosen
    with st.expander("Settings"):
        for option in options:
            default: Any = option.default
            kind: Any = type(default)
            chosen[option.name] = st.number_input(
                option.name.replace("_", " "),
                kind(option.metadata["low"]),
                kind(option.metadata["high"]),
                default,
                option.metadata["multiple"] if kind is int else 10.0 ** math.floor(math.log10(default or 0.01)),
                format="%d" if kind is int else "%g",
                help=option.metadata["help"],
                key=f"setting-{option.name}",
            )
    return chosen


def _show_runs(store: Store, known: Sequence[Run], by: str) -> None:
    if not known:
        return
    by_id = {run.id: run for run in known}
    if st.session_state.get(session.RUN) not in by_id:
        st.session_state[session.RUN] = known[0].id
    number = st.selectbox("Run", list(by_id), format_func=lambda key: _name(by_id[key]), key=session.RUN, width=420)
    chosen = by_id[number]
    if chosen.is_open:
        watch_run(store, chosen.id)
    else:
        _show_end(store, chosen, by, primary=chosen.id == known[0].id)


def _name(run: Run) -> str:
    # Without its state: a box of which the words change while it is shown falls back on its first choice.
    return f"Run {run.id}, by {run.by}, {run.created_at:%d %b %H:%M} UTC"


def _show_end(store: Store, run: Run, by: str, *, primary: bool) -> None:
    if run.state == "done" and run.version:
        if run.version in [one.name for one in versions.list_stored(store)]:
            show_answer(store, run.version, by, primary=primary)
        else:
            st.info(f"The version {plain(run.version)} was deleted.")
    else:
        _offer_to_go_on(store, run)
    with st.expander("Log and curve"):
        if run.progress.get("curve"):
            charts.show(st.container(), charts.training_curve(run.progress["curve"]), key="curve")
        if run.started_at and run.finished_at:
            st.caption(f"It took {duration((run.finished_at - run.started_at).total_seconds())}.")
        st.code(training.log_of(store, run.id) or "The log is empty.", language=None)


def _offer_to_go_on(store: Store, run: Run) -> None:
    said = {
        "failed": f"The run failed: {run.message}",
        "lost": "The run stopped unexpectedly: the computer or its process was stopped.",
        "cancelled": "The run was cancelled.",
    }[run.state]
    st.warning(plain(f"{said} {versions.champion(store, DEFAULT_VERSION)} is still the active version."))
    kept = training.has_checkpoint(store, run.id)
    again, here = "Go on from the last checkpoint" if kept else "Start it again", False
    with st.container(horizontal=True):
        pressed = st.button(again, icon=":material/play_arrow:")
        if training.is_cluster_used():
            here = st.button(f"{again}, on this computer", icon=":material/computer:")
    if pressed or here:
        try:
            training.resume(store, run.id, here=here)
        except ClusterUnusable as error:
            st.error(plain(f"{error} The run can be done on this computer instead."))
            return
        st.rerun()


def _show_learning_curve(store: Store, source: str, known: Material) -> None:
    if held_out := known.plan.split["held_out"]:
        with st.expander("What more fields would bring"):
            show_learning_curve(store, source, held_out)


main()
