"""Changes over HTTP: what is stored, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from db.engine import Store, open_store
from db.errors import StoreFailed
from db.fields import StoredField, add_field
from db.reviews import history, review_of
from mitosis_core.types import Field
from pages.shared.viewer import images, routes, tokens
from pages.shared.viewer.routes import ROUTES, image_url, ops_token
from tests.pages.ops import make_op

READER = "Änne O. 日本"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    one = open_store(tmp_path / "data", busy_timeout_s=0.2)
    for module in (routes, images, tokens):
        monkeypatch.setattr(module, "the_store", lambda: one)
    return one


@pytest.fixture
def field(store: Store) -> StoredField:
    return add_field(store, Field(np.full((64, 80, 3), 200, np.uint8), 0.25, "a.png"))[0]


@pytest.fixture
def client(store: Store) -> TestClient:
    return TestClient(Starlette(routes=ROUTES))


def op(stored: StoredField, **changed: Any) -> dict[str, Any]:
    return make_op(stored.id, **changed)


def other(stored: StoredField, kind: str, **own: Any) -> dict[str, Any]:
    """A change of something else than a mark."""
    return {key: value for key, value in op(stored, kind=kind, **own).items() if key not in ("id", "x", "y", "cls")}


def send(client: TestClient, field: StoredField, ops: list[Any], token: str | None = None, **headers: Any) -> Any:
    token = ops_token(field.id, READER) if token is None else token
    return client.post(
        "/api/ops", json={"field": str(field.id), "ops": ops}, headers={"X-Concentric-Token": token, **headers}
    )


def test_a_change_is_stored_in_the_name_of_the_token(client: TestClient, store: Store, field: StoredField) -> None:
    one = op(field)
    answer = send(client, field, [one])
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    assert answer.json()["done"] == [one["op_id"]] and not answer.json()["refused"]
    (mark,) = review_of(store, field.id, READER).standing
    assert (mark.id, mark.x, mark.y, mark.verdict) == ("m1", 10, 20, "mitosis")
    assert answer.json()["rev"] == review_of(store, field.id, READER).rev


def test_the_same_change_twice_is_stored_once(client: TestClient, store: Store, field: StoredField) -> None:
    one = op(field)
    first, again = send(client, field, [one]), send(client, field, [one, one])
    assert first.json()["done"] == [one["op_id"]] and set(again.json()["done"]) == {one["op_id"]}
    assert len(history(store, field.id)) == 1


def test_one_bad_change_does_not_hold_up_the_others(client: TestClient, store: Store, field: StoredField) -> None:
    bad = [
        op(field, cls="apoptosis"),
        op(field, x=1e9),
        op(field, kind="drop"),
        op(field, extra=1),
        op(field, field="99"),
    ]
    good = op(field, id="m2")
    answer = send(client, field, [*bad, good]).json()
    assert answer["done"] == [good["op_id"]]
    assert {one["op_id"] for one in answer["refused"]} == {one["op_id"] for one in bad}
    assert all(one["why"] for one in answer["refused"])


@pytest.mark.parametrize(
    ("token", "status"),
    [("", 401), ("x", 401), ("a.b.c", 401), ("!!.9999999999.00", 401), ("YQ.9999999999." + "0" * 64, 403)],
)
def test_without_its_token_nothing_is_stored(
    client: TestClient, store: Store, field: StoredField, token: str, status: int
) -> None:
    answer = send(client, field, [op(field)], token)
    assert answer.status_code == status and answer.json()["error"]
    assert not history(store, field.id)


def test_the_token_of_another_field_or_of_a_picture_is_refused(client: TestClient, field: StoredField) -> None:
    for token in (ops_token(field.id + 1, READER), image_url(f"{field.digest}.jpg", READER).partition("t=")[2]):
        assert send(client, field, [op(field)], token).status_code == 403


def test_an_expired_token_asks_for_a_reload(
    client: TestClient, field: StoredField, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, now = ops_token(field.id, READER), tokens.time.time()
    monkeypatch.setattr(tokens.time, "time", lambda: now + 2 * 86_400 + 1)
    assert send(client, field, [op(field)], token).status_code == 401


@pytest.mark.parametrize("headers", [{"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}])
def test_other_sites_are_refused(client: TestClient, field: StoredField, headers: dict[str, str]) -> None:
    assert send(client, field, [op(field)], **headers).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"field": "1"}',
        b'{"field": 1, "ops": []}',
        b'{"field": "x", "ops": []}',
        b'{"field": "1", "ops": {}}',
        b'{"field": "1", "ops": [3]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_change_is_refused_with_a_sentence(client: TestClient, field: StoredField, body: bytes) -> None:
    headers = {"content-type": "application/json", "X-Concentric-Token": ops_token(1, READER)}
    answer = client.post("/api/ops", content=body, headers=headers)
    assert answer.status_code == 400 and answer.json()["error"].endswith(".")


def test_other_content_is_refused(client: TestClient, field: StoredField) -> None:
    headers = {"content-type": "text/plain", "X-Concentric-Token": ops_token(field.id, READER)}
    content = json.dumps({"field": str(field.id), "ops": []})
    assert client.post("/api/ops", content=content, headers=headers).status_code == 400


def test_an_oversized_request_is_refused(client: TestClient, store: Store, field: StoredField) -> None:
    assert send(client, field, [op(field, id="m" * routes.MAX_BODY)]).status_code == 413
    assert send(client, field, [op(field, id=f"m{n}") for n in range(1001)]).status_code == 413
    assert not history(store, field.id)


def test_a_field_that_was_deleted_is_said_to_be_gone(client: TestClient, store: Store, field: StoredField) -> None:
    from db.fields import delete_field

    delete_field(store, field.id, by="Ann")
    answer = send(client, field, [op(field)])
    assert answer.status_code == 404 and "deleted" in answer.json()["error"]


def test_a_locked_database_is_a_sentence_and_later_all_is_stored(
    client: TestClient, store: Store, field: StoredField
) -> None:
    import sqlite3

    one, token = op(field), ops_token(field.id, READER)
    other = sqlite3.connect(store.folder / "concentric.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = send(client, field, [one], token)
    assert answer.status_code == 503 and "busy" in answer.json()["error"]
    other.execute("ROLLBACK")
    other.close()
    assert send(client, field, [one]).json()["done"] == [one["op_id"]]


def test_the_picture_of_a_stored_field_is_made_when_asked_for(client: TestClient, field: StoredField) -> None:
    answer = client.get(image_url(f"{field.digest}.jpg", READER))
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"


def test_while_the_store_cannot_be_opened_browsers_are_asked_to_wait_and_nothing_stays_of_it(
    field: StoredField, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, token, picture = op(field), ops_token(field.id, READER), image_url(f"{field.digest}.jpg", READER)
    waiting = TestClient(Starlette(routes=ROUTES))

    def unusable() -> Store:
        raise StoreFailed("The database file is damaged.")

    with monkeypatch.context() as trouble:
        for module in (routes, images, tokens):
            trouble.setattr(module, "the_store", unusable)
        images.IMAGES._kept.clear()
        for answer in (send(waiting, field, [one], token), waiting.get(picture)):
            assert answer.status_code == 503 and "damaged" in answer.text
            assert int(answer.headers["retry-after"]) > 0 and answer.headers["cache-control"] == "no-store"
        with pytest.raises(StoreFailed):  # no key but the store's
            tokens.sign("picture", READER)
    assert send(waiting, field, [one], token).json()["done"] == [one["op_id"]]
    assert waiting.get(picture).status_code == 200


@pytest.mark.parametrize("op_id", ["\ud800", "0" * 31 + "\udfff", "é" * 32, "0" * 500])
def test_an_odd_id_is_refused_by_its_own_name_so_that_the_outbox_lets_go_of_it(
    client: TestClient, field: StoredField, op_id: str
) -> None:
    good = op(field)
    headers = {"X-Concentric-Token": ops_token(field.id, READER), "Content-Type": "application/json"}
    content = json.dumps({"field": str(field.id), "ops": [op(field, op_id=op_id), good]})
    answer = client.post("/api/ops", content=content, headers=headers)
    assert answer.status_code == 200 and answer.json()["done"] == [good["op_id"]]
    assert [one["op_id"] for one in answer.json()["refused"]] == [op_id]


@pytest.mark.parametrize("base", [2**53, 2**53 + 1, 2**63, 2**64, 10**400, -1, 1.5, True])
def test_an_odd_base_never_breaks_a_request(client: TestClient, field: StoredField, base: float) -> None:
    one = op(field, base=base)
    answer = send(client, field, [one])
    assert answer.status_code == 200
    assert one["op_id"] in [*answer.json()["done"], *(bad["op_id"] for bad in answer.json()["refused"])]


@pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: file.write_bytes(b"no picture")])
def test_a_stored_image_that_is_missing_or_damaged_is_said_to_be(
    client: TestClient, store: Store, field: StoredField, harm: Callable[[Path], None]
) -> None:
    images.IMAGES._kept.clear()
    harm(store.images / f"{field.digest}.png")
    answer = client.get(image_url(f"{field.digest}.jpg", READER))
    assert answer.status_code == 404 and "a.png" in answer.text and answer.headers["cache-control"] == "no-store"


def test_who_may_not_review_changes_nothing(
    client: TestClient, store: Store, field: StoredField, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_PROXY_HEADER", "X-Forwarded-User")
    token = ops_token(field.id, READER)  # from the time when the role was another
    named = {"X-Forwarded-User": READER.encode()}
    assert send(client, field, [op(field)], token, **named).status_code == 403
    assert not history(store, field.id)
    monkeypatch.setenv("CONCENTRIC_REVIEWERS", READER)
    assert send(client, field, [op(field)], token, **named).status_code == 200


def test_a_finished_field_answers_409_and_says_what_was_stored(
    client: TestClient, store: Store, field: StoredField
) -> None:
    send(client, field, [op(field), other(field, "state", seq=2, state="complete")])
    stray, spent = op(field, seq=3, id="m2"), other(field, "time", seq=4, seconds=2.0)
    answer = send(client, field, [stray, spent])
    assert answer.status_code == 409 and answer.json()["error"] == "This field is finished. Reopen it to change it."
    assert answer.json()["refused"] == [{"op_id": stray["op_id"], "why": answer.json()["error"]}]
    assert answer.json()["done"] == [spent["op_id"]] and answer.json()["rev"] == review_of(store, field.id, READER).rev
    again = send(client, field, [other(field, "state", seq=5, state="in_review"), stray])
    assert again.status_code == 200 and "error" not in again.json() and len(again.json()["done"]) == 2
