"""Detect: fields go in, the mitoses come out, circled, counted and given as a density."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mitosis_core.errors import ConcentricError
from mitosis_core.image.reading import IMAGE_SUFFIXES
from mitosis_core.model import Model
from mitosis_core.plurals import count_noun
from mitosis_core.scale import SCANNER_PRESETS
from pages.shared import cache, session
from pages.shared.service import detecting, reviewing
from pages.shared.service.detecting import Analysis
from pages.shared.shell import open_page, plain, show_table
from pages.shared.store import the_store
from pages.shared.viewer.viewer import chosen_score, show_viewer, viewer_data
from pages.shared.views.field_diameter import ask_field_diameter

_MOST_TABS = 5  # more fields than these are chosen from a list


def main() -> None:
    """The page."""
    who = open_page("Detect")
    if not (st.session_state.get(session.UPLOADS) or session.sample()):
        _welcome()
        return
    # One row above the image: which field, and everything else behind a button.
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        switch = st.container(width="content")
        keep = st.container(width="content")
        with st.popover("Fields and settings", icon=":material/tune:"):
            files = _opened_files()
            # Asked for in the open while something waits for it, changed here later.
            scale = st.container()
            files = _with_correction(files)
            version = _settings()
    files = _with_scale(files, scale)
    model = _load(version)
    if model is None:
        return
    files = _analyse(files, model)
    _tell_problems(files)
    if who.may("reviewer"):
        _offer_review(files, keep)
    _show(files, model, switch)


def _welcome() -> None:
    """The empty page: what happens here, and a way to try it."""
    _, middle, _ = st.columns([1, 3, 1])
    with middle:
        st.title("Count mitoses", anchor=False)
        st.markdown("Drop high-power fields (H&E) here to see their mitoses circled, counted and given per mm².")
        _uploader()
        st.button("Try a sample field", icon=":material/science:", on_click=session.show_sample, type="primary")
        st.caption("Up to 60 megapixels each. Images stay on this computer. For research, not for diagnosis.")


def _uploader() -> None:
    st.file_uploader(
        "High-power fields, several at once",
        [suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES],
        accept_multiple_files=True,
        key=session.UPLOADS,
    )


def _settings() -> str:
    """The microscope field and the version, by name."""
    ask_field_diameter(
        "Counts are also given per 10 of these fields: field number of the eyepiece / magnification of the lens."
    )
    version = st.selectbox(
        "Version of the detector", detecting.list_versions(), key=session.VERSION, on_change=session.forget_score
    )
    st.caption(f"Runs on: {plain(cache.device_name())}")
    return version


def _load(version: str) -> Model | None:
    """None, and a sentence in the open, when the version cannot be used."""
    try:
        return detecting.load_model(version)
    except ConcentricError as error:
        st.error(
            f"{plain(str(error))} Please choose another version under **Fields and settings**, or roll back to the "
            "one before on the Models page."
        )
        return None


def _opened_files() -> list[Analysis]:
    """Every file of the uploader, read once in a session, or else the sample."""
    _uploader()
    uploads = st.session_state[session.UPLOADS] or []
    known = session.opened_files()
    new = [upload for upload in uploads if upload.file_id not in known]
    if new:
        bar = st.progress(0.0, "Reading…")
        for number, upload in enumerate(new):
            bar.progress(number / len(new), f"Reading {plain(upload.name)}")
            known[upload.file_id] = detecting.open_file(upload.name, upload.getvalue())
        bar.empty()
    for gone in set(known) - {upload.file_id for upload in uploads}:
        del known[gone]
    return detecting.number_duplicate_names([known[upload.file_id] for upload in uploads] or [cache.sample()])


def _with_scale(files: list[Analysis], later: DeltaGenerator) -> list[Analysis]:
    """Fields with the µm/px the user gave where the file does not say; without an answer these fields wait."""
    waiting = [one for one in files if one.waits_for_scale]
    if not waiting:
        return files
    scaled, problem = None, ""
    try:
        given = session.um_per_px()
        scaled = detecting.give_scale(files, given) if given else None
    except ConcentricError as error:
        problem = plain(str(error))
    with later if scaled else st.container(border=True, width=620):
        _ask_for_scale(waiting)
        if problem:
            st.error(problem)
    return scaled or files


def _with_correction(files: list[Analysis]) -> list[Analysis]:
    """Fields whose files say a wrong µm/px (resaved, or scanned with a wrong setting) with the one the user gives."""
    if not any(one.field and not one.waits_for_scale for one in files):
        return files
    given = st.number_input(
        "Correct the µm per pixel",
        value=None,
        step=0.01,
        format="%.4f",
        placeholder="From the files",
        key=session.CORRECTED,
        help="Used for all open files instead of the value stored in them, where that value is wrong.",
    )
    try:
        return files if given is None else detecting.correct_scale(files, given)
    except ConcentricError as error:
        st.error(plain(str(error)))
        return files


def _ask_for_scale(waiting: list[Analysis]) -> None:
    names = ", ".join(plain(one.name) for one in waiting[:3]) + (" …" if len(waiting) > 3 else "")
    st.markdown(f"**How large is a pixel?** {names} {'does' if len(waiting) == 1 else 'do'} not say.")
    scanner = st.selectbox(
        "Scanner",
        [*SCANNER_PRESETS, session.OTHER_SCANNER],
        index=None,
        format_func=lambda name: f"{name}: {SCANNER_PRESETS[name]:g} µm/px" if name in SCANNER_PRESETS else name,
        placeholder="Choose your scanner",
        key=session.SCANNER,
    )
    if scanner == session.OTHER_SCANNER:
        st.number_input("µm per pixel", value=None, step=0.01, format="%.4f", key=session.SCALE)


def _tell_problems(files: list[Analysis]) -> None:
    """One box for all files that could not be used, so that it does not push the image away."""
    said = [f"**{plain(one.name)}**: {plain(one.problem)}" for one in files if one.problem]
    if said:
        st.error("\n\n".join(said), icon=":material/broken_image:")


def _analyse(files: list[Analysis], model: Model) -> list[Analysis]:
    slot = st.empty()

    def progress(number: int, total: int, name: str, share: float) -> None:
        slot.progress((number + share) / total, f"Analysing {plain(name)} ({number + 1} of {total})")

    answers = detecting.analyse(files, model, cache.predictions(), progress=progress)
    slot.empty()
    return answers


def _offer_review(files: list[Analysis], slot: DeltaGenerator) -> None:
    """Keep the fields, so that a reader can correct what was found. The sample is not one to keep."""
    done = [one for one in files if one.prediction and not one.is_sample]
    if not done:
        return
    with slot, st.popover("Keep for review", icon=":material/edit:", type="primary"):
        st.markdown("Stores the images and detections on this computer, so that they can be corrected.")
        case = st.text_input("Case (optional)", key=session.KEEP_CASE)
        anonymous = st.checkbox(
            "Leave out the file names", help="Fields are numbered instead", key=session.KEEP_WITHOUT_NAMES
        )
        if st.button(f"Keep {count_noun(len(done), 'field')} and review", type="primary"):
            _keep(done, case, keep_names=not anonymous)


def _keep(done: list[Analysis], case: str, *, keep_names: bool) -> None:
    try:
        with st.spinner("Storing…"):
            kept, _ = reviewing.store_for_review(the_store(), done, case=case, keep_names=keep_names)
    except ConcentricError as error:
        st.error(plain(str(error)))
        return
    st.session_state[session.FIELD_ID] = kept[0].id
    st.switch_page("pages/review.py")


def _show(files: list[Analysis], model: Model, switch: DeltaGenerator) -> None:
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


main()
