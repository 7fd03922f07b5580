"""Who is let in where: every page and route, an outsider and each role, as docs/security.md says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from db import versions
from db.engine import open_store
from db.fields import add_field, list_fields
from db.reviews import apply_ops
from docs import security_tables
from docs.security_tables import PAGE, page_needs, route_needs, write_tables
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.types import Field
from pages.shared import access, session, shell, store
from pages.shared.guard import MIDDLEWARE
from pages.shared.person import Person, Role
from pages.shared.service import case_result, detecting, reviewing
from pages.shared.service.detecting import PredictionCache
from pages.shared.viewer.images import publish_field
from pages.shared.viewer.review_data import crop_url
from pages.shared.viewer.routes import ROUTES, image_url, ops_token
from tests.db.drawn_case import VERSION, add_case, read
from tests.pages.fakes import FakeDetector
from tests.pages.test_ops_route import op
from tests.train.finished import ended_run, finished_fields

SECRET = "0123456789abcdef"


@pytest.fixture
def proxied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CONCENTRIC_PROXY_HEADER", "X-Forwarded-User")
    monkeypatch.setenv("CONCENTRIC_PROXY_SECRET", SECRET)
    monkeypatch.setenv("CONCENTRIC_ADMINS", "admin")
    monkeypatch.setenv("CONCENTRIC_REVIEWERS", "reviewer")


@pytest.mark.usefixtures("proxied")
@pytest.mark.parametrize("name", page_needs())
def test_every_page_lets_in_whom_the_table_lets_in(
    name: str, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = Role[page_needs()[name].upper()]
    for role in Role:
        monkeypatch.setattr(shell, "person", lambda role=role: Person(role.name.lower() if role else "", role))
        page = AppTest.from_file(f"../../pages/{name}.py", default_timeout=60).run()
        said = " ".join(one.value for one in page.markdown)
        assert not page.exception
        assert ("Please log in" in said) == (role is Role.NOBODY)
        assert ("This page needs the role" in said) == (Role.NOBODY < role < needed)
        if role < needed:  # one sentence, and nothing of the page
            assert not page.get("file_uploader") and not page.dataframe and not page.text_input


@pytest.mark.usefixtures("proxied")
def test_every_route_lets_in_whom_the_table_lets_in() -> None:
    field, _ = add_field(store.the_store(), Field(np.full((32, 32, 3), 200, np.uint8), 0.25, "a.png"))
    picture = publish_field(Field(np.full((32, 32, 3), 200, np.uint8), 0.25, "a.png"))
    client = TestClient(Starlette(routes=ROUTES, middleware=MIDDLEWARE), "http://localhost", client=("127.0.0.1", 1))
    for name, needs in route_needs().items():
        for role in ("", "reader", "reviewer", "admin"):
            known = {"X-Forwarded-User": role, "X-Concentric-Proxy-Secret": SECRET} if role else {}
            user = role or "outsider"
            if name.startswith("GET"):
                address = crop_url(field, 16, 16, 8, user) if "crops" in name else image_url(picture, user)
                status = client.get(address, headers=known).status_code
            else:
                token = {"X-Concentric-Token": ops_token(field.id, role or "outsider")}
                body = {"field": str(field.id), "ops": [op(field)]}
                status = client.post("/api/ops", json=body, headers=known | token).status_code
            allowed = bool(role) and Role[role.upper()] >= Role[needs.upper()]
            assert status == (200 if allowed else 403 if role else 401), (name, role)
    known = {"X-Forwarded-User": "admin", "X-Concentric-Proxy-Secret": SECRET}
    stolen = {"X-Concentric-Token": ops_token(field.id, "reviewer")}
    body = {"field": str(field.id), "ops": [op(field)]}
    assert client.post("/api/ops", json=body, headers=known | stolen).status_code == 403


def test_the_table_is_up_to_date_and_forgets_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert write_tables(text) == text
    monkeypatch.setattr(security_tables, "ROUTE_NEEDS", {})
    with pytest.raises(KeyError):
        route_needs()


CLAIMS = {"is_logged_in": True, "email": "Anna@Lab.org", "iat": time.time()}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "anna@lab.org"),
        ({"email_verified": True}, "anna@lab.org"),
        ({"email_verified": False}, ""),
        ({"iat": time.time() - access.SESSION_S - 1}, ""),
        ({"iat": None}, ""),
        ({"is_logged_in": False}, ""),
        ({"email": None}, ""),
        ({"email": "a" * 61}, ""),
        ({"email": "a\nb"}, ""),
    ],
)
def test_a_login_counts_while_it_is_fresh_and_names_somebody(
    changed: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = {**CLAIMS, **changed}
    monkeypatch.setattr(access, "_secrets", lambda section: {"client_id": "c"} if section == "auth" else {})
    monkeypatch.setattr(type(st.user), "to_dict", lambda _: claims)
    assert access.person() == Person(name, Role.READER if name else Role.NOBODY)


def test_secrets_that_cannot_be_read_let_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets.toml").write_text("[auth")
    monkeypatch.setattr(access.st.secrets, "load_if_toml_exists", lambda: False)
    monkeypatch.setattr(access.config, "get_option", lambda _: [str(tmp_path / "secrets.toml")])
    client = TestClient(Starlette(routes=ROUTES, middleware=MIDDLEWARE), "http://localhost", client=("127.0.0.1", 1))
    assert client.get("/api/images/a.jpg").status_code == 503


def test_the_marks_of_others_are_seen_after_finishing_an_own_review(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    one = store.the_store()
    field, _ = add_field(one, Field(np.full((32, 32, 3), 200, np.uint8), 0.25, "a.png"))

    def seen(name: str, role: Role) -> list[str]:
        return sorted(reviewing.visible_reviews(one, field, name, Person(name, role)))

    def finish(name: str) -> None:
        from db.reviews import parse_op

        whole = op(field, kind="state", state="complete")
        apply_ops(one, field.id, name, [parse_op({k: v for k, v in whole.items() if k not in ("id", "x", "y", "cls")})])

    finish("Anna")
    assert seen("Bert", Role.REVIEWER) == [] and seen("Bert", Role.READER) == seen("Bert", Role.ADMIN) == ["Anna"]
    finish("Bert")
    assert seen("Bert", Role.REVIEWER) == ["Anna"]


def test_who_excludes_a_field_stays_blind_to_it(tmp_path: Path) -> None:
    """Excluded fields may be reopened, and read then with the verdicts of others in mind."""
    kept = open_store(tmp_path / "data")
    first, second = add_case(kept, "A", 2)
    ann = Person("Ann", Role.REVIEWER)
    for field in (first, second):
        read(kept, field, "Bert", [(100, 100)])
    read(kept, first, "Ann", [])
    read(kept, second, "Ann", [], state="excluded")

    def offered() -> list[str]:
        return [one.name for one in case_result.choices(kept, "A", ann, VERSION) if one.kind == "reader"]

    assert reviewing.comparable(reviewing.queue(kept, "Ann", VERSION), ann) == [first]
    assert reviewing.visible_reviews(kept, second, "Ann", ann) == {} and offered() == ["Ann"]
    read(kept, second, "Bert", [], state="excluded")  # of a field that all exclude there is nothing to be told
    assert offered() == ["Ann", "Bert"]


def test_with_a_login_the_name_is_not_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.st, "session_state", {session.READER: "Mallory"})
    assert session.author(Person("anna", Role.ADMIN)) == "anna"
    assert session.author(Person("", Role.ADMIN)) == "Mallory"


# What a page offers, by the beginning of its label, and the role it needs.
OFFERS = {
    "models": {"Promote": "admin", "Roll back": "admin", "Import": "admin", "Save name": "admin", "Download": "admin"},
    "detect": {"Keep 1 field": "reviewer"},
    "review": {"Delete this field": "admin", "Analyse all fields": "reviewer", "Case of": "reviewer"},
    "history": {"Restore this state": "reviewer"},
    "compare": {"Analyse these fields": "reviewer"},
    "compared": {"Measure the memory": "reviewer", "Field": "admin"},  # Field: on which versions and readers disagree
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Finished fields, a version that a run has made and somebody has promoted; what versions find is known."""
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(detecting, "predict", FakeDetector().predict)
    finished_fields(tmp_path / "data").close()
    st.cache_resource.clear()
    versions.record_decision(store.the_store(), "promote", str(ended_run(store.the_store()).version), by="Anna")
    yield
    st.cache_resource.clear()


