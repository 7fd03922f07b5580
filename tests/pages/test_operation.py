"""What an operator sees: health, metrics, the log; and what the server refuses when the disk is nearly full."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from db import disk_space, runs
from db.backup import make_copy
from db.detection_queue import enqueue
from db.engine import Store
from db.errors import StoreFull
from db.fields import list_fields
from db.reviews import review_of
from mitosis_core.logs import start_logging
from pages.shared.operation import health, metrics
from pages.shared.operation.metrics import CountAnswers, CountErrors
from pages.shared.operation.routes import OPERATION_ROUTES
from pages.shared.service import detecting, reviewing, training
from pages.shared.service.detecting import PredictionCache
from pages.shared.store import the_store
from pages.shared.viewer import tokens
from pages.shared.viewer.routes import ROUTES, ops_token
from tests.pages.fakes import FakeDetector, FakeModel
from tests.pages.ops import make_op
from tests.pages.test_detecting import png

TELLING = "Mustermann"
HERE = ("127.0.0.1", 50000)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store of a server over an empty folder."""
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(health, "_KEEP_S", 0.0)
    getattr(getattr(tokens, "_key", None), "cache_clear", lambda: None)()
    one = the_store()
    monkeypatch.setattr(one, "busy_timeout_s", 0.05)
    yield one
    getattr(getattr(tokens, "_key", None), "cache_clear", lambda: None)()


def client(host: tuple[str, int] = HERE, **headers: str) -> TestClient:
    app = Starlette(routes=[*ROUTES, *OPERATION_ROUTES], middleware=[Middleware(CountAnswers)])
    return TestClient(app, base_url="http://127.0.0.1", client=host, headers=headers, raise_server_exceptions=False)


def kept(store: Store, detector: FakeDetector, name: str = "a.png", seed: int = 0) -> int:
    """The id of a field that was analysed and kept, as the Detect page does it."""
    files = detecting.give_scale([detecting.open_file(name, png(seed))], 0.25)
    done = detecting.analyse(files, FakeModel(), PredictionCache())  # type: ignore[arg-type]
    return reviewing.store_for_review(store, done, case=f"case of {name}", keep_names=True)[0][0].id


def review(field: int, reader: str, **changed: Any) -> Any:
    sent = {"field": str(field), "ops": [make_op(field, **changed)]}
    return client().post("/api/ops", json=sent, headers={"X-Concentric-Token": ops_token(field, reader)})


def value(name: str, **labels: str) -> float:
    """One sample of what Prometheus would read."""
    text = client().get("/api/metrics").text
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    (found,) = [one.value for one in samples if one.name == name and one.labels == labels]
    return float(found)


# -- health


def test_a_store_that_works_is_well(store: Store) -> None:
    answer = client().get("/api/health")
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    assert answer.json() == {"ok": True, "sentence": "The data folder can be read and written."}
    assert not list(store.folder.glob("*.part")) and not list(store.folder.glob("health*"))


def test_outsiders_are_told_no_more_than_whether_it_works(store: Store) -> None:
    assert client(("192.0.2.7", 1)).get("/api/health").json() == {"ok": True}
    assert client(**{"X-Forwarded-For": "192.0.2.7"}).get("/api/health").json() == {"ok": True}


def deleted(store: Store) -> None:
    store.file.unlink()


def damaged(store: Store) -> None:
    store.close()
    store.file.write_bytes(b"no database " * 1000)


def gone(store: Store) -> None:
    shutil.rmtree(store.folder)


@pytest.mark.parametrize("breaks", [deleted, damaged, gone])
def test_a_store_that_is_broken_is_not_well_and_no_path_is_named(store: Store, breaks: Callable[[Store], None]) -> None:
    breaks(store)
    answer = client().get("/api/health")
    assert answer.status_code == 503 and answer.json()["ok"] is False
    assert answer.json()["sentence"].endswith(".") and str(store.folder) not in answer.text
    assert client(("192.0.2.7", 1)).get("/api/health").json() == {"ok": False}


