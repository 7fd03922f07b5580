"""Retrain: the corrected fields become a challenger, and the page shows whether it is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field
from typing import Any

import streamlit as st

from db import runs, versions
from db.engine import Store
from db.labels import CONSENSUS
from db.runs import Run
from mitosis_core.errors import ConcentricError
from pages.shared import session
from pages.shared.service import reviewing, training
from pages.shared.shell import open_page, plain
from pages.shared.store import the_store
from pages.shared.views import charts
from pages.shared.views.champion_challenger import show_comparison
from pages.shared.views.learning_curve import show_learning_curve
from train.retrain.plan import PartCounts, Plan


def main() -> None:
    """The page."""
    who = open_page("Retrain", needs="admin")
    try:
        store = the_store()
        left, right = st.columns([2, 3], gap="large")
        with left:
            if not who.name:
                session.recall(store, who)
                st.text_input("Your name", session.author(who), key=session.TRAINER)
            by = session.author(who, session.TRAINER)
            source, held_out = _offer(store, by)
        with right:
            _show_runs(store, by)
        show_learning_curve(store, source, held_out)
    except ConcentricError as error:
        st.error(plain(str(error)))


def _offer(store: Store, by: str) -> tuple[str, list[int]]:
    """What a run would learn from, and the button. Returns whose labels were chosen, and the fields held out (ids)."""
    source = st.selectbox(
        "Labels",
        [CONSENSUS, *training.sources(store)],
        format_func=lambda name: f"of {name}" if name else "Consensus of all readers",
        help="Only finished fields are used. A mitosis is a disc with an ignored ring; a look-alike is a hard "
        "negative; an unsure cell and everything outside the reviewed area are ignored.",
    )
    planned = training.plan(store, source)
    st.markdown(f"**Trained on:** {_words(planned.train)}")
    st.markdown(f"**Held out for the comparison:** {_words(planned.held_out)}")
    _show_split(store, source, by)
    kinds = training.bases(store)
    base = st.selectbox(
        "Starts from",
        list(kinds),
        format_func=lambda name: f"{name} ({kinds[name]}{', active' if name == training.active(store) else ''})",
        help="The new version keeps the method of this one. SegMitos trains fastest.",
    )
    settings = _settings(training.options(store, base))
    if planned.objection or planned.caution:
        st.warning(plain(planned.objection or planned.caution))
    if not planned.objection:
        _start(store, by, source, base, planned, settings)
    return source, planned.split["held_out"]


def _show_split(store: Store, source: str, by: str) -> None:
    """The cases that judge; only proposed until a run starts, and free until one has used them."""
    known = training.case_splits(store, source)
    free = [one.case for one in known if not one.used]
    if fixed := [one.case for one in known if one.used and one.held_out]:
        st.caption(f"Held out for good, because versions were judged on them: {plain(', '.join(fixed))}.")
    if free:
        chosen = st.multiselect(
            "Held out of the other cases",
            free,
            [one.case for one in known if one.case in free and one.held_out],
            key=f"held-out-{source}-{hash((*known,))}",  # anew when the split has changed
            help="The new version is compared with the active one on these cases and learns nothing from them. A "
            "proposal until a run starts.",
        )
        if set(chosen) != {one.case for one in known if one.case in free and one.held_out}:
            training.hold_out(store, known, chosen, by=by)
            st.rerun()


def _start(store: Store, by: str, source: str, base: str, planned: Plan, settings: dict[str, Any]) -> None:
    if st.button("How long will it take?", type="tertiary", icon=":material/timer:"):
        with st.spinner("Measuring…"):
            about = reviewing.duration(training.estimate_s(store, planned, base, settings))
        st.markdown(f"About **{about}** on this machine.")
    waiting = any(run.is_open for run in runs.list_runs(store))
    label = "Queue another run" if waiting else "Retrain"
    if st.button(label, type="primary", icon=":material/model_training:"):
        run = training.start(store, by=by, source=source, settings=settings, base=base)
        st.session_state[session.RUN] = run.id
        st.rerun()


def _words(part: PartCounts) -> str:
    empty = f", {part.empty} of them without a mitosis" if part.empty else ""
    return f"{part.fields} fields{empty}, {part.mitoses} mitoses, {part.lookalikes} look-alikes"


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
                format="%d" if kind is int else "%g",
                help=option.metadata["help"],
                key=f"setting-{option.name}",
            )
    return chosen


def _show_runs(store: Store, by: str) -> None:
    known = runs.list_runs(store)
    if not known:
        st.info("No run yet. A run takes some minutes and continues when the page is closed.")
        return
    by_id = {run.id: run for run in known}
    if st.session_state.get(session.RUN) not in by_id:
        st.session_state[session.RUN] = known[0].id
    chosen = by_id[st.selectbox("Run", list(by_id), format_func=lambda key: _name(by_id[key]), key=session.RUN)]
    if chosen.is_open:
        _watch(store, chosen.id)
    else:
        _show_end(store, chosen, by)


def _name(run: Run) -> str:
    # How far an open one is, is said below; here the browser would go on showing it when the run has ended.
    state = "" if run.is_open else f" {run.state}"
    return f"Run {run.id}{state}, by {run.by}, {run.created_at:%d %b %H:%M} UTC"


@st.fragment(run_every="1s")
def _watch(store: Store, run_id: int) -> None:
    """A run on its way, looked at every second."""
    run = runs.get_run(store, run_id)
    if not run.is_open:
        st.rerun()
    said = run.progress
    if run.state == "queued":
        st.progress(0.0, "Waiting for its turn or starting…")
    elif said:
        left = reviewing.duration(said["seconds_left"])
        stage = "Comparing with the active version" if said.get("stage") == "comparing" else f"{left} left"
        st.progress(min(1.0, said["step"] / said["steps"]), f"Step {said['step']} of {said['steps']} · {stage}")
        st.plotly_chart(charts.training_curve(said["curve"]), key="curve")
    else:
        st.progress(0.0, "Preparing the fields…")
    if run.cancel_asked:
        st.caption("Cancelling…")
    elif st.button("Cancel", icon=":material/cancel:"):
        runs.ask_to_cancel(store, run_id)
    _show_log(store, run_id)


def _show_end(store: Store, run: Run, by: str) -> None:
    if run.state == "done" and run.version:
        if run.version in [one.name for one in versions.list_stored(store)]:
            show_comparison(store, run.version, by)
        else:
            st.info(f"The version {plain(run.version)} was deleted.")
    else:
        said = {
            "failed": f"The run failed: {run.message}",
            "lost": "The run stopped unexpectedly: the computer or its process was stopped.",
            "cancelled": "The run was cancelled.",
        }[run.state]
        st.warning(plain(said) + " The active version is as it was.")
        label = "Resume from the last checkpoint" if training.has_checkpoint(store, run.id) else "Start it again"
        if st.button(label, icon=":material/play_arrow:"):
            training.resume(store, run.id)
            st.rerun()
    if run.progress.get("curve"):
        st.plotly_chart(charts.training_curve(run.progress["curve"]), key="curve")
    _show_log(store, run.id)


def _show_log(store: Store, run_id: int) -> None:
    with st.expander("Log"):
        st.code(training.log_of(store, run_id) or "The log is empty.", language=None)


main()