def _offered(where: str) -> list[str]:
    """The labels on a page once it shows all it has."""
    name = {"history": "review", "compared": "compare"}.get(where, where)
    page = AppTest.from_file(f"../../pages/{name}.py", default_timeout=60)
    page.session_state[session.READER] = "Anna"
    if where == "history":
        page.session_state[session.MODE] = "History"
    page.run()
    if where == "detect":
        next(one for one in page.button if one.label == "Try a sample field").click().run()
    elif where == "history":
        page.slider[0].set_value(1).run()
    elif name == "compare":
        page.selectbox(session.COMPARED_BY).select("Anna").run()
    assert not page.exception
    return [
        one.label if hasattr(one, "label") else one.proto.label
        for kind in ("button", "selectbox", "text_input", "download_button")
        for one in page.get(kind)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("where", OFFERS)
def test_a_page_offers_what_the_role_may_do_and_no_more(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detecting, "is_sample", lambda *field: False)  # it stands for a field that was dropped
    if where == "compared":
        one = store.the_store()
        every = [(field, name) for field in list_fields(one) for name in (DEFAULT_VERSION, f"{DEFAULT_VERSION}-r1")]
        assert reviewing.analyse_fields(one, every, detecting.load_model, PredictionCache()) == []
    for role in (Role.READER, Role.REVIEWER, Role.ADMIN):
        monkeypatch.setattr(shell, "person", lambda role=role: Person("Anna", role))
        labels = _offered(where)
        for label, needed in OFFERS[where].items():
            assert any(one.startswith(label) for one in labels) == (role >= Role[needed.upper()]), (label, role, labels)


@pytest.mark.usefixtures("lab")
def test_a_reviewer_compares_readers_on_fields_of_their_own_that_are_finished() -> None:
    one = store.the_store()
    for name, seen in (("Anna", 4), ("Bert", 0)):
        entries = reviewing.queue(one, name, DEFAULT_VERSION)
        assert len(reviewing.comparable(entries, Person(name, Role.REVIEWER))) == seen
        for role in (Role.READER, Role.ADMIN):
            assert len(reviewing.comparable(entries, Person(name, role))) == 4
