"""The quick look's files and settings: what was given stays while other pages are shown, and is told in the open."""

from __future__ import annotations

import dataclasses

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model
from mitosis_core.plurals import count_noun
from pages.shared import cache, session
from pages.shared.person import Person
from pages.shared.service import detecting, reviewing
from pages.shared.service.detecting import Analysis
from pages.shared.shell import plain
from pages.shared.store import the_store
from pages.shared.views.field_diameter import ask_field_diameter
from pages.shared.views.scanner import ask_scanner

# Widgets whose answers stay when another page is shown.
_GIVEN = (
    session.SCANNER,
    session.SCALE,
    session.CORRECTED,
    session.VERSION,
    session.FIELD,
    session.KEEP_CASE,
    session.KEEP_WITHOUT_NAMES,
)


def begin() -> None:
    """First thing on the page: what was given on an earlier visit is there again."""
    session.keep_given(*_GIVEN)
    look = session.quick_look()
    if look.uploads_key not in st.session_state:  # a new visit: the uploader is empty, and nothing was removed from it
        look.listed.clear()


def has_files() -> bool:
    """Whether anything was dropped in this session, now or on an earlier visit."""
    look = session.quick_look()
    return bool(look.files or st.session_state.get(look.uploads_key))


def uploader() -> None:
    """Takes every kind of file: what cannot be read is said, not left out."""
    st.file_uploader(
        "High-power fields, several at once",
        accept_multiple_files=True,
        key=session.quick_look().uploads_key,
        help="PNG, JPEG, TIFF, BMP or WebP, up to 60 megapixels each. Of a whole slide (.svs, .ndpi, .mrxs and others) "
        "please export fields as PNG or TIFF first.",
    )
    if session.quick_look().files:
        st.button("Start over", icon=":material/restart_alt:", on_click=session.clear_quick_look)


def settings() -> str:
    """The microscope field and the version, by name."""
    ask_field_diameter(
        "Counts are also given per 10 of these fields: field number of the eyepiece / magnification of the lens."
    )
    names = detecting.list_versions()
    if st.session_state.get(session.VERSION) not in names:  # deleted meanwhile
        st.session_state.pop(session.VERSION, None)
    version = st.selectbox("Version of the detector", names, key=session.VERSION, on_change=session.forget_score)
    st.caption(f"Runs on: {plain(cache.device_name())}")
    return version


def tell_purpose(model: Model) -> None:
    """When to choose this version, in a sentence."""
    if model.purpose:
        st.caption(plain(model.purpose))


def ask_false_alarms(model: Model) -> None:
    """How many false alarms are acceptable: another way to choose the lowest score that counts."""
    known, score = model.score_by_false_alarms, session.score()
    if not known:
        return
    st.session_state[session.ALARMS] = next((n for n, at in known.items() if at == score), None)
    st.selectbox(
        "How many false alarms",
        list(known),
        index=None,
        format_func=lambda per_mm2: f"about {per_mm2:g} per mm²",
        placeholder="As the version was tuned" if score is None else "By the score on the slider",
        key=session.ALARMS,
        on_change=lambda: session.count_from(known.get(st.session_state[session.ALARMS])),
        help="False detections per mm² of tissue without mitoses, as measured on slides the networks had not seen; on "
        "tissue of another laboratory there may be more or fewer. Fewer false alarms, more missed mitoses.",
    )


def ask_correction() -> float | None:
    """µm/px in the place of a wrong one (a file that was resaved, or scanned with a wrong setting)."""
    value: float | None = st.number_input(
        "Correct the µm per pixel",
        value=None,
        step=0.01,
        format="%.4f",
        placeholder="From the files",
        key=session.CORRECTED,
        help="Used for all open files instead of the value stored in them, where that value is wrong.",
    )
    return value


def open_files() -> list[Analysis]:
    """Every file that was dropped, read once, or else the sample; one removed in the uploader is gone."""
    look = session.quick_look()
    uploads = st.session_state.get(look.uploads_key) or []
    current = {upload.file_id for upload in uploads}
    for gone in look.listed - current:
        look.files.pop(gone, None)
    new = [upload for upload in uploads if upload.file_id not in look.files]
    slot = st.empty()
    for number, upload in enumerate(new):
        slot.progress(number / len(new), f"Reading {plain(upload.name)} ({number + 1} of {len(new)})")
        look.files[upload.file_id] = detecting.open_file(upload.name.replace("%22", '"'), upload.getvalue())
    slot.empty()
    look.listed = current
    return detecting.number_duplicate_names(list(look.files.values()) or [cache.sample()])


