"""Which program this is: two computers that say the same have the same code."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from mitosis_core import __version__

_CORE = Path(__file__).parent


@cache
def program_id(*folders: Path) -> str:
    """The release, and 12 letters of a digest over the Python files of the library and of other folders of code."""
    digest = hashlib.sha256()
    for folder in (_CORE, *folders):
        for file in sorted(folder.rglob("*.py"), key=lambda file: file.relative_to(folder).as_posix()):
            digest.update(f"{folder.name}/{file.relative_to(folder).as_posix()}\0".encode())
            digest.update(file.read_bytes().replace(b"\r\n", b"\n"))  # a checkout on Windows is the same program
    return f"{__version__} ({digest.hexdigest()[:12]})"
