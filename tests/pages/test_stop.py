"""The real server is asked to stop."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.faults import fill, token
from benchmarks.serving import Reader, Server, ask
from db.reviews import history


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    fill(tmp_path / "data").close()
    one = Server(tmp_path / "data", tmp_path / "log")
    one.start()
    yield one
    one.kill()


def test_what_is_being_written_is_stored_and_answered_before_the_server_ends(server: Server, tmp_path: Path) -> None:
    """And the routes of the operator are those of the real server."""
    assert ask(server.port, "GET", "/api/health")[0] == 200
    reader = Reader(server.port, 1, token(tmp_path / "data", 1, "Anna"))
    store = fill(tmp_path / "data")
    with closing(sqlite3.connect(store.file, isolation_level=None)) as other, ThreadPoolExecutor(2) as pool:
        other.execute("BEGIN IMMEDIATE")
        answered = pool.submit(reader.send, reader.next_op())
        while b"concentric_fields" not in ask(server.port, "GET", "/api/metrics")[1]:
            pass
        stopped = pool.submit(server.stop)
        with pytest.raises(OSError, match="refused"):  # nobody new comes in
            while True:
                ask(server.port, "GET", "/_stcore/health")
        assert not answered.done() and not stopped.done()
        other.execute("ROLLBACK")
        assert answered.result() and stopped.result() in (0, -15)
    assert [event.op_id for event in history(store, 1)] == reader.acknowledged and len(reader.acknowledged) == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert "the server starts" in lines[-2] and "the server has stopped" in lines[-1]
