"""The real server is asked to stop."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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


@pytest.mark.slow
def test_what_was_begun_is_stored_and_answered_before_the_server_ends(server: Server, tmp_path: Path) -> None:
    said = token(tmp_path / "data", 1, "Anna")
    op = Reader(server.port, 1, said).next_op()
    body = json.dumps({"field": "1", "ops": [op]}).encode()
    under_way = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    under_way.putrequest("POST", "/api/ops")
    for name, text in (
        ("Content-Type", "application/json"),
        ("X-Concentric-Token", said),
        ("Content-Length", str(len(body))),
    ):
        under_way.putheader(name, text)
    under_way.endheaders(body[:10])
    assert (
        ask(server.port, "GET", "/api/health")[0] == 200
    )  # by now the server knows of the change; and it has our routes
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(server.stop)
        with pytest.raises(OSError, match="refused"):  # nobody new comes in
            while True:
                with suppress(ConnectionResetError):  # who was in the queue as it closed
                    ask(server.port, "GET", "/_stcore/health")
        assert not stopped.done()
        under_way.send(body[10:])
        answer = under_way.getresponse()
        assert answer.status == 200 and json.loads(answer.read())["done"] == [op["op_id"]]
        under_way.close()
        assert stopped.result() in (0, -15)
    assert [event.op_id for event in history(fill(tmp_path / "data"), 1)] == [op["op_id"]]
    lines = (tmp_path / "log").read_text().splitlines()
    assert "the server starts" in lines[-2] and "the server has stopped" in lines[-1]
