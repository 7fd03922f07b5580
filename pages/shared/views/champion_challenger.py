"""Champion and challenger side by side, and the decision."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import streamlit as st

from db import versions
from db.engine import Store
from db.fields import find_field, load_field
from mitosis_core.errors import ConcentricError
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.plurals import count_noun
from mitosis_core.scoring.comparison import CHANGE_KINDS, Comparison
from pages.shared import session
from pages.shared.shell import plain, show_table
from pages.shared.views import charts

_CROP_UM = 32.0
_MOST_CROPS = 24
_FEW_FIELDS = 5  # an interval drawn over fewer is too narrow


def show_comparison(store: Store, challenger: str, by: str, *, decide: bool = True) -> None:
    """The proof, and below it what was decided; decide: with the buttons to promote or reject."""
    stored = versions.get_version(store, challenger)
    comparison = stored.comparison
    if comparison is None:
        st.info("This version was not compared with another version.")
    else:
        _show_scores(comparison, comparison.against or stored.parent or "", challenger)
        left, right = st.columns(2)
        sides = {"champion": comparison.champion, "challenger": comparison.challenger}
        left.plotly_chart(charts.precision_recall(sides), key=f"pr-{challenger}")
        right.plotly_chart(charts.froc(sides), key=f"froc-{challenger}")
        _show_changes(store, comparison)
    _say_decision(store, challenger)
    if decide:
        _decide(store, challenger, by)


def _show_scores(comparison: Comparison, champion: str, challenger: str) -> None:
    difference = comparison.difference
    verdict = "better" if difference.low > 0 else "worse" if difference.high < 0 else "not clearly better or worse"
    few = comparison.fields < _FEW_FIELDS
    where = f"{count_noun(comparison.fields, 'field')} of {count_noun(comparison.cases, 'case')}"
    st.markdown(
        f"**{plain(challenger)} {'seems' if few else 'is'} {verdict}** than {plain(champion)}: "
        f"F1 {difference.f1:+.3f} "
        f"(95 % interval {difference.low:+.3f} to {difference.high:+.3f}, paired bootstrap over "
        f"{difference.over}) on {where} held out of this training, with {comparison.mitoses} mitoses."
        + (" So few fields are not conclusive." if few else "")
    )
    rows = []
    for name, side in ((champion, comparison.champion), (challenger, comparison.challenger)):
        keys = ("precision", "recall", "f1", "fp_per_mm2", "average_precision", "tp", "fp", "fn")
        rows.append({"version": name, **{key: getattr(side, key) for key in keys}})
    number = st.column_config.NumberColumn(format="%.3f")
    titles = {
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "fp_per_mm2": "FP/mm²",
        "average_precision": "AP",
    }
    shown = {key: st.column_config.NumberColumn(title, format="%.3f") for key, title in titles.items()}
    show_table(rows, column_config=shown)
    cases = dict.fromkeys(("champion", "challenger", "difference"), number)
    show_table([asdict(one) for one in comparison.by_case], column_config=cases)


def _show_changes(store: Store, comparison: Comparison) -> None:
    """Crops of the figures that the two call differently: people would rather look than read."""
    changes = comparison.changes
    st.markdown(f"**{count_noun(len(changes), 'figure')} changed**" if changes else "No figure changed.")
    for kind in CHANGE_KINDS:
        some = [one for one in changes if one.kind == kind]
        if not some:
            continue
        st.caption(f"{kind}: {len(some)}")
        with st.container(horizontal=True):
            for one in some[:_MOST_CROPS]:
                crop = _crop(store, one.image, one.x, one.y)
                if crop is not None:
                    st.image(crop, width=96)


def _crop(store: Store, digest: str, x: float, y: float) -> Any:
    stored = find_field(store, digest)
    if stored is None:
        return None
    pixels = load_field(store, stored).pixels
    half = int(_CROP_UM / 2 / stored.um_per_px)
    top, left = max(0, round(y) - half), max(0, round(x) - half)
    return pixels[top : top + 2 * half, left : left + 2 * half]


def _say_decision(store: Store, challenger: str) -> None:
    said = [one for one in versions.decisions(store) if one.version == challenger]
    if said:
        last = said[-1]
        words = {"promote": "promoted", "reject": "rejected", "roll_back": "made active again"}.get(
            last.kind, last.kind
        )
        st.caption(
            f"{words} by {plain(last.by)}, {last.at:%d %b %Y %H:%M} UTC{': ' + plain(last.note) if last.note else ''}"
        )


def _decide(store: Store, challenger: str, by: str) -> None:
    note = st.text_input("Note", key=f"note-{challenger}", placeholder="Why (optional)")
    with st.container(horizontal=True):
        active = challenger == versions.champion(store, DEFAULT_VERSION)
        promoted = st.button("Promote", type="primary", key=f"promote-{challenger}", disabled=active)
        rejected = st.button("Reject", key=f"reject-{challenger}", disabled=active)
    if not (promoted or rejected):
        return
    try:
        if promoted:
            versions.load_version(store, challenger)  # damaged weights must not become the champion
        versions.record_decision(store, "promote" if promoted else "reject", challenger, by=by, note=note)
    except ConcentricError as error:
        st.error(plain(str(error)))
        return
    st.session_state.pop(session.VERSION, None)  # the other pages take up the champion
    st.rerun()
