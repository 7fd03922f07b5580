"""µm per pixel: what is plausible, what the scanners of the contests have, and how to change it."""

from __future__ import annotations

import math

import numpy as np

from mitosis_core.errors import MissingScale
from mitosis_core.types import Float32, UInt8

PLAUSIBLE_UM_PER_PX = (0.1, 2.0)

SCANNER_PRESETS: dict[str, float] = {
    "Aperio ScanScope XT, 40x (MITOS12, MITOS14)": 0.2456,
    # The NanoZoomer's pixels are 0.2273 x 0.2275 µm.
    "Hamamatsu NanoZoomer HT, 40x (MITOS14)": 0.2274,
    "Aperio ScanScope XT, 40x (AMIDA13, TUPAC16)": 0.25,
    "Aperio CS2, 40x (MIDOG)": 0.25,
    "Hamamatsu XR / S360, 40x (MIDOG)": 0.23,
    "Leica GT450, 40x (MIDOG)": 0.26,
    "3DHistech Pannoramic, 40x": 0.24,
    "Any other scanner, 40x": 0.25,
    "Any other scanner, 20x": 0.5,
}


def check_um_per_px(value: float) -> float:
    """Return value when it is plausible for microscopy; raises MissingScale with a sentence when it is not."""
    low, high = PLAUSIBLE_UM_PER_PX
    if not math.isfinite(value) or not low <= value <= high:
        raise MissingScale(
            f"{value:g} µm per pixel is not plausible for a high-power field: "
            f"a scan at 40x has about 0.25, one at 20x about 0.5 (accepted: {low:g} to {high:g})."
        )
    return float(value)


def resample(
    pixels: UInt8, um_per_px: float, target_um_per_px: float, tolerance: float = 0.05
) -> tuple[UInt8, tuple[float, float]]:
    """Bring an image to another scale.

    pixels: UInt8[H, W, 3] at um_per_px. Returns UInt8[h, w, 3] at (nearly) target_um_per_px and the (x, y) size of
    one new pixel in old pixels, for `to_original_px`; the image itself and (1, 1) when the scales differ by no more
    than tolerance. Sizes are whole pixels, so the returned factors, not the ratio of the scales, are exact.
    """
    factor = target_um_per_px / um_per_px
    if abs(factor - 1) <= tolerance:
        return pixels, (1.0, 1.0)
    import cv2

    height, width = pixels.shape[:2]
    new_height, new_width = max(1, round(height / factor)), max(1, round(width / factor))
    # Area averaging does not alias when shrinking; cubic keeps chromatin crisp when enlarging.
    how = cv2.INTER_AREA if factor > 1 else cv2.INTER_CUBIC
    resized: UInt8 = cv2.resize(pixels, (new_width, new_height), interpolation=how)
    return resized, (width / new_width, height / new_height)


def to_original_px(xy_px: Float32, pixel_px: tuple[float, float]) -> Float32:
    """Carry Float32[N, 2] points of a resampled image back; pixel_px as `resample` returned it."""
    return _carry(xy_px, np.asarray(pixel_px, np.float64))


def to_resampled_px(xy_px: Float32, pixel_px: tuple[float, float]) -> Float32:
    """Carry Float32[N, 2] points of the original image into the one that `resample` returned with pixel_px."""
    return _carry(xy_px, 1 / np.asarray(pixel_px, np.float64))


def _carry(xy_px: Float32, factor: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Float32:
    # Pixel centres are whole numbers, so the image begins at -0.5: scale about that corner, not about (0, 0).
    return ((np.asarray(xy_px, np.float64) + 0.5) * factor - 0.5).astype(np.float32)
