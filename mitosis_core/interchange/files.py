"""The files of a format: one by one, in a folder or in a zip, which is never believed; and writing that is whole or not
there at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO, cast

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.csv_rows import short

MOST_BYTES = 1 << 29  # of one file in a zip, unpacked
MOST_BYTES_ALL = 1 << 32  # of all that is unpacked from a zip
MOST_ENTRIES = 200_000
_BLOCK = 1 << 20
_IN_MEMORY = 1 << 24  # a larger file of a zip is unpacked to the disk
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f:*?"<>|\\]')


@dataclass(frozen=True)
class Source:
    """One file to read.

    name: its path below the folder or zip that was given, parts joined by "/". shown: what sentences call it.
    """

    name: str
    shown: str
    path: Path
    archive: _Archive | None = field(default=None, repr=False)

    @property
    def suffix(self) -> str:
        """In lower case, with the dot."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def stem(self) -> str:
        """The last part of the name without its suffix."""
        return PurePosixPath(self.name).stem

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file, to read and to seek in. Raises UnusableData when it cannot be read, or is larger than it may be."""
        if self.archive is not None:
            with self.archive.unpacked(self.name) as file:
                yield file
            return
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise UnusableData(f"{self.shown} cannot be opened ({error.strerror or error}).") from error
        with file:
            yield file

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """A path of the file, for libraries that read nothing else."""
        if self.archive is None:
            if not self.path.is_file():
                raise UnusableData(f"{self.shown} cannot be opened.")
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder, self.open() as packed:
            path = Path(folder) / "file"
            with path.open("wb") as file:
                shutil.copyfileobj(packed, file)
            yield path


class _Archive:
    """A zip whose directory is not believed: every file is counted while it is unpacked."""

    def __init__(self, archive: zipfile.ZipFile, shown: str) -> None:
        self._archive, self._shown, self._left = archive, shown, MOST_BYTES_ALL
        self.names = self._checked_names()
        self.comment = archive.comment.decode("utf-8", "replace")

    def _checked_names(self) -> list[str]:
        entries = [entry.filename for entry in self._archive.infolist() if not entry.filename.endswith("/")]
        if len(entries) > MOST_ENTRIES:
            raise UnusableData(f"{self._shown} holds {len(entries)} files; {MOST_ENTRIES} at most are read.")
        for name in entries:
            if climbs_out(name):
                raise UnusableData(f"{self._shown} holds the path “{short(name)}”, which leads out of the archive.")
        if len(set(entries)) != len(entries):
            twice = next(name for name in entries if entries.count(name) > 1)
            raise UnusableData(f"{self._shown} holds the file “{short(twice)}” twice.")
        return entries

    @contextmanager
    def unpacked(self, name: str) -> Iterator[BinaryIO]:
        """One file of it. Raises UnusableData when it is damaged or larger than it may be."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            copy_counted(self._archive, name, cast(BinaryIO, file), min(MOST_BYTES, self._left), self._shown)
            self._left -= file.tell()
            file.seek(0)
            yield cast(BinaryIO, file)


def copy_counted(archive: zipfile.ZipFile, name: str, target: IO[bytes], most_bytes: int, shown: str) -> None:
    """Unpack one file of a zip, counted meanwhile: what the directory says of its size is not believed.

    Raises UnusableData when it is damaged, larger than most_bytes, or packed in a way that unpacks without a bound.
    """
    done = 0
    for block in _blocks(archive, name, shown):
        done += len(block)
        if done > most_bytes:
            raise UnusableData(f"{shown}: {short(name)} is larger than {most_bytes / 1e6:.0f} MB when unpacked.")
        target.write(block)


def _blocks(archive: zipfile.ZipFile, name: str, shown: str) -> Iterator[bytes]:
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
        raise UnusableData(f"{shown}: {short(name)} is encrypted or packed in an unusual way; a plain zip is read.")
    try:
        with archive.open(entry) as packed:
            while block := packed.read(_BLOCK):
                yield block
    except (*_UNREADABLE, OSError) as error:
        raise UnusableData(f"{shown}: {short(name)} is damaged or was cut short.") from error


def climbs_out(name: str) -> bool:
    """Whether a path of an archive leads anywhere but below the folder it would be unpacked in."""
    windows = PureWindowsPath(name)
    return windows.is_absolute() or bool(windows.drive or windows.root) or ".." in windows.parts or "\0" in name


