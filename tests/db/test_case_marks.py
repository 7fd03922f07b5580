"""The table of marks: everything is in it, and other parts of the program read it."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from pathlib import Path

import pytest

from db.case_counts import CountBy, count_case
from db.case_marks import COLUMNS, marks_csv
from db.engine import Store
from db.fields import rename
from mitosis_core.interchange.exchange import read_marks
from tests.db.drawn_case import VERSION, add_case, change, detect, read

ANN = CountBy("reader", "Ann")


def rows(store: Store, by: CountBy) -> list[dict[str, str]]:
    table = csv.DictReader(io.StringIO(marks_csv(store, count_case(store, "A", by)).decode()))
    assert tuple(table.fieldnames or ()) == COLUMNS
    return list(table)


def test_every_mark_with_all_that_is_needed_to_find_it_again(store: Store) -> None:
    first, second = add_case(store, "A", 2)
    detect(store, first, [(100, 80)], [0.75])
    read(store, first, "Ann", [(10.25, 20.5)], lookalikes=1, state="")
    proposal = "p1-0"
    change(store, first, "Ann", "class", 80, id=proposal, x=100.0, y=80.0, cls="mitosis")
    change(store, first, "Ann", "state", 99, state="complete")
    read(store, second, "Ann", [])
    top, proposed, look, empty = rows(store, ANN)
    assert [one["label"] for one in (top, proposed, look, empty)] == ["mitosis", "mitosis", "lookalike", ""]
    assert [one["counted"] for one in (top, proposed, look)] == ["1", "1", "0"]
    assert (top["x_px"], top["y_px"], top["x_um"], top["y_um"]) == ("10.25", "20.5", "10.25", "20.5")  # 1 µm/px
    assert (top["case"], top["image"], top["digest"]) == ("A", "0.png", first.digest)
    assert (top["um_per_px"], top["um_per_px_source"]) == ("1.0", "given")
    assert (top["reader"], top["verdicts_of"], top["version"], top["score"]) == ("Ann", "Ann", "", "")
    assert (proposed["version"], proposed["score"]) == (VERSION, "0.75")
    assert datetime.fromisoformat(top["time"]).tzinfo is not None
    assert (empty["image"], empty["x_px"], empty["reader"]) == ("1.png", "", "Ann")


def test_detections_say_that_nobody_has_reviewed_them(store: Store) -> None:
    (field,) = add_case(store, "A", 1)
    detect(store, field, [(100, 80), (200, 80)], [0.75, 0.4])
    (row,) = rows(store, CountBy("detections", VERSION))
    assert row["verdicts_of"] == f"detections of {VERSION}, not reviewed"
    assert (row["score"], row["threshold"], row["version"], row["time"]) == ("0.75", "0.5", VERSION, "")


def test_the_consensus_names_those_who_marked_the_cell(store: Store) -> None:
    (field,) = add_case(store, "A", 1)
    for reader in ("Ann", "Bert"):
        read(store, field, reader, [(100, 80)])
    (row,) = rows(store, CountBy("consensus"))
    assert (row["reader"], row["verdicts_of"], row["counted"]) == ("Ann; Bert", "consensus", "1")


def test_comments_stand_beside_their_cells(store: Store) -> None:
    (field,) = add_case(store, "A", 1)
    for reader, comment in (("Ann", "tripolar"), ("Bert", "blurred"), ("Cem", None)):
        change(store, field, reader, "add", 1, id="m", x=100.0, y=80.0, cls="mitosis", comment=comment)
        read(store, field, reader, [])
    assert [row["comment"] for row in rows(store, ANN)] == ["tripolar"]
    assert [row["comment"] for row in rows(store, CountBy("reader", "Cem"))] == [""]
    assert [row["comment"] for row in rows(store, CountBy("consensus"))] == ["Ann: tripolar; Bert: blurred"]


def test_the_plain_csv_reads_it(store: Store, tmp_path: Path) -> None:
    first, second = add_case(store, "A", 2)
    read(store, first, "Ann", [(10, 20)], lookalikes=2)
    read(store, second, "Ann", [])
    (tmp_path / "marks.csv").write_bytes(marks_csv(store, count_case(store, "A", ANN)))
    images = {one.name: one for one in read_marks(tmp_path / "marks.csv")}
    assert sorted(mark.label for mark in images["0.png"].marks) == ["lookalike", "lookalike", "mitosis"]
    assert images["1.png"].marks == () and images["0.png"].digest == first.digest and images["0.png"].slide == "A"


@pytest.mark.parametrize("name", ["=1+1", "@SUM(A1)", 'a,b"c'])
def test_no_name_is_a_formula_or_breaks_the_table(store: Store, name: str) -> None:
    (field,) = add_case(store, "A", 1)
    rename(store, field.id, name)
    read(store, field, "=Ann", [(10, 20)])
    (row,) = rows(store, CountBy("reader", "=Ann"))
    assert row["image"].lstrip("'") == name and row["reader"] == "'=Ann"
    assert not row["image"].startswith(("=", "@"))
