"""Processes of their own for work that neither a page, a browser nor the server may take down."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[3]


def start(arguments: Sequence[str], log: Path, *, without: Collection[str] = ()) -> subprocess.Popen[bytes]:
    """`python -m ...` in a session of its own, from the folder of the program; what it says is added to a file.

    without: variables of the environment that it shall not have.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in without}
    with log.open("a") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=_ROOT,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**kept, "PYTHONPATH": str(_ROOT)},
        )