@contextmanager
def open_archive(file: Path | BinaryIO, shown: str) -> Iterator[_Archive]:
    """A zip to read from. Raises UnusableData when it is none, is cut short, or holds a path that climbs out of it."""
    try:
        archive = zipfile.ZipFile(file)
    except (*_UNREADABLE, OSError) as error:
        raise UnusableData(f"{shown} is no zip, is damaged, or was cut short.") from error
    with archive:
        yield _Archive(archive, shown)


@contextmanager
def open_sources(path: Path, suffixes: Sequence[str]) -> Iterator[list[Source]]:
    """The files at a path: itself, or those with one of the suffixes in a folder (all the way down) or in a zip.

    In the order of their names. A zip without any such file is itself the file when `suffixes` holds ".zip" (ImageJ's
    sets of ROIs are zips). Raises UnusableData when there is none, or a zip is damaged or not to be trusted.
    """
    wanted = tuple(suffixes)
    if path.is_dir():
        found = [(p.relative_to(path).as_posix(), p) for p in path.rglob("*") if p.is_file()]
        yield _some([Source(n, f"{path.name}/{n}", p) for n, p in sorted(found) if _is_wanted(n, wanted)], path, wanted)
    elif not path.is_file():
        raise UnusableData(f"There is no file or folder “{path}”.")
    elif path.suffix.lower() != ".zip":
        yield [Source(path.name, path.name, path)]
    else:
        with open_archive(path, path.name) as archive:
            names = sorted(name for name in archive.names if _is_wanted(name, wanted))
            if ".zip" in wanted and not any(name.lower().endswith(".zip") for name in names):
                yield [Source(path.name, path.name, path)]
            else:
                yield _some([Source(name, f"{path.name}: {name}", path, archive) for name in names], path, wanted)


def _is_wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    parts = PurePosixPath(name).parts
    return name.lower().endswith(suffixes) and not any(part.startswith((".", "__MACOSX")) for part in parts)


def _some(found: list[Source], path: Path, suffixes: tuple[str, ...]) -> list[Source]:
    if not found:
        raise UnusableData(f"{path.name} holds no {' or '.join(suffixes)} file.")
    return found


# ---- writing


class FileNames:
    """Names for the files of a format that has one an image; no two images get the same."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def path(self, folder: Path, image: str, suffix: str, *, flat: bool = False) -> Path:
        """Where the file of an image goes: its name with another suffix; flat: without the folders of the name.

        Raises UnusableData when the name leads out of the folder, or two images would be written to one file.
        """
        clean = _NOT_IN_NAMES.sub("_", image.replace("\\", "/"))
        place = PurePosixPath(PurePosixPath(clean).name if flat else clean)
        if climbs_out(str(place)) or not place.name:
            raise UnusableData(f"The image name “{short(image)}” cannot be the name of a file.")
        name = str(place.with_name(f"{place.stem}{suffix}"))
        key = name.casefold()  # some disks do not tell A from a
        if key in self._taken:
            raise UnusableData(
                f"The images {short(self._taken[key])} and {short(image)} would both be written to {name}; rename one."
            )
        self._taken[key] = image
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@contextmanager
def whole_or_nothing(out: Path) -> Iterator[Path]:
    """A place beside `out` to write a file or a folder to; it takes the name `out` once all of it is written.

    Raises UnusableData when there is no folder to write to; OSError. Then nothing is left, and `out` is as it was.
    """
    if not out.resolve().parent.is_dir():
        raise UnusableData(f"There is no folder “{out.parent}” to write to.")
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.resolve().parent))
    try:
        yield beside / out.name
        if out.is_dir():
            out.rmdir()  # empty: it was checked before
        os.replace(beside / out.name, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def zip_folder(folder: Path, place: Path) -> None:
    """All files below a folder in a zip; the same files give the same zip."""
    with zipfile.ZipFile(place, "w") as archive:
        for path in _files_below(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())  # without the hour
            entry.compress_type = zipfile.ZIP_STORED if path.suffix == ".zip" else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with path.open("rb") as file, archive.open(entry, "w") as target:
                shutil.copyfileobj(file, target)


def only_file(folder: Path) -> Path:
    """The one file below a folder."""
    (path,) = _files_below(folder)
    return path


def _files_below(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
