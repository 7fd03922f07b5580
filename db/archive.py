"""A whole store in one file: a zip with the database, its images and versions, and a manifest with their sha256."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO

from sqlalchemy import text

from db.dialects.sqlite import DATABASE
from db.disk import create, make_folders, move_into_place
from db.engine import Store
from db.errors import NO_DATABASE, BackupDamaged, StoreBusy, StoreFailed, StoreFull, as_sentences
from db.image_files import ImageFiles
from db.migrate import known_versions

FORMAT = "concentric backup 1"
MANIFEST = "manifest.json"
Progress = Callable[[int, int], object]  # done, and in all: here of bytes
_NAME = re.compile(r"images/[0-9a-f]{64}\.png|versions/[A-Za-z0-9][A-Za-z0-9._-]{0,79}\.(safetensors|json)")
_CHUNK, _PORTION, _MOST_MANIFEST = 1 << 20, 1 << 23, 1 << 26
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


@dataclass(frozen=True)
class Entry:
    """One file of a backup."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. revision: of the database. missing: files that it names and that were not there."""

    made_at: str
    revision: str
    fields: int
    events: int
    missing: tuple[str, ...]
    files: Mapping[str, Entry]

    @property
    def bytes(self) -> int:
        """Of all files, unpacked."""
        return sum(entry.bytes for entry in self.files.values())


class _Changed(Exception):
    """Something that the copied database names was deleted before its file was copied."""


def no_progress(done: int, total: int) -> None:
    """Progress that nobody watches."""


def write_archive(store: Store, place: Path, progress: Progress = no_progress) -> Manifest:
    """Copy one moment of the store into a new file, while others read and write. Written beside it and renamed.

    Raises StoreFailed: the file is there already, the database is damaged; StoreBusy; StoreFull. Then no file is left.
    """
    if place.exists():
        raise StoreFailed(f"There is a file {place} already; please choose another name.")
    if not place.parent.is_dir():
        raise StoreFailed(f"There is no folder {place.parent}.")
    part = place.with_name(f"{place.name}.{secrets.token_hex(8)}.part")
    snapshot = part.with_suffix(".database.part")
    for _ in range(3):
        try:
            with as_sentences():
                manifest = _write(store, part, snapshot, progress)
                move_into_place(part, place)
            return manifest
        except _Changed:
            continue  # fields were deleted meanwhile: once more, from how it is now
        finally:
            part.unlink(missing_ok=True)
            snapshot.unlink(missing_ok=True)
    raise StoreBusy("Fields were deleted again and again while they were copied; please try again in a moment.")


def verify(place: Path, progress: Progress = no_progress) -> tuple[Manifest, list[str]]:
    """Read all of a backup: what it holds, and a sentence for each thing that is wrong. Raises BackupDamaged."""
    with tempfile.TemporaryDirectory() as folder, as_sentences():
        return _read(place, Path(folder), progress, keep=False)


