"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from db.errors import StoreFailed

FILE_MODE, FOLDER_MODE = 0o600, 0o700  # read and written by their owner alone


def make_folders(*folders: Path) -> None:
    """Make them, closed to other users, and try to write. Raises StoreFailed."""
    for folder in folders:
        probe = folder / f"{secrets.token_hex(8)}.part"
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StoreFailed(f"The data folder {folder} cannot be written ({error.strerror}).") from error


def create(place: Path) -> BinaryIO:
    """A new file, closed to other users from its first byte on. Raises OSError when there is one already."""
    return open(os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), FILE_MODE), "w+b")


def readable_by_others(paths: Iterable[Path]) -> list[Path]:
    """Those of these files and folders that other users of the machine may read or write."""
    return [path for path in paths if path.exists() and path.stat().st_mode & 0o077] if os.name == "posix" else []


def restrict_access(paths: Iterable[Path]) -> None:
    """Take other users' rights away; what belongs to somebody else is left as it is (the doctor names it)."""
    for path in readable_by_others(paths):
        with suppress(PermissionError, FileNotFoundError):
            path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)


def write_part(place: Path, content: bytes) -> Path:
    """Write beside `place`, down to the disk; `put` it there later. Raises OSError, leaving nothing."""
    part = place.with_name(f"{place.name}.{secrets.token_hex(8)}.part")
    try:
        with create(part) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def move_into_place(part: Path, place: Path) -> None:
    """Rename, and make the new name last through a power cut."""
    os.replace(part, place)
    if os.name == "posix":
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_durably(place: Path, content: bytes) -> None:
    """`place` has the old content or all of the new, whatever happens."""
    move_into_place(write_part(place, content), place)
