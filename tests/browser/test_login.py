"""The log-in in a real browser, against an OpenID provider on this computer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.engine import open_store
from db.fields import add_field
from mitosis_core.image.sample_field import draw_sample_field
from tests.browser.conftest import Server

pytestmark = pytest.mark.browser
oidc = pytest.importorskip("oidc_provider_mock")

SECRETS = """
[auth]
redirect_uri = "{address}/oauth2callback"
cookie_secret = "a secret of this test alone, long enough"
client_id = "concentric"
client_secret = "a secret of this test alone"
server_metadata_url = "http://localhost:{port}/.well-known/openid-configuration"

[concentric]
admins = ["anna@lab.org"]
reviewers = ["bert@lab.org"]
"""


@pytest.fixture(scope="module")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one field, for whom this provider knows."""
    folder, secrets = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("secrets") / "secrets.toml"
    add_field(open_store(folder), draw_sample_field(size_px=320, mitoses=3, lookalikes=2).field, case="case")
    people = [oidc.User(sub=name, claims={"email": f"{name}@lab.org"}) for name in ("anna", "bert", "cleo")]
    people.append(oidc.User(sub="dora", claims={"email": "anna@lab.org", "email_verified": False}))
    server = Server("tests/browser/fake_app.py", folder, "--secrets.files", str(secrets))
    with oidc.run_server_in_thread(user_claims=people) as provider:
        secrets.write_text(SECRETS.format(address=server.address, port=provider.server_port))
        try:
            yield server.start()
        finally:
            server.kill()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


def log_in(page: Any, lab: Server, name: str) -> None:
    page.goto(lab.address)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name=name).click()


def shows(page: Any, name: str) -> None:
    page.get_by_text(re.compile(name.replace("@", "\u2060?@"))).wait_for()


def buttons(page: Any) -> str:
    page.locator("[data-test-script-state='notRunning']").wait_for()
    return " ".join(page.get_by_role("button").all_inner_texts())


def test_a_stranger_sees_the_login_alone(page: Any, lab: Server) -> None:
    for path in ("", "cases", "detect", "results", "review?reader=Anna", "retrain", "models", "compare", "about"):
        page.goto(f"{lab.address}/{path}")
        page.get_by_text("Please log in.").wait_for()
        assert not page.locator(".viewer").count() and not page.get_by_test_id("stFileUploader").count()


def test_a_reviewer_reviews_in_the_name_of_the_login_whatever_the_address_says(page: Any, lab: Server) -> None:
    log_in(page, lab, "bert")
    shows(page, "bert@lab.org · reviewer")
    page.goto(f"{lab.address}/review?reader=anna@lab.org")
    page.locator(".viewer[data-outbox='0']").wait_for()
    assert page.get_by_role("button", name=re.compile("bert⁠?@lab")).count()
    assert "Delete" not in buttons(page)
    page.goto(f"{lab.address}/retrain")
    page.get_by_text("This page needs the role admin").wait_for()


def test_who_is_on_no_list_only_looks(page: Any, lab: Server) -> None:
    log_in(page, lab, "cleo")
    shows(page, "cleo@lab.org · reader")
    page.goto(f"{lab.address}/review")
    page.locator(".viewer[data-ready]").wait_for()
    assert not page.locator(".viewer[data-editable]").count()
    page.goto(f"{lab.address}/models")
    page.get_by_text("Choose two to").wait_for()
    assert "Import" not in buttons(page) and "Download" not in buttons(page)


def test_an_admin_trains_and_the_session_ends_with_the_log_out(page: Any, lab: Server) -> None:
    log_in(page, lab, "anna")
    page.goto(f"{lab.address}/retrain")
    shows(page, "anna@lab.org · admin")
    page.get_by_role("heading", name="Retrain").wait_for()
    page.get_by_role("button", name=re.compile("· admin")).click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(lambda url: "retrain" not in url)
    page.goto(f"{lab.address}/retrain")
    page.get_by_text("Please log in.").wait_for()


def test_an_address_that_the_provider_has_not_verified_is_nobody(page: Any, lab: Server) -> None:
    log_in(page, lab, "dora")
    page.get_by_text("Please log in.").wait_for()


def test_a_cookie_made_elsewhere_lets_nobody_in(page: Any, lab: Server) -> None:
    page.context.add_cookies(
        [{"name": "_streamlit_user", "value": "2|1:0|10:1|15:_streamlit_user|4:e30=|00", "url": lab.address}]
    )
    page.goto(lab.address)
    page.get_by_text("Please log in.").wait_for()


def test_the_server_does_not_start_for_others_without_a_login(tmp_path: Path) -> None:
    server = Server("app.py", tmp_path, "--server.address", "0.0.0.0")
    with pytest.raises(pytest.fail.Exception, match="without a log-in"):
        server.start()
