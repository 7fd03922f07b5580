"""Stain space is there and back again, and standardising brings any laboratory's stain to the reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosis_core.errors import UnusableModel
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.image.stain import (
    REFERENCE,
    STAINS,
    StainProfile,
    field_profile,
    macenko,
    normalise,
    stain_profile,
    standardise,
    tissue_fraction,
)
from tests.core.stains import from_stains, to_stains


def test_there_and_back() -> None:
    rgb = torch.randint(20, 250, (2, 3, 8, 8)).float()
    assert torch.allclose(from_stains(to_stains(rgb)), rgb, atol=0.01)


def test_pure_haematoxylin_is_haematoxylin() -> None:
    rgb = torch.tensor(255 * np.exp(-0.8 * STAINS[0]), dtype=torch.float32).view(3, 1, 1)
    assert torch.allclose(to_stains(rgb).flatten(), torch.tensor([0.8, 0.0, 0.0]), atol=1e-4)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.floats(0.7, 1.3), st.floats(0.7, 1.3))
def test_another_laboratory_comes_to_the_same_stain(haematoxylin: float, eosin: float) -> None:
    plain = draw_sample_field(seed=4, size_px=256, mitoses=1, lookalikes=1).field.pixels
    stains = to_stains(torch.from_numpy(plain.copy()).permute(2, 0, 1))
    stains *= torch.tensor([haematoxylin, eosin, 1.0]).view(3, 1, 1)
    other = from_stains(stains).round().to(torch.uint8).permute(1, 2, 0).numpy()
    profile = stain_profile(standardise(other, stain_profile(other)))
    assert profile is not None
    # Not exact: the darkest pixels are cut off at black, and tissue is measured anew.
    assert profile.mean == pytest.approx(REFERENCE.mean, abs=0.06)
    assert profile.spread == pytest.approx(REFERENCE.spread, rel=0.2)


def test_glass_has_no_profile_and_is_left_alone() -> None:
    glass = np.full((200, 200, 3), 245, np.uint8)
    assert stain_profile(glass) is None and tissue_fraction(glass) == 0
    assert standardise(glass, None) is glass
    half = glass.copy()
    half[:, :100] = (150, 90, 140)
    assert tissue_fraction(half) == pytest.approx(0.52, abs=0.03)


def test_a_profile_is_mean_and_spread_over_the_tissue_of_all_images() -> None:
    colours = np.array([(120, 60, 140), (200, 120, 170), (250, 250, 250)], np.uint8)
    images = [np.full((64, 80, 3), colour, np.uint8) for colour in colours]
    dark, pale, _ = to_stains(torch.from_numpy(colours).T[:, :, None]).squeeze(2).T.numpy()
    for given_images in (images, [np.concatenate(images)]):  # the last colour is glass and counts for nothing
        profile = stain_profile(*given_images)
        assert profile is not None
        assert profile.mean == pytest.approx((dark + pale) / 2, abs=1e-4)
        assert profile.spread == pytest.approx(abs(dark - pale) / 2, abs=1e-4)


@pytest.mark.parametrize("ink", [(20, 60, 160), (20, 120, 60)], ids=["blue", "green"])
def test_ink_has_no_part_in_the_stain_of_a_field(ink: tuple[int, int, int]) -> None:
    pixels = draw_sample_field(0).field.pixels
    rest = stain_profile(pixels[200:])
    marked = pixels.copy()
    marked[:200] = ink
    assert stain_profile(marked) == rest
    whole = stain_profile(pixels[:, ::2])
    assert whole is not None and rest is not None and whole.mean == pytest.approx(rest.mean, rel=0.05)


def test_macenko_brings_two_stainings_of_one_tissue_together() -> None:
    plain = draw_sample_field(seed=4, size_px=256, mitoses=1, lookalikes=1).field.pixels
    stains = to_stains(torch.from_numpy(plain.copy()).permute(2, 0, 1)) * torch.tensor([0.7, 1.3, 1.0]).view(3, 1, 1)
    other = from_stains(stains).round().to(torch.uint8).permute(1, 2, 0).numpy()
    before = np.abs(plain.astype(float) - other).mean()
    after = np.abs(macenko(plain).astype(float) - macenko(other)).mean()
    assert before > 5 and after < before / 4


def test_macenko_puts_the_stains_where_it_says() -> None:
    """Tissue of two pure stains in any amounts: each becomes the published one, its 99 % the published density."""
    rng = np.random.default_rng(0)
    amounts = np.zeros((128, 128, 2))
    amounts[:, :64, 0], amounts[:, 64:, 1] = rng.uniform(0.5, 1.5, (2, 128, 64))
    pixels = np.rint(255 * np.exp(-amounts @ STAINS[:2])).astype(np.uint8)
    density = -np.log(np.maximum(macenko(pixels), 1) / 255.0)
    for part, stain, strongest in (
        (density[:, :64], (0.5626, 0.7201, 0.4062), 1.9705),
        (density[:, 64:], (0.2159, 0.8012, 0.5581), 1.0308),
    ):
        mean = part.mean((0, 1))
        assert mean / np.linalg.norm(mean) == pytest.approx(stain, abs=0.03)
        assert np.percentile(np.linalg.norm(part, axis=-1), 98) == pytest.approx(strongest, rel=0.05)


def test_macenko_leaves_glass_alone() -> None:
    glass = np.full((200, 200, 3), 245, np.uint8)
    assert macenko(glass) is glass


def test_a_version_gets_the_stain_it_asks_for() -> None:
    pixels = draw_sample_field(seed=4, size_px=256, mitoses=1, lookalikes=1).field.pixels
    profile = stain_profile(pixels)
    assert (normalise(pixels, "", profile) == standardise(pixels, profile)).all()
    assert (normalise(pixels, "macenko", profile) == macenko(pixels)).all()
    assert normalise(pixels, "none", profile) is pixels
    with pytest.raises(UnusableModel, match="“tea” is not known"):
        normalise(pixels, "tea", profile)


def test_the_less_tissue_the_nearer_is_its_profile_to_the_reference() -> None:
    """Measured by itself from 0.02 mm² on; a quarter of that counts a quarter."""
    pixels = standardise(
        draw_sample_field(seed=3, size_px=400).field.pixels, StainProfile((0.9, 0.2, 0.3), (0.5, 0.1, 0.2))
    )
    own, share = stain_profile(pixels), tissue_fraction(pixels)
    assert own is not None
    enough = (0.02 / share * 1e6) ** 0.5 / 400  # µm/px at which its tissue is just that
    assert field_profile(pixels, enough * 1.001) == own
    quarter = field_profile(pixels, enough / 2)
    assert quarter is not None
    for mixed_in, measured, common in zip(quarter.mean, own.mean, REFERENCE.mean, strict=True):
        assert mixed_in == pytest.approx(measured / 4 + common * 3 / 4)
    assert field_profile(np.full((400, 400, 3), 245, np.uint8), 0.25) is None
