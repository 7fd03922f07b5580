"""Files become fields of a case that wait for detection, one by one; whatever is wrong with a file is a sentence.

Nothing that could be read is lost: a field whose µm/px is not known is stored and waits for it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePath

from db.disk_space import check_disk_space
from db.engine import Store
from db.errors import StoreBusy, StoreFull
from db.fields import NEEDS_SCALE, UnscaledField, add_unscaled, set_scale
from db.incoming_files import forget_refused, refuse_file
from db.preferences import read_preferences
from db.versions import champion
from mitosis_core.errors import ConcentricError
from mitosis_core.image.reading import read_field
from mitosis_core.image.whole_slide import whole_slide_advice
from mitosis_core.logs import alias
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.progress import ShareDone, no_share
from mitosis_core.scale import check_um_per_px
from mitosis_core.types import Field
from pages.shared.service.detecting import UNEXPECTED, list_versions
from pages.shared.service.detection_worker import detect_later, start_worker

log = logging.getLogger("concentric")

# Words for a field, not for a case: "IMG_0012" and "field 3" say nothing of the case.
_FIELD_WORDS = "field|fov|hpf|roi|region|tile|crop|patch|img|image|picture|pic|photo|dsc|scan|snap|snapshot|screenshot"
_GENERIC = re.compile(rf"(?:{_FIELD_WORDS}|untitled|unnamed|\d+|[\s_.#()-])*", re.IGNORECASE)
# A pathology number, as S21-01234, 21-1234 or B1234-22: its own dash is no dash before a field.
_ACCESSION = re.compile(r"(?:[A-Za-z]{0,3}(?:19|20)?\d{2}[-/]\d{3,7}|[A-Za-z]{0,3}\d{3,7}[-/]\d{2})(?![0-9])")
# What stands for the field at the end of a name: _01, -3, (2), _HPF3, _00Aa (a quadrant of a quadrant), field_12.
_NUMBER = r"\(?\d{1,3}[A-Za-z]{0,2}\)?"
_FIELD_NUMBER = re.compile(
    rf"(?:[\s_.#-]+(?:{_FIELD_WORDS}|f)[\s_.#-]*{_NUMBER})*(?:[\s_.#-]+{_NUMBER}|\(\d+\))?$", re.IGNORECASE
)


@dataclass(frozen=True)
class ImportedFile:
    """What became of one file. case: "" for none. field_id: None when it was not stored; problem then says why.

    needs_scale: it is stored and waits for its µm/px; `problem` says so. was_there: the same pixels were stored before.
    later: nothing is wrong with it; the store could not take it now.
    """

    name: str
    case: str = ""
    field_id: int | None = None
    problem: str = ""
    needs_scale: bool = False
    was_there: bool = False
    later: bool = False


def guess_case(name: str) -> str:
    """The case that the name of a file speaks of, "" when it speaks of none; name: with its folders, if any.

    The name without the number of the field at its end: A00_01.tif is of case A00. A name that is only a number, or
    words for a field, takes the folder it lies in.
    """
    path = PurePath(name.replace("\\", "/"))
    stem = path.name.removesuffix(path.suffix).removesuffix(".ome").strip()
    if found := _ACCESSION.match(stem):
        head, rest = found[0], stem[found.end() :]
        return (head + _FIELD_NUMBER.sub("", rest)).rstrip(" _.-#")
    case = _FIELD_NUMBER.sub("", stem).rstrip(" _.-#")
    if case and not _GENERIC.fullmatch(case):
        return case
    return path.parent.name.strip() if path.parent.name not in ("", ".", "..") else ""


def import_files(
    store: Store,
    files: Iterable[tuple[str, bytes]],
    *,
    version: str,
    by: str,
    case: str | None = None,
    um_per_px: float | None = None,
    keep_names: bool = True,
    number: int = 0,
    progress: ShareDone = no_share,
) -> list[ImportedFile]:
    """Store files one by one and have a version look at each as soon as it is stored; one answer per file.

    case: of all of them, None: guessed from each name. um_per_px: of the scanner, for files that do not say. number: of
    files, for `progress`. Raises MissingScale for an um_per_px that is not plausible.
    """
    if um_per_px is not None:
        check_um_per_px(um_per_px)
    answers = []
    for place, (name, data) in enumerate(files):
        progress(min(1.0, place / max(number, 1)), name)
        wanted = guess_case(name) if case is None else case
        one = _import(store, name, data, wanted, um_per_px, keep_names)
        if one.field_id is not None:
            detect_later(store, [one.field_id], version, by=by)
        answers.append(one)
    return answers


def receive_file(
    store: Store, name: str, data: bytes, *, user: str, case: str | None = None, keep_names: bool = True
) -> ImportedFile:
    """Store one file that a user sent, with the scanner and the version that this user has chosen.

    case: None is guessed from the name, unless names are not to be kept. What cannot be taken is listed until somebody
    has seen why (`db.incoming_files`). Raises StoreBusy when it should be sent again later.
    """
    chosen = read_preferences(store, user)
    wanted = "" if case is None and not keep_names else case
    by = user or chosen.reader
    (one,) = import_files(
        store,
        [(name, data)],
        version=chosen_version(store, user),
        by=by,
        case=wanted,
        um_per_px=chosen.um_per_px,
        keep_names=keep_names,
    )
    if one.later:
        raise StoreBusy(one.problem)
    if one.field_id is None:
        refuse_file(store, name, one.problem, by=by)
    else:
        forget_refused(store, name)
    return one


def chosen_version(store: Store, user: str) -> str:
    """The version that detects for a user: the one chosen, while it is there, or else the active one."""
    chosen = read_preferences(store, user).version
    return chosen if chosen and chosen in list_versions() else champion(store, DEFAULT_VERSION)


def give_scale(store: Store, field_ids: Iterable[int], um_per_px: float) -> None:
    """Fields that wait for their µm/px get it; their detection begins. Raises MissingScale, FieldGone."""
    for field_id in field_ids:
        set_scale(store, field_id, um_per_px)
    start_worker(store)


def too_large(name: str, size_bytes: int, most_bytes: int) -> str:
    """What is said of a file that is larger than one may be."""
    return (
        f"{name} has {size_bytes / 1e6:.0f} MB, and a file may have {most_bytes / 1e6:.0f}. Please export single "
        "high-power fields from it."
    )


def _import(store: Store, name: str, data: bytes, case: str, um_per_px: float | None, keep_names: bool) -> ImportedFile:
    if advice := whole_slide_advice(name):
        return ImportedFile(name, case, problem=advice)
    try:
        field = _with_scale(read_field(data, name=PurePath(name).name), um_per_px)
        check_disk_space(store.folder, field.pixels.nbytes)
        kept, was_there = add_unscaled(store, field, case=case, keep_name=keep_names)
    except ConcentricError as error:
        return ImportedFile(name, case, problem=str(error), later=isinstance(error, StoreBusy | StoreFull))
    except Exception:
        log.exception("importing the file %s failed", alias(name))
        return ImportedFile(name, case, problem=UNEXPECTED)
    waits = isinstance(kept, UnscaledField)
    log.info("field %d is stored", kept.id)
    return ImportedFile(name, kept.case, kept.id, NEEDS_SCALE if waits else "", waits, was_there)


def _with_scale(field: Field, um_per_px: float | None) -> Field:
    if field.um_per_px is not None or um_per_px is None:
        return field
    return replace(field, um_per_px=um_per_px, scale_source="scanner remembered")
