"""Pixels as the bytes of a JPEG or PNG; the same pixels give the same bytes, and nothing but pixels is in them."""

from __future__ import annotations

from mitosis_core.types import UInt8


def encode_jpeg(pixels: UInt8, quality: int = 90, *, full_colour: bool = True) -> bytes:
    """UInt8[h, w, 3] as a JPEG; full_colour: with all of its colour resolution, so that chromatin stays crisp."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if full_colour:
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # 4:4:4
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1])


def encode_png(pixels: UInt8, compression: int | None = None) -> bytes:
    """UInt8[h, w, 3], or [h, w, 4] with opacity, as a PNG. compression: 0 to 9; None: as the library has it."""
    import cv2

    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    options = [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression]
    return bytes(cv2.imencode(".png", cv2.cvtColor(pixels, order), options)[1])