def with_scale(files: list[Analysis], corrected: float | None, later: DeltaGenerator) -> list[Analysis]:
    """The µm/px that was given, where files do not say or say a wrong one; it is asked for here where it is missing."""
    try:
        files = files if corrected is None else detecting.correct_scale(files, corrected)
    except ConcentricError as error:
        st.error(plain(str(error)))
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
        names = ", ".join(plain(one.name) for one in waiting[:3]) + (" …" if len(waiting) > 3 else "")
        st.markdown(f"**How large is a pixel?** {names} {'does' if len(waiting) == 1 else 'do'} not say.")
        ask_scanner(session.SCANNER, session.SCALE)
        if problem:
            st.error(problem)
    return scaled or files


def load(version: str) -> Model | None:
    """None, and a sentence, when the version cannot be used."""
    try:
        return detecting.load_model(version)
    except ConcentricError as error:
        st.error(
            f"{plain(str(error))} Please choose another version under **Fields and settings**, or roll back to the "
            "one before on the Models page."
        )
        return None


def with_answers(files: list[Analysis], model: Model) -> list[Analysis]:
    """With what was found so far, and why a field could not be analysed."""
    failed = session.quick_look().failed
    answers = detecting.answers_so_far(files, model, cache.predictions())
    return [
        dataclasses.replace(one, problem=failed[_key(one, model)]) if _key(one, model) in failed else one
        for one in answers
    ]


def analyse_next(files: list[Analysis], model: Model, slot: DeltaGenerator) -> None:
    """Analyse one field more and draw the page again; nothing when all are done."""
    with_field = [one for one in files if one.field and not one.waits_for_scale]
    wanted = next((one for one in with_field if not one.problem and not one.prediction), None)
    if wanted is None:
        return
    done = sum(bool(one.problem or one.prediction) for one in with_field)

    def progress(share: float) -> None:
        said = f"Analysing {plain(wanted.name)} ({done + 1} of {len(with_field)})"
        slot.progress((done + share) / len(with_field), said)

    progress(0.0)
    answer = detecting.answer_next([wanted], model, cache.predictions(), progress=progress)
    if answer and answer.problem:
        session.quick_look().failed[_key(wanted, model)] = answer.problem
    st.rerun()


def tell_problems(files: list[Analysis]) -> None:
    """One box for all files that could not be used, so that it does not push the image away."""
    said = [
        plain(one.problem) if one.problem.startswith(one.name) else f"**{plain(one.name)}**: {plain(one.problem)}"
        for one in files
        if one.problem
    ]
    if said:
        st.error("\n\n".join(said), icon=":material/broken_image:")


def tell_notice() -> None:
    """What went wrong behind a button, in the open."""
    look = session.quick_look()
    if look.notice:
        st.error(plain(look.notice))
        look.notice = ""


def offer_to_keep(files: list[Analysis], version: str, who: Person, slot: DeltaGenerator) -> None:
    """Hand the fields to their cases, so that a reader can correct what was found. The sample is not one to keep."""
    wanted = [one for one in files if one.field and not one.problem and not one.is_sample]
    if not wanted or not who.may("reviewer"):
        return
    with slot, st.popover("Keep for review", icon=":material/edit:", type="primary"):
        st.markdown("Stores the images and detections on this computer, so that they can be corrected.")
        case = st.text_input("Case", key=session.KEEP_CASE, placeholder="From the file names")
        anonymous = st.checkbox(
            "Leave out the file names", help="Fields are numbered instead", key=session.KEEP_WITHOUT_NAMES
        )
        if not st.button(f"Keep {count_noun(len(wanted), 'field')}", type="primary"):
            return
        try:
            with st.spinner("Storing…"):
                by = session.author(who)
                _, elsewhere = reviewing.hand_over(
                    the_store(), wanted, version=version, by=by, case=case.strip() or None, keep_names=not anonymous
                )
                st.session_state[session.KEPT_ELSEWHERE] = elsewhere
        except ConcentricError as error:
            session.quick_look().notice = str(error)
            st.rerun()
    st.switch_page("pages/cases.py")


def _key(one: Analysis, model: Model) -> tuple[str, float | None, str]:
    return (one.field.digest, one.field.um_per_px, model.version) if one.field else ("", None, "")
