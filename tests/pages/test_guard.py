"""The door: hosts, origins, a proxy's word, and the headers of every answer."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.serving import Server
from docs.security_tables import page_needs, route_needs
from mitosis_core.errors import ConcentricError
from pages.shared import access
from pages.shared.guard import HEADERS, MIDDLEWARE, OPEN_PATHS, host_of

PROXY = {"x-forwarded-user": "anna@lab.org", "x-concentric-proxy-secret": "0123456789abcdef"}


async def _page(request: Any) -> PlainTextResponse:
    return PlainTextResponse(request.headers.get("x-forwarded-user", ""))


async def _stream(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("in")


def _client(address: str = "http://localhost:8501", peer: str = "127.0.0.1") -> TestClient:
    routes = [Route("/", _page, methods=["GET", "POST"]), WebSocketRoute("/_stcore/stream", _stream)]
    return TestClient(Starlette(routes=routes, middleware=MIDDLEWARE), address, client=(peer, 1))


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CONCENTRIC_PROXY_HEADER", "X-Forwarded-User")
    monkeypatch.setenv("CONCENTRIC_PROXY_SECRET", PROXY["x-concentric-proxy-secret"])
    yield


def _streams(client: TestClient, headers: dict[str, str]) -> bool:
    try:
        given = {"host": "localhost:8501", **headers}
        with client.websocket_connect("/_stcore/stream", headers=given) as stream:
            return stream.receive_text() == "in"
    except WebSocketDisconnect:
        return False


@pytest.mark.parametrize("host", ["localhost:8501", "127.0.0.1:9", "[::1]:8501", "LOCALHOST", "[::1]"])
def test_this_computer_is_known_on_any_port(host: str) -> None:
    assert _client().get("/", headers={"host": host}).status_code == 200
    assert _streams(_client(), {"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8501",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
        "evil",
        "localhost.",
        "127.0.0.1:port",
        "[::1",
        "localhost:8501, evil.example",
    ],
)
def test_a_name_that_resolves_here_is_not_known(host: str) -> None:
    assert _client().get("/", headers={"host": host}).status_code == 421
    assert not _streams(_client(), {"host": host})


def test_the_operator_adds_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_HOSTS", "lab.example, other.example")
    behind_a_proxy = {"host": "127.0.0.1:8501", "origin": "https://lab.example"}
    for headers in ({"host": "lab.example"}, {"host": "Other.example:443"}, behind_a_proxy):
        assert _client().get("/", headers=headers).status_code == 200
        assert _streams(_client(), headers)
    assert _client().get("/", headers={"host": "third.example"}).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "http://[::1", "localhost"])
def test_another_origin_is_refused(origin: str) -> None:
    assert _client().post("/", headers={"origin": origin}).status_code == 403
    assert not _streams(_client(), {"origin": origin})


def test_the_own_origin_comes_in() -> None:
    assert _client().post("/", headers={"origin": "http://localhost:8501"}).status_code == 200
    assert _streams(_client(), {"origin": "http://localhost:8501"})


def test_without_a_login_another_computer_stays_outside() -> None:
    assert _client(peer="10.0.0.7").get("/").status_code == 403
    assert not _streams(_client(peer="10.0.0.7"), {})


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_answer_has_the_headers(host: str) -> None:
    for path in ("/", "/missing"):
        answer = _client().get(path, headers={"host": host})
        assert HEADERS.items() <= {name: answer.headers.get(name) for name in HEADERS}.items()


@pytest.mark.usefixtures("proxied")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-forwarded-user": "anna@lab.org"},
        PROXY | {"x-concentric-proxy-secret": "0123456789abcdeX"},
        PROXY | {"x-concentric-proxy-secret": ""},
        PROXY | {"x-forwarded-user": ""},
        PROXY | {"x-forwarded-user": "x" * 61},
    ],
)
def test_nobody_can_pretend_to_be_the_proxy(headers: dict[str, str]) -> None:
    for peer in ("127.0.0.1", "10.0.0.7"):
        assert _client(peer=peer).get("/", headers=headers).status_code == 401
        assert not _streams(_client(peer=peer), headers)


@pytest.mark.usefixtures("proxied")
def test_who_the_proxy_names_comes_in_from_anywhere_but_only_once() -> None:
    assert _client(peer="10.0.0.7").get("/", headers=PROXY).text == "anna@lab.org"
    assert _streams(_client(peer="10.0.0.7"), PROXY)
    for again in PROXY.items():  # a second header, which the proxy did not write
        assert _client().get("/", headers=[*PROXY.items(), again]).status_code == 401


@pytest.mark.parametrize("address", [None, "", "0.0.0.0", "::", "192.168.0.3", "lab.example"])
def test_listening_elsewhere_needs_a_login(address: str | None) -> None:
    with pytest.raises(ConcentricError, match="without a log-in"):
        access.check_start(address)
    access.check_start("127.0.0.1")


@pytest.mark.usefixtures("proxied")
def test_a_proxy_needs_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    access.check_start("0.0.0.0")
    monkeypatch.setenv("CONCENTRIC_PROXY_SECRET", "short")
    with pytest.raises(ConcentricError, match="CONCENTRIC_PROXY_SECRET"):
        access.check_start("0.0.0.0")


def test_other_names_need_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_HOSTS", "lab.example")
    with pytest.raises(ConcentricError, match="CONCENTRIC_HOSTS"):
        access.check_start("127.0.0.1")


def test_roles_come_from_lists_of_names(proxied: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_ADMINS", "Anna@lab.org, ")
    monkeypatch.setenv("CONCENTRIC_REVIEWERS", "bert")
    roles = [access.role_of(name).name for name in ("anna@LAB.org", "bert", "cleo", "")]
    assert roles == ["ADMIN", "REVIEWER", "READER", "NOBODY"]
    monkeypatch.setenv("CONCENTRIC_DEFAULT_ROLE", "nobody")
    assert access.role_of("cleo").name == "NOBODY"
    monkeypatch.setenv("CONCENTRIC_DEFAULT_ROLE", "king")
    with pytest.raises(ConcentricError, match="default role"):
        access.check_start("127.0.0.1")


def test_hosts_are_read_without_port_and_brackets() -> None:
    assert [host_of(netloc) for netloc in ("A.b:1", "[::1]:8501", "a:b", "")] == ["a.b", "::1", "", ""]


# ---- the real server, so that no path of Streamlit's goes past the door

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "YWFhYWFhYWFhYWFhYWFhYQ==",
}
PATHS = [
    ("GET", "/"),
    ("GET", "/_stcore/health"),
    ("GET", "/_stcore/host-config"),
    ("GET", "/_stcore/metrics"),
    ("PUT", "/_stcore/upload_file/a/b"),
    ("DELETE", "/_stcore/upload_file/a/b"),
    ("GET", "/media/a.png"),
    ("GET", "/component/a/b.js"),
    ("GET", "/_stcore/bidi-components/a/b.js"),
    ("POST", "/_stcore/agent/interact"),
    ("GET", "/static/a.js"),
    ("GET", "/app/static/a"),
    ("GET", "/auth/login"),
    ("GET", "/oauth2callback"),
    *(("GET", f"/{page}") for page in page_needs()),
    *(("GET", path) for path in OPEN_PATHS),
    *((one.split()[0], one.split()[1]) for one in route_needs()),
]


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", tmp_path / "log")
    server.start()
    yield server
    server.kill()


def _asked(server: Server, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


@pytest.mark.slow
def test_the_real_server_answers_no_path_under_another_name(real: Server) -> None:
    for method, path in PATHS:
        for host, refused in (("evil.example", True), (f"localhost:{real.port}", False)):
            answer = _asked(real, method, path, Host=host)
            assert (answer.status == 421) == refused, (path, host, answer.status)
            assert {name: answer.getheader(name) for name in HEADERS} == HEADERS, (path, host)
    assert _asked(real, "GET", "/_stcore/stream", Host="evil.example", **UPGRADE).status == 403
    assert _asked(real, "GET", "/_stcore/stream", **UPGRADE).status == 101


@pytest.mark.slow
@pytest.mark.usefixtures("proxied")
def test_the_real_server_lets_nobody_in_past_the_proxy(real: Server) -> None:
    for method, path in PATHS:
        assert (_asked(real, method, path).status == 401) == (path not in OPEN_PATHS), path
    assert _asked(real, "GET", "/_stcore/stream", **UPGRADE).status == 403
    assert _asked(real, "GET", "/_stcore/stream", **UPGRADE, **PROXY).status == 101
