"""Crops of stored fields for the browser: squares round cells, cut on the server, so that no field is sent for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

from db.fields import find_field, load_field
from mitosis_core.image.encoding import encode_jpeg
from mitosis_core.image.square import cut_square
from mitosis_core.types import UInt8
from pages.shared.store import the_store
from pages.shared.viewer.images import IMAGES, ImageStore

SIDES_PX = range(8, 4097)
LARGEST_PX = 512  # a larger square is made smaller
_FORM = re.compile(r"(-?[0-9]{1,5})-(-?[0-9]{1,5})-([0-9]{1,4})\.jpg", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_one_at_a_time = Lock()  # decoded images are large, and a gallery asks for many crops at once


@dataclass(frozen=True)
class Crop:
    """A square of a field: the pixel in its middle, and its side in pixels of the image."""

    x_px: int
    y_px: int
    side_px: int


def parse_crop(name: str) -> Crop | None:
    """X-Y-SIDE.jpg; None when it is not of this form."""
    found = _FORM.fullmatch(name)
    if found is None or int(found[3]) not in SIDES_PX:
        return None
    return Crop(*(int(number) for number in found.groups()))


def publish_crop(digest: str, crop: Crop, images: ImageStore = IMAGES) -> bytes | None:
    """The crop as a JPEG; None when there is no such field. What lies outside the image is white.

    Raises ImageDamaged; another StoreFailed while the store cannot be used.
    """
    name = f"{digest}/{crop.x_px}-{crop.y_px}-{crop.side_px}.jpg"
    if (known := images.get(name)) is not None:
        return known
    if not _DIGEST.fullmatch(digest) or find_field(the_store(), digest) is None:
        return None
    with _one_at_a_time:
        pixels = _pixels(str(the_store().folder), digest)
    images.publish(name, lambda: _encode(cut(pixels, crop)))
    return images.get(name)


def cut(pixels: UInt8, crop: Crop) -> UInt8:
    """UInt8[side, side, 3] of UInt8[h, w, 3]; what lies outside the image is white."""
    return cut_square(pixels, crop.x_px, crop.y_px, crop.side_px, 255)


@lru_cache(maxsize=8)
def _pixels(folder: str, digest: str) -> UInt8:
    """The decoded image. folder: of the store, so that another store has images of its own."""
    stored = find_field(the_store(), digest)
    assert stored is not None, "its row was there a moment ago"
    return load_field(the_store(), stored).pixels


def _encode(pixels: UInt8) -> bytes:
    import cv2

    if len(pixels) > LARGEST_PX:
        pixels = cv2.resize(pixels, (LARGEST_PX, LARGEST_PX), interpolation=cv2.INTER_AREA)
    return encode_jpeg(pixels, 92, full_colour=False)
