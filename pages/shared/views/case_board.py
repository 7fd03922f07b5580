"""The board of cases on its page: what is drawn again as results come in, and what is done for the hand that asks."""

from __future__ import annotations

from typing import Any

import streamlit as st

from db.detection_queue import withdraw
from db.engine import Store
from db.incoming_files import dismiss_refused
from db.preferences import change_preferences
from mitosis_core.errors import ConcentricError
from mitosis_core.plurals import count_noun
from pages.shared import session
from pages.shared.board.board import board_data, show_board, wish
from pages.shared.person import Person
from pages.shared.service.case_board import Board, read_board
from pages.shared.service.detection_worker import start_worker
from pages.shared.service.importing import chosen_version, give_scale
from pages.shared.shell import plain
from pages.shared.views.case_dialogs import DIALOGS
from pages.shared.views.scanner import ask_scanner

_BOARD = "board"
_BUSY_S, _IDLE_S = 1.5, 10.0  # how often the board is read again while results come in, and otherwise
_PAGES = {"review": "pages/review.py", "results": "pages/results.py", "detect": "pages/detect.py"}


def show_cases(store: Store, who: Person) -> None:
    """The whole page below its frame."""
    _tell_kept_elsewhere()
    asked = st.session_state.pop(session.WISH, {})
    st.session_state[session.ASKING] = asked.get("kind") in DIALOGS
    if asked:
        _fulfil(store, who, asked)
    busy = _read(store, who).detecting
    st.fragment(_live, run_every=_BUSY_S if busy else _IDLE_S)(store, who, busy)


def _tell_kept_elsewhere() -> None:
    """Fields handed over from Quick look that are in another case already, once."""
    elsewhere: list[str] = st.session_state.pop(session.KEPT_ELSEWHERE, [])
    if not elsewhere:
        return
    cases = ", ".join(sorted({case or "without a case" for case in elsewhere}))
    one = len(elsewhere) == 1
    said = "was there already and stays where it is" if one else "were there already and stay where they are"
    st.toast(f"{count_noun(len(elsewhere), 'field')} {said}: {plain(cases)}.", duration="infinite")


def _live(store: Store, who: Person, busy: bool) -> None:
    """What changes by itself: drawn again without the rest of the page."""
    # A dialog opened from here would belong to this part: an answer that comes while this is due to be drawn again
    # would count as given with it, and be lost.
    if session.WISH in st.session_state:
        st.rerun()
    start_worker(store)
    board = _read(store, who)
    # So that it looks more often, or less; not while a dialog is open, which this would close.
    if board.detecting != busy and not st.session_state[session.ASKING]:
        st.rerun()
    if who.may("reviewer") and board.waiting_for_scale:
        _ask_for_scale(store, who, board)
    remembered = session.recall(store, who).um_per_px
    data = board_data(board, who, search=st.query_params.get("search", ""), um_per_px=remembered)
    show_board(data, key=_BOARD, on_wish=_keep_wish)


def _read(store: Store, who: Person) -> Board:
    return read_board(store, session.author(who), chosen_version(store, who.name))


def _keep_wish() -> None:
    st.session_state[session.WISH] = wish(_BOARD)


def _fulfil(store: Store, who: Person, asked: dict[str, Any]) -> None:
    """Lead to another page, or ask in a dialog for what is to be done."""
    kind = asked.get("kind")
    if kind == "go" and asked.get("page") in _PAGES:
        query = {str(name): str(value) for name, value in dict(asked.get("query") or {}).items()}
        st.switch_page(_PAGES[str(asked["page"])], query_params=query)
    if not who.may("reviewer"):
        return
    if kind == "dismiss":
        ids = asked.get("ids")
        dismiss_refused(store, None if ids is None else _numbers(ids))
    elif kind == "stop":
        stopped = withdraw(store, _numbers(asked.get("ids")))
        st.toast(f"Stopped before {count_noun(stopped, 'field')}. “Detect” goes on.", icon=":material/stop_circle:")
    elif kind in DIALOGS and (kind != "delete" or who.may("admin")):
        DIALOGS[kind](store, who, _numbers(asked.get("ids")), str(asked.get("case") or ""))


def _numbers(sent: object) -> list[int]:
    """Ids as a page sends them; anything odd is left out."""
    return [one for one in sent if isinstance(one, int) and 0 < one < 2**53] if isinstance(sent, list) else []


def _ask_for_scale(store: Store, who: Person, board: Board) -> None:
    """Once, in the open: the fields wait in their cases meanwhile."""
    waiting = board.waiting_for_scale
    with st.container(border=True, width=960):
        st.markdown(
            f"**How large is a pixel?** {count_noun(len(waiting), 'field')} "
            f"{'does' if len(waiting) == 1 else 'do'} not say, and {'waits' if len(waiting) == 1 else 'wait'} "
            "for the answer."
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            given = ask_scanner(session.SCANNER_OF_CASES, session.SCALE_OF_CASES)
            remember = st.checkbox("Remember for all my files that do not say", width="content")
            if not st.button("Use it", type="primary", disabled=given is None, width="content") or given is None:
                return
        try:
            give_scale(store, waiting, given)
            if remember:
                change_preferences(store, who.name, um_per_px=given)
        except ConcentricError as error:
            st.error(plain(str(error)))
            return
    st.rerun()
