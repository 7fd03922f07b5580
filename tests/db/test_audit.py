"""Who did what: every event, decision and deletion once, by time, safe in a spreadsheet."""

import csv
import gc
import io
import json
import tracemalloc

import pytest
from sqlalchemy import insert

from db import audit
from db.audit import COLUMNS, entries, write
from db.engine import Store
from db.fields import StoredField, add_field, rename
from db.reviews import apply_ops, history
from db.schema import EventRow
from db.versions import record_decision
from tests.db.conftest import make_field, make_op


def written(store: Store, form: str) -> str:
    out = io.StringIO(newline="")
    write(store, out, form)
    return out.getvalue()


def test_all_that_was_done_is_there_by_time(filled: Store) -> None:
    record_decision(filled, "reject", "v2", by="Bob", note="worse")
    rows = list(entries(filled))
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    assert [(row.record, row.who, row.what) for row in rows] == [
        ("event", "Ann", "add"),
        ("event", "Ann", "state"),
        ("event", "Bob", "add"),
        ("event", "Bob", "state"),
        ("deletion", "Ann", "delete field"),
        ("decision", "Ann", "promote"),
        ("decision", "Bob", "reject"),
    ]
    assert (rows[4].marks, rows[4].events, rows[4].field_id) == (1, 2, 3) and rows[6].note == "worse"


def test_csv_and_json_lines_say_the_same(filled: Store) -> None:
    (event,) = [one for one in history(filled, 1) if one.kind == "add"]
    table = list(csv.DictReader(io.StringIO(written(filled, "csv"))))
    lines = [json.loads(line) for line in written(filled, "jsonl").splitlines()]
    assert len(table) == len(lines) == 6 and tuple(table[0]) == COLUMNS
    for row, line in zip(table, lines, strict=True):
        assert {name: str(value) for name, value in line.items() if value != ""} == {k: v for k, v in row.items() if v}
    known = {name: lines[0][name] for name in ("op_id", "x_px", "verdict", "superseded")}
    assert known == {"op_id": event.op_id, "x_px": 10.0, "verdict": "mitosis", "superseded": False}


def test_no_cell_is_a_formula_and_numbers_stay_numbers(store: Store, field: StoredField) -> None:
    rename(store, field.id, '=HYPERLINK("http://elsewhere")')
    apply_ops(store, field.id, "@Ann", [make_op(field.id, x=-0.5)])
    record_decision(store, "promote", "+v", by="-Bob", note="=1+1")
    cells = [cell for row in csv.reader(io.StringIO(written(store, "csv"))) for cell in row]
    assert [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")] == ["-0.5"]
    assert {"'@Ann", "'=1+1", "'+v", "'-Bob", '\'=HYPERLINK("http://elsewhere")'} < set(cells)
    assert json.loads(written(store, "jsonl").splitlines()[0])["who"] == "@Ann"


@pytest.mark.slow
def test_many_events_need_no_more_memory_than_few(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_AT_ONCE", 100)
    field = add_field(store, make_field())[0]
    apply_ops(store, field.id, "Ann", [make_op(field.id)])
    with store.engine.connect() as connection:
        one = dict(connection.execute(EventRow.__table__.select()).mappings().one())

    class Nowhere(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    def peak(more: range) -> int:
        with store.writing() as session:
            session.execute(insert(EventRow), [{**one, "id": n, "op_id": f"{n:032x}", "seq": n} for n in more])
        gc.disable()  # when it comes by is no matter of the audit
        tracemalloc.start()
        number = write(store, Nowhere())
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gc.enable()
        assert number == more.stop - 1
        return found

    few = peak(range(2, 400))
    assert peak(range(400, 2800)) < 1.3 * few  # of six times as many
