from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from mitosis_core.types import Field, ProbabilityMap
from pages.shared.viewer import tokens
from pages.shared.viewer.images import IMAGES, ImageStore, heat_rgba, publish_field, publish_heat
from pages.shared.viewer.routes import ROUTES, image_url

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=ROUTES))


@pytest.fixture
def name() -> str:
    return publish_field(Field(PIXELS, 0.25, "a"))


def test_a_signed_address_gives_the_field_to_keep_for_good(client: TestClient, name: str) -> None:
    answer = client.get(image_url(name, "anna"))
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(BytesIO(answer.content)).size == (80, 64)


def test_without_a_token_nothing_is_given(client: TestClient, name: str) -> None:
    assert client.get(f"/api/images/{name}").status_code == 401


@pytest.mark.parametrize(
    "token",
    ["x", "a.b.c", "anna.9999999999.00", "anna.²." + "0" * 64, "..", "a.1.é", "YQ." + "9" * 5000 + "." + "0" * 64],
)
def test_what_has_not_the_form_of_a_token_is_refused(client: TestClient, name: str, token: str) -> None:
    assert client.get(f"/api/images/{name}", params={"t": token}).status_code == 401


def test_the_expiry_of_a_token_cannot_be_stretched(client: TestClient, name: str) -> None:
    user, expiry, signature = tokens.sign(name, "anna").split(".")
    for stretched in (
        f"00{expiry}9999999",
        f"0{expiry}",
        f"{expiry}0",
        f" {expiry}",
        f"+{expiry}",
        f"{int(expiry) + 1}",
    ):
        token = f"{user}.{stretched}.{signature}"
        assert client.get(f"/api/images/{name}", params={"t": token}).status_code in (401, 403)


@given(st.data())
def test_an_altered_token_lets_nobody_in(data: st.DataObject) -> None:
    token = tokens.sign("picture", "anna")
    place = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.text(max_size=3))
    altered = token[:place] + put + token[place + data.draw(st.integers(0, 2)) :]
    assume(altered != token)
    with pytest.raises((tokens.NoToken, tokens.WrongToken)):
        tokens.check(altered, "picture")


def test_the_token_of_another_field_is_refused(client: TestClient, name: str) -> None:
    other = publish_field(Field(255 - PIXELS, 0.25, "b"))
    assert client.get(f"/api/images/{name}", params={"t": tokens.sign(other, "anna")}).status_code == 403


def test_a_token_of_another_user_name_is_refused(client: TestClient, name: str) -> None:
    token = f"{tokens.sign(name, 'bert').partition('.')[0]}.{tokens.sign(name, 'anna').partition('.')[2]}"
    assert client.get(f"/api/images/{name}", params={"t": token}).status_code == 403


def test_an_expired_token_is_refused(client: TestClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = image_url(name, "anna")
    now = tokens.time.time()
    monkeypatch.setattr(tokens.time, "time", lambda: now + 2 * 86_400 + 1)
    assert client.get(address).status_code == 401


@pytest.mark.parametrize("headers", [{"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}])
def test_other_sites_are_refused(client: TestClient, name: str, headers: dict[str, str]) -> None:
    assert client.get(image_url(name, "anna"), headers=headers).status_code == 403


def test_the_own_origin_is_not_another_site(client: TestClient, name: str) -> None:
    headers = {"origin": "http://testserver", "sec-fetch-site": "same-origin"}
    assert client.get(image_url(name, "anna"), headers=headers).status_code == 200


def test_what_is_not_kept_is_not_found(client: TestClient) -> None:
    answer = client.get(image_url("0" * 64 + ".jpg", "anna"))
    assert answer.status_code == 404 and answer.headers["cache-control"] == "no-store"


def test_only_reading_is_allowed(client: TestClient, name: str) -> None:
    assert client.post(image_url(name, "anna")).status_code == 405


def test_an_address_stays_the_same_between_reruns(name: str) -> None:
    assert image_url(name, "anna") == image_url(name, "anna")


def test_a_published_field_keeps_the_colour_of_every_pixel_nearly(name: str) -> None:
    smooth = np.repeat(np.repeat(PIXELS[:8, :10], 8, 0), 8, 1)
    data = IMAGES.get(publish_field(Field(smooth, 0.25, "c")))
    assert data is not None
    back = np.asarray(Image.open(BytesIO(data))).astype(int)
    assert np.abs(back - smooth).max() < 25 and np.abs(back - smooth).mean() < 2


def test_a_map_is_clear_where_nothing_is_and_solid_where_a_mitosis_is() -> None:
    opacity = heat_rgba(ProbabilityMap(np.linspace(0, 1, 50, dtype=np.float32)[None], (4, 4), 0.25))[0, :, 3].astype(
        int
    )
    assert opacity[0] == 0 and opacity[-1] == 255 and (np.diff(opacity) >= 0).all()


def test_another_map_is_another_picture() -> None:
    names = {publish_heat(ProbabilityMap(np.full((4, 4), p, np.float32), (4, 4), 0.25)) for p in (0.1, 0.2)}
    assert len(names) == 2


def test_the_store_encodes_once_and_drops_the_longest_unused() -> None:
    store, encoded = ImageStore(max_bytes=25), []
    for name in ("a", "b", "a", "c", "a"):
        store.publish(name, lambda name=name: encoded.append(name) or b"0123456789")
    assert encoded == ["a", "b", "c"]
    assert [store.get(name) is not None for name in "abc"] == [True, False, True]
