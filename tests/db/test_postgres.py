"""What is PostgreSQL's own: who writes beside whom, what keeps events as they are, and a server that is not there."""

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from benchmarks.postgres_server import PostgresServer
from db import runs
from db.archive import verify, write_archive
from db.engine import Store, open_known, open_store
from db.errors import StoreAway, StoreBusy, StoreFailed
from db.fields import StoredField, add_field, delete_field, list_fields, tombstones
from db.labels import last_event
from db.reviews import apply_ops, history, reviews_of
from db.runs import queue_run
from db.version_labels import label_version
from db.versions import record_decision
from tests.db.conftest import make_field, make_op, psycopg_connection
from tests.postgres import new_database


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return new_database(postgres)


@pytest.fixture
def store(tmp_path: Path, url: str) -> Iterator[Store]:
    store = open_store(tmp_path / "data", busy_timeout_s=0.3, url=url)
    yield store
    store.close()


@pytest.fixture
def field(store: Store) -> StoredField:
    return add_field(store, make_field())[0]


def wait_until_somebody_waits(store: Store) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg_connection(store) as outside:
        for _ in range(500):
            if outside.execute(waiting).fetchone()[0]:
                return
            time.sleep(0.01)
    pytest.fail("nobody waits")


# ---- who writes beside whom


def test_a_review_waits_for_nobody_but_who_writes_the_same(store: Store, field: StoredField) -> None:
    other = open_store(store.folder, busy_timeout_s=0.3, url=store.url)
    with store.writing(f"review of field {field.id} by Ann"):
        assert len(apply_ops(other, field.id, "Bob", [make_op(field.id)]).done) == 1
        with other.writing("detection queue"):
            pass
        with pytest.raises(StoreBusy, match="busy"):
            apply_ops(other, field.id, "Ann", [make_op(field.id)])
        with pytest.raises(StoreBusy, match="busy"):  # what changes many things is alone
            delete_field(other, field.id, by="Eve")
    with store.writing(), pytest.raises(StoreBusy, match="busy"):
        apply_ops(other, field.id, "Bob", [make_op(field.id, seq=2)])
    assert sorted(reviews_of(store, field.id)) == ["Bob"]


def test_one_change_sent_to_two_servers_at_once_is_stored_once(store: Store, field: StoredField) -> None:
    servers = [open_store(store.folder, busy_timeout_s=10, url=store.url) for _ in range(2)]
    ops = [make_op(field.id, id=f"m{n}", seq=n) for n in range(1, 21)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: apply_ops(servers[n % 2], field.id, "Ann", ops).done, range(4)))
    assert {tuple(sorted(done)) for done in answers} == {tuple(sorted(op.op_id for op in ops))}
    assert [event.op_id for event in history(store, field.id)] == [op.op_id for op in ops]


def test_one_id_in_two_reviews_at_once_is_taken_by_one_of_them(store: Store, field: StoredField) -> None:
    """As the second of two requests that have both seen that the id is new."""
    op = make_op(field.id)
    other = open_store(store.folder, busy_timeout_s=10, url=store.url)

    def second() -> str:
        try:
            return str(apply_ops(other, field.id, "Bob", [op]).refused)
        except StoreBusy:
            return "again: " + str(apply_ops(other, field.id, "Bob", [op]).refused)

    with ThreadPoolExecutor(1) as pool:
        with store.writing("review of nobody") as session:
            session.execute(
                text(
                    "INSERT INTO event (op_id, field_id, reader, client, seq, base, sent_ms, at, kind, target, "
                    "seconds, superseded) "
                    "VALUES (:op, :field, 'Ann', 'page', 1, 0, 0, now(), 'time', '\\:time', 1, false)"
                ),
                {"op": op.op_id, "field": field.id},
            )
            answer = pool.submit(second)
            wait_until_somebody_waits(store)
        assert "another review" in answer.result()
    assert [event.reader for event in history(store, field.id)] == ["Ann"]


def test_the_newest_event_has_none_before_it_that_is_still_written(store: Store, field: StoredField) -> None:
    with store.writing(f"review of field {field.id} by Ann"), pytest.raises(StoreBusy):
        last_event(store)
    apply_ops(store, field.id, "Ann", [make_op(field.id)])
    assert last_event(store) == history(store, field.id)[-1].id


