"""Small pictures of the stored fields, made from their images: they may be deleted at any time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from db.disk import FOLDER_MODE, write_durably
from db.engine import Store
from db.images import decode, image_name
from mitosis_core.image.encoding import encode_jpeg
from mitosis_core.types import UInt8

THUMBNAIL_PX = 176  # twice the 88 px at which pages show them
_QUALITY = 82


def write_thumbnail(store: Store, digest: str, pixels: UInt8) -> bytes:
    """The middle square of UInt8[H, W, 3] as a JPEG of THUMBNAIL_PX, kept where there is room; returns its bytes."""
    data = _encode(pixels)
    with suppress(OSError):  # it is made again when it is asked for
        _place(store, digest).parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        write_durably(_place(store, digest), data)
    return data


def read_thumbnail(store: Store, digest: str) -> bytes | None:
    """The small picture of the field with this digest; None when its image is missing or damaged. Raises StoreFailed
    when the object store of the images cannot be reached."""
    with suppress(OSError):
        return _place(store, digest).read_bytes()
    with suppress(OSError):
        pixels = decode(store.image_files.read_once(image_name(digest)), digest)
        return None if pixels is None else write_thumbnail(store, digest, pixels)
    return None


def delete_thumbnail(store: Store, digest: str) -> None:
    """With its field."""
    with suppress(OSError):
        _place(store, digest).unlink(missing_ok=True)


def _place(store: Store, digest: str) -> Path:
    return store.folder / "thumbnails" / f"{digest}.jpg"


def _encode(pixels: UInt8) -> bytes:
    import cv2

    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = pixels[top : top + side, left : left + side]
    small = cv2.resize(middle, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return encode_jpeg(small, _QUALITY, full_colour=False)
