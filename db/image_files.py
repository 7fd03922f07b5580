"""Where the stored images lie: in a folder, or under a URL of an object store (S3 and what fsspec knows besides).

Both keep files by name, and beside them those that were set aside. A file appears whole under its name or not at all:
it is written under another name first, and renamed. Names are digests, so a file never changes.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any, Protocol, cast

from db.disk import make_folders, move_into_place, write_part
from db.errors import StoreAway, StoreFailed

STALE_PART_S = 3600
_OUR_PART = re.compile(r"[0-9a-f]{64}\.png\.[0-9a-f]{16}\.part")  # as db.disk.write_part names it
# A store that is gone shall be noticed soon: others may be waiting to write.
_S3 = {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2}}
_KEPT_BYTES = 256_000_000  # of images of an object store, in memory


class ImageFiles(Protocol):
    """Where images lie. What fails raises OSError in a folder, StoreFailed under a URL; FileNotFoundError in both."""

    where: str  # as it is named to people
    where_aside: str
    swept: (
        bool  # whether each start sets aside files without a row; elsewhere others may keep theirs, and lists are long
    )

    def prepare(self) -> None:
        """Make what is missing, and try to write. Raises StoreFailed."""

    def names(self) -> list[str]:
        """All files but those half-written."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is none."""

    def read(self, name: str) -> bytes:
        """All of a file, as it is there now."""

    def read_once(self, name: str) -> bytes:
        """The same, perhaps from memory where reading takes long."""

    def open(self, name: str) -> IO[bytes]:
        """A file, to be read a piece at a time."""

    def write_part(self, name: str, content: bytes) -> str:
        """Write it under another name, which is returned, for `put`."""

    def put(self, part: str, name: str) -> None:
        """Give what `write_part` wrote its name, also in the place of another file."""

    def take_in(self, file: Path, name: str) -> None:
        """Move a file of this machine here."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def remove_stale_parts(self) -> None:
        """Remove half-written files of this program that nobody has written for an hour."""

    def names_aside(self) -> list[str]:
        """The files that were set aside."""

    def read_aside(self, name: str) -> bytes:
        """All of a file that was set aside."""

    def set_aside(self, name: str) -> str:
        """Set a file aside, never over another one; returns its name there."""

    def take_back(self, aside: str, name: str) -> None:
        """Give a file that was set aside its place again."""


def image_files(folder: Path) -> ImageFiles:
    """Those of a data folder: CONCENTRIC_IMAGES, a folder or a URL (s3://BUCKET/PREFIX), or else its images/."""
    given = os.environ.get("CONCENTRIC_IMAGES", "")
    return files_at(given) if given else files_of(folder)


def files_at(place: str) -> ImageFiles:
    """Those of a folder or a URL."""
    if "://" in place:
        return FilesByUrl(place)
    return FilesInFolder(Path(place), Path(place) / "set-aside", swept=False)


def files_of(folder: Path) -> FilesInFolder:
    """Those in a data folder itself."""
    return FilesInFolder(folder / "images", folder / "set-aside")


class FilesInFolder:
    """Images in a folder of this machine, or of a share."""

    def __init__(self, folder: Path, aside: Path, *, swept: bool = True) -> None:
        self.where, self.where_aside, self.swept = str(folder), str(aside), swept
        self._folder, self._aside = folder, aside

    def prepare(self) -> None:
        """The folder is made, closed to other users."""
        make_folders(self._folder)

    def names(self) -> list[str]:
        """Files alone, without folders."""
        found = (file.name for file in self._folder.glob("*") if file.is_file())
        return sorted(name for name in found if not _OUR_PART.fullmatch(name))

    def size(self, name: str) -> int | None:
        """As the folder says."""
        try:
            return (self._folder / name).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """From the disk, or what the system keeps of it."""
        return (self._folder / name).read_bytes()

    read_once = read

    def open(self, name: str) -> IO[bytes]:
        """From the disk."""
        return (self._folder / name).open("rb")

    def write_part(self, name: str, content: bytes) -> str:
        """Down to the disk."""
        return write_part(self._folder / name, content).name

    def put(self, part: str, name: str) -> None:
        """Renamed, and the name made to last through a power cut."""
        move_into_place(self._folder / part, self._folder / name)

    def take_in(self, file: Path, name: str) -> None:
        """Renamed; copied from another disk."""
        if file.stat().st_dev == self._folder.stat().st_dev:
            move_into_place(file, self._folder / name)
        else:
            self.put(self.write_part(name, file.read_bytes()), name)

    def remove(self, name: str) -> None:
        """Unlinked."""
        (self._folder / name).unlink(missing_ok=True)

    def remove_stale_parts(self) -> None:
        """By the time of the file."""
        for file in self._folder.iterdir():
            if _OUR_PART.fullmatch(file.name) and time.time() - file.stat().st_mtime > STALE_PART_S:
                file.unlink(missing_ok=True)

    def names_aside(self) -> list[str]:
        """None while there is no such folder."""
        return sorted(file.name for file in self._aside.iterdir()) if self._aside.is_dir() else []

    def read_aside(self, name: str) -> bytes:
        """From the disk."""
        return (self._aside / name).read_bytes()

    def set_aside(self, name: str) -> str:
        """Renamed; both folders lie on one disk."""
        make_folders(self._aside)
        free = _free(name, lambda one: (self._aside / one).exists())
        (self._folder / name).rename(self._aside / free)
        return free

    def take_back(self, aside: str, name: str) -> None:
        """Renamed."""
        (self._aside / aside).rename(self._folder / name)


class FilesByUrl:
    """Images under a URL, as fsspec knows them; those set aside under set-aside/ behind it.

    An object is whole once it is there, and stays through a power cut: the store promises both. What was read last is
    kept in memory, and of two who ask for the same image at once the second waits for the first.
    """

    swept = False

    def __init__(self, url: str, files: Any = None, kept_bytes: int = _KEPT_BYTES) -> None:
        self.where = url.rstrip("/")
        self.where_aside = f"{self.where}/set-aside"
        self._files, self._root = files, re.sub(r"^[a-z0-9+.-]+://", "", self.where)
        self._kept_bytes, self._lock = kept_bytes, Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._coming: dict[str, Lock] = {}

    def prepare(self) -> None:
        """An empty object is written and removed."""
        probe = f"{self._root}/{secrets.token_hex(8)}.part"
        with self._sentences():
            self._connected().pipe_file(probe, b"")
            self._connected().rm_file(probe)

    def names(self) -> list[str]:
        """A list of all objects, a request for a thousand."""
        return sorted(name for name in self._list(self._root) if not _OUR_PART.fullmatch(name))

    def size(self, name: str) -> int | None:
        """One request, without the content."""
        try:
            with self._sentences():
                return int(self._connected().info(self._at(name))["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """One request for all of it."""
        with self._sentences():
            return cast(bytes, self._connected().cat_file(self._at(name)))

    def read_once(self, name: str) -> bytes:
        """From memory, or `read`; of two who ask at once the second waits."""
        with self._lock:
            coming = self._coming.setdefault(name, Lock())
        with coming:
            with self._lock:
                if (known := self._kept.get(name)) is not None:
                    self._kept.move_to_end(name)
                    return known
            content = self.read(name)
            self._keep(name, content)
            return content

    def open(self, name: str) -> IO[bytes]:
        """Blocks of some megabytes, a request each."""
        with self._sentences():
            return cast(IO[bytes], _InPieces(self._connected().open(self._at(name), "rb"), self._sentences))

    def write_part(self, name: str, content: bytes) -> str:
        """One upload."""
        part = f"{name}.{secrets.token_hex(8)}.part"
        with self._sentences():
            self._connected().pipe_file(self._at(part), content)
        return part

    def put(self, part: str, name: str) -> None:
        """A copy on the server, and the part removed."""
        self._move(self._at(part), self._at(name))
        self._forget(name)

    def take_in(self, file: Path, name: str) -> None:
        """One upload from the disk."""
        with self._sentences():
            self._connected().put_file(str(file), self._at(name))
        self._forget(name)
        file.unlink()

    def remove(self, name: str) -> None:
        """One request."""
        self._forget(name)
        with suppress(FileNotFoundError), self._sentences():
            self._connected().rm_file(self._at(name))

    def remove_stale_parts(self) -> None:
        """By the time the object store gives."""
        with self._sentences():
            for name in self._list(self._root):
                if _OUR_PART.fullmatch(name):
                    written = self._connected().modified(self._at(name)).timestamp()
                    if time.time() - written > STALE_PART_S:
                        self._connected().rm_file(self._at(name))

    def names_aside(self) -> list[str]:
        """A list of the objects under set-aside/."""
        return self._list(f"{self._root}/set-aside")

    def read_aside(self, name: str) -> bytes:
        """One request for all of it."""
        with self._sentences():
            return cast(bytes, self._connected().cat_file(f"{self._root}/set-aside/{name}"))

    def set_aside(self, name: str) -> str:
        """A copy on the server, and the object removed."""
        taken = self.names_aside()
        free = _free(name, lambda one: one in taken)
        self._move(self._at(name), f"{self._root}/set-aside/{free}")
        self._forget(name)
        return free

    def take_back(self, aside: str, name: str) -> None:
        """A copy on the server, and the object removed."""
        self._move(f"{self._root}/set-aside/{aside}", self._at(name))
        self._forget(name)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _list(self, place: str) -> list[str]:
        with suppress(FileNotFoundError), self._sentences():
            found = self._connected().ls(place, detail=True)
            return sorted(one["name"].rsplit("/", 1)[-1] for one in found if one["type"] == "file")
        return []

    def _move(self, source: str, target: str) -> None:
        """A copy on the server, then one name less: a move that is cut in between has lost nothing."""
        with self._sentences():
            self._connected().cp_file(source, target)
            self._connected().rm_file(source)

    def _keep(self, name: str, content: bytes) -> None:
        with self._lock:
            self._kept[name] = content
            while sum(map(len, self._kept.values())) > self._kept_bytes:
                dropped, _ = self._kept.popitem(last=False)
                self._coming.pop(dropped, None)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._kept.pop(name, None)

    def _connected(self) -> Any:
        if self._files is None:
            protocol = self.where.split("://", 1)[0]
            try:
                import fsspec

                how = {"config_kwargs": _S3} if protocol in ("s3", "s3a") else {}
                self._files = fsspec.filesystem(protocol, use_listings_cache=False, **how)
            except (ImportError, ValueError) as error:
                raise StoreFailed(
                    f"CONCENTRIC_IMAGES is {self.where}, for which a package is missing ({error}). Please run  pip "
                    "install -r requirements-scale.txt  or name a folder or an s3:// address."
                ) from error
        return self._files

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Whatever a client of an object store raises becomes StoreAway, but FileNotFoundError."""
        try:
            yield
        except StoreFailed:
            raise
        except Exception as error:  # botocore's errors have no common kind with those of other stores
            if isinstance(error, FileNotFoundError) and "bucket does not exist" not in str(error):
                raise
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise StoreAway(
                f"The images at {self.where} could not be read or written ({said}). Nothing was saved; please try "
                "again when the object store can be reached, or check its address and keys."
            ) from error


class _InPieces:
    """A file that is being read; what fails on the way becomes a sentence."""

    def __init__(self, file: Any, sentences: Callable[[], AbstractContextManager[None]]) -> None:
        self._file, self._sentences = file, sentences

    def read(self, size: int) -> bytes:
        with self._sentences():
            return cast(bytes, self._file.read(size))

    def __enter__(self) -> _InPieces:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _free(name: str, taken: Callable[[str], bool]) -> str:
    """A name like this one that is not taken."""
    stem, dot, suffix = name.rpartition(".")
    found, number = name, 1
    while taken(found):
        found, number = (f"{stem}.{number}{dot}{suffix}" if stem else f"{name}.{number}"), number + 1
    return found