def test_readings_see_one_moment_and_cannot_write(store: Store, field: StoredField) -> None:
    wanted = text("SELECT count(*) FROM event")
    with store.reading() as session:
        assert session.scalar(wanted) == 0
        apply_ops(store, field.id, "Ann", [make_op(field.id)])
        assert session.scalar(wanted) == 0
    with pytest.raises(StoreFailed, match="only be read"), store.reading() as session:
        session.execute(text("DELETE FROM mark"))


def test_a_lock_has_one_holder_and_goes_with_its_connection(store: Store) -> None:
    other = open_store(store.folder, url=store.url)
    with store.lock("detection") as mine, other.lock("detection") as theirs, other.lock("device") as another:
        assert mine() and not theirs() and mine() and another()
        with psycopg_connection(store) as outside:
            outside.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        assert not mine()  # it is known that it was lost
        assert theirs() and not mine()
    with store.lock("detection") as mine:
        assert mine()


def test_a_lock_that_was_let_go_is_free_at_once(store: Store) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
    held += "(SELECT oid FROM pg_database WHERE datname = current_database())"
    with psycopg_connection(store) as outside:
        for _ in range(50):
            with store.lock("copy") as take:
                assert take() and outside.execute(held).fetchone() == (1,)
            assert outside.execute(held).fetchone() == (0,)


# ---- what keeps events as they are


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET x = 1",
        "DELETE FROM event",
        "TRUNCATE event",
        "UPDATE decision SET note = ''",
        "DELETE FROM decision",
        "TRUNCATE decision",
        "UPDATE tombstone SET \"by\" = ''",
        "DELETE FROM tombstone",
        "TRUNCATE tombstone",
        "UPDATE version_label SET note = ''",
        "DELETE FROM version_label",
        "TRUNCATE version_label",
        "DELETE FROM field",
        "INSERT INTO event SELECT * FROM event ON CONFLICT (id) DO UPDATE SET x = 1",
    ],
)
def test_the_database_itself_keeps_what_was_recorded(store: Store, field: StoredField, statement: str) -> None:
    import psycopg

    other = add_field(store, make_field(1))[0]
    for one in (field, other):
        apply_ops(store, one.id, "Ann", [make_op(one.id)])
    delete_field(store, other.id, by="Ann")
    record_decision(store, "promote", "v1", by="Ann")
    label_version(store, "v1", name="Spring", note="", by="Ann")
    with (
        psycopg_connection(store) as outside,
        pytest.raises(psycopg.IntegrityError, match=r"never|only"),
    ):
        outside.execute(statement)
    assert len(history(store, field.id)) == 1
    delete_field(store, field.id, by="Ann")  # and yet a field can go
    assert list_fields(store) == [] and [one.events for one in tombstones(store)] == [1, 1]


# ---- servers that start


def test_servers_that_start_at_once_make_one_database(postgres: PostgresServer, tmp_path: Path) -> None:
    url = new_database(postgres, "template0")
    with ThreadPoolExecutor(3) as pool:
        stores = list(pool.map(lambda _: open_store(tmp_path, url=url), range(3)))
    assert {store.secret() for store in stores} == {stores[0].secret()} and len(stores[0].secret()) == 32
    assert not (tmp_path / "secret.key").exists()
    assert list(stores[0].database.faults()) == []
    for store in stores:
        store.close()


def test_a_database_of_a_newer_program_is_refused_also_while_the_program_runs(store: Store, field: StoredField) -> None:
    with psycopg_connection(store) as outside:
        outside.execute("UPDATE alembic_version SET version_num = '7777'")
    with pytest.raises(StoreFailed, match="newer Concentric"):
        apply_ops(store, field.id, "Ann", [make_op(field.id)])
    with pytest.raises(StoreFailed, match="newer"):
        open_store(store.folder, url=store.url)
    assert history(store, field.id) == []


def test_a_folder_of_another_store_is_refused(store: Store, field: StoredField, tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match=r"are not in .*CONCENTRIC_DATA.*share"):
        open_store(tmp_path / "elsewhere", url=store.url)


def test_images_beside_an_empty_database_are_left_alone(
    postgres: PostgresServer, store: Store, field: StoredField
) -> None:
    empty = new_database(postgres, "template0")
    with pytest.raises(StoreFailed, match=r"missing or empty.*db move"):
        open_store(store.folder, url=empty)
    assert len(list(store.images.iterdir())) == 1


def test_tables_of_another_program_are_left_alone(postgres: PostgresServer, tmp_path: Path) -> None:
    name = f"test-{uuid.uuid4().hex}"
    url = postgres.make(name)
    postgres.say("CREATE TABLE recipes (a int)", name)
    with pytest.raises(StoreFailed, match="another program"):
        open_store(tmp_path, url=url)


