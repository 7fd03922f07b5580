"""The viewer of the Review page: one field with the marks of its reader, and the step to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import streamlit as st

from db.engine import Store
from db.fields import StoredField
from db.predictions import Proposals, proposals
from db.preferences import change_preferences, read_preferences
from db.reviews import review_of
from db.splits import case_of
from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model
from mitosis_core.plurals import duration
from pages.shared import cache, session
from pages.shared.person import Person
from pages.shared.service import reviewing
from pages.shared.service.case_result import case_line
from pages.shared.service.reviewing import QueueEntry
from pages.shared.shell import plain
from pages.shared.viewer.review_data import ReviewView, review_data, thumbnail_url, undecided
from pages.shared.viewer.routes import crops_address
from pages.shared.viewer.viewer import chosen_preferences, chosen_score, gallery_wanted, requested_step, show_review
from pages.shared.views.field_diameter import field_diameter_mm
from pages.shared.views.review_address import keep_on_review
from pages.shared.views.review_queue import move, read_queue

_VIEWER = "review-viewer"
_AHEAD = 20  # fields that are looked through for the next undecided cell


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
    chosen = read_preferences(store, who.name)
    data |= {
        "next_fields": _next_fields(store, entries, stored.id, reader, model, who),
        "last_step": st.session_state.get(session.LAST_STEP, 0),
        "preferences": {"advance": chosen.advance, "key_layout": chosen.key_layout},
        "place": _place(stored.id),
        "strip": _strip(reviewing.of_case(entries, stored), reader),
        "gallery": _gallery(store, reviewing.of_case(entries, stored), reader, model, who),
    }
    show_review(
        data,
        key=_VIEWER,
        on_score=lambda: _keep_score(chosen_score(_VIEWER)),
        on_settled=keep_on_review,
        on_go=lambda: _go(entries, lambda: read_queue(store, reader, model)),
        on_prefer=lambda: _keep_preferences(store, who),
        on_gallery=lambda: st.session_state.update({session.GALLERY: gallery_wanted(_VIEWER)}),
    )
    # The time spent is told when the field is left, so while it is read for the first time none is known.
    spent = f" · {duration(entry.review.seconds)} spent" if entry.review.seconds >= 1 else ""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.caption(
            f"{stored.um_per_px:g} µm/px ({plain(stored.scale_source)}) · proposals of {plain(model.version)} · "
            f"{reviewing.STATES[entry.review.state]}{spent}",
            width="content",
        )
        _show_case(store, stored, reader, lead=any(one.is_open for one in reviewing.of_case(entries, stored)))


def _show_case(store: Store, stored: StoredField, reader: str, *, lead: bool) -> None:
    """What the reader has counted in the case so far. lead: with the way to its result, which a case that is read has
    above the field."""
    if said := case_line(store, case_of(stored), reader, field_diameter_mm()):
        name = f"Case {plain(stored.case)}: " if stored.case else ""
        with st.container(horizontal=True, vertical_alignment="center", width="content", gap="small"):
            st.caption(f"{name}{plain(said)}", width="content")
            if lead and st.button("Result", type="tertiary", icon=":material/lab_profile:", key="case-result"):
                st.switch_page("pages/results.py", query_params={"case": case_of(stored)})


def _data(
    store: Store,
    stored: StoredField,
    proposed: Proposals | None,
    reader: str,
    model: Model,
    who: Person,
    coming: Sequence[StoredField] = (),
) -> dict[str, Any]:
    sight = ReviewView(
        reader,
        _score(model),
        field_diameter_mm(),
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
    targets["onward"] = _next_undecided(store, entries, current, reader, model) or current
    by_id = {entry.field.id: entry.field for entry in entries}
    known = {key: proposals(store, key, model.version) for key in {*targets.values()} - {current}}
    fields = {str(key): _data(store, by_id[key], one, reader, model, who) for key, one in known.items() if one}
    return {"targets": {step: str(key) for step, key in targets.items()}, "fields": fields}


def _next_undecided(store: Store, entries: list[QueueEntry], current: int, reader: str, model: Model) -> int | None:
    """The next open field with a proposal without a verdict; one that is not analysed yet counts, it may have some.

    Where the next _AHEAD open fields have none, it is the first of them: they are to be finished too.
    """
    first = reviewing.next_open(entries, current)
    if first is None or st.session_state.get(session.BLIND):  # then nothing says where there is a proposal
        return first
    place = next(place for place, entry in enumerate(entries) if entry.field.id == current)
    coming = [one.field for one in (*entries[place + 1 :], *entries[:place]) if one.is_open][:_AHEAD]
    return next((one.id for one in coming if _has_undecided(store, one, reader, model)), first)


def _has_undecided(store: Store, stored: StoredField, reader: str, model: Model) -> bool:
    known = proposals(store, stored.id, model.version)
    if known is None:
        return True
    review = review_of(store, stored.id, reader)
    found = [one for one in undecided(known, review.standing, stored.um_per_px) if one.score >= _score(model)]
    area = review.area or stored.extent
    return bool(area.contains(np.array([(one.x, one.y) for one in found], np.float32)).any())


def _place(field_id: int) -> dict[str, Any] | None:
    """The cell that the address has named, while its field is on review."""
    place: dict[str, Any] | None = st.session_state.get(session.PLACE)
    return place if place and place["field"] == field_id else None


def _strip(case: Sequence[QueueEntry], reader: str) -> list[dict[str, Any]]:
    """The fields of the case as small pictures; those round a field without a case are that field alone."""
    return [
        {
            "id": str(one.field.id),
            "name": one.field.name,
            "url": thumbnail_url(one.field, reader),
            "state": one.review.state,
            "mitoses": one.review.mitoses,
        }
        for one in case
    ]


def _gallery(store: Store, case: Sequence[QueueEntry], reader: str, model: Model, who: Person) -> dict[str, Any] | None:
    """The data of all fields of the case, while the reader looks at its gallery."""
    if not st.session_state.get(session.GALLERY):
        return None
    known = [(entry.field, proposals(store, entry.field.id, model.version)) for entry in case]
    fields = [
        {
            "data": _data(store, field, one, reader, model, who),
            "name": field.name,
            "crops": crops_address(field.digest, reader),
        }
        for field, one in known
    ]
    title = f"Case {case[0].field.case}" if case[0].field.case else case[0].field.name
    return {"title": title, "missing": sum(one is None for _, one in known), "fields": fields}


def _keep_preferences(store: Store, who: Person) -> None:
    if chosen := chosen_preferences(_VIEWER):
        try:
            change_preferences(store, who.name, **chosen)
        except ConcentricError as error:
            st.toast(plain(str(error)), icon=":material/error:")


def _score(model: Model) -> float:
    score = st.session_state.get(session.REVIEW_SCORE)
    return float(model.threshold if score is None else score)


def _go(entries: list[QueueEntry], queue_now: Callable[[], list[QueueEntry]]) -> None:
    """The reader moved on by a key or a button of the viewer."""
    wish = requested_step(_VIEWER)
    if wish is None:
        return
    keep_on_review()
    way, st.session_state[session.LAST_STEP] = wish.to, wish.step
    # The viewer may be a step ahead of what the page has shown.
    if wish.left in [entry.field.id for entry in entries]:
        st.session_state[session.FIELD_ID] = wish.left
    current = st.session_state[session.FIELD_ID]
    if way in ("next", "previous"):
        move(entries, 1 if way == "next" else -1)
    elif way in ("open", "onward"):
        if wish.target in [entry.field.id for entry in entries]:
            st.session_state[session.FIELD_ID] = wish.target
    elif way in ("finish", "exclude"):
        try:
            _leave(queue_now(), current)
        except ConcentricError as error:
            st.toast(plain(str(error)), icon=":material/error:")


def _leave(now: list[QueueEntry], current: int) -> None:
    """From a field that was just finished to the next open one."""
    left = next((one.field for one in now if one.field.id == current), None)
    if left is None:  # deleted meanwhile; the page shows the first open one
        return
    # What was just finished changes how new the others are, and so their order.
    onward = reviewing.next_open(now, current, from_top=st.session_state[session.ORDER] == "novelty")
    read = not any(one.is_open for one in reviewing.of_case(now, left))
    st.session_state[session.CASE_READ] = current if read else None
    if onward is None and not read:
        st.toast("All fields of this queue are read.", icon=":material/done_all:")
    st.session_state[session.FIELD_ID] = onward or current


def _keep_score(value: float | None) -> None:
    if value is not None:
        st.session_state[session.REVIEW_SCORE] = value
