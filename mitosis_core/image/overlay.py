"""Detections drawn on their field: thin rings with scores, so that the cell inside stays visible."""

from __future__ import annotations

import numpy as np

from mitosis_core.types import Detections, Field, UInt8

RING_UM = 9.0  # clears a mitotic figure and its cell
_GREEN = (0, 200, 60)
_WHITE = (255, 255, 255)


def draw_overlay(field: Field, detections: Detections) -> UInt8:
    """UInt8[H, W, 3] RGB: a copy of the field with a ring and a score at every detection."""
    import cv2

    drawn = np.ascontiguousarray(field.pixels).copy()
    radius = max(6, round(RING_UM / (field.um_per_px or 0.25)))
    size = radius / 60
    for (x, y), score in zip(detections.xy_px, detections.score, strict=True):
        # OpenCV takes sixteenths of a pixel.
        centre = (round(float(x) * 16), round(float(y) * 16))
        text = f"{score:.2f}"
        (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 3)
        at = (min(round(float(x)) + radius, field.width_px - wide), max(round(float(y)) - radius // 2, high + 2))
        for colour, thickness in ((_WHITE, 3), (_GREEN, 1)):  # a white rim keeps the ring legible on dark nuclei
            cv2.circle(drawn, centre, radius * 16, colour, thickness, cv2.LINE_AA, 4)
            cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)
    return drawn
