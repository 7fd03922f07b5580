"""The log: one line an event, UTC, with its level, to standard error. No names of patients, files or readers.

A message names things by their numbers, or by `alias`. What an exception says may hold a name, so of an exception only
its type and the places it passed are written.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_MOST_PLACES = 8
_KEY = secrets.token_bytes(16)  # of this process: nobody can try names until one fits


def alias(name: str) -> str:
    """Eight characters that stand for a name in the log of this process, the same each time."""
    return hmac.new(_KEY, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:8]


def start_logging(level: str | None = None) -> None:
    """Write what the program logs to standard error, from a level on: given, or CONCENTRIC_LOG, or else INFO."""
    wanted = (level or os.environ.get("CONCENTRIC_LOG") or "INFO").upper()
    log = logging.getLogger("concentric")
    log.setLevel(wanted if wanted in LEVELS else "INFO")
    log.propagate = False
    if not any(isinstance(handler, _ToStandardError) for handler in log.handlers):
        log.addHandler(_ToStandardError())
        if wanted not in LEVELS:
            log.warning("CONCENTRIC_LOG is none of %s; it is taken as INFO", ", ".join(LEVELS))
    # The server's own lines look the same, and say as little.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("streamlit", "uvicorn"):
            for handler in logging.getLogger(name).handlers:
                handler.setFormatter(Line())


class Line(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING concentric message | ValueError at file.py:12 function < ...`"""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        error = record.exc_info[1] if record.exc_info else None
        said = record.getMessage() + (f" | {_describe(error)}" if error else "")
        return f"{at} {record.levelname} {record.name} {''.join(_printable(said))}"


class _ToStandardError(logging.StreamHandler):  # type: ignore[type-arg]
    """Standard error as it is when a line is written: tests and servers replace it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Line())

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _describe(error: BaseException) -> str:
    """Type and places of an error, the last place first, and of those it came from."""
    said, seen = [], set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        said.append(f"{type(one).__name__} at {' < '.join(_places(one.__traceback__))}")
        one = one.__cause__ or one.__context__
    return " from ".join(said)


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[::-1][:_MOST_PLACES]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _printable(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isprintable() else character.encode("unicode_escape").decode()
