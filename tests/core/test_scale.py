import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosis_core.errors import MissingScale
from mitosis_core.scale import (
    PLAUSIBLE_UM_PER_PX,
    SCANNER_PRESETS,
    check_um_per_px,
    resample,
    to_original_px,
    to_resampled_px,
)
from mitosis_core.types import Float32, UInt8


def disc(size_px: tuple[int, int], centre_um: tuple[float, float], um_per_px: float) -> UInt8:
    """A dark disc of 5 µm radius on white, drawn in micrometres (antialiased over one pixel)."""
    y, x = np.mgrid[: size_px[1], : size_px[0]]
    away = np.hypot((x + 0.5) * um_per_px - centre_um[0], (y + 0.5) * um_per_px - centre_um[1])
    grey = 255 * np.clip((away - 5.0) / um_per_px + 0.5, 0, 1)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, 2)


def centroid(pixels: UInt8) -> Float32:
    ink = 255.0 - pixels[..., 0]
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    return np.array([[(ink * x).sum(), (ink * y).sum()]], np.float32) / np.float32(ink.sum())


@pytest.mark.parametrize("value", [0.1, 0.25, 2.0])
def test_a_plausible_scale_is_returned(value: float) -> None:
    assert check_um_per_px(value) == value


@pytest.mark.parametrize("value", [25, 0, -0.25, 0.0999, 2.001, math.nan, math.inf])
def test_an_implausible_scale_is_refused(value: float) -> None:
    with pytest.raises(MissingScale, match="not plausible"):
        check_um_per_px(value)


def test_every_preset_is_plausible() -> None:
    low, high = PLAUSIBLE_UM_PER_PX
    assert SCANNER_PRESETS and all(low <= value <= high for value in SCANNER_PRESETS.values())


def test_within_the_tolerance_nothing_changes() -> None:
    pixels = disc((80, 70), (8, 8), 0.25)
    same, pixel_px = resample(pixels, 0.25, 0.26)
    assert same is pixels
    assert pixel_px == (1.0, 1.0)


def test_sizes_by_hand() -> None:
    pixels = np.zeros((100, 201, 3), np.uint8)
    half, pixel_px = resample(pixels, 0.25, 0.5)
    assert half.shape == (50, 100, 3)
    assert pixel_px == (2.01, 2.0)
    # The centre of the first new pixel covers old pixels 0 and 1 (and a little more in x).
    np.testing.assert_allclose(to_original_px(np.zeros((1, 2), np.float32), pixel_px), [[0.505, 0.5]], atol=1e-6)
    double, pixel_px = resample(pixels, 0.5, 0.25)
    assert double.shape == (200, 402, 3)
    assert pixel_px == (0.5, 0.5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 0.6), st.floats(0.2, 0.6), st.floats(16, 24), st.floats(16, 24))
def test_a_centroid_carried_back_lies_where_it_was_drawn(um: float, target_um: float, x_um: float, y_um: float) -> None:
    size_px = (round(42 / um), round(40 / um))
    small, pixel_px = resample(disc(size_px, (x_um, y_um), um), um, target_um)
    carried_um = (to_original_px(centroid(small), pixel_px) + 0.5) * um
    np.testing.assert_allclose(carried_um, [[x_um, y_um]], atol=0.06)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 2.0), st.floats(16, 24), st.floats(16, 24))
def test_a_scale_k_times_as_large_keeps_the_centroids_in_um(k: float, x_um: float, y_um: float) -> None:
    found_um = []
    for um in (0.25, 0.25 * k):
        pixels = disc((round(42 / um), round(40 / um)), (x_um, y_um), um)
        new, pixel_px = resample(pixels, um, 0.5)
        found_um.append((to_original_px(centroid(new), pixel_px) + 0.5) * um)
    np.testing.assert_allclose(found_um[0], found_um[1], atol=0.1)


@given(st.floats(0.3, 4), st.floats(0.3, 4), st.floats(0, 2000), st.floats(0, 2000))
def test_there_and_back_is_the_same_place(x_px: float, y_px: float, x: float, y: float) -> None:
    xy = np.array([[x, y]], np.float32)
    np.testing.assert_allclose(to_original_px(to_resampled_px(xy, (x_px, y_px)), (x_px, y_px)), xy, atol=2e-3)
