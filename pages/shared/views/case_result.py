"""The figures of a case, its pictures and who read it, on the Results page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

import streamlit as st

from db.case_counts import CaseCounts
from db.engine import Store
from db.reader_agreement import compare, over_all
from db.readings import readings
from mitosis_core.plurals import count_noun, duration
from mitosis_core.reporting.figures import (
    CaseFigures,
    Figure,
    average_figures,
    densest_figures,
    score_figures,
)
from mitosis_core.reporting.pictures import CROP_UM, DENSITY_SIGMA_UM, density_max
from mitosis_core.scoring.mitotic_score import RESEARCH_ONLY
from pages.shared import session
from pages.shared.shell import plain, show_table
from pages.shared.views.analysis import show_progress
from pages.shared.views.case_pictures import case_pictures
from pages.shared.views.picture_grid import show_pictures

_STYLE = """<style>
.case-figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(168px, 1fr)); gap: 8px;
  font-variant-numeric: tabular-nums; }
.case-figures > div { border: 1px solid color-mix(in srgb, currentColor 18%, transparent); border-radius: 8px;
  padding: 8px 12px 10px; font-size: 13px; line-height: 1.4; }
.case-figures h3 { font-size: 13px; font-weight: 400; line-height: 1.4; margin: 0; padding: 0; opacity: .85; }
.case-figures b { display: block; font-size: 26px; line-height: 1.25; font-weight: 600; }
.case-figures .text b { font-size: 16px; line-height: 1.6; }
</style>"""


def show_figures(figures: CaseFigures, names: Sequence[str]) -> None:
    """The numbers, the score and the densest parts as tiles. names: of the counted fields."""
    tiles = [_tile(one) for one in (*average_figures(figures), *score_figures(figures))]
    tiles += [_tile(one, "text") for one in densest_figures(figures, names)]
    st.html(f'{_STYLE}<div class="case-figures">{"".join(tiles)}</div>')
    st.caption(f"{RESEARCH_ONLY} Density and score of the case are its average over the counted fields.")


def _tile(one: Figure, kind: str = "") -> str:
    kind = kind or ("text" if one.value == "none" else "")
    parts = f"<h3>{escape(one.label)}</h3><b>{escape(one.value)}</b>{escape(one.note)}"
    return f'<div class="{kind}">{parts}</div>'


def show_pictures_of(store: Store, counts: CaseCounts, figures: CaseFigures) -> None:
    """The fields of the case with the outline of their tissue, and the gallery of what was counted."""
    slot = st.empty()
    left, right = st.columns([2, 3], gap="medium")
    with left:
        density = _choose_drawing(counts)
    pictures = case_pictures(
        store,
        counts,
        figures,
        session.user(),
        density=density,
        progress=lambda share, name: show_progress(slot, share, f"Drawing {plain(name)}"),
    )
    slot.empty()
    with left:
        show_pictures(pictures.fields, side_px=220, key="case-fields", fill=True)
        st.caption(_legend(counts, density=density))
    with right:
        if counts.counted:
            st.markdown(f"**Counted: {count_noun(counts.count.mitoses, 'mitosis')}**")
        if pictures.cells:
            show_pictures(pictures.cells, side_px=96, key="case-cells", fill=True)
        st.caption(_about_cells(counts, len(pictures.cells)))


def _choose_drawing(counts: CaseCounts) -> bool:
    """Whether the density is drawn on the fields, instead of the mitoses."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{count_noun(len(counts.fields), 'field')}**", width="content")
        drawn = st.segmented_control(
            "Drawn on the fields",
            ("Mitoses", "Density"),
            default="Mitoses",
            required=True,
            label_visibility="collapsed",
            key=session.RESULT_DRAWN,
        )
    return drawn == "Density"


def _legend(counts: CaseCounts, *, density: bool) -> str:
    said = "Yellow: outline of the tissue that is counted. Bar: 100 µm."
    if not density:
        return said
    most = density_max(counts.counted)
    return (
        f"{said} Density averaged with a Gaussian of {DENSITY_SIGMA_UM:g} µm, from 0 (clear) to {most:.0f} per mm² "
        "(yellow)."
    )


def _about_cells(counts: CaseCounts, shown: int) -> str:
    if not shown:
        return "Nothing was counted in this case."
    more = counts.count.mitoses - shown
    said = f"Each {CROP_UM:g} µm wide; a click opens it in Review."
    return f"{said} The first {shown}; {more} more are in the report." if more else said


def show_readers(store: Store, counts: CaseCounts) -> None:
    """Who read the case and when, and how far they agree when there are several."""
    read = readings(store, counts)
    if not read:
        return
    st.markdown("**Read by**")
    show_table(
        [
            {
                "reader": one.reader,
                "fields finished": one.fields,
                "mitoses": one.mitoses,
                "first change (UTC)": _time(one.first),
                "last change (UTC)": _time(one.last),
                "time spent": duration(one.seconds),
            }
            for one in read
        ]
    )
    pairs = over_all(compare(store, [one.field for one in counts.fields])) if len(read) > 1 else {}
    for (a, b), agreed in pairs.items():
        f1 = "" if agreed.f1 is None else f"F1 {agreed.f1:.2f}, "
        kappa = "" if agreed.kappa is None else f"kappa {agreed.kappa:.2f}, "
        st.caption(
            f"{plain(a)} and {plain(b)}: {f1}{kappa}{count_noun(agreed.both, 'mitosis')} in common, "
            f"{agreed.only_a} only {plain(a)}, {agreed.only_b} only {plain(b)}."
        )


def _time(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=None, microsecond=0) if at else None
