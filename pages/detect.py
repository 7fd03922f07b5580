"""Detect: fields go in, the mitoses come out, circled, counted and given as a density."""

from __future__ import annotations

import streamlit as st

from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model
from mitosis_core.scale import SCANNER_PRESETS
from pages.shared import actions, cache, session
from pages.shared.actions import Analysis
from pages.shared.shell import open_page, plain
from pages.shared.viewer.viewer import chosen_score, show_viewer, viewer_data

FILE_TYPES = ["png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp"]
DIAMETERS_MM = (0.40, 0.44, 0.50, 0.53, 0.55, 0.59, 0.63, 0.65, 0.69)
_OTHER = "Another value…"


def main() -> None:
    open_page("Detect")
    model = _settings()
    files = _opened_files()
    if not files:
        _welcome()
        return
    for one in files:
        if one.problem:
            st.error(f"**{plain(one.name)}**: {one.problem}", icon=":material/broken_image:")
    files = _ask_for_scale(files)
    if model is None or not any(one.field for one in files):
        return
    files = _analyse(files, model)
    _show(files, model)


def _settings() -> Model | None:
    """The version and the microscope field, in the side bar; None when the version cannot be used."""
    with st.sidebar:
        versions = actions.list_versions()
        version = st.selectbox("Version of the detector", versions, key=session.VERSION)
        st.caption(f"Runs on: {cache.device_name()}")
        st.selectbox(
            "Diameter of your high-power field (mm)",
            DIAMETERS_MM,
            index=DIAMETERS_MM.index(0.55),
            format_func=lambda mm: f"{mm:.2f}",
            key=session.DIAMETER,
            help="Counts are also given per 10 of these fields. It stands on the eyepiece: field number / objective.",
        )
        try:
            return actions.load_model(version)
        except ConcentricError as error:
            st.error(str(error))
            return None


def _opened_files() -> list[Analysis]:
    """Every file of the uploader, read once in a session, and the sample when it is asked for."""
    uploads = st.file_uploader(
        "High-power fields (H&E)",
        FILE_TYPES,
        accept_multiple_files=True,
        key=session.UPLOADS,
        label_visibility="collapsed" if session.sample() else "visible",
    )
    known = session.opened()
    new = [upload for upload in uploads if upload.file_id not in known]
    if new:
        bar = st.progress(0.0, "Reading…")
        for number, upload in enumerate(new):
            bar.progress(number / len(new), f"Reading {plain(upload.name)}")
            known[upload.file_id] = actions.open_file(upload.name, upload.getvalue())
        bar.empty()
    for gone in set(known) - {upload.file_id for upload in uploads}:
        del known[gone]
    files = [known[upload.file_id] for upload in uploads]
    if session.sample():
        files.append(cache.sample())
    return actions.tell_apart(files)


def _welcome() -> None:
    st.markdown(
        "#### Drop high-power fields here to see their mitoses circled and counted.\n"
        "PNG, JPEG, TIFF, BMP or WebP, colour, up to 60 megapixels each. "
        "The images stay on this computer."
    )
    st.button("Try a sample field", icon=":material/science:", on_click=session.show_sample, type="primary")
    st.caption("The sample is drawn by the program: nuclei, mitoses, look-alikes and stroma.")


def _ask_for_scale(files: list[Analysis]) -> list[Analysis]:
    """Ask for µm/px where the files do not say; without an answer these fields wait."""
    waiting = [one for one in files if one.waits_for_scale]
    if not waiting:
        return files
    names = ", ".join(plain(one.name) for one in waiting[:3]) + (" …" if len(waiting) > 3 else "")
    with st.container(border=True):
        st.markdown(f"**How large is a pixel?** {names} do{'es' if len(waiting) == 1 else ''} not say.")
        left, right = st.columns(2)
        scanner = left.selectbox(
            "Scanner", [*SCANNER_PRESETS, _OTHER], index=None, placeholder="Choose your scanner", key=session.SCANNER
        )
        value = SCANNER_PRESETS.get(scanner) if scanner else None
        if scanner == _OTHER:
            value = right.number_input("µm per pixel", value=None, step=0.01, format="%.4f", key=session.SCALE)
        elif value:
            right.metric("µm per pixel", f"{value:g}")
        if not value:
            return files
        try:
            return actions.give_scale(files, value)
        except ConcentricError as error:
            st.error(str(error))
            return files


def _analyse(files: list[Analysis], model: Model) -> list[Analysis]:
    slot = st.empty()

    def progress(number: int, total: int, name: str, share: float) -> None:
        slot.progress((number + share) / total, f"Analysing {plain(name)} ({number + 1} of {total})")

    answers = actions.analyse(files, model, cache.predictions(), progress=progress)
    slot.empty()
    for before, after in zip(files, answers, strict=True):
        if after.problem and not before.problem:
            st.error(f"**{plain(after.name)}**: {after.problem}", icon=":material/error:")
    return answers


def _show(files: list[Analysis], model: Model) -> None:
    done = [one for one in files if one.prediction]
    if not done:
        return
    diameter = float(st.session_state[session.DIAMETER])
    names = [one.name for one in done]
    if st.session_state.get(session.FIELD) not in names:
        st.session_state[session.FIELD] = names[0]
    if len(names) > 1:
        st.segmented_control("Field", names, key=session.FIELD, required=True, label_visibility="collapsed")
    shown = done[names.index(st.session_state[session.FIELD])]
    _show_field(shown, done, model, diameter)
    _show_table(files, diameter)


def _show_field(one: Analysis, done: list[Analysis], model: Model, diameter: float) -> None:
    assert one.field is not None and one.prediction is not None, "only analysed fields are shown"
    score = session.score()
    counted = actions.tally([one], diameter, score)
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
    said = [f"{one.field.um_per_px:g} µm/px ({one.field.scale_source})", f"{one.prediction.seconds:.1f} s",
            f"version {model.version}", *map(plain, one.notes)]  # fmt: skip
    st.caption(" · ".join(said))


def _show_table(files: list[Analysis], diameter: float) -> None:
    score = session.score()
    rows = actions.table(files, diameter, score)
    total = actions.tally(files, diameter, score)
    head, button = st.columns([4, 1], vertical_alignment="bottom")
    if total and len(rows) > 1:
        head.markdown(
            f"**All fields: {total.mitoses} mitoses** in {total.area_mm2:.2f} mm², {total.per_mm2:.1f} per mm², "
            f"{total.per_10_hpf:.1f} per 10 HPF"
        )
    button.download_button(
        "Detections (CSV)",
        actions.detections_csv(files, score),
        "detections.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
    )
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "file": st.column_config.TextColumn("Field"),
            "um_per_px": st.column_config.NumberColumn("µm/px", format="%.4f"),
            "mitoses": st.column_config.NumberColumn("Mitoses"),
            "per_mm2": st.column_config.NumberColumn("per mm²", format="%.1f"),
            "per_10_hpf": st.column_config.NumberColumn("per 10 HPF", format="%.1f"),
            "seconds": st.column_config.NumberColumn("Seconds", format="%.2f"),
            "notes": st.column_config.TextColumn("Notes", width="large"),
        },
    )


main()