# ---- bad input


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///x", "not the URL of a PostgreSQL database"),
        ("nonsense", "not the URL of a PostgreSQL database"),
        ("postgresql://host", "not the URL of a PostgreSQL database"),
        ("postgresql://host:port/name", "not the URL of a PostgreSQL database"),
        ("postgresql://127.0.0.1:1/name", "server cannot be reached"),
        ("postgresql://no-such-host.invalid/name", "server cannot be reached"),
    ],
)
def test_a_url_that_leads_nowhere_is_a_sentence_without_it(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(StoreFailed, match=says) as caught:
        open_store(tmp_path, url=url)
    assert url not in str(caught.value) and str(caught.value).endswith((".", "NAME."))


def test_who_is_not_let_in_is_told_why(postgres: PostgresServer, tmp_path: Path, url: str) -> None:
    name = str(make_url(url).database)
    postgres.say("ALTER ROLE concentric PASSWORD 'right'")
    open_store(tmp_path, url=postgres.url_by_network(name, "right")).close()
    for wrong, says in (
        (postgres.url_by_network(name, "wrong"), "does not know this user or password"),
        (postgres.url_by_network(name, "right", user="nobody"), "does not know this user or password"),
        (postgres.url_by_network("nowhere", "right"), "no database of this name"),
    ):
        with pytest.raises(StoreFailed, match=says) as caught:
            open_store(tmp_path, url=wrong)
        assert "wrong" not in str(caught.value) and "right" not in str(caught.value)


def test_a_server_that_goes_and_comes_back_loses_nothing_it_has_acknowledged(
    postgres: PostgresServer, store: Store, field: StoredField
) -> None:
    ops = [make_op(field.id, id=f"m{n}", seq=n) for n in range(3)]
    apply_ops(store, field.id, "Ann", ops[:1])
    postgres.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreAway, match=r"cannot be reached.*Nothing was saved"):
                apply_ops(store, field.id, "Ann", [ops[1]])
        with pytest.raises(StoreAway, match="cannot be reached"):
            list_fields(store)
        with store.lock("device") as mine:
            assert not mine()
    finally:
        postgres.start()
    assert apply_ops(store, field.id, "Ann", ops[1:]).done == tuple(op.op_id for op in ops[1:])
    assert len(history(store, field.id)) == 3


def test_a_change_that_the_server_leaves_midway_is_not_acknowledged(
    postgres: PostgresServer, store: Store, field: StoredField
) -> None:
    with pytest.raises(StoreAway, match="cannot be reached"), store.writing() as session:
        session.execute(text("UPDATE field SET name = 'x'"))
        with psycopg_connection(store) as outside:
            outside.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    assert [one.name for one in list_fields(store)] == [field.name]


# ---- copies


def test_an_archive_is_the_same_whatever_the_database(store: Store, field: StoredField, tmp_path: Path) -> None:
    apply_ops(store, field.id, "Ann", [make_op(field.id)])
    manifest = write_archive(store, tmp_path / "copy.zip")
    assert (manifest.fields, manifest.events, manifest.missing) == (1, 1, ())
    assert verify(tmp_path / "copy.zip")[1] == []


def test_a_copy_of_the_database_alone_is_a_dump_or_a_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = store.backup()
    assert dump.read_bytes().startswith(b"PGDMP") and dump.stat().st_mode & 0o077 == 0
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(StoreFailed, match=r"needs pg_dump.*python -m db backup"):
        store.backup()
    assert list(store.backups.iterdir()) == [dump]


def test_the_command_line_finds_no_store_in_an_empty_database(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_DATABASE", new_database(postgres, "template0"))
    with pytest.raises(StoreFailed, match="There is no database at postgresql://"):
        open_known(tmp_path)


def test_runs_get_numbers_of_their_own_from_two_servers(store: Store) -> None:
    servers = [open_store(store.folder, busy_timeout_s=10, url=store.url) for _ in range(2)]

    def one(number: int) -> int:
        return queue_run(
            servers[number % 2], by="Ann", base_version="v", source="", last_event=0, settings={}, split={}, code=""
        ).id

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(one, range(8)))
    assert len(set(numbers)) == 8 and {run.id for run in runs.list_runs(store)} == set(numbers)


def test_what_goes_wrong_under_a_lock_stays_what_it_is(store: Store) -> None:
    with pytest.raises(FileNotFoundError), store.lock("device") as take:
        assert take()
        raise FileNotFoundError("of a run, not of the store")
