"""What one browser session remembers: every key of st.session_state, in one place and typed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from db.engine import Store
from db.preferences import Preferences, change_preferences, read_preferences
from db.reviews import check_reader
from mitosis_core.errors import ConcentricError
from mitosis_core.scale import SCANNER_PRESETS
from pages.shared.person import Person
from pages.shared.service.detecting import Analysis
from pages.shared.service.label_files import ExportedFile

FIELD = "field"  # name of the field on show
SCORE = "score"  # lowest score that counts; absent: the version's threshold
SCANNER = "scanner"  # the scanner the user chose for files that do not say their µm/px
OTHER_SCANNER = "Another value…"
SCALE = "um_per_px"  # the µm/px the user gave for another scanner
CORRECTED = "corrected_um_per_px"  # the µm/px the user put in the place of what the files say
SAMPLE = "sample"
DIAMETER = "field_diameter_mm"
VERSION = "version"
ALARMS = "false_alarms"  # per mm², chosen instead of a score; absent or None: by the score
READER = "reader"  # who is reading, where nobody logs in; "" while nobody has said
FIELD_ID = "field_id"  # of the store: the field on review
NEXT_FIELD = "next_field"  # a field chosen in a list below the widgets that show it
FIELD_NUMBER = "field_number_mm"  # of the eyepiece
OBJECTIVE = "objective"
RESULT_CASE = "result_case"  # the case on the Results page, by its name in db.splits.case_of
RESULT_FIELD = "result_field"  # the field on review when the Results page was last shown
RESULT_CASE_BOX = "result_case_box"
RESULT_BY = "result_by"  # whose verdicts are counted there
RESULT_BY_BOX = "result_by_box"
RESULT_SCORE = "result_score"  # lowest score of a detection that counts there
RESULT_DRAWN = "result_drawn"
RUN = "run"  # of the Retrain page: the run on show
PLACE = "review_place"  # {x, y, n}: a cell that the address of the Review page named; n counts them
LAST_STEP = "last_step"  # the counter of the last step the viewer took
TRAINS_ON = "trains_on"  # where: a worker of the cluster, or this computer
CASE = "case"
KEEP_CASE = "keep_case"  # given to the fields that are kept
KEEP_WITHOUT_NAMES = "keep_without_names"
KEPT_ELSEWHERE = "kept_elsewhere"  # cases of the fields that were there already in another one, to be told once
ORDER = "order"
BLIND = "blind"
ONLY_ASKED = "only_asked"  # only the fields that the reader was asked to review
OTHERS = "others"
MODE = "mode"  # of the Review page
CASE_READ = "case_read"  # id of the field whose case was just read to its end
GALLERY = "gallery"  # whether the gallery of the case is open on the Review page
ADDRESS = "review_address"  # the case and the field that the address of the Review page named last
ADDRESS_IS_OLD = "review_address_is_old"  # this run came of something done on the page, not of another address
DISPUTE = "dispute"  # place of the dispute on show
REVIEW_SCORE = "review_score"  # lowest score of a proposal on show
COMPARED = "compared"  # versions on the Compare page
COMPARED_BY = "compared_by"  # whose labels they are compared by
COMPARED_ON = "compared_on"  # which fields
DISPUTED = "disputed"  # id of the field whose marks are compared
ONLY_DISPUTED = "only_disputed"
WISH = "cases_wish"  # what was asked for on the board of cases and is still to be done
ASKING = "cases_asking"  # whether a dialog of the board of cases is open
SCANNER_OF_CASES = "cases_scanner"  # for fields that wait for their µm/px
SCALE_OF_CASES = "cases_um_per_px"
FINDINGS = "findings"  # what was found when the data folder was examined
TOUR_STEP = "tour_step"
FRAME_READER = "frame_reader"  # the choice of the reader in the frame
PAGE_READER = "page_reader"  # and on a page that needs a name
READER_OPEN = "reader_open"  # whether the list of readers is open
READER_CHANGED = "reader_changed"  # just now
HELP_OPEN = "help_open"
READER_PROBLEM = "reader_problem"  # why a name cannot be taken
ASKED = "asked"  # the act that waits for a second click
ASKED_SENTENCE = "asked_sentence"  # what was said of it when it was shown
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
IMPORT_SAID = "import_said"
MERGED_FILE = "merged_file"
_EXPORT = "export"
_PEAK_MEMORY = "peak_memory_gb"
_QUICK_LOOK = "quick_look"
_GIVEN = "given"
_USER = "user"
_FURTHEST = "furthest"
_ADDRESSED = "addressed"  # the name that the address gave last


def furthest(run_id: int, phase: str, done: float) -> float:
    """The most that was ever shown of a phase of a run: a bar never goes back."""
    seen: dict[tuple[int, str], float] = st.session_state.setdefault(_FURTHEST, {})
    seen[run_id, phase] = max(done, seen.get((run_id, phase), 0.0))
    return seen[run_id, phase]


def user() -> str:
    """A name for this session, nothing to do with the person."""
    name: str = st.session_state.setdefault(_USER, secrets.token_hex(8))
    return name


def author(who: Person) -> str:
    """In whose name something is done: the log-in's, or that of who is reading; "" when nobody has said."""
    return who.name or str(st.session_state.get(READER) or "")


