"""docs/retraining.md says what the program does now."""

import re

from db.runs import LOST_AFTER
from docs.retraining_tables import PAGE, write_tables
from train.retrain.plan import MIN_FIELDS, MIN_MITOSES

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_current() -> None:
    assert write_tables(TEXT) == TEXT, "python -m docs.retraining_tables"
    assert "| `blend` |" in TEXT and "| 4 | **" in TEXT


def test_the_numbers_in_the_text_are_those_of_the_program() -> None:
    words = re.sub(r"\s+", " ", TEXT)
    assert (MIN_FIELDS, MIN_MITOSES) == (2, 5) and "fewer than two fields or five mitoses" in words
    assert LOST_AFTER.total_seconds() == 15 and "no sign of life for 15 seconds" in words
