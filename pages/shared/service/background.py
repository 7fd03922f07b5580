"""Processes of their own for work that neither a page, a browser nor the server may take down."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[3]


def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """`python -m ...` in a session of its own, from the folder of the program; what it says is added to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        return subprocess.Popen([sys.executable, "-m", *arguments], cwd=_ROOT, stdout=file, stderr=file,
                                stdin=subprocess.DEVNULL, start_new_session=True,
                                env={**os.environ, "PYTHONPATH": str(_ROOT)})  # fmt: skip