def recall(store: Store, who: Person) -> Preferences:
    """What this user has chosen before, the reader's name among it."""
    known = read_preferences(store, who.name)
    st.session_state.setdefault(READER, known.reader)
    return known


def remember_reader(store: Store, who: Person, name: str) -> None:
    """Who reads here from now on, in this session and, where nobody logs in, on this computer."""
    if st.session_state.get(READER) != name:
        change_preferences(store, who.name, reader=name)
    st.session_state[READER] = name


def change_reader(store: Store, who: Person, name: str) -> None:
    """Another reader from now on, whatever the address said. Raises ConcentricError for a name that cannot be one."""
    name = check_reader(name) if name.strip() else ""
    remember_reader(store, who, name)
    if "reader" in st.query_params:
        st.query_params["reader"] = name


def take_reader_from_address(store: Store, who: Person) -> None:
    """Read in the name that `?reader=` gives, and else in the one that was remembered; for pages without a log-in."""
    recall(store, who)
    named = st.query_params.get("reader", "")
    if named and st.session_state.get(_ADDRESSED) != named:
        st.session_state[_ADDRESSED] = named
        try:
            remember_reader(store, who, check_reader(named))
        except ConcentricError as error:
            st.session_state[READER_PROBLEM] = str(error)


@dataclass
class QuickLook:
    """What the quick look holds, whatever page is on show.

    files: read in this session, by the uploader's id. listed: ids that the uploader lists on this visit of its page.
    failed: a sentence for each (digest, µm/px, version) that could not be analysed. notice: said on the page once.
    turn: counts how often it was begun anew.
    """

    files: dict[str, Analysis] = field(default_factory=dict)
    listed: set[str] = field(default_factory=set)
    failed: dict[tuple[str, float | None, str], str] = field(default_factory=dict)
    notice: str = ""
    turn: int = 0

    @property
    def uploads_key(self) -> str:
        """Of the uploader: another one empties it."""
        return f"uploads-{self.turn}"


def quick_look() -> QuickLook:
    """That of this session."""
    one: QuickLook = st.session_state.setdefault(_QUICK_LOOK, QuickLook())
    return one


def clear_quick_look() -> None:
    """Begin anew: no files, no sample."""
    st.session_state[_QUICK_LOOK] = QuickLook(turn=quick_look().turn + 1)
    for key in (SAMPLE, FIELD, CORRECTED):
        st.session_state.pop(key, None)
        st.session_state.get(_GIVEN, {}).pop(key, None)


def keep_given(*keys: str) -> None:
    """First thing on a page: what was given to these widgets stays, also when another page was shown meanwhile.

    Streamlit drops a widget's value with its page, so a copy is kept here.
    """
    given: dict[str, Any] = st.session_state.setdefault(_GIVEN, {})
    for key in keys:
        if key in st.session_state:
            given[key] = st.session_state[key]
        elif key in given:
            st.session_state[key] = given[key]


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


def count_from(score: float | None) -> None:
    """Count from this score; None: the version's own threshold."""
    forget_score() if score is None else keep_score(score)


def forget_score() -> None:
    """Count again from the version's own threshold."""
    st.session_state.pop(SCORE, None)


def show_sample() -> None:
    """Show the drawn sample field."""
    st.session_state[SAMPLE] = True


def um_per_px(scanner_key: str = SCANNER, scale_key: str = SCALE) -> float | None:
    """What the user said a pixel measures, for files that do not say; by default in the quick look."""
    scanner = st.session_state.get(scanner_key) or ""
    value: float | None = st.session_state.get(scale_key) if scanner == OTHER_SCANNER else SCANNER_PRESETS.get(scanner)
    return value


def sample() -> bool:
    """Whether the drawn sample field is shown."""
    return bool(st.session_state.get(SAMPLE))
