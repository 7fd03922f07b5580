"""The server of the database goes while pages are open: what they send is refused as something to send again."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from benchmarks.postgres_server import PostgresServer
from db.engine import Store, open_store
from db.fields import StoredField
from db.reviews import history
from pages.shared.operation import health
from pages.shared.viewer import images, routes, tokens
from tests.pages.test_ops_route import client, field, op, send
from tests.postgres import new_database, postgres

__all__ = ["client", "field", "postgres"]  # fixtures


@pytest.fixture
def store(tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Store:
    one = open_store(tmp_path / "data", busy_timeout_s=0.5, url=new_database(postgres))
    for module in (routes, images, tokens, health):
        monkeypatch.setattr(module, "the_store", lambda: one)
    return one


def test_changes_wait_in_the_browser_and_are_stored_once_when_it_is_back(
    client: TestClient, store: Store, field: StoredField, postgres: PostgresServer
) -> None:
    first, second = op(field), op(field, id="m2", seq=2)
    assert send(client, field, [first]).status_code == 200 and health.look().ok
    postgres.stop()
    try:
        answer = send(client, field, [first, second])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")  # the outbox keeps it
        assert answer.json() == {
            "error": "The database server cannot be reached now. Nothing was saved; please try again when it is back."
        }
        assert not health.look().ok and "database server" in health.look().sentence
    finally:
        postgres.start()
    answer = send(client, field, [first, second])
    assert answer.status_code == 200 and set(answer.json()["done"]) == {first["op_id"], second["op_id"]}
    assert [event.op_id for event in history(store, field.id)] == [first["op_id"], second["op_id"]]
    assert health.look().ok
