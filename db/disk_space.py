"""Room on the disk: a reserve is kept free, so that reviews can be stored when nothing else can."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from db.errors import StoreFailed, StoreFull, as_sentences

RESERVE_MB = 500.0
_MB = 1_000_000


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the disk of a data folder. Raises StoreFailed."""
    with as_sentences():
        return shutil.disk_usage(folder).free


def reserve_bytes() -> int:
    """What stays free: CONCENTRIC_RESERVE_MB, or 500 MB where that is not set or is no number."""
    try:
        megabytes = float(os.environ.get("CONCENTRIC_RESERVE_MB") or RESERVE_MB)
        return max(0, round(megabytes * _MB))
    except (ValueError, OverflowError):
        return round(RESERVE_MB * _MB)


def check_disk_space(folder: Path, coming: int = 0) -> None:
    """Before anything large is written: `coming` bytes must leave the reserve free. Raises StoreFull, StoreFailed."""
    free, reserve = free_bytes(folder), reserve_bytes()
    if free - coming < reserve:
        raise StoreFull(
            f"Only {free // _MB} MB are free on the disk of the data folder, and {reserve // _MB} MB are kept for "
            "reviews: no new fields, versions or runs are accepted until space is freed. Reviews are still saved."
        )


def disk_space_warning(folder: Path) -> str:
    """What to tell people about the room, in a sentence; empty while there is enough, and where there is no folder."""
    try:
        check_disk_space(folder)
    except StoreFull as error:
        return str(error)
    except StoreFailed:  # the store itself says so, better
        return ""
    return ""
