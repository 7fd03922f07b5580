"""Squares round a place of an image, also where they reach beyond it."""

from __future__ import annotations

import numpy as np

from mitosis_core.types import UInt8


def cut_square(pixels: UInt8, x_px: int, y_px: int, side_px: int, beyond: int) -> UInt8:
    """UInt8[side, side, 3]: the square round a pixel of UInt8[h, w, 3]; beyond: the grey of what lies outside it."""
    top, left = y_px - side_px // 2, x_px - side_px // 2
    square = np.full((side_px, side_px, 3), beyond, np.uint8)
    inside = pixels[max(0, top) : max(0, top + side_px), max(0, left) : max(0, left + side_px)]
    if inside.size:
        y, x = max(0, -top), max(0, -left)
        square[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return square
