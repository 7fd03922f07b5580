"""The answer of a run: one sentence, the recommended button, crops of what changed; the numbers behind Details."""

from __future__ import annotations

from dataclasses import asdict

import streamlit as st

from db import versions
from db.engine import Store
from db.versions import Decision, StoredVersion
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.plurals import count_noun
from mitosis_core.scoring.comparison import ChangeKind, Comparison
from pages.shared.service.run_answer import ChangedCell, changed_cells, run_answer
from pages.shared.shell import plain, show_table
from pages.shared.views import charts
from pages.shared.views.ask_once import ask_once, do
from pages.shared.views.picture_grid import CROP_PX, GridPicture, cell_shot, show_pictures

_MOST_CROPS = 12  # of one kind; the others are counted
_TITLES: dict[ChangeKind, str] = {  # in the order they are shown
    "newly found": "newly found",
    "newly lost": "newly lost",
    "no longer false": "gone",
    "newly false": "new",
}
_DECIDED = {"promote": "Promoted", "reject": "Rejected", "roll_back": "Made active again"}


def show_answer(store: Store, challenger: str, by: str, *, decide: bool = True, primary: bool = True) -> None:
    """Everything about what a run made. decide: with the buttons. primary: the recommended one is filled."""
    stored = versions.get_version(store, challenger)
    comparison, active = stored.comparison, versions.champion(store, DEFAULT_VERSION)
    if comparison is None:
        st.markdown(f"{plain(challenger)} was not compared with another version.")
    else:
        answer = run_answer(comparison, challenger)
        says = answer.says if challenger == active else f"{answer.says} **{answer.advice}**"
        st.markdown(plain_bold(says))
    _say_decision(store, challenger, active)
    if decide and challenger != active:
        promote = comparison is not None and run_answer(comparison, challenger).promote
        _decide(store, challenger, active, by, promote=promote, primary=primary and not _decided(store, challenger))
    if comparison is not None:
        _show_changes(store, challenger, comparison)
        show_details(stored, comparison)


def plain_bold(text: str) -> str:
    """Our own sentences, of which only ** is Markdown."""
    return "**".join(plain(part) for part in text.split("**"))


def _decided(store: Store, version: str) -> bool:
    return any(one.version == version and one.kind in _DECIDED for one in versions.decisions(store))


def _say_decision(store: Store, challenger: str, active: str) -> None:
    if challenger == active:
        st.markdown(":material/check_circle: This version is active.")
    past = versions.decisions(store)
    said = [one for one in past if one.version == challenger and one.kind in _DECIDED]
    if not said:
        return
    sentence = _by_whom(_DECIDED[said[-1].kind], said[-1])
    # A roll-back is recorded with the version that it went back to, not with the one that it took off.
    back = versions.rolled_back(past, challenger, DEFAULT_VERSION) if said[-1].kind != "reject" else None
    st.caption(f"{sentence}; {_by_whom('rolled back', back)}" if back else sentence)


def _by_whom(what: str, one: Decision) -> str:
    note = f": {plain(one.note)}" if one.note else ""
    return f"{what} by {plain(one.by)}, {one.at:%d %b %Y %H:%M} UTC{note}"


def _decide(store: Store, challenger: str, active: str, by: str, *, promote: bool, primary: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        offer_promotion(store, challenger, active, by, filled=promote and primary, label=f"Promote {plain(challenger)}")
        if not _decided(store, challenger) and st.button(
            f"Reject {plain(challenger)}",
            type="primary" if primary and not promote else "secondary",
            key=f"reject-{challenger}",
        ):
            do(lambda: versions.record_decision(store, "reject", challenger, by=by))


def offer_promotion(
    store: Store, version: str, active: str, by: str, *, filled: bool = False, label: str = "Promote"
) -> None:
    """The button that makes a version the active one. label: with its name, where nothing beside it has it."""

    def promote(note: str) -> None:
        versions.load_version(store, version)  # damaged weights must not become the champion
        versions.record_decision(store, "promote", version, by=by, note=note)

    sentence = (
        f"**{plain(version)}** becomes the active version on every page, in the place of {plain(active)}. "
        "It can be rolled back on Models."
    )
    ask_once(f"promote-{version}", label, sentence, promote, icon=":material/verified:", filled=filled, note=True)


def _show_changes(store: Store, challenger: str, comparison: Comparison) -> None:
    """Crops before and after: people would rather look than read."""
    cells = changed_cells(store, comparison)
    if not comparison.changes:
        st.markdown("Both mark the same cells.")
        return
    for kind, title in _TITLES.items():
        if some := cells[kind]:
            noun = "mitosis" if some[0].mitosis else "false detection"
            st.markdown(f"**{count_noun(len(some), noun)} {title}**")
            show_pictures([_pair(one) for one in some], side_px=CROP_PX, key=f"{kind}-{challenger}", most=_MOST_CROPS)
    if gone := len(comparison.changes) - sum(map(len, cells.values())):
        st.caption(
            f"{count_noun(gone, 'more cell')} that changed cannot be shown: their fields were deleted since. The "
            "sentence above and the scores still count them."
        )


def _pair(cell: ChangedCell) -> GridPicture:
    words = ("missed", "found") if cell.mitosis else ("not marked", "false mark")
    shots = tuple(
        cell_shot(cell.field, cell.x_px, cell.y_px, ring=marked, under=f"{when}: {words[marked]}")
        for when, marked in (("Before", cell.before), ("After", cell.after))
    )
    kind = "mitosis" if cell.mitosis else "false detection"
    return GridPicture(shots, cell.field.id, f"Open this {kind} in Review", cell.field.name, (cell.x_px, cell.y_px))


def show_details(stored: StoredVersion, comparison: Comparison) -> None:
    """Scores, intervals, curves and hashes."""
    with st.expander("Details"):
        one, champion = comparison.difference, comparison.against or stored.parent or ""
        st.markdown(
            f"F1 {one.f1:+.3f}, 95 % interval {one.low:+.3f} to {one.high:+.3f} (paired bootstrap over {one.over}), on "
            f"{count_noun(comparison.fields, 'field')} of {count_noun(comparison.cases, 'case')} held out of this "
            f"training, with {count_noun(comparison.mitoses, 'mitosis')}."
        )
        _show_scores(comparison, champion, stored.name)
        left, right = st.columns(2)
        sides = {"champion": comparison.champion, "challenger": comparison.challenger}
        charts.show(left, charts.precision_recall(sides), key=f"pr-{stored.name}")
        charts.show(right, charts.froc(sides), key=f"froc-{stored.name}")
        st.caption(f"sha256 of the weights: {stored.sha256}")


def _show_scores(comparison: Comparison, champion: str, challenger: str) -> None:
    keys = ("precision", "recall", "f1", "fp_per_mm2", "average_precision", "tp", "fp", "fn")
    rows = [
        {"version": name, **{key: getattr(side, key) for key in keys}}
        for name, side in ((champion, comparison.champion), (challenger, comparison.challenger))
    ]
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
