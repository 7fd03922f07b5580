"""Review: a reader corrects the detections of one field after the other; each change is stored at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from db.engine import Store
from db.fields import StoredField, delete_field, list_cases, list_fields, set_case
from db.predictions import Proposals, proposals
from db.reviews import check_reader, readers, review_of, reviews_of
from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model
from mitosis_core.scoring import counting
from pages.shared import cache, session
from pages.shared.person import Person
from pages.shared.service import detecting, reviewing
from pages.shared.service.reviewing import QueueEntry
from pages.shared.shell import open_page, plain, show_table
from pages.shared.store import the_store
from pages.shared.viewer.review_data import Sight, review_data
from pages.shared.viewer.viewer import chosen_score, chosen_way, show_review
from pages.shared.views.field_history import show_history
from pages.shared.views.reader_agreement import show_agreement

_VIEWER = "review-viewer"
_MODES = ("Review", "History", "Agreement")


def main() -> None:
    """The page."""
    who = open_page("Review")
    try:
        store = the_store()
        if not list_fields(store):
            _welcome()
            return
        reader = who.name or _reader(store, who)
        if reader:
            _review(store, reader, who)
    except ConcentricError as error:
        st.error(plain(str(error)))


def _welcome() -> None:
    """The empty page: how fields come here."""
    _, middle, _ = st.columns([1, 3, 1])
    with middle:
        st.title("Review mitoses", anchor=False)
        st.markdown(
            "Correct what the detector found: one click or key per mitosis, every change stored at once. "
            "Open fields on the Detect page and press **Keep for review**."
        )


def _reader(store: Store, who: Person) -> str:
    """Who is reading; asked once, and kept in the store, and in the address so that a reload knows."""
    if not st.session_state.get(session.READER):
        st.session_state[session.READER] = st.query_params.get("reader") or session.recall(store, who).reader or None
    if not st.session_state.get(session.READER):
        with st.container(border=True, width=620):
            st.markdown("**Who is reading?** Every reader has own verdicts.")
            _choose_reader(store)
    try:
        name = check_reader(st.session_state.get(session.READER) or "")
    except ConcentricError as error:
        if st.session_state.get(session.READER):
            st.error(plain(str(error)))
        return ""
    st.query_params["reader"] = name
    session.remember_reader(store, who, name)
    return name


def _choose_reader(store: Store) -> None:
    current = st.session_state.get(session.READER)
    names = sorted({*readers(store), *([current] if current else [])})
    st.selectbox(
        "Reader", names, index=None, accept_new_options=True, key=session.READER, placeholder="Choose or type a name"
    )


def _review(store: Store, reader: str, who: Person) -> None:
    if chosen := st.session_state.pop(session.GO_TO, None):
        st.session_state.update({session.FIELD_ID: chosen, session.MODE: _MODES[0], session.OTHERS: True})
    # One row above the image: which field, which way to look at it, and everything else behind buttons.
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        switch = st.container(horizontal=True, width="content", vertical_alignment="center")
        mode = st.segmented_control(
            "View", _MODES, key=session.MODE, default=_MODES[0], required=True, label_visibility="collapsed"
        )
        with st.popover(plain(reader), icon=":material/person:"):
            if not who.name:
                _choose_reader(store)
            st.toggle("Blind: proposals and other readers stay hidden until I finish a field", key=session.BLIND)
            st.toggle("Show the marks of other readers", key=session.OTHERS)
        with st.popover("Queue and settings", icon=":material/tune:"):
            version = _settings(store)
    entries = _queue(store, reader, version)
    if not entries:
        st.info("There is no field in this case.")
        return
    entry = _current(entries, switch)
    if mode == "History":
        show_history(store, entry.field, reader, who)
    elif mode == "Agreement":
        show_agreement(store, reviewing.comparable(entries, who))
    else:
        _show(store, entry, entries, reader, version, who)
        _show_queue(store, entries, version.version, who)
        if who.may("reviewer"):
            _field_settings(store, entry.field, who)


def _settings(store: Store) -> Model:
    """What is in the queue and how it is shown; returns the version that proposes."""
    cases = [reviewing.ANY_CASE, *(case for case in list_cases(store) if case)]
    if st.session_state.get(session.CASE) not in cases:
        st.session_state[session.CASE] = reviewing.ANY_CASE
    st.selectbox("Case", cases, key=session.CASE, format_func=lambda case: case or "All cases")
    orders = list(reviewing.ORDERS)
    named = reviewing.ORDERS.__getitem__
    st.selectbox("Order", orders, key=session.ORDER, format_func=named, on_change=_to_the_top)
    diameters = counting.COMMON_FIELD_DIAMETERS_MM
    st.selectbox(
        "Diameter of your high-power field (mm)",
        diameters,
        index=diameters.index(counting.FIELD_DIAMETER_MM),
        format_func=lambda mm: f"{mm:.2f}",
        key=session.DIAMETER,
    )
    return detecting.load_model(st.selectbox("Version that proposes", detecting.list_versions(), key=session.VERSION))


def _queue(store: Store, reader: str, model: Model) -> list[QueueEntry]:
    """The queue as it stands now."""
    case, order = st.session_state[session.CASE], st.session_state[session.ORDER]
    if order == "novelty":
        slot = st.empty()
        reviewing.describe(store, lambda share, name: _say(slot, share, f"Describing {plain(name)}"))
        slot.empty()
    return reviewing.queue(store, reader, model.version, case=case, order=order)


def _say(slot: st.delta_generator.DeltaGenerator, share: float, text: str) -> None:
    slot.progress(share, text)


def _current(entries: list[QueueEntry], switch: st.delta_generator.DeltaGenerator) -> QueueEntry:
    """The field on review, with the ways to the others."""
    by_id = {entry.field.id: entry for entry in entries}
    asked = st.session_state.get(session.FIELD_ID) or _number(st.query_params.get("field"))
    first_open = next((entry.field.id for entry in entries if entry.is_open), entries[0].field.id)
    st.session_state[session.FIELD_ID] = asked if asked in by_id else first_open
    with switch:
        for name, icon, by in (("Previous field", "chevron_left", -1), ("Next field", "chevron_right", 1)):
            st.button(f":material/{icon}:", on_click=_move, args=(entries, by), help=name, key=f"step{by}")
        st.selectbox(
            "Field",
            list(by_id),
            key=session.FIELD_ID,
            format_func=lambda key: by_id[key].label,
            label_visibility="collapsed",
            width=300,
        )
        done = sum(not entry.is_open for entry in entries)
        st.progress(done / len(entries), f"{done} of {len(entries)} fields done", width=180)
    st.query_params["field"] = str(st.session_state[session.FIELD_ID])
    return by_id[st.session_state[session.FIELD_ID]]


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else 0


def _move(entries: list[QueueEntry], by: int) -> None:
    st.session_state[session.FIELD_ID] = reviewing.step(entries, st.session_state[session.FIELD_ID], by)


def _to_the_top() -> None:
    """Another order: begin with its first field that is open."""
    st.session_state.pop(session.FIELD_ID, None)
    st.query_params.pop("field", None)


def _go(entries: list[QueueEntry], queue_now: Callable[[], list[QueueEntry]]) -> None:
    """The reader moved on by a key or a button of the viewer."""
    wish = chosen_way(_VIEWER)
    if wish is None:
        return
    way, st.session_state[session.WENT] = wish.to, wish.step
    # The viewer may be a step ahead of what the page has shown.
    if wish.left in [entry.field.id for entry in entries]:
        st.session_state[session.FIELD_ID] = wish.left
    current = st.session_state[session.FIELD_ID]
    if way in ("next", "previous"):
        _move(entries, 1 if way == "next" else -1)
    elif way in ("finish", "exclude"):
        # What was just finished changes how new the others are, and so their order.
        from_top = st.session_state[session.ORDER] == "novelty"
        onward = reviewing.next_open(queue_now(), current, from_top=from_top)
        if onward is None:
            st.toast("Every field of this queue is done.", icon=":material/done_all:")
        st.session_state[session.FIELD_ID] = onward or current


def _show(store: Store, entry: QueueEntry, entries: list[QueueEntry], reader: str, model: Model, who: Person) -> None:
    stored = entry.field
    slot = st.empty()

    def progress(share: float) -> None:
        slot.progress(share, f"Looking for mitoses in {plain(stored.name)}")

    proposed, problem = reviewing.propose(store, stored, model, cache.predictions(), progress)
    slot.empty()
    if problem:
        st.warning(plain(problem))
    place = entries.index(entry)
    coming = [one.field for one in (*entries[place + 1 : place + 3], *entries[max(0, place - 1) : place])]
    data = _data(store, stored, proposed, reader, model, who, coming)
    data |= {
        "ahead": _ahead(store, entries, stored.id, reader, model, who),
        "went": st.session_state.get(session.WENT, 0),
    }
    show_review(
        data,
        key=_VIEWER,
        on_score=lambda: _keep_score(chosen_score(_VIEWER)),
        on_settled=lambda: None,
        on_go=lambda: _go(entries, lambda: _queue(store, reader, model)),
    )
    case = f"case {plain(stored.case)} · " if stored.case else ""
    st.caption(
        f"{case}{stored.um_per_px:g} µm/px ({plain(stored.scale_source)}) · proposals of {plain(model.version)} · "
        f"{reviewing.STATES[entry.review.state]} · {reviewing.minutes(entry.review.seconds)} spent"
    )


def _data(
    store: Store, stored: StoredField, proposed: Proposals | None, reader: str, model: Model, who: Person,
    coming: Sequence[StoredField] = (),
) -> dict[str, Any]:  # fmt: skip
    score = st.session_state.get(session.REVIEW_SCORE)
    sight = Sight(
        reader,
        model.threshold if score is None else score,
        float(st.session_state[session.DIAMETER]),
        editable=who.may("reviewer"),
        blind=bool(st.session_state.get(session.BLIND)),
        others=reviewing.others(store, stored, reader, who) if st.session_state.get(session.OTHERS) else None,
    )
    return review_data(stored, review_of(store, stored.id, reader), proposed, sight, coming=coming)


def _ahead(
    store: Store, entries: list[QueueEntry], current: int, reader: str, model: Model, who: Person
) -> dict[str, Any]:
    """What the viewer shows at once when the reader moves on, where the version has looked at it already."""
    ways = {"next": reviewing.step(entries, current, 1), "previous": reviewing.step(entries, current, -1)}
    if st.session_state[session.ORDER] != "novelty":  # there, finishing a field changes the order
        ways["finish"] = ways["exclude"] = reviewing.next_open(entries, current) or current
    by_id = {entry.field.id: entry.field for entry in entries}
    known = {key: proposals(store, key, model.version) for key in {*ways.values()} - {current}}
    fields = {str(key): _data(store, by_id[key], one, reader, model, who) for key, one in known.items() if one}
    return {"ways": {way: str(key) for way, key in ways.items()}, "fields": fields}


def _keep_score(value: float | None) -> None:
    if value is not None:
        st.session_state[session.REVIEW_SCORE] = value


def _show_queue(store: Store, entries: list[QueueEntry], version: str, who: Person) -> None:
    order = st.session_state[session.ORDER]
    if who.may("reviewer"):
        _offer_to_look(store, entries, version, order)
    show_table(
        reviewing.table(entries, order),
        column_config={
            "seconds": st.column_config.NumberColumn("time spent (s)", format="%.0f"),
            order: st.column_config.NumberColumn(
                format="%d" if order == "disagreement" else "%.2f", help=reviewing.FIGURES.get(order)
            ),
        },
    )


def _offer_to_look(store: Store, entries: list[QueueEntry], version: str, order: str) -> None:
    """Why an order does not mean much yet, and the button that mends it."""
    others = [name for name in detecting.list_versions() if name != version]
    second = others[0] if others and order == "disagreement" else ""
    if order == "novelty" and not any(entry.figure for entry in entries):
        st.caption("No field is finished yet, so every one is equally new; the fields stand in the order they came.")
    if order == "disagreement" and not others:
        st.caption("There is one version only, so there is nothing to disagree with. Retrain makes a second one.")
    wanted = reviewing.to_look_at(store, entries, version, second)
    if not wanted:
        return
    waiting = Counter(name for _, name in wanted)
    who = "the version" if len(waiting) == 1 else "both versions"
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(f"Let {who} look at all fields", icon=":material/manage_search:", key="look-at-all",
                            help="Every field is stored as it is done: you may leave and go on later.")  # fmt: skip
        by = ", ".join(f"{number} of {len(entries)} by {plain(name)}" for name, number in waiting.items())
        late = "; until then they come last in this order" if order in ("doubt", "disagreement") else ""
        st.caption(f"Fields not looked at yet: {by}{late}.")
    if pressed:
        slot = st.empty()
        problems = reviewing.look_at(store, wanted, detecting.load_model, cache.predictions(),
                                     lambda share, name: _say(slot, share, f"Looking at {plain(name)}"))  # fmt: skip
        for problem in problems:
            st.warning(plain(problem))
        if not problems:
            st.rerun()


def _field_settings(store: Store, stored: StoredField, who: Person) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        case = st.text_input(f"Case or slide of {plain(stored.name)}", stored.case, key=f"case-{stored.id}", width=360)
        if case.strip() != stored.case:
            set_case(store, stored.id, case)
            st.rerun()
        if who.may("admin") and st.button("Delete this field…", icon=":material/delete:"):
            _ask_to_delete(store, stored, who)


@st.dialog("Delete this field?")
def _ask_to_delete(store: Store, stored: StoredField, who: Person) -> None:
    known = len(reviews_of(store, stored.id))
    st.markdown(
        f"**{plain(stored.name)}**, its stored image and everything said about it by {known} "
        f"{'reader' if known == 1 else 'readers'} will be gone for good."
    )
    if st.button("Delete for good", type="primary"):
        delete_field(store, stored.id, by=session.author(who))
        st.rerun()


main()
