"""A PostgreSQL server for the tests of one process; without PostgreSQL they are skipped, saying so."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from benchmarks.postgres_server import PostgresServer, find_tools
from db.engine import open_store

__all__ = ["new_database", "postgres"]
_TEMPLATE = "concentric"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of this process alone, with a database of ours as the template of others."""
    pytest.importorskip("psycopg")
    tools = find_tools()
    if tools is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    server = PostgresServer(tools, durable=False)
    try:
        server.start()
        open_store(tmp_path_factory.mktemp("template"), url=server.make(_TEMPLATE)).close()
        yield server
    finally:
        server.remove()


def new_database(server: PostgresServer, template: str = _TEMPLATE) -> str:
    """The URL of a database of its own, with our tables and no rows; template0: without any table."""
    return server.make(f"test-{uuid.uuid4().hex}", template)
