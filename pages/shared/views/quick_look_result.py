"""What the quick look has found: one field in the viewer, and the table of all."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mitosis_core.model import Model
from pages.shared import cache, session
from pages.shared.service import detecting
from pages.shared.service.detecting import Analysis
from pages.shared.shell import plain, show_table
from pages.shared.viewer.viewer import chosen_score, show_viewer, viewer_data

_MOST_TABS = 5  # more fields than these are chosen from a list


def show_result(files: list[Analysis], model: Model, switch: DeltaGenerator) -> None:
    """Of the fields that are analysed; switch: where another one is chosen."""
    done = [one for one in files if one.prediction]
    if not done:
        return
    diameter = float(st.session_state[session.DIAMETER])
    names = [one.name for one in done]
    if st.session_state.get(session.FIELD) not in names:
        st.session_state[session.FIELD] = names[0]
    with switch:
        if 1 < len(names) <= _MOST_TABS:
            st.segmented_control(
                "Field", names, format_func=plain, key=session.FIELD, required=True, label_visibility="collapsed"
            )
        else:
            st.selectbox("Field", names, key=session.FIELD, label_visibility="collapsed", width=360)
    shown = done[names.index(st.session_state[session.FIELD])]
    _show_field(shown, done, model, diameter)
    _show_table(files, diameter)


def _show_field(one: Analysis, done: list[Analysis], model: Model, diameter: float) -> None:
    assert one.field is not None and one.prediction is not None, "only analysed fields are shown"
    score = session.score()
    counted = detecting.tally([one], diameter, score)
    assert counted is not None, "it is analysed"
    key = f"viewer-{model.version}"
    data = viewer_data(
        one.field,
        one.prediction.candidates,
        counted,
        user=session.user(),
        score=model.threshold if score is None else score,
        default_score=model.threshold,
        heat=one.prediction.map,
        coming=tuple(other.field for other in done if other is not one and other.field)[:2],
    )
    show_viewer(data, key=key, on_score=lambda: session.keep_score(chosen_score(key)))
    said = [
        f"{one.field.um_per_px:g} µm/px ({plain(one.field.scale_source)})",
        f"score {data['score']['value']:.2f}",
        f"version {plain(model.version)} on {plain(cache.device_name())}, {one.prediction.seconds:.1f} s",
        *map(plain, one.notes),
    ]
    st.caption(" · ".join(said))


def _show_table(files: list[Analysis], diameter: float) -> None:
    score = session.score()
    rows = detecting.table(files, diameter, score)
    total = detecting.tally(files, diameter, score)
    head, button = st.columns([4, 1], vertical_alignment="bottom")
    if total and len(rows) > 1:
        head.markdown(f"**All fields:** {total.words}")
    button.download_button(
        "Detections (CSV)",
        detecting.detections_csv(files, score),
        "detections.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
    )
    show_table(
        rows,
        column_config={
            "file": st.column_config.TextColumn("Field"),
            "um_per_px": st.column_config.NumberColumn("µm/px", format="%.4f"),
            "mitoses": st.column_config.NumberColumn("Mitoses"),
            "tissue_mm2": st.column_config.NumberColumn("Tissue (mm²)", format="%.3f"),
            "per_mm2": st.column_config.NumberColumn("per mm²", format="%.1f"),
            "per_10_hpf": st.column_config.NumberColumn("per 10 HPF", format="%.1f"),
            "seconds": st.column_config.NumberColumn("Seconds", format="%.2f"),
            "notes": st.column_config.TextColumn("Notes", width="large"),
        },
    )