def test_a_store_that_another_program_locks_is_busy(store: Store) -> None:
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(store.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = client().get("/api/health")
    assert answer.status_code == 503 and "busy" in answer.json()["sentence"]
    other.execute("ROLLBACK")
    other.close()
    assert client().get("/api/health").status_code == 200


def test_a_full_disk_is_not_well_though_the_lock_could_be_taken(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(health, "write_part", no_room)
    answer = client().get("/api/health")
    assert answer.status_code == 503 and "disk is full" in answer.json()["sentence"]


def test_asking_all_the_time_does_not_wear_the_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(health, "_KEEP_S", 60.0)
    monkeypatch.setattr(health, "_last", None)
    monkeypatch.setattr(health, "look", lambda: looked.append(1) or health.Health(True, "."))
    assert {client().get("/api/health").status_code for _ in range(5)} == {200} and looked == [1]


# -- metrics


def test_what_happened_and_what_there_is_is_counted(store: Store, detector: FakeDetector) -> None:
    before = {name: value(name) for name in ("concentric_changes_total", "concentric_detection_seconds_count")}
    seconds = value("concentric_detection_seconds_sum")
    field = kept(store, detector)
    assert review(field, "Anna").status_code == 200
    assert value("concentric_fields") == 1
    assert value("concentric_changes_total") == before["concentric_changes_total"] + 1
    assert value("concentric_detection_seconds_count") == before["concentric_detection_seconds_count"] + 1
    assert value("concentric_detection_seconds_sum") == pytest.approx(seconds + 0.25)
    runs.queue_run(store, by="", base_version="", source="", last_event=0, settings={}, split={}, code="")
    assert value("concentric_runs", state="queued") == 1 and value("concentric_runs", state="lost") == 0
    enqueue(store, [field], "another version", by="Anna")
    assert value("concentric_detections", state="waiting") == 1 and value("concentric_detections", state="failed") == 0
    assert value("concentric_disk_free_bytes") > 0 and value("concentric_store_usable") == 1


def test_the_age_of_the_last_copy_is_told_once_there_is_one(
    store: Store, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(store, detector)
    assert "last_copy_age" not in client().get("/api/metrics").text
    made = make_copy(store)
    monkeypatch.setattr(metrics, "datetime", Mock(now=lambda _: made.at + timedelta(hours=25)))
    assert value("concentric_last_copy_age_seconds") == 90_000


def test_without_a_store_there_are_metrics_that_say_so(store: Store) -> None:
    damaged(store)
    assert value("concentric_store_usable") == 0


def test_errors_are_counted_where_they_happen(store: Store) -> None:
    counter, log = CountErrors(), logging.getLogger("concentric")
    logged, answered = value("concentric_errors_total", where="log"), value("concentric_errors_total", where="http")
    log.addHandler(counter)
    log.warning("not one")
    log.error("one")
    log.removeHandler(counter)

    def fail(_: Any) -> Any:
        raise RuntimeError("nobody foresaw this")

    routes = [
        Route("/fails", fail),
        Route("/busy", lambda _: PlainTextResponse("", 503)),
        Route("/well", lambda _: PlainTextResponse("")),
    ]
    app = TestClient(Starlette(routes=routes, middleware=[Middleware(CountAnswers)]), raise_server_exceptions=False)
    assert [app.get(path).status_code for path in ("/fails", "/busy", "/well", "/none")] == [500, 503, 200, 404]
    assert value("concentric_errors_total", where="log") == logged + 1
    assert value("concentric_errors_total", where="http") == answered + 2


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("192.0.2.7", {}, 403),
        ("nonsense", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, 403),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.7"}, 403),
        ("127.0.0.1", {"Origin": "http://evil.example"}, 403),
        ("127.0.0.1", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("192.0.2.7", {"Authorization": "Bearer s3cret-é"}, 200),
        ("192.0.2.7", {"Authorization": "Bearer s3cret"}, 403),
        ("192.0.2.7", {"Authorization": "Bearer "}, 403),
    ],
)
def test_metrics_are_for_operators(
    store: Store, monkeypatch: pytest.MonkeyPatch, host: str, headers: dict[str, str], status: int
) -> None:
    monkeypatch.setenv("CONCENTRIC_METRICS_TOKEN", "s3cret-é")
    sent = {name: text.encode() for name, text in headers.items()}
    assert client((host, 1)).get("/api/metrics", headers=sent).status_code == status


def test_without_a_token_of_the_operator_an_empty_one_opens_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONCENTRIC_METRICS_TOKEN", raising=False)
    for given in ("", "Bearer", "Bearer "):
        assert client(("192.0.2.7", 1), Authorization=given).get("/api/metrics").status_code == 403


# -- the log


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What the server writes to standard error, at the most talkative level."""
    logger = logging.getLogger("concentric")
    start_logging("DEBUG")
    yield lambda: capsys.readouterr().err
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_no_name_of_a_file_a_case_or_a_reader_comes_into_the_log(
    store: Store, detector: FakeDetector, log: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    field = kept(store, detector, f"{TELLING}.png")
    assert review(field, TELLING).status_code == 200
    assert review(field, TELLING, x=1e6).json()["refused"]  # a change that cannot be
    assert review(field + 1, TELLING).status_code == 404
    detector.breaks_on = f"{TELLING} 2.png"
    broken = detecting.give_scale([detecting.open_file(detector.breaks_on, png(2))], 0.25)
    assert detecting.analyse(broken, FakeModel(), PredictionCache())[0].problem  # type: ignore[arg-type]
    monkeypatch.setattr(detecting, "read_field", lambda *_, name: Path(f"/no/{name}").read_bytes())
    assert detecting.open_file(f"{TELLING} 3.png", b"").problem == detecting.UNEXPECTED
    said = log()
    assert TELLING not in said and str(store.folder) not in said
    for expected in (
        "field 1 is kept",
        "was analysed in 0.25 s",
        "failed | RuntimeError at fakes.py",
        "failed | FileNotFoundError",
        "on field 1 refused",
        "refused (404)",
    ):
        assert expected in said, said
    assert all(line[:2] == "20" and "Z " in line for line in said.splitlines())


# -- the disk


@pytest.fixture
def scarce(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Less is free than the reserve."""
    monkeypatch.setenv("CONCENTRIC_RESERVE_MB", str(2 * disk_space.free_bytes(store.folder) / 1e6))
    return store


def test_below_the_reserve_nothing_new_is_taken_and_reviews_go_on(
    store: Store, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = kept(store, detector)
    files = {path for path in store.folder.rglob("*") if path.is_file()}
    monkeypatch.setenv("CONCENTRIC_RESERVE_MB", str(2 * disk_space.free_bytes(store.folder) / 1e6))
    for take in (
        lambda: kept(store, detector, "b.png", 2),
        lambda: training.start(store, by="Anna", source="", settings={}),
        lambda: training.resume(store, 1),
        lambda: training.import_version(store, b"", by="Anna"),
    ):
        with pytest.raises(StoreFull, match="no new fields"):
            take()
    assert len(list_fields(store)) == 1 and runs.list_runs(store) == []
    assert {path for path in store.folder.rglob("*") if path.is_file()} == files
    assert review(field, "Anna").status_code == 200 and len(review_of(store, field, "Anna").marks) == 1
    assert client().get("/api/health").json()["ok"] is True  # reviews are stored


def test_the_pages_warn_when_room_is_scarce(scarce: Store, detector: FakeDetector) -> None:
    page = AppTest.from_file("../../pages/detect.py", default_timeout=30).run()
    assert "Reviews are still saved" in page.warning[0].value and not page.exception


def test_the_pages_do_not_warn_while_there_is_room(store: Store, detector: FakeDetector) -> None:
    assert not AppTest.from_file("../../pages/detect.py", default_timeout=30).run().warning


def test_metrics_show_the_reserve(scarce: Store) -> None:
    assert value("concentric_disk_reserve_bytes") > value("concentric_disk_free_bytes")
