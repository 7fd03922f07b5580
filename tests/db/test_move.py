"""From SQLite to PostgreSQL and back: the same rows, the same numbers after them, and nothing half done."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.postgres_server import PostgresServer
from db import table_copy
from db.__main__ import main
from db.engine import Store, open_store
from db.errors import BadValue, StoreFailed
from db.fields import add_field, list_fields, tombstones
from db.incoming_files import refuse_file, refused_files
from db.move import move
from db.predictions import proposals, save_prediction
from db.preferences import change_preferences, read_preferences
from db.reviews import apply_ops, history, reviews_of
from db.versions import decisions, list_stored
from mitosis_core.types import Detections, Prediction
from tests.db.conftest import make_field, make_op
from tests.postgres import new_database


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return new_database(postgres)


@pytest.fixture
def full(filled: Store) -> Store:
    """A store with something in most of its tables."""
    field = list_fields(filled)[0]
    found = Detections([[1.25, 2]], [0.1], [9.0])
    save_prediction(filled, field.id, Prediction(found, 0.5, "v1", 1.0, 0.1))
    refuse_file(filled, "Überfluß.png", "damaged", by="Ann")
    change_preferences(filled, "", um_per_px=0.1 + 0.2)
    return filled


def told(store: Store) -> list[Any]:
    """What a store says of itself."""
    fields = list_fields(store)
    return [
        fields,
        [history(store, one.id) for one in fields],
        [reviews_of(store, one.id) for one in fields],
        proposals(store, fields[0].id, "v1"),
        tombstones(store),
        decisions(store),
        list_stored(store),
        refused_files(store),
        read_preferences(store, ""),
    ]


@pytest.mark.sqlite
def test_a_store_goes_to_postgresql_and_back_and_is_the_same(full: Store, url: str) -> None:
    folder, before = full.folder, told(full)
    full.close()
    seen: list[tuple[int, int]] = []
    moved = move(str(folder), url, lambda *share: seen.append(share))
    assert moved.rows["event"].number == 4 and seen[-1][0] == seen[-1][1] == 2 * sum(
        rows.number for rows in moved.rows.values()
    )
    assert not list(folder.glob("concentric.sqlite*"))  # so that nobody works on with it
    with pytest.raises(StoreFailed, match="python -m db move"):
        open_store(folder)
    there = open_store(folder, url=url)
    assert told(there) == before
    refuse_file(there, "second.png", "damaged", by="Ann")  # numbers go on
    new = add_field(there, make_field(7))[0]
    assert new.id == max(one.field_id for one in tombstones(there)) + 1
    apply_ops(there, new.id, "Ann", [make_op(new.id)])
    after = told(there)
    there.close()
    back = move(url, str(folder))
    here = open_store(folder)
    assert told(here) == after and back.rows["event"].number == 5
    assert add_field(here, make_field(8))[0].id == new.id + 1
    here.close()


@pytest.mark.sqlite
def test_a_store_that_is_not_empty_takes_nothing(full: Store, url: str, tmp_path: Path) -> None:
    other = open_store(tmp_path / "other", url=url)
    add_field(other, make_field(5))
    other.close()
    full.close()
    with pytest.raises(StoreFailed, match=r"not empty \(rows in field\)"):
        move(str(full.folder), url)
    with pytest.raises(StoreFailed, match=r"not empty"):
        move(url, str(full.folder))
    assert len(list_fields(open_store(full.folder))) == 2


@pytest.mark.sqlite
def test_a_copy_that_differs_is_not_kept(full: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = table_copy.read_rows

    def wrong(*given: Any) -> Any:
        return {**right(*given), "mark": table_copy.Rows(0, "")}

    full.close()
    monkeypatch.setattr("db.move.read_rows", wrong)
    with pytest.raises(StoreFailed, match="not the same in mark"):
        move(str(full.folder), url)
    monkeypatch.undo()
    assert full.file.exists() and move(str(full.folder), url).rows["mark"].number == 2


@pytest.mark.sqlite
def test_what_postgresql_cannot_hold_is_a_sentence_and_moves_nothing(full: Store, url: str) -> None:
    full.close()
    with closing(sqlite3.connect(full.file)) as outside, outside:
        outside.execute("UPDATE field SET name = 'a' || char(0) || 'b' WHERE id = 1")
    with pytest.raises(BadValue):
        move(str(full.folder), url)
    assert full.file.exists()


@pytest.mark.sqlite
def test_a_database_that_a_server_has_open_is_not_moved(full: Store, url: str) -> None:
    folder = full.folder
    full.close()
    move(str(folder), url)
    server = open_store(folder, url=url)
    list_fields(server)
    with pytest.raises(StoreFailed, match="please stop the servers first"):
        move(url, str(folder))
    server.close()
    assert not list(folder.glob("concentric.sqlite*"))


@pytest.mark.sqlite
def test_the_command_says_what_was_moved_and_refuses_in_words(
    full: Store, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full.close()
    assert main(["move", str(full.folder), str(tmp_path)]) == 2 and "backup and restore" in capsys.readouterr().err
    assert main(["move", str(tmp_path / "none"), url]) == 2 and "no data folder" in capsys.readouterr().err
    assert main(["move", str(tmp_path), url]) == 2 and "There is no database" in capsys.readouterr().err
    assert main(["move", str(full.folder), url]) == 0
    out = capsys.readouterr().out
    assert "4 event, sha256 " in out and "CONCENTRIC_DATABASE" in out and "backups" in out
    (tmp_path / "images").mkdir()
    assert main(["move", url, str(tmp_path)]) == 2 and "are not in" in capsys.readouterr().err
    assert not (tmp_path / "concentric.sqlite").exists()
