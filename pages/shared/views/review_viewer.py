"""The viewer of the Review page: one field with the marks of its reader, and the step to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from db.engine import Store
from db.fields import StoredField
from db.predictions import Proposals, proposals
from db.reviews import review_of
from mitosis_core.model import Model
from pages.shared import cache, session
from pages.shared.person import Person
from pages.shared.service import reviewing
from pages.shared.service.reviewing import QueueEntry
from pages.shared.shell import plain
from pages.shared.viewer.review_data import ReviewView, review_data
from pages.shared.viewer.viewer import chosen_score, requested_step, show_review
from pages.shared.views.review_queue import move, read_queue

_VIEWER = "review-viewer"


def show_field(
    store: Store, entry: QueueEntry, entries: list[QueueEntry], reader: str, model: Model, who: Person
) -> None:
    """The viewer with what the reader may change, and a caption; the version detects first where it has not yet."""
    stored = entry.field
    slot = st.empty()

    def progress(share: float) -> None:
        slot.progress(share, f"Detecting mitoses in {plain(stored.name)}")

    proposed, problem = reviewing.get_proposals(store, stored, model, cache.predictions(), progress)
    slot.empty()
    if problem:
        st.warning(plain(problem))
    place = entries.index(entry)
    coming = [one.field for one in (*entries[place + 1 : place + 3], *entries[max(0, place - 1) : place])]
    data = _data(store, stored, proposed, reader, model, who, coming)
    data |= {
        "next_fields": _next_fields(store, entries, stored.id, reader, model, who),
        "last_step": st.session_state.get(session.LAST_STEP, 0),
    }
    show_review(
        data,
        key=_VIEWER,
        on_score=lambda: _keep_score(chosen_score(_VIEWER)),
        on_settled=lambda: None,
        on_go=lambda: _go(entries, lambda: read_queue(store, reader, model)),
    )
    case = f"case {plain(stored.case)} · " if stored.case else ""
    st.caption(
        f"{case}{stored.um_per_px:g} µm/px ({plain(stored.scale_source)}) · proposals of {plain(model.version)} · "
        f"{reviewing.STATES[entry.review.state]} · {reviewing.duration(entry.review.seconds)} spent"
    )


def _data(
    store: Store, stored: StoredField, proposed: Proposals | None, reader: str, model: Model, who: Person,
    coming: Sequence[StoredField] = (),
) -> dict[str, Any]:  # fmt: skip
    score = st.session_state.get(session.REVIEW_SCORE)
    sight = ReviewView(
        reader,
        model.threshold if score is None else score,
        float(st.session_state[session.DIAMETER]),
        editable=who.may("reviewer"),
        blind=bool(st.session_state.get(session.BLIND)),
        others=reviewing.visible_reviews(store, stored, reader, who) if st.session_state.get(session.OTHERS) else None,
    )
    return review_data(stored, review_of(store, stored.id, reader), proposed, sight, coming=coming)


def _next_fields(
    store: Store, entries: list[QueueEntry], current: int, reader: str, model: Model, who: Person
) -> dict[str, Any]:
    """The fields that the viewer shows at once when the reader moves on, where the version has analysed them."""
    targets = {"next": reviewing.neighbour(entries, current, 1), "previous": reviewing.neighbour(entries, current, -1)}
    if st.session_state[session.ORDER] != "novelty":  # there, finishing a field changes the order
        targets["finish"] = targets["exclude"] = reviewing.next_open(entries, current) or current
    by_id = {entry.field.id: entry.field for entry in entries}
    known = {key: proposals(store, key, model.version) for key in {*targets.values()} - {current}}
    fields = {str(key): _data(store, by_id[key], one, reader, model, who) for key, one in known.items() if one}
    return {"targets": {step: str(key) for step, key in targets.items()}, "fields": fields}


def _go(entries: list[QueueEntry], queue_now: Callable[[], list[QueueEntry]]) -> None:
    """The reader moved on by a key or a button of the viewer."""
    wish = requested_step(_VIEWER)
    if wish is None:
        return
    way, st.session_state[session.LAST_STEP] = wish.to, wish.step
    # The viewer may be a step ahead of what the page has shown.
    if wish.left in [entry.field.id for entry in entries]:
        st.session_state[session.FIELD_ID] = wish.left
    current = st.session_state[session.FIELD_ID]
    if way in ("next", "previous"):
        move(entries, 1 if way == "next" else -1)
    elif way in ("finish", "exclude"):
        # What was just finished changes how new the others are, and so their order.
        from_top = st.session_state[session.ORDER] == "novelty"
        onward = reviewing.next_open(queue_now(), current, from_top=from_top)
        if onward is None:
            st.toast("All fields of this queue are done.", icon=":material/done_all:")
        st.session_state[session.FIELD_ID] = onward or current


def _keep_score(value: float | None) -> None:
    if value is not None:
        st.session_state[session.REVIEW_SCORE] = value
