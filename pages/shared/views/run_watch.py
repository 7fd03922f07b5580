"""A run on its way: the phases as one bar, how long it will take, and the button that cancels it."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from db import runs
from db.engine import Store
from db.runs import Run
from mitosis_core.plurals import duration
from pages.shared import session
from pages.shared.service import training
from pages.shared.service.run_progress import RunProgress, run_progress
from pages.shared.views import charts


@st.fragment(run_every="1s")
def watch_run(store: Store, run_id: int) -> None:
    """Looked at every second, until it has ended; then the page runs again."""
    run = runs.get_run(store, run_id)
    if not run.is_open:
        st.rerun()
    if before := _runs_before(store, run):
        st.markdown(f"Waits for run {before[-1].id}, one run learns at a time.")
    else:
        _show_bar(run)
    if run.cancel_asked:
        st.caption("Cancelling…")
    elif st.button("Cancel", icon=":material/cancel:", key=f"cancel-{run_id}"):
        runs.ask_to_cancel(store, run_id)
        st.rerun()
    with st.expander("Details"):
        if curve := run.progress.get("curve"):
            charts.show(st.container(), charts.training_curve(curve), key="curve")
        st.code(training.log_of(store, run_id) or "The log is empty.", language=None)


def _runs_before(store: Store, run: Run) -> list[Run]:
    return [one for one in runs.list_runs(store) if one.id < run.id and one.is_open] if run.state == "queued" else []


def _show_bar(run: Run) -> None:
    known = run_progress(run)
    st.markdown(
        f"**{known.words}** · {_steps(run)}about {duration(known.seconds_left)} left of "
        f"{duration(known.seconds_left + _so_far(run))}"
    )
    st.html(_bar(run, known))
    st.caption("You may close the page; the run goes on.")


def _steps(run: Run) -> str:
    said = run.progress
    learning = said.get("phase") == "learning" and "step" in said
    return f"step {said['step']} of {said['steps']} · " if learning else ""


def _so_far(run: Run) -> float:
    return (datetime.now(UTC) - (run.started_at or run.created_at)).total_seconds()


def _bar(run: Run, known: RunProgress) -> str:
    parts = "".join(
        f'<span style="flex:{one.share:.4f}" title="{one.words}">'
        f'<span style="width:{session.furthest(run.id, one.words, one.done):.1%}"></span></span>'
        for one in known.phases
    )
    return (
        '<div class="phases" role="progressbar" aria-label="Run" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * known.share:.0f}">{parts}</div>'
    )
