"""The log: one line an event, its time and level, and no names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mitosis_core.logs import Line, alias, start_logging

LOG = logging.getLogger("concentric")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    LOG.handlers.clear()
    LOG.propagate = True
    LOG.setLevel(logging.NOTSET)


def test_a_line_has_its_time_in_utc_and_its_level(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO")
    LOG.info("field %d is kept", 7)
    record = logging.LogRecord("concentric", logging.WARNING, "f.py", 1, "over", (), None)
    record.created = 1_700_000_000.25
    assert Line().format(record) == "2023-11-14T22:13:20.250Z WARNING concentric over"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z INFO concentric field 7 is kept\n", capsys.readouterr().err)


@pytest.mark.parametrize(("wanted", "shown"), [("ERROR", 1), ("warning", 2), ("", 3), ("DEBUG", 4)])
def test_the_level_is_the_operators(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wanted: str, shown: int
) -> None:
    monkeypatch.setenv("CONCENTRIC_LOG", wanted)
    start_logging()
    start_logging()  # twice is once
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("concentric.train").log(level, "said")
    assert capsys.readouterr().err.count("\n") == shown


def test_an_error_is_one_line_that_says_where_and_nothing_it_was_told(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO")
    try:
        try:
            Path("/no/Mustermann.png").read_bytes()
        except OSError as error:
            raise ValueError("cannot read\nMustermann") from error
    except ValueError:
        LOG.exception("reading failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError at test_logs.py:" in line and "from FileNotFoundError at" in line
    assert "Mustermann" not in line


def test_nobody_can_write_a_line_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO")
    LOG.info("%s", "a\n2026-01-01T00:00:00.000Z ERROR concentric b\r\x1b[31m\u2028c")
    (line,) = capsys.readouterr().err.splitlines()
    assert "a\\n2026" in line and "\\x1b" in line and "\\u2028" in line


def test_an_alias_tells_names_apart_and_not_what_they_are() -> None:
    assert alias("Anna") == alias("Anna") != alias("Bert")
    assert re.fullmatch("[0-9a-f]{8}", alias("\ud800"))
