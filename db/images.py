"""The stored images: pixels in a PNG, named by their digest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mitosis_core.image.encoding import encode_png
from mitosis_core.types import Field, UInt8

if TYPE_CHECKING:
    from db.engine import Store


def image_name(digest: str) -> str:
    """The name of the image with this digest, where images lie (`Store.image_files`)."""
    return f"{digest}.png"


def image_path(store: Store, digest: str) -> Path:
    """Where the image with this digest is kept, when images lie in the data folder."""
    return store.images / image_name(digest)


def encode(pixels: UInt8) -> bytes:
    """A PNG made from the pixels alone: no text, name or date of the original can come along."""
    return encode_png(pixels, 1)


def decode(data: bytes, digest: str) -> UInt8 | None:
    """UInt8[H, W, 3]; None unless these bytes are the image with this digest."""
    import cv2

    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # an empty file
        return None
    if bgr is None:
        return None
    pixels: UInt8 = np.ascontiguousarray(bgr[..., ::-1])
    return pixels if Field(pixels, None, "").digest == digest else None


def is_whole(store: Store, digest: str) -> bool:
    """Whether the image with this digest is kept, and is it. Raises StoreFailed where that cannot be known now."""
    try:
        return decode(store.image_files.read(image_name(digest)), digest) is not None
    except OSError:
        return False
