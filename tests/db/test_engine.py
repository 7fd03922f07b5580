"""The folder: made, migrated, locked, full, damaged."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from db import disk, migrate
from db.dialects.sqlite import SqliteDatabase
from db.engine import Store, open_store
from db.errors import StoreBusy, StoreFailed, StoreFull
from db.fields import StoredField, add_field, appearances, delete_field, list_fields, tombstones
from db.reviews import apply_ops, history, review_of
from db.schema import Base
from db.version_labels import label_version
from db.versions import record_decision
from tests.db.conftest import MakeOp, make_field, make_op, reopen


@pytest.mark.sqlite
def test_the_pragmas_are_on(store: Store) -> None:
    with store.reading() as session:
        found = {
            name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "foreign_keys", "synchronous")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}


def test_the_migrations_lead_to_the_schema(store: Store) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        if connection.dialect.name == "postgresql":
            return
        migrated = {row.name: row.sql for row in connection.execute(text("SELECT name, sql FROM sqlite_master"))}
    checks = ("ck_event_kind", "ck_event_verdict", "ck_event_state")
    assert all(name in migrated["event"] for name in checks)  # the comparison above does not look at them
    assert all("AUTOINCREMENT" in migrated[name] for name in ("field", "prediction", "event", "detection"))


@pytest.mark.sqlite
def test_every_migration_keeps_the_rows_and_leads_to_the_same_tables(store: Store, tmp_path: Path) -> None:
    def tables(file: Path) -> dict[str, list[tuple[object, ...]]]:
        with closing(sqlite3.connect(file)) as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}

    old = tmp_path / "old"
    disk.make_folders(old, old / "backups")
    SqliteDatabase(old / "concentric.sqlite", 1.0).migrate(to="0001")
    assert tables(open_store(old).file) == tables(store.file)


def test_the_queue_comes_to_an_older_store_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    """Ids go on where they were, events stay guarded, and of the splits only those that a run used are kept."""
    disk.make_folders(tmp_path, tmp_path / "backups")
    file = tmp_path / "concentric.sqlite"
    SqliteDatabase(file, 1.0).migrate(to="0004")
    with closing(sqlite3.connect(file)) as old, old:
        for number, case in ((1, "a"), (2, "b"), (3, ""), (4, "c"), (9, "gone")):
            row = (
                number,
                f"{number:064x}",
                f"f{number}",
                case,
                0.25,
                "given",
                10,
                10,
                5,
                "2026-01-01 00:00:00.000000",
                "[1.0]",
            )
            old.execute(f"INSERT INTO field VALUES ({', '.join('?' * 11)})", row)
        event = (
            7,
            "o" * 32,
            1,
            "Ann",
            "c",
            1,
            0,
            0.0,
            "2026-01-01 00:00:00.000000",
            "time",
            ":time",
            *[None] * 10,
            1.0,
            0,
        )
        columns = [row[1] for row in old.execute("PRAGMA table_info(event)")]
        old.execute(f"INSERT INTO event VALUES ({', '.join('?' * len(columns))})", event)
        old.execute("INSERT INTO tombstone VALUES (1, 9, 'd', 'f9', 'gone', 0, 0, 'Ann', '2026-01-01 00:00:00.000000')")
        old.execute("DELETE FROM field WHERE id = 9")
        for case in ("a", "b", "c", "gone", f"field {3:064x}"[:22]):
            old.execute("INSERT INTO part VALUES (?, ?, ?)", (case, case == "b", "2026-01-01 00:00:00.000000"))
        run = {
            "state": "done",
            "by": "Ann",
            "base_version": "v",
            "source": "",
            "last_event": 1,
            "settings": "{}",
            "split": '{"train": [1], "held_out": [2]}',
            "code": "",
            "progress": "{}",
            "message": "",
            "cancel_asked": 0,
            "created_at": "2026-01-01 00:00:00.000000",
        }
        names = ", ".join(f'"{name}"' for name in run)
        old.execute(f"INSERT INTO run ({names}) VALUES ({', '.join('?' * len(run))})", tuple(run.values()))
    store = open_store(tmp_path)
    assert [(one.id, one.case, one.um_per_px) for one in list_fields(store)] == [
        (1, "a", 0.25),
        (2, "b", 0.25),
        (3, "", 0.25),
        (4, "c", 0.25),
    ]
    assert [event.id for event in history(store, 1)] == [7] and appearances(store)[1] == (1.0,)
    assert add_field(store, make_field())[0].id == 10  # 9 was deleted and is not given again
    with store.reading() as session:
        assert dict(session.execute(text('SELECT "case", held_out FROM part')).all()) == {"a": 0, "b": 1}
    with pytest.raises(sqlite3.IntegrityError, match="only with its field"), closing(sqlite3.connect(file)) as raw:
        raw.execute("DELETE FROM event")
    with pytest.raises(sqlite3.IntegrityError, match="only with a tombstone"), closing(sqlite3.connect(file)) as raw:
        raw.execute("DELETE FROM field")
    assert list(store.database.faults()) == []


def add_migration(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> str:
    """Pretend that a newer program has one more step; returns the version before it."""
    scripts = folder / "migrations"
    (scripts / "versions").mkdir(parents=True)
    for file in [migrate.SCRIPTS / "env.py", *migrate.SCRIPTS.glob("versions/v*.py")]:
        (scripts / file.relative_to(migrate.SCRIPTS)).write_text(file.read_text())
    head = max(file.name for file in scripts.glob("versions/v*.py"))[1:5]
    (scripts / "versions" / "v9999_next.py").write_text(
        f'from alembic import op\nrevision = "9999"\ndown_revision = "{head}"\ndef upgrade():\n    {line}\n'
    )
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    return head


@pytest.mark.sqlite
def test_an_older_file_is_copied_before_it_is_migrated(
    store: Store, field: StoredField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = add_migration(tmp_path, monkeypatch, 'op.execute("CREATE TABLE half (a)"); raise RuntimeError("half-way")')
    with pytest.raises(RuntimeError, match="half-way"):
        reopen(store)
    with store.reading() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == head
        assert session.scalar(text("SELECT count(*) FROM sqlite_master WHERE name = 'half'")) == 0


@pytest.mark.parametrize("content", [b"not a database", b"x" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "concentric.sqlite").write_bytes(content)
    with pytest.raises(StoreFailed, match="not a database"):
        open_store(tmp_path)
    assert (tmp_path / "concentric.sqlite").read_bytes() == content


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "concentric.sqlite")) as other:
        other.execute("CREATE TABLE recipes (a)")
    with pytest.raises(StoreFailed, match="not a database of Concentric"):
        open_store(tmp_path)


def test_a_file_of_a_newer_program_is_refused(store: Store) -> None:
    with store.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '7777'"))
    with pytest.raises(StoreFailed, match="newer"):
        reopen(store)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="cannot be written"):
        open_store(tmp_path / "file" / "data")


@pytest.mark.sqlite
@pytest.mark.parametrize("how", ["deleted", "replaced", "emptied", "without its log"])
def test_a_database_taken_away_under_the_program_acknowledges_nothing(
    store: Store, field: StoredField, op: MakeOp, how: str
) -> None:
    apply_ops(store, field.id, "Ann", [op()])
    log = Path(f"{store.file}-wal")
    match how:
        case "deleted":
            store.file.unlink()
        case "replaced":
            disk.write_durably(store.file, store.file.read_bytes())
        case "emptied":
            for file in (store.file, log):
                file.write_bytes(b"")
            store.engine.dispose()
        case _:
            log.unlink()
    for says in ("please", r"\.$"):
        with pytest.raises(StoreFailed, match=says):
            apply_ops(store, field.id, "Ann", [op(id="m2", seq=2)])
        if how != "without its log":
            with pytest.raises(StoreFailed, match=says):
                list_fields(store)
        if how == "deleted":
            store.engine.dispose()  # what connects anew makes no file either
    assert how != "deleted" or not store.file.exists()  # no empty one was made in its place


@pytest.mark.sqlite
def test_a_database_taken_away_during_a_change_acknowledges_nothing(store: Store, field: StoredField) -> None:
    with pytest.raises(StoreFailed, match="moved"), store.writing() as session:
        session.execute(text("UPDATE field SET name = 'x'"))
        store.file.unlink()


def overwrite(file: Path, place: int, new: bytes) -> bytes:
    """Change bytes of a file in place, and return what was there."""
    with file.open("r+b") as opened:
        opened.seek(place)
        old = opened.read(len(new))
        opened.seek(place)
        opened.write(new)
    return old


@pytest.mark.sqlite
@pytest.mark.parametrize("what", ["header", "schema", "a page of the schema", "the text of a table", "a trigger"])
def test_a_database_overwritten_in_place_acknowledges_nothing_and_mended_takes_the_change(
    store: Store, field: StoredField, op: MakeOp, what: str
) -> None:
    with closing(sqlite3.connect(store.file)) as outside:  # all of it lies in the file, nothing in the log
        outside.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    change, content = op(), store.file.read_bytes()
    place, new = {
        "header": (0, b"\xa5" * 100),
        "schema": (100, b"\xa5" * 3996),
        "a page of the schema": (content.index(b"CREATE TABLE event") // 4096 * 4096, b"\xa5" * 4096),
        "the text of a table": (content.index(b"CREATE TABLE mark"), b"\xa5" * 12),
        "a trigger": (content.index(b"BEFORE DELETE ON decision"), b"BEFORE UPDATE"),  # as good a schema as before
    }[what]
    old = overwrite(store.file, place, new)
    for _ in range(2):
        with pytest.raises(StoreFailed, match=r"damaged.*\.$"):
            apply_ops(store, field.id, "Ann", [change])
    overwrite(store.file, place, old)
    assert apply_ops(store, field.id, "Ann", [change]).done == (change.op_id,)
    assert len(history(reopen(store), field.id)) == 1


@pytest.mark.sqlite
def test_an_existing_folder_is_closed_to_other_users(store: Store, field: StoredField) -> None:
    store.backup()
    store.close()
    files = [file for file in store.folder.rglob("*") if file.is_file()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    for path in (store.folder, store.images, *files):
        path.chmod(0o755 if path.is_dir() else 0o644)
    again = reopen(store)
    list_fields(again)
    paths = [store.folder, *store.folder.rglob("*")]
    assert {"concentric.sqlite-wal", "concentric.sqlite-shm", f"{field.digest}.png"} < {path.name for path in paths}
    assert [path for path in paths if path.stat().st_mode & 0o777 != (0o700 if path.is_dir() else 0o600)] == []


REFUSED_SQL = [
    "UPDATE event SET x = 1",
    "DELETE FROM event",
    "REPLACE INTO event SELECT * FROM event",
    "UPDATE decision SET note = ''",
    "DELETE FROM decision",
    "REPLACE INTO decision SELECT * FROM decision",
    "UPDATE tombstone SET \"by\" = ''",
    "DELETE FROM tombstone",
    "REPLACE INTO tombstone SELECT * FROM tombstone",
    "UPDATE version_label SET note = ''",
    "DELETE FROM version_label",
    "REPLACE INTO version_label SELECT * FROM version_label",
    "DELETE FROM field",
]


@pytest.mark.sqlite
@pytest.mark.parametrize("foreign_keys", ["ON", "OFF"])
def test_the_database_itself_keeps_what_was_recorded(
    store: Store, field: StoredField, op: MakeOp, foreign_keys: str
) -> None:
    other = add_field(store, make_field(1))[0]
    apply_ops(store, other.id, "Ann", [make_op(other.id)])
    apply_ops(store, field.id, "Ann", [op()])
    delete_field(store, other.id, by="Ann")
    record_decision(store, "promote", "v1", by="Ann")
    label_version(store, "v1", name="Spring", note="", by="Ann")
    with closing(sqlite3.connect(store.file, isolation_level=None)) as outside:
        outside.execute(f"PRAGMA foreign_keys = {foreign_keys}")
        for statement in REFUSED_SQL:
            with pytest.raises(sqlite3.IntegrityError, match=r"never|only"):
                outside.execute(statement)
    assert len(history(store, field.id)) == 1
    delete_field(store, field.id, by="Ann")  # and yet a field can go
    assert list_fields(store) == [] and [one.events for one in tombstones(store)] == [1, 1]


@pytest.mark.sqlite
def test_the_secret_survives_a_restart_and_is_closed_to_others(store: Store) -> None:
    secret = store.secret()
    assert len(secret) == 32 and reopen(store).secret() == secret
    assert (store.folder / "secret.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.sqlite
def test_a_locked_database_is_a_sentence_and_loses_nothing(store: Store, field: StoredField, op: MakeOp) -> None:
    change = op()
    with closing(sqlite3.connect(store.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="busy"):
            apply_ops(store, field.id, "Ann", [change])
        other.execute("ROLLBACK")
    assert apply_ops(store, field.id, "Ann", [change]).done == (change.op_id,)
    assert len(history(store, field.id)) == 1


@pytest.mark.sqlite
def test_a_full_disk_is_a_sentence_and_loses_nothing(store: Store, field: StoredField, op: MakeOp) -> None:
    ops = [op(id=f"m{n}", seq=n) for n in range(2000)]
    apply_ops(store, field.id, "Ann", ops[:1])
    with store.reading() as session:
        pages = session.scalar(text("PRAGMA page_count"))
        session.execute(text(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StoreFull, match="disk is full"):
        apply_ops(store, field.id, "Ann", ops)
    assert len(history(store, field.id)) == 1 and len(review_of(store, field.id, "Ann").marks) == 1
    again = reopen(store)
    assert len(apply_ops(again, field.id, "Ann", ops).done) == 2000
    assert len(history(again, field.id)) == 2000


def test_a_full_disk_leaves_no_half_image(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.os, "fsync", full)
    with pytest.raises(StoreFull):
        add_field(store, make_field())
    assert list(store.images.iterdir()) == [] and list_fields(store) == []


def test_writers_at_once_are_all_kept(tmp_path: Path) -> None:
    """Four threads over two stores: two connections pools, as two processes have."""
    stores = [open_store(tmp_path / "data", busy_timeout_s=60) for _ in range(2)]
    field = add_field(stores[0], make_field())[0]

    def work(number: int) -> None:
        for seq in range(1, 26):
            change = make_op(field.id, id=f"m{number}-{seq}", client=f"page{number}", seq=seq)
            apply_ops(stores[number % 2], field.id, f"Reader {number % 3}", [change])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(history(stores[0], field.id)) == 100
