"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from db.errors import StoreFailed


def make_folders(*folders: Path) -> None:
    """Make them, closed to other users, and try to write. Raises StoreFailed."""
    for folder in folders:
        probe = folder / f"{secrets.token_hex(8)}.part"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StoreFailed(f"The data folder {folder} cannot be written ({error.strerror}).") from error


def write_part(place: Path, content: bytes, mode: int = 0o644) -> Path:
    """Write beside `place`, down to the disk; `put` it there later. Raises OSError, leaving nothing."""
    part = place.with_name(f"{place.name}.{secrets.token_hex(8)}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def put(part: Path, place: Path) -> None:
    """Rename, and make the new name last through a power cut."""
    os.replace(part, place)
    if os.name == "posix":
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_durably(place: Path, content: bytes, mode: int = 0o644) -> None:
    """`place` has the old content or all of the new, whatever happens."""
    put(write_part(place, content, mode), place)
