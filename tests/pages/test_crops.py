"""Crops: the right square of the right field, for whoever holds the token of its crops, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from db.engine import Store, open_store
from db.fields import StoredField, add_field
from db.thumbnails import THUMBNAIL_PX
from mitosis_core.types import Field
from pages.shared.viewer import crops
from pages.shared.viewer.crops import Crop, cut, parse_crop
from pages.shared.viewer.review_data import crop_url, thumbnail_url
from pages.shared.viewer.routes import ROUTES, crops_address, image_url

GREY = np.arange(80 * 100, dtype=np.uint32).reshape(80, 100, 1) % 251
PIXELS = np.repeat(GREY, 3, 2).astype(np.uint8)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoredField]:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path))
    store: Store = open_store(tmp_path)
    smooth = np.full((400, 600, 3), 200, np.uint8)
    smooth[100:140, 300:340] = (10, 60, 200)  # a blue cell in the middle of (320, 120)
    yield add_field(store, Field(smooth, 0.25, "f.png"))[0]
    store.close()
    crops._pixels.cache_clear()


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=ROUTES))


def test_a_crop_is_cut_with_its_place_in_the_middle() -> None:
    square = cut(PIXELS, Crop(50, 40, 10))
    assert (square == PIXELS[35:45, 45:55]).all()


@pytest.mark.parametrize(("x", "y"), [(0, 0), (99, 79), (-30, 5), (50, 200), (1000, 1000)])
def test_what_lies_outside_the_image_is_white(x: int, y: int) -> None:
    square = cut(PIXELS, Crop(x, y, 20))
    assert square.shape == (20, 20, 3)
    for row in range(20):
        for column in range(20):
            at = (y - 10 + row, x - 10 + column)
            inside = 0 <= at[0] < 80 and 0 <= at[1] < 100
            assert (square[row, column] == (PIXELS[at] if inside else 255)).all()


def test_names_of_crops() -> None:
    assert parse_crop("12-7-160.jpg") == Crop(12, 7, 160)
    assert parse_crop("-12--7-160.jpg") == Crop(-12, -7, 160)
    for name in (
        "12-7.jpg",
        "12-7-0.jpg",
        "12-7-9999.jpg",
        "a-7-160.jpg",
        "12-7-160.png",
        "1²-7-160.jpg",
        "1-2-3-4.jpg",
    ):
        assert parse_crop(name) is None


def test_the_crop_of_a_stored_field_is_given_to_keep_for_good(stored: StoredField, client: TestClient) -> None:
    answer = client.get(crop_url(stored, 320.2, 119.8, 30, "anna"))
    assert answer.status_code == 200 and answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    pixels = np.asarray(Image.open(BytesIO(answer.content)))
    assert pixels.shape == (30, 30, 3) and np.abs(pixels[15, 15].astype(int) - (10, 60, 200)).max() < 12
    assert len(answer.content) < 5000
    small = Image.open(BytesIO(client.get(thumbnail_url(stored, "anna")).content))
    assert small.size == (THUMBNAIL_PX, THUMBNAIL_PX)


def test_a_crop_needs_the_token_of_its_own_field(stored: StoredField, client: TestClient) -> None:
    address = f"/api/crops/{stored.digest}/320-120-30.jpg"
    other = crops_address("0" * 64, "anna")["token"]
    whole = image_url(f"{stored.digest}.jpg", "anna").partition("t=")[2]
    assert client.get(address).status_code == 401
    assert client.get(address, params={"t": other}).status_code == 403
    assert client.get(address, params={"t": whole}).status_code == 403
    assert client.get(f"/api/crops/{'0' * 64}/320-120-30.jpg", params={"t": other}).status_code == 404
    good = crops_address(stored.digest, "anna")["token"]
    assert client.get(f"/api/crops/{stored.digest}/x.jpg", params={"t": good}).status_code == 404
    elsewhere = {"Origin": "https://elsewhere.example"}
    assert client.get(address, params={"t": good}, headers=elsewhere).status_code == 403
