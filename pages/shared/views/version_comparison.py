"""The parts of the Compare page: the table, the curves, and the field where versions disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from db.engine import Store
from db.labels import ReviewedField
from mitosis_core.model import Model
from mitosis_core.plurals import count_noun
from mitosis_core.vocabulary import HIT_RADIUS_UM
from pages.shared import session
from pages.shared.person import Person
from pages.shared.service import version_comparison
from pages.shared.service.version_comparison import READERS, Dispute, Mark, VersionComparison
from pages.shared.shell import plain, safe_rows
from pages.shared.viewer.images import field_picture
from pages.shared.viewer.routes import image_url
from pages.shared.viewer.viewer import RING_UM, show_viewer
from pages.shared.views import charts
from pages.shared.views.analysis import analyse_button, show_progress
from pages.shared.views.version_pictures import show_cells, show_counts, show_legend
from train.retrain.plan import PartCounts, caution

_KEY = "versus-viewer"
_FIGURES = dict.fromkeys(("F1", "precision", "recall", "average precision"), "%.3f")
_COSTS = {"FP/mm²": "%.1f", "parameters (M)": "%.2f", "MB": "%.1f", "s per field": "%.2f", "memory (GB)": "%.2f"}


@dataclass(frozen=True)
class VersionStyle:
    """How one version is drawn wherever it appears. shape: of the viewer; symbol, dash: the same for Plotly."""

    colour: str
    shape: str
    glyph: str
    symbol: str
    dash: str


# Told apart by colour and by shape; the colours are near those of Okabe and Ito, which colour-blind people tell apart.
_STYLES = (
    VersionStyle("#0a8fe0", "square", "■", "square", "solid"),
    VersionStyle("#e69f00", "diamond", "◆", "diamond", "dash"),
    VersionStyle("#00b383", "triangle", "▲", "triangle-up", "dashdot"),
    VersionStyle("#d55e00", "wedge", "▼", "triangle-down", "dot"),
)
_READERS = {"id": READERS, "label": "Readers: mitosis", "color": "#ffffff", "dash": "", "shape": "circle"}


def show_version_comparison(
    store: Store, models: Sequence[Model], fields: Sequence[ReviewedField], who: Person
) -> None:
    """Everything below the choice."""
    found = version_comparison.compare(store, models, fields)
    looks = dict(zip((model.version for model in models), _STYLES, strict=False))
    if found.waiting and who.may("reviewer"):
        _offer_analysis(store, found, len(fields))
    if not found.sides:
        return
    if few := caution(PartCounts.of(found.fields), "judge these versions: which of them is better is mostly chance"):
        st.warning(plain(few))
    show_counts(found, looks)
    if who.may("admin"):  # it shows the marks of readers on fields that others may not have finished
        show_cells(found, looks)
        show_legend(looks)
    with st.expander("Table and curves", expanded=not who.may("admin")):
        _show_table(store, found, looks, who)
        _show_curves(found, looks)
    if who.may("admin"):
        _show_disputes(found, looks)


def _offer_analysis(store: Store, found: VersionComparison, fields: int) -> None:
    names = dict.fromkeys(name for _, name in found.waiting)
    there = f"The results below are for the other {len(found.fields)} of {fields} fields." if found.sides else ""
    st.markdown(
        f"{', '.join(plain(name) for name in names)} {'has' if len(names) == 1 else 'have'} not analysed all of these "
        f"fields yet ({len(found.waiting)} left, some seconds each). {there}"
    )
    analyse_button(store, found.waiting, "Analyse these fields with every version", key="analyse-all", primary=True)


def _show_table(store: Store, found: VersionComparison, looks: Mapping[str, VersionStyle], who: Person) -> None:
    field = version_comparison.largest(found.fields)
    known = {name: gb for (name, digest), gb in session.peak_memory_gb().items() if digest == field.digest}
    formats = {name: st.column_config.NumberColumn(format=how) for name, how in (_FIGURES | _COSTS).items()}
    rows = pd.DataFrame(
        safe_rows({"": looks[row["version"]].glyph, **row} for row in version_comparison.table(found, known))
    )
    coloured = rows.style.apply(lambda _: [f"color: {looks[name].colour}" for name in found.sides], subset=[""])
    st.dataframe(coloured, hide_index=True, column_config={"": st.column_config.TextColumn(width=40), **formats})
    mitoses = sum(len(one.mitoses_xy_px) for one in found.fields)
    one = next(iter(found.sides.values())).evaluation.f1_interval
    interval = f"The interval is by resampling these {one.over} and " if one else ""
    st.caption(
        f"On {count_noun(len(found.fields), 'field')} with {count_noun(mitoses, 'mitosis')}, each version at "
        f"its own threshold; a detection matches within {HIT_RADIUS_UM:g} µm. {interval}does not cover other "
        "laboratories or tumours. Seconds: the median over these fields, as measured when they were analysed. "
        "A shipped version was trained on the public slides named in its card."
    )
    unknown = [side.model for name, side in found.sides.items() if name not in known]
    if not unknown or not who.may("reviewer"):
        return
    about = (
        "Each version analyses the largest of these fields twice, on the CPU, in its own process; some seconds each."
    )
    label = f"Measure the memory of {count_noun(len(unknown), 'version')}"
    if st.button(label, icon=":material/memory:", key="measure", help=about):
        _measure(store, unknown, found)


def _measure(store: Store, models: Sequence[Model], found: VersionComparison) -> None:
    field, slot, known = version_comparison.largest(found.fields), st.empty(), session.peak_memory_gb()

    def keep(name: str, gb: float) -> None:
        known[name, field.digest] = gb

    problems = version_comparison.measure_memory(
        store, models, field, keep, lambda share, name: show_progress(slot, share, f"Measuring {plain(name)}")
    )
    for problem in problems:
        st.warning(plain(problem))
    if not problems:
        st.rerun()


def _show_legend(looks: Mapping[str, VersionStyle]) -> None:
    parts = (
        f'<span style="white-space:nowrap"><span style="color:{look.colour};font-size:1.15em">{look.glyph}</span> '
        f"{escape(name)}</span>"
        for name, look in looks.items()
    )
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:4px 22px">{"".join(parts)}</div>')


def _show_curves(found: VersionComparison, looks: Mapping[str, VersionStyle]) -> None:
    lines = {name: charts.LineStyle(look.colour, look.dash, look.symbol) for name, look in looks.items()}
    _show_legend(looks)
    sides, (left, right) = version_comparison.curves(found), st.columns(2)
    charts.show(left, charts.precision_recall(sides, lines).update_layout(showlegend=False), key="versus-pr")
    charts.show(right, charts.froc(sides, lines).update_layout(showlegend=False), key="versus-froc")
    st.caption(
        "The mark on a curve is the version's own threshold. A curve ends at the lowest score of its candidates."
    )


def _show_disputes(found: VersionComparison, looks: Mapping[str, VersionStyle]) -> None:
    st.markdown("**Field by field**")
    every = {one.reviewed.field.id: one for one in version_comparison.disputes(found)}
    if st.session_state.get(session.DISPUTED) not in every:
        st.session_state.pop(session.DISPUTED, None)
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    chosen = left.selectbox("Field", every, key=session.DISPUTED, format_func=lambda number: _name(every[number]))
    only = right.toggle(
        "Only disagreements",
        True,
        key=session.ONLY_DISPUTED,
        help="Hide the cells that the readers and every version have marked.",
    )
    one = every[chosen]
    show_viewer(_viewer_data(one, looks, only=only), key=_KEY, on_score=lambda: None)
    agreed = len(one.cells) - one.disagreements
    hidden = f"{agreed} agreed on {'is' if agreed == 1 else 'are'} hidden. " if only and agreed else ""
    st.caption(
        f"{count_noun(one.disagreements, 'cell')} of {len(one.cells)} not marked by all. {hidden}Marks of versions are "
        "detections at their own thresholds; the number at a crop is the score. White rings are the mitoses of "
        "the readers."
    )


def _name(one: Dispute) -> str:
    case = f" · {one.reviewed.field.case}" if one.reviewed.field.case else ""
    return f"{one.reviewed.field.name}{case} · {count_noun(one.disagreements, 'disagreement')}"


def _viewer_data(one: Dispute, looks: Mapping[str, VersionStyle], *, only: bool) -> dict[str, Any]:
    """The contract of docs/viewer.md, with a class per version and one for the readers."""
    stored = one.reviewed.field
    classes = [
        {"id": name, "label": name, "color": look.colour, "dash": "", "shape": look.shape}
        for name, look in looks.items()
    ]
    region = one.reviewed.region
    return {
        "field": str(stored.id),
        "user": session.user(),
        "editable": False,
        "image": {
            "url": image_url(field_picture(stored.digest), session.user()),
            "width": stored.width_px,
            "height": stored.height_px,
            "radius": RING_UM / stored.um_per_px,
        },
        "um_per_px": stored.um_per_px,
        "heat": None,
        "prefetch": [],
        "classes": [*classes, _READERS],
        "points": [
            _point(f"{place}:{name}", name, mark)
            for place, cell in enumerate(one.cells)
            if not (only and cell.agreed)
            for name, mark in cell.marks.items()
        ],
        "review": {"state": "complete", "area": region and region.edges, "seconds": 0.0},
        "rev": 0,
        "score": {"value": 0.0, "default": 0.0},
        "count": None,
    }


def _point(key: str, name: str, mark: Mark) -> dict[str, Any]:
    """Decided: it is shown whatever its score is."""
    return {
        "id": key,
        "x": round(mark.x, 2),
        "y": round(mark.y, 2),
        "cls": name,
        "score": mark.score,
        "by": None,
        "src": "reader" if name == READERS else "model",
        "decided": True,
    }