def restore(place: Path, folder: Path, progress: Progress = no_progress) -> Manifest:
    """Unpack a backup into an empty folder, or one that is not there yet; checked while it is unpacked.

    The database comes last, so that a folder half restored cannot be taken for a whole one. Raises BackupDamaged, with
    the folder as it was; StoreFailed when it is not empty; StoreFull.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreFailed(f"{folder} is not empty; please name a new or empty folder.")
    there = folder.exists()
    make_folders(folder, folder / "images")
    try:
        with as_sentences():
            manifest, problems = _read(place, folder, progress, keep=True)
            if problems:
                raise BackupDamaged(" ".join(problems[:3]))
            _flush()
            move_into_place(folder / f"{DATABASE}.part", folder / DATABASE)
    except BaseException:
        for path in folder.iterdir():  # it was empty, so all of this is ours
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not there:
            folder.rmdir()
        raise
    return manifest


# ---- writing


def _write(store: Store, part: Path, snapshot: Path, progress: Progress) -> Manifest:
    revision = store.database.copy_to(snapshot)
    with closing(sqlite3.connect(snapshot)) as database:
        if (said := _integrity(database)) != "ok":
            raise StoreFailed(f"{NO_DATABASE} SQLite says: {said}")
        fields, events = (
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("field", "event")
        )
        names = list(_named(database.execute))
    sources = {DATABASE: _File(snapshot), **{name: _source(store, name) for name in names}}
    sizes = {name: size for name, source in sources.items() if (size := source.size()) is not None}
    missing, total = tuple(name for name in sources if name not in sizes), sum(sizes.values())
    _refuse_deleted(store, missing)
    if shutil.disk_usage(part.parent).free < total:
        raise StoreFull(f"A backup needs {total / 1e9:.2f} GB in {part.parent}, and there is not as much room.")
    files, done, written = dict[str, Entry](), 0, 0
    with create(part) as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name in sizes:
                try:
                    files[name] = _add(archive, name, sources[name], _onwards(progress, done, total))
                except FileNotFoundError as error:
                    raise _Changed from error
                done += files[name].bytes
                written = _down_to_disk(file, written)
            made_at = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = Manifest(made_at, revision, fields, events, missing, files)
            archive.writestr(MANIFEST, json.dumps({"format": FORMAT, **asdict(manifest)}))
        file.flush()
        os.fsync(file.fileno())
    return manifest


@dataclass(frozen=True)
class _File:
    """A file that goes into an archive."""

    path: Path

    def size(self) -> int | None:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return None

    def open(self) -> IO[bytes]:
        return self.path.open("rb")


@dataclass(frozen=True)
class _Image:
    """An image that goes into an archive, wherever images lie."""

    files: ImageFiles
    name: str

    def size(self) -> int | None:
        return self.files.size(self.name)

    def open(self) -> IO[bytes]:
        return self.files.open(self.name)


def _source(store: Store, name: str) -> _File | _Image:
    folder, _, file = name.partition("/")
    return _Image(store.image_files, file) if folder == "images" else _File(store.folder / name)


def _down_to_disk(file: BinaryIO, written: int) -> int:
    """In small portions: one large one at the end would hold up every change that waits for the disk meanwhile."""
    if file.tell() - written < _PORTION:
        return written
    file.flush()
    os.fsync(file.fileno())
    return file.tell()


def _named(ask: Callable[[str], Iterable[Any]]) -> Iterator[str]:
    """The files that a database names."""
    for (digest,) in ask("SELECT digest FROM field ORDER BY id"):
        yield f"images/{digest}.png"
    for (version,) in ask("SELECT name FROM version WHERE deleted_at IS NULL ORDER BY name"):
        yield from (f"versions/{version}.safetensors", f"versions/{version}.json")


def _refuse_deleted(store: Store, missing: tuple[str, ...]) -> None:
    """Raises _Changed when a file is not there because it was deleted since the database was copied."""
    if missing:
        with store.reading() as session:
            named = set(_named(lambda wanted: session.execute(text(wanted))))
        if not set(missing) <= named:
            raise _Changed


def _add(archive: zipfile.ZipFile, name: str, file: _File | _Image, progress: Callable[[int], object]) -> Entry:
    info = zipfile.ZipInfo(name, datetime.now(UTC).timetuple()[:6])
    info.external_attr = 0o600 << 16
    # Images and weights do not get smaller.
    info.compress_type = zipfile.ZIP_DEFLATED if name == DATABASE else zipfile.ZIP_STORED
    with file.open() as source, archive.open(info, "w", force_zip64=True) as target:
        return _copy(source, target, progress)


def _copy(source: IO[bytes], target: IO[bytes], progress: Callable[[int], object], most: int | None = None) -> Entry:
    """Copy, and say what was copied; stop once there are more than `most` bytes."""
    digest, done = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        done += len(chunk)
        digest.update(chunk)
        if most is not None and done > most:
            break
        target.write(chunk)
        progress(done)
    return Entry(digest.hexdigest(), done)


# ---- reading


def read_manifest(place: Path) -> Manifest:
    """What a backup says of itself; nothing is checked. Raises StoreFailed, BackupDamaged."""
    with _opened(place) as (_, manifest):
        return manifest


@contextmanager
def _opened(place: Path) -> Iterator[tuple[zipfile.ZipFile, Manifest]]:
    try:
        file = place.open("rb")
    except OSError as error:
        raise StoreFailed(f"{place} cannot be read ({error.strerror}).") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
            manifest = _manifest(archive)
        except (*_UNREADABLE, KeyError, TypeError, AttributeError) as error:
            raise BackupDamaged(f"{place.name} is no backup of Concentric, or it is damaged.") from error
        yield archive, manifest


def _read(place: Path, folder: Path, progress: Progress, *, keep: bool) -> tuple[Manifest, list[str]]:
    """Check every file of a backup; they are left in the folder, the database as `.part`, when they shall be kept."""
    with _opened(place) as (archive, manifest):
        problems, held, done = _compare_names(archive, manifest), set(archive.namelist()), 0
        need = manifest.bytes if keep else manifest.files[DATABASE].bytes
        if shutil.disk_usage(folder).free < need:
            raise StoreFull(f"Unpacking needs {need / 1e9:.2f} GB in {folder}, and there is not as much room.")
        for name, entry in manifest.files.items():
            kept = folder / (f"{DATABASE}.part" if name == DATABASE else name) if keep or name == DATABASE else None
            if name in held and not _take_out(archive, name, entry, kept, _onwards(progress, done, manifest.bytes)):
                problems.append(f"{name} is damaged.")
            done += entry.bytes
        if not problems:
            problems += _check_database(folder / f"{DATABASE}.part", manifest)
        return manifest, problems


def _onwards(progress: Progress, before: int, total: int) -> Callable[[int], object]:
    """Progress of one file among many."""
    return lambda done: progress(before + done, total)


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    with archive.open(MANIFEST) as file:
        sent: dict[str, Any] = json.loads(file.read(_MOST_MANIFEST))
    if sent.pop("format") != FORMAT:
        raise ValueError
    files = {str(name): Entry(str(entry["sha256"]), int(entry["bytes"])) for name, entry in sent.pop("files").items()}
    allowed = all(name == DATABASE or _NAME.fullmatch(name) for name in files)  # so no path leads elsewhere
    if DATABASE not in files or not allowed or any(entry.bytes < 0 for entry in files.values()):
        raise ValueError
    missing = tuple(str(name) for name in sent.pop("missing"))
    return Manifest(
        str(sent["made_at"]), str(sent["revision"]), int(sent["fields"]), int(sent["events"]), missing, files
    )


def _compare_names(archive: zipfile.ZipFile, manifest: Manifest) -> list[str]:
    held, said = archive.namelist(), {MANIFEST, *manifest.files}
    problems = [f"{name!r} is not named by the manifest." for name in sorted(set(held) - said)]
    problems += [f"{name} is not there." for name in sorted(said - set(held))]
    return problems + (["A file is there twice."] if len(held) != len(set(held)) else [])


def _take_out(
    archive: zipfile.ZipFile, name: str, entry: Entry, kept: Path | None, progress: Callable[[int], object]
) -> bool:
    """Whether a file is what the manifest says; it is written while it is read, and never more than was said."""
    if kept is not None:
        kept.parent.mkdir(mode=0o700, exist_ok=True)
    with create(kept) if kept else open(os.devnull, "wb") as target:
        try:
            with archive.open(name) as source:
                return _copy(source, target, progress, entry.bytes) == entry
        except _UNREADABLE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            return False


def _check_database(file: Path, manifest: Manifest) -> list[str]:
    try:
        with closing(sqlite3.connect(file)) as database:
            if (said := _integrity(database)) != "ok":
                return [f"The database in it is damaged: {said}."]
            (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
            named = set(_named(database.execute))
    except (sqlite3.Error, TypeError) as error:
        return [f"The database in it cannot be read ({error})."]
    if revision not in known_versions():
        return ["It was made by a newer Concentric; please update the program."]
    wrong = named ^ {*manifest.files.keys() - {DATABASE}, *manifest.missing}
    return [f"{name} is not referenced by the database in it, or is missing." for name in sorted(wrong)]


def _integrity(database: sqlite3.Connection) -> str:
    with suppress(sqlite3.DatabaseError):
        return str(database.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return "it cannot be read"


def _flush() -> None:
    """Everything written so far survives a power cut."""
    if hasattr(os, "sync"):
        os.sync()
