"""The row at the top of every page: where one is, the detection queue, who is reading, the version, and help."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from db import detection_queue
from db.backup import last_copy
from db.engine import Store
from mitosis_core.errors import ConcentricError
from mitosis_core.plurals import duration
from pages.shared import navigation, session
from pages.shared.access import Person, login
from pages.shared.help import HELP
from pages.shared.markdown import plain
from pages.shared.service import backup_copies, training
from pages.shared.store import the_store
from pages.shared.views.reader_name import choose_reader

_WORKING_S, _IDLE_S = 2, 20  # between two looks at the queue


def show_frame(title: str, who: Person, *, allowed: bool) -> None:
    """allowed: whether they may see the page; if not, the frame tells the title and who they are."""
    store, detecting = _store() if allowed else (None, False)
    if store is not None and not who.name:
        session.take_reader_from_address(store, who)
    with st.container(key="frame", horizontal=True, vertical_alignment="center", gap="small"):
        named = ' class="named"' if navigation.is_in_the_row(title) else ""  # the row above names it already
        st.html(f"<h1{named}>{escape(title)}</h1>", width="content")
        st.space("stretch")
        if store is not None:
            with _narrow():
                _queue(store, detecting)
        if store is not None or who.name:
            with _narrow():
                _reader(store, who)
        if store is not None:
            _version(store)
        if allowed and title in HELP:
            with _narrow():
                _help(title)


def _narrow() -> DeltaGenerator:
    """A fragment would take the whole row."""
    return st.container(width="content")


def _store() -> tuple[Store | None, bool]:
    """The store, and whether detections are open. None when it cannot be opened or read: the page tells why, the frame
    shows what it can."""
    try:
        store = the_store()
        return store, bool(detection_queue.progress(store).open)
    except ConcentricError:
        return None, False


def _queue(store: Store, detecting: bool) -> None:
    every = _WORKING_S if detecting else _IDLE_S
    st.fragment(_show_queue, run_every=every)(store)


def _show_queue(store: Store) -> None:
    """How far the detections are; nothing while none is asked for."""
    try:
        now = detection_queue.progress(store)
    except ConcentricError:  # the store is busy: the next look tells
        return
    if not now.open:
        return
    done = now.total - now.open
    left = f", {duration(now.seconds_left)} left" if now.seconds_left else ""
    st.progress(done / now.total, f"Detecting {done} of {now.total}{left}", width=190)


@st.fragment
def _help(title: str) -> None:
    with st.popover("Help", icon=":material/help:", type="tertiary", key=session.HELP_OPEN, on_change="rerun"):
        if st.session_state.get(session.HELP_OPEN):
            st.markdown(HELP[title])
            st.page_link(navigation.page("about"), label="Guide, methods, version")


@st.fragment
def _reader(store: Store | None, who: Person) -> None:
    """Who is reading, and behind it what is there once for this computer; made when it is opened."""
    label = f"{who.name} · {who.role.name.lower()}" if who.name else session.author(who) or "Who is reading?"
    with st.popover(
        plain(label), icon=":material/person:", type="tertiary", key=session.READER_OPEN, on_change="rerun"
    ):
        if not st.session_state.get(session.READER_OPEN):
            return
        if store is not None and not who.name:
            choose_reader(store, who, key=session.FRAME_READER)
        elif login() == "oidc":
            st.button("Log out", icon=":material/logout:", on_click=st.logout)
        if store is not None and who.may("admin"):
            _show_folder(store)


def _show_folder(store: Store) -> None:
    """Where everything is kept, and when it was last copied."""
    try:
        last = last_copy(store)
    except ConcentricError:
        last = None
    copied = "never" if last is None else f"{backup_copies.age(datetime.now(UTC) - last)} ago"
    st.caption(f"Data folder: {plain(str(store.folder.resolve()))}  \nLast backup: {copied}")


def _version(store: Store) -> None:
    st.page_link(
        navigation.page("models"),
        label=plain(training.active(store)),
        icon=":material/neurology:",
        help="The active version: it makes the detections. Opens Models.",
        width="content",
    )
