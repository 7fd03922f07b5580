"""The watched folder: new images in it come in as if they had been dropped on the home page.

It is an operator's setting, CONCENTRIC_WATCH. Nothing in the folder is changed or deleted. A file is taken once its
size and time have rested, and again only when they have changed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from db.disk_space import check_disk_space
from db.engine import Store
from db.errors import StoreBusy, StoreFailed
from db.incoming_files import record_watched, short_name, watched_files
from db.preferences import read_preferences
from mitosis_core.errors import ConcentricError
from mitosis_core.image.reading import IMAGE_SUFFIXES
from mitosis_core.image.whole_slide import WHOLE_SLIDE_SUFFIXES, whole_slide_advice
from mitosis_core.logs import alias
from pages.shared.service.importing import chosen_version, guess_case, import_files, too_large

log = logging.getLogger("concentric")

LOOK_S = 5.0
REST_S = 2.0  # a file that was written to later than this may still be written to
MOST_BYTES = 400_000_000  # what a file on the home page may have
_SUFFIXES = frozenset((*IMAGE_SUFFIXES, *WHOLE_SLIDE_SUFFIXES))
BY = "watched folder"


@dataclass(frozen=True)
class Seen:
    """A file as it lay in the folder. name: its path below the folder, with "/"."""

    name: str
    size: int
    modified_ns: int


def watched_path() -> Path | None:
    """The folder that the operator has named; None for none."""
    given = os.environ.get("CONCENTRIC_WATCH", "").strip()
    return Path(given) if given else None


def watch(open_store: Callable[[], Store], folder: Path, stop: threading.Event) -> None:
    """Look into the folder again and again until `stop`; whatever goes wrong is in the log, and it goes on."""
    before: dict[str, Seen] = {}
    while not stop.is_set():
        try:
            before = take_new(open_store(), folder, before)
        except ConcentricError:
            log.warning("the watched folder has to wait for the store", exc_info=True)
        except Exception:
            log.exception("the watched folder cannot be read")
        stop.wait(LOOK_S)


def take_new(store: Store, folder: Path, before: dict[str, Seen]) -> dict[str, Seen]:
    """Take every image that rests since the look before; returns what lies in the folder, for the next look.

    Raises StoreBusy, StoreFull and StoreFailed; the files that are left then are taken at a later look.
    """
    known, now = watched_files(store), {one.name: one for one in _files(folder)}
    for name in sorted(now):
        one = now[name]
        if known.get(short_name(name)) == (one.size, one.modified_ns) or before.get(name) != one or not _rests(one):
            continue
        problem = _take(store, folder, one)
        record_watched(store, name, one.size, one.modified_ns, problem)
    return now


def _take(store: Store, folder: Path, one: Seen) -> str:
    """Store one file; why it could not be, "" when it was."""
    if advice := whole_slide_advice(one.name):
        return advice
    if one.size > MOST_BYTES:
        return too_large(one.name, one.size, MOST_BYTES)
    check_disk_space(store.folder, one.size)
    try:
        data = (folder / one.name).read_bytes()
    except OSError as error:
        return f"The file cannot be read ({error.strerror})."
    (answer,) = import_files(
        store,
        [(PurePosixPath(one.name).name, data)],
        version=chosen_version(store, ""),
        by=BY,
        case=case_of_file(one.name),
        um_per_px=read_preferences(store, "").um_per_px,
    )
    if answer.later:
        raise StoreBusy(answer.problem)
    log.info("the file %s of the watched folder was dealt with", alias(one.name))
    return answer.problem if answer.field_id is None else ""


def case_of_file(name: str) -> str:
    """The folder that a file lies in, or else what its name says. name: its path below the watched folder."""
    parent = PurePosixPath(name).parent.name
    return parent.strip() or guess_case(name)


def _files(folder: Path) -> Iterator[Seen]:
    """Images and whole slides in the folder and those below it; hidden ones left out. Raises StoreFailed without it."""
    if not folder.is_dir():
        raise StoreFailed(f"The watched folder {folder} is not there.")
    for place, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not one.startswith(".")]
        for name in names:
            path = Path(place, name)
            if name.startswith(".") or path.suffix.lower() not in _SUFFIXES:
                continue
            try:
                found = path.stat()
            except OSError:  # gone meanwhile
                continue
            yield Seen(path.relative_to(folder).as_posix(), found.st_size, found.st_mtime_ns)


def _rests(one: Seen) -> bool:
    age_s = time.time() - one.modified_ns / 1e9
    return one.size > 0 and (age_s > REST_S or age_s < 0)  # another computer's clock may be ahead
