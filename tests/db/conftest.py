"""A store in an empty folder, with one field, and a way to write changes down briefly."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from benchmarks.postgres_server import PostgresServer
from db.engine import Store, open_store
from db.fields import StoredField, add_field, delete_field
from db.ops import Op, parse_op
from db.reviews import apply_ops
from db.versions import record_decision, store_version
from mitosis_core.types import Field
from tests.postgres import new_database, postgres

__all__ = ["postgres"]  # a fixture

SIZE_PX = 100
MakeOp = Callable[..., Op]


def make_field(seed: int = 0, name: str = "slide 7.png") -> Field:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    return Field(pixels, 0.25, name)


def sent(
    field_id: int, kind: str = "add", *, client: str = "page", seq: int = 1, base: int = 0, **own: Any
) -> dict[str, Any]:
    """A change as a page sends it; a mark unless `own` says otherwise."""
    if kind in ("add", "delete", "restore", "move", "class"):
        own = {"id": "m1", "x": 10.0, "y": 20.0, "cls": "mitosis"} | own
    common = {"op_id": uuid.uuid4().hex, "client": client, "seq": seq, "t": 1, "field": str(field_id), "base": base}
    return {**common, "kind": kind, **own}


def make_op(field_id: int, kind: str = "add", **rest: Any) -> Op:
    return parse_op(sent(field_id, kind, **rest))


def again_with_area(field: int, area: list[float]) -> list[Op]:
    """A finished field is reopened, its area drawn, and finished again."""
    other: dict[str, Any] = {"client": "other", "base": 99}
    return [
        make_op(field, "state", seq=1, state="in_review", **other),
        make_op(field, "area", seq=2, area=area, **other),
        make_op(field, "state", seq=3, state="complete", **other),
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test with a store runs on both databases, but those that are about files of SQLite."""
    if "database" in metafunc.fixturenames:
        on_sqlite = next(metafunc.definition.iter_markers("sqlite"), None)
        kinds = ["sqlite"] if on_sqlite else ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
        metafunc.parametrize("database", kinds, indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database; "" for SQLite."""
    if request.param == "sqlite":
        return ""
    server: PostgresServer = request.getfixturevalue("postgres")
    return new_database(server)


@pytest.fixture
def store(tmp_path: Path, database: str) -> Iterator[Store]:
    store = open_store(tmp_path / "data", busy_timeout_s=0.05 if not database else 0.5, url=database)
    yield store
    store.close()


def psycopg_connection(store: Store) -> Any:
    """Another program at the same PostgreSQL database; each statement for itself."""
    import psycopg

    return psycopg.connect(store.url, autocommit=True)


def reopen(store: Store) -> Store:
    """As another process that comes to the same store."""
    return open_store(store.folder, url=store.url)


def before_its_turn(store: Store, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Another server does something just before the next turn of writing."""
    turn = store.writing

    def writing(only: str | None = None) -> AbstractContextManager[Session]:
        monkeypatch.setattr(store, "writing", turn)
        do()
        return turn(only)

    monkeypatch.setattr(store, "writing", writing)


@pytest.fixture
def field(store: Store) -> StoredField:
    return add_field(store, make_field())[0]


@pytest.fixture
def op(field: StoredField) -> MakeOp:
    """Make a change of the field."""
    return lambda kind="add", **rest: make_op(field.id, kind, **rest)


@pytest.fixture
def filled(store: Store, field: StoredField) -> Store:
    """Two fields, events of two readers, a version, a decision, a field that was deleted."""
    other, gone = (add_field(store, make_field(seed))[0] for seed in (1, 2))
    for reader, one in (("Ann", field), ("Bob", other), ("Ann", gone)):
        apply_ops(store, one.id, reader, [make_op(one.id, seq=1), make_op(one.id, "state", state="complete", seq=2)])
    delete_field(store, gone.id, by="Ann")
    store_version(store, "v1", b"weights", "{}", by="Ann")
    record_decision(store, "promote", "v1", by="Ann")
    return store
