import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosis_core.image.sample_field import APART_UM, BORDER_UM, draw_sample_field


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size_px=st.integers(256, 400),
    um_per_px=st.floats(0.23, 0.5),
    mitoses=st.integers(0, 6),
    lookalikes=st.integers(0, 8),
)
def test_the_truth_keeps_its_distances(
    seed: int, size_px: int, um_per_px: float, mitoses: int, lookalikes: int
) -> None:
    if size_px * um_per_px < 62:
        um_per_px = 62 / size_px
    sample = draw_sample_field(seed, size_px, um_per_px, mitoses, lookalikes)
    assert sample.field.pixels.shape == (size_px, size_px, 3)
    assert sample.field.um_per_px == um_per_px
    assert sample.mitoses_xy_px.shape == (mitoses, 2)
    assert sample.lookalikes_xy_px.shape == (lookalikes, 2)
    all_um = (np.concatenate([sample.mitoses_xy_px, sample.lookalikes_xy_px]) + 0.5) * um_per_px
    assert ((all_um > BORDER_UM - 1e-3) & (all_um < size_px * um_per_px - BORDER_UM + 1e-3)).all()
    between = np.linalg.norm(all_um[:, None] - all_um[None], axis=2)
    assert (between[~np.eye(len(all_um), dtype=bool)] > APART_UM - 1e-3).all()


def test_the_same_seed_draws_the_same_pixels() -> None:
    assert draw_sample_field(3, 256).field.digest == draw_sample_field(3, 256).field.digest
    assert draw_sample_field(3, 256).field.digest != draw_sample_field(4, 256).field.digest


def test_it_looks_like_haematoxylin_and_eosin() -> None:
    red, green, blue = draw_sample_field(0, 512).field.pixels.reshape(-1, 3).mean(0)
    assert red > blue > green  # pink to purple
    assert 90 < green < 180


@pytest.mark.parametrize("um_per_px", [0.25, 0.5])
def test_mitoses_are_the_darkest_things_where_the_truth_says(um_per_px: float) -> None:
    sample = draw_sample_field(1, round(200 / um_per_px), um_per_px, mitoses=10, lookalikes=0)
    red = sample.field.pixels[..., 0]  # what haematoxylin absorbs and eosin lets through
    y, x = np.mgrid[: red.shape[0], : red.shape[1]]
    away = np.stack([np.hypot(x - cx, y - cy) * um_per_px for cx, cy in sample.mitoses_xy_px])
    very_dark = red < 85
    dark_um2 = [(very_dark & (one < 6)).sum() * um_per_px**2 for one in away]
    # A metaphase plate of 8 x 3 µm has about 20 µm² of chromatin; nothing drawn is below 7 or above 45.
    assert all(7 < area < 45 for area in dark_um2)
    elsewhere = very_dark & (away.min(0) > 6)
    assert elsewhere.mean() < 0.01


def test_figures_are_drawn_about_their_truth() -> None:
    sample = draw_sample_field(5, 800, mitoses=10, lookalikes=0)
    darkness = np.clip(110 - sample.field.pixels.mean(2), 0, None)
    y, x = np.mgrid[:800, :800]
    for cx, cy in sample.mitoses_xy_px:
        weight = darkness * (np.hypot(x - cx, y - cy) < 24)
        centroid_um = np.hypot((weight * x).sum() / weight.sum() - cx, (weight * y).sum() / weight.sum() - cy) * 0.25
        assert centroid_um < 1.5


def test_too_many_figures_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        draw_sample_field(0, 256, mitoses=30)
