"""What one browser session remembers: every key of st.session_state, in one place and typed."""

from __future__ import annotations

import secrets

import streamlit as st

from db.engine import Store
from db.preferences import Preferences, change_preferences, read_preferences
from mitosis_core.scale import SCANNER_PRESETS
from pages.shared.person import Person
from pages.shared.service.detecting import Analysis
from pages.shared.service.label_files import ExportedFile

UPLOADS = "uploads"  # the file uploader's own key
FIELD = "field"  # name of the field on show
SCORE = "score"  # lowest score that counts; absent: the version's threshold
SCANNER = "scanner"  # the scanner the user chose for files that do not say their µm/px
OTHER_SCANNER = "Another value…"
SCALE = "um_per_px"  # the µm/px the user gave for another scanner
CORRECTED = "corrected_um_per_px"  # the µm/px the user put in the place of what the files say
SAMPLE = "sample"
DIAMETER = "field_diameter_mm"
VERSION = "version"
READER = "reader"
FIELD_ID = "field_id"  # of the store: the field on review
NEXT_FIELD = "next_field"  # a field chosen in a list below the widgets that show it
RUN = "run"  # of the Retrain page: the run on show
LAST_STEP = "last_step"  # the counter of the last step the viewer took
TRAINER = "trainer"  # who starts a run
CASE = "case"
KEEP_CASE = "keep_case"  # given to the fields that are kept
KEEP_WITHOUT_NAMES = "keep_without_names"
ORDER = "order"
BLIND = "blind"
OTHERS = "others"
MODE = "mode"  # of the Review page
REVIEW_SCORE = "review_score"  # lowest score of a proposal on show
COMPARED = "compared"  # versions on the Compare page
COMPARED_BY = "compared_by"  # whose labels they are compared by
COMPARED_ON = "compared_on"  # which fields
DISPUTED = "disputed"  # id of the field whose marks are compared
ONLY_DISPUTED = "only_disputed"
FINDINGS = "findings"  # what was found when the data folder was examined
EXPORTED_LABELS = "exported_labels"  # whose, on the Export panel
EXPORTED_FORMAT = "exported_format"
EXPORTED_CASES = "exported_cases"
EXPORT_UNFINISHED = "export_unfinished"
EXPORT_OWN_THRESHOLD = "export_own_threshold"
IMPORTED_FILE = "imported_file"
IMPORTED_FORMAT = "imported_format"
IMPORTED_READER = "imported_reader"
IMPORTED_CLASS = "imported_class_"  # and the name of the class
IMPORTED_OF_READER = "imported_of_reader"
IMPORT_FINISHES = "import_finishes"
IMPORT_SWAPS = "import_swaps"
IMPORT_LEAVES_OUT = "import_leaves_out"
MERGED_FILE = "merged_file"
_EXPORT = "export"
_PEAK_MEMORY = "peak_memory_gb"
_OPENED = "opened"
_USER = "user"
_READER_KEPT = "reader_kept"


def user() -> str:
    """A name for this session, nothing to do with the person."""
    name: str = st.session_state.setdefault(_USER, secrets.token_hex(8))
    return name


def author(who: Person, typed: str = READER) -> str:
    """In whose name something is done: the log-in's, what was typed, what was remembered; "" when nobody has said."""
    return who.name or str(st.session_state.get(typed) or "").strip() or st.session_state.get(_READER_KEPT, "")


def recall(store: Store, who: Person) -> Preferences:
    """What this user has chosen before. The reader's name outlives its widget, whose key goes with its page."""
    known = read_preferences(store, who.name)
    st.session_state.setdefault(_READER_KEPT, known.reader)
    return known


def remember_reader(store: Store, who: Person, name: str) -> None:
    """Who reads here from now on, in this session and, where nobody logs in, on this computer."""
    if st.session_state.get(_READER_KEPT) != name:
        change_preferences(store, who.name, reader=name)
    st.session_state[_READER_KEPT] = name


def opened_files() -> dict[str, Analysis]:
    """Files read in this session, by the uploader's id of the file."""
    files: dict[str, Analysis] = st.session_state.setdefault(_OPENED, {})
    return files


def keep_export(asked: object, made: ExportedFile | None) -> None:
    """The file that was written last, with what was asked for."""
    st.session_state[_EXPORT] = (asked, made)


def kept_export(asked: object) -> ExportedFile | None:
    """The file written last, if it is what is asked for."""
    known, made = st.session_state.get(_EXPORT, (None, None))
    return made if known == asked else None


def peak_memory_gb() -> dict[tuple[str, str], float]:
    """Memory measured in this session, in GB, by version and digest of the field."""
    known: dict[tuple[str, str], float] = st.session_state.setdefault(_PEAK_MEMORY, {})
    return known


def score() -> float | None:
    """The score on the slider; None: the version's own threshold."""
    value: float | None = st.session_state.get(SCORE)
    return value


def keep_score(value: float | None) -> None:
    """Let this score be the lowest that counts, in every field."""
    if value is not None:
        st.session_state[SCORE] = value


def forget_score() -> None:
    """Count again from the version's own threshold."""
    st.session_state.pop(SCORE, None)


def show_sample() -> None:
    """Show the drawn sample field."""
    st.session_state[SAMPLE] = True


def um_per_px() -> float | None:
    """What the user said a pixel measures, for files that do not say."""
    scanner = st.session_state.get(SCANNER) or ""
    value: float | None = st.session_state.get(SCALE) if scanner == OTHER_SCANNER else SCANNER_PRESETS.get(scanner)
    return value


def sample() -> bool:
    """Whether the drawn sample field is shown."""
    return bool(st.session_state.get(SAMPLE))
