"""What a run learns from and what judges it, as pictures; an admin moves cases that no version was judged on yet."""

from __future__ import annotations

import streamlit as st

from db.engine import Store
from db.fields import StoredField
from db.splits import CaseSplit
from mitosis_core.plurals import count_noun
from pages.shared.service import training
from pages.shared.service.training import Material
from pages.shared.shell import plain
from pages.shared.views.picture_grid import FIELD_PX, GridPicture, field_shot, show_pictures
from train.retrain.plan import PartCounts

_MOST_OPEN = 3  # cases of one side that are shown without scrolling
_MOST_FIELDS = 12  # of a case; the others are counted
_HEIGHT_PX = 380


def show_material(store: Store, known: Material, by: str) -> None:
    """The two sides beside each other."""
    for place, held_out in zip(st.columns(2, gap="medium"), (False, True), strict=True):
        with place.container(border=True, key="judged-on" if held_out else "learns-from"):
            counts = known.plan.held_out if held_out else known.plan.train
            st.markdown(f"**{'Judged on' if held_out else 'Learns from'}** · {words(counts)}")
            cases = [one for one in known.cases if one.held_out == held_out]
            if not cases:
                st.caption("Nothing yet: finish fields in Review." if not known.cases else "No case is on this side.")
            with st.container(height=_HEIGHT_PX if len(cases) > _MOST_OPEN else "content", border=False):
                for one in cases:
                    _show_case(store, known, one, by)


def words(part: PartCounts) -> str:
    """What one side holds."""
    empty = f" ({part.empty} without a mitosis)" if part.empty else ""
    likes = f", {count_noun(part.lookalikes, 'look-alike')}" if part.lookalikes else ""
    return f"{count_noun(part.fields, 'field')}{empty}, {count_noun(part.mitoses, 'mitosis')}{likes}"


def _show_case(store: Store, known: Material, case: CaseSplit, by: str) -> None:
    fields = [known.fields[number].field for number in case.fields]
    name = fields[0].case or f"{fields[0].name}, without a case"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{plain(name)} · {count_noun(len(fields), 'field')}")
        if case.used:
            st.caption(
                ":material/lock: fixed: versions were judged on it"
                if case.held_out
                else ":material/lock: fixed: versions have learnt from it"
            )
        elif st.button(
            "Learn from it" if case.held_out else "Judge on it",
            key=f"move-{case.case}",
            type="tertiary",
            icon=":material/swap_horiz:",
        ):
            _move(store, known, case, by)
    show_pictures(
        [_picture(one, len(known.fields[one.id].mitoses_xy_px)) for one in fields],
        side_px=FIELD_PX,
        key=f"fields-{case.case}",
        most=_MOST_FIELDS,
    )


def _picture(field: StoredField, mitoses: int) -> GridPicture:
    title = f"{field.name}: {count_noun(mitoses, 'mitosis')}"
    return GridPicture((field_shot(field),), field.id, title, badge=str(mitoses))


def _move(store: Store, known: Material, case: CaseSplit, by: str) -> None:
    chosen = {one.case for one in known.cases if one.held_out} ^ {case.case}
    training.hold_out(store, known.cases, chosen, by=by)
    st.rerun()
