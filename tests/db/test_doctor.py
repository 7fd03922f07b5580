"""Every kind of damage is found and said; what can be mended is, and nothing is lost by it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from db.dialects import postgres, sqlite
from db.disk import write_durably
from db.doctor import Finding, examine, is_sound, repair
from db.engine import Store
from db.fields import add_field, delete_field, image_path, list_fields, load_field
from db.images import encode
from db.reviews import history, reviews_of
from db.versions import weights_path
from tests.db.conftest import make_field, psycopg_connection


def change(store: Store, statement: str) -> None:
    """By another program, which knows no references and, on PostgreSQL, owns the database."""
    if store.url:
        with psycopg_connection(store) as outside:
            outside.execute("SET session_replication_role = replica")
            outside.execute(statement)
        return
    with closing(sqlite3.connect(store.file, isolation_level=None)) as outside:
        outside.execute(statement)


def drop_trigger(store: Store) -> str:
    return "DROP TRIGGER event_update" + (" ON event" if store.url else "")


def first_image(store: Store) -> Path:
    return image_path(store, list_fields(store)[0].digest)


def test_a_whole_store_is_well(filled: Store) -> None:
    seen: list[tuple[int, int]] = []
    assert examine(filled.folder, lambda *share: seen.append(share), url=filled.url) == [] and is_sound([])
    assert seen == [(1, 2), (2, 2)]


DAMAGE: dict[str, tuple[Callable[[Store], object], bool]] = {
    "without a field": (lambda store: write_durably(store.images / f"{'a' * 64}.png", b"x"), True),
    "is missing; please upload": (lambda store: first_image(store).unlink(), False),
    "is damaged; please upload": (lambda store: first_image(store).write_bytes(encode(make_field(9).pixels)), False),
    "weights of version v1 are damaged": (lambda store: weights_path(store, "v1").write_bytes(b"other"), False),
    "weights or the card of version v1": (lambda store: weights_path(store, "v1").with_suffix(".json").unlink(), False),
    "Ann's review of field 1": (lambda store: change(store, "UPDATE mark SET x = 77 WHERE field_id = 1"), True),
    "Bob's review of field 2": (lambda store: change(store, "DELETE FROM review WHERE field_id = 2"), True),
    "Eve's review of field 1": (
        lambda store: change(
            store,
            "INSERT INTO review (field_id, reader, state, seconds, rev) "
            "SELECT field_id, 'Eve', state, 5, rev FROM review WHERE field_id = 1",
        ),
        True,
    ),
    "Ann's review of field 1,": (lambda store: change(store, "UPDATE review SET mitoses = 9 WHERE field_id = 1"), True),
    "Other users of this machine": (lambda store: first_image(store).chmod(0o644), True),
    "no longer refuses changes": (lambda store: change(store, drop_trigger(store)), False),
    "rows that do not exist": (lambda store: change(store, "UPDATE review SET field_id = 77"), False),
    "of an older Concentric": (lambda store: change(store, "UPDATE alembic_version SET version_num = '0003'"), False),
    "newer Concentric": (lambda store: change(store, "UPDATE alembic_version SET version_num = '7'"), False),
    "not one of Concentric": (lambda store: change(store, "DELETE FROM alembic_version"), False),
}


@pytest.mark.parametrize("says", DAMAGE)
def test_each_damage_is_said_and_mended_where_nothing_is_lost(filled: Store, says: str) -> None:
    do, mendable = DAMAGE[says]
    before = {one.id: (history(filled, one.id), reviews_of(filled, one.id)) for one in list_fields(filled)}
    do(filled)
    (found,) = examine(filled.folder, url=filled.url)
    assert says in found.says and found.fault and found.mendable == mendable
    left = repair(filled.folder, url=filled.url)
    assert is_sound(left) == mendable
    if mendable:
        after = {one.id: (history(filled, one.id), reviews_of(filled, one.id)) for one in list_fields(filled)}
        assert after == before


def test_the_doctor_looks_for_every_trigger(store: Store) -> None:
    wanted, made = {
        "sqlite": (sqlite.TRIGGERS, "SELECT name FROM sqlite_master WHERE type = 'trigger'"),
        "postgresql": (postgres.TRIGGERS, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"),
    }[store.engine.dialect.name]
    with store.reading() as session:
        assert set(session.scalars(text(made))) == wanted


def test_an_event_against_the_rule_is_found(filled: Store) -> None:
    change(filled, drop_trigger(filled))
    with filled.engine.connect() as connection:
        trigger = "CREATE TRIGGER event_update BEFORE UPDATE ON event " + (
            "FOR EACH ROW EXECUTE FUNCTION refuse('never')" if filled.url else "BEGIN SELECT RAISE(ABORT, 'never'); END"
        )
        connection.execute(text("UPDATE event SET superseded = true WHERE kind = 'state'"))
        connection.execute(text(trigger))
        connection.commit()
    assert ["rule of events" in one.says for one in examine(filled.folder, url=filled.url)] == [True, True]


def test_a_whole_image_among_those_set_aside_is_taken_back(filled: Store) -> None:
    stored, place = list_fields(filled)[0], first_image(filled)
    whole = place.read_bytes()
    filled.aside.mkdir(mode=0o700)
    write_durably(filled.aside / place.name, whole)
    place.write_bytes(b"damaged")
    assert [one.mendable for one in examine(filled.folder, url=filled.url) if one.fault] == [True]
    assert is_sound(repair(filled.folder, url=filled.url)) and load_field(filled, stored).digest == stored.digest
    assert [file.read_bytes() for file in filled.aside.iterdir()] == [b"damaged"]


def test_what_was_set_aside_is_listed_and_no_fault(filled: Store) -> None:
    gone = add_field(filled, make_field(7))[0]
    kept = image_path(filled, gone.digest).read_bytes()
    delete_field(filled, gone.id, by="Ann")
    image_path(filled, gone.digest).write_bytes(kept)  # as a crash in the middle of deleting leaves it
    (found,) = repair(filled.folder, url=filled.url)
    assert (
        not found.fault and gone.digest in found.says and "1 of them are of fields that somebody deleted" in found.says
    )


@pytest.mark.sqlite
@pytest.mark.parametrize("content", [None, b"", b"not a database" * 500])
def test_a_database_that_is_lost_or_damaged(filled: Store, content: bytes | None) -> None:
    filled.close()
    filled.file.unlink()
    if content is not None:
        filled.file.write_bytes(content)
    (found,) = repair(filled.folder, url=filled.url)
    assert isinstance(found, Finding) and found.fault and not found.mendable and "backup" in found.says
    assert len(list(filled.images.iterdir())) == 2 and filled.file.exists() == (content is not None)


@pytest.mark.sqlite
def test_a_damaged_page_is_found(filled: Store) -> None:
    filled.close()
    data = bytearray(filled.file.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 40] = bytes(40)
    filled.file.write_bytes(data)
    (found,) = examine(filled.folder, url=filled.url)
    assert found.fault and "damaged" in found.says
