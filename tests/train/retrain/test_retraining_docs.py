"""docs/retraining.md says what the program does now."""

import re
from typing import get_args

from db.runs import LOST_AFTER
from docs.retraining_tables import PAGE, write_tables
from mitosis_core.methods import METHODS
from mitosis_core.methods.segmitos import PUBLISHED
from mitosis_core.model import list_versions, load_model
from train.retrain.config import Way, way_of
from train.retrain.plan import MIN_FIELDS, MIN_MITOSES

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_current() -> None:
    assert write_tables(TEXT) == TEXT, "python -m docs.retraining_tables"
    assert "| `blend` |" in TEXT and "| 3 | **" in TEXT and "| weights only |" in TEXT


def test_the_table_of_ways_names_every_version_and_file() -> None:
    """Each shipped version and each published network stands in the column of the way it takes."""
    rows = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:4]]
        for row in TEXT.splitlines()
        if row.count("|") == 4
    }
    assert rows["in cards"] == [f"`{way}`" for way in get_args(Way)]
    heads, finetune = rows["versions"]
    for name in list_versions():
        card = load_model(name).card
        assert METHODS[card.method].title in (heads if way_of(card) == "heads" else finetune)
    assert all(f"`{encoder}`" in finetune for encoder in PUBLISHED)
    assert all((PAGE.parent.parent / file.strip("`")).exists() for file in rows["file"])


def test_the_numbers_in_the_text_are_those_of_the_program() -> None:
    words = re.sub(r"\s+", " ", TEXT)
    assert (MIN_FIELDS, MIN_MITOSES) == (2, 5) and "fewer than two fields or five mitoses" in words
    assert LOST_AFTER.total_seconds() == 15 and "no heartbeat of its process for 15 seconds" in words
