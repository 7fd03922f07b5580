"""Files over HTTP: stored one by one whatever becomes of the page, and what is refused is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from db.engine import Store, open_store
from db.errors import StoreFull
from db.fields import list_fields, list_unscaled
from db.incoming_files import refused_files
from db.preferences import change_preferences
from mitosis_core.image.sample_field import the_sample
from mitosis_core.model import DEFAULT_VERSION
from pages.shared.board import routes
from pages.shared.service import importing
from pages.shared.viewer import tokens
from tests.db.queued import list_detections
from tests.pages.test_case_board import _enqueue
from tests.pages.test_detecting import png


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    one = open_store(tmp_path / "data", busy_timeout_s=0.2)
    for module in (routes, tokens):
        monkeypatch.setattr(module, "the_store", lambda: one)
    monkeypatch.setattr(importing, "detect_later", _enqueue)
    monkeypatch.setattr(importing, "list_versions", lambda: [DEFAULT_VERSION, "mine"])
    return one


@pytest.fixture
def client(store: Store) -> TestClient:
    return TestClient(Starlette(routes=routes.FILE_ROUTES))


def send(
    client: TestClient, name: str, data: bytes = b"", *, user: str = "", token: str | None = None, **asked: Any
) -> Any:
    token = routes.files_token(user) if token is None else token
    asked = {"name": name, "size": len(data)} | asked
    return client.post("/api/files", params=asked, content=data, headers={"X-Concentric-Token": token})


def test_a_file_is_stored_in_its_case_and_waits_for_detection(client: TestClient, store: Store) -> None:
    change_preferences(store, "", um_per_px=0.25, reader="Ann", version="mine")
    answer = send(client, "folder/A00_01.png", png())
    assert answer.json() == {"name": "folder/A00_01.png", "case": "A00", "field": 1, "problem": "", "known": False}
    (one,) = list_fields(store)
    assert (one.name, one.case, one.um_per_px, one.scale_source) == ("A00_01.png", "A00", 0.25, "scanner remembered")
    (row,) = list_detections(store)
    assert (row.field_id, row.version, row.state, row.by) == (1, "mine", "waiting", "Ann")
    assert send(client, "B_7.png", png()).json()["known"] and len(list_fields(store)) == 1


def test_one_case_for_all_and_no_names_where_they_are_not_wanted(client: TestClient, store: Store) -> None:
    change_preferences(store, "", um_per_px=0.25)
    send(client, "A00_01.png", png(1), case="Mine")
    send(client, "Smith_01.png", png(2), unnamed=1)
    assert [(one.name, one.case) for one in list_fields(store)] == [("A00_01.png", "Mine"), ("Field 2", "")]


def test_a_file_without_scale_is_stored_and_waits(client: TestClient, store: Store) -> None:
    answer = send(client, "A00_01.png", png()).json()
    assert answer["field"] == 1 and "µm" in answer["problem"]
    assert [one.id for one in list_unscaled(store)] == [1] and refused_files(store) == []


def test_what_cannot_be_taken_is_listed_with_its_sentence_and_no_longer_when_it_could(
    client: TestClient, store: Store
) -> None:
    for name, data in (("a.png", b"nonsense"), ("b.png", b""), ("sample.png", None)):
        if data is None:
            import cv2

            data = bytes(cv2.imencode(".png", the_sample().field.pixels[..., ::-1])[1])
        assert send(client, name, data).json()["field"] is None
    assert [one.name for one in refused_files(store)] == ["sample.png", "b.png", "a.png"]
    assert "drawn by the program" in refused_files(store)[0].problem and list_fields(store) == []
    send(client, "a.png", png())
    assert [one.name for one in refused_files(store)] == ["sample.png", "b.png"]


def test_a_whole_slide_and_a_file_that_is_too_large_are_listed_without_being_sent(
    client: TestClient, store: Store
) -> None:
    assert "export" in send(client, "case/slide.SVS", size=5_000_000_000).json()["problem"]
    assert "has 5000 MB" in send(client, "stitched.tif", size=5_000_000_000).json()["problem"]
    assert [one.name for one in refused_files(store)] == ["stitched.tif", "case/slide.SVS"]


def test_what_the_store_cannot_take_now_is_to_be_sent_again_and_is_not_listed(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise StoreFull("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(importing, "check_disk_space", full)
        answer = send(client, "a.png", png())
    assert answer.status_code == 503 and answer.json() == {"error": "The disk is full."}
    assert refused_files(store) == []
    assert send(client, "a.png", png()).status_code == 200


def test_a_body_beyond_the_limit_is_refused(client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "largest_file_mb", lambda: 1)
    assert send(client, "a.png", b"x" * 1_000_001).status_code == 413


def test_nobody_sends_without_a_token_or_a_role(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(client, "a.png", png(), token="").status_code == 401
    assert send(client, "a.png", png(), token=tokens.sign("review of field 1", "")).status_code == 403
    assert send(client, "", png()).status_code == 400
    monkeypatch.setenv("CONCENTRIC_PROXY_HEADER", "x-user")
    assert send(client, "a.png", png(), user="Bob").status_code == 403  # the proxy names nobody
    monkeypatch.setattr(routes, "proxied_name", lambda header: "Bob")
    assert send(client, "a.png", png(), user="Bob").status_code == 403  # who may only look
    monkeypatch.setenv("CONCENTRIC_REVIEWERS", "Bob")
    assert send(client, "a.png", png(), user="Bob").status_code == 200
