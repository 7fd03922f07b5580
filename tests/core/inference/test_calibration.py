"""The level of a field is taken out of its scores, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.inference.calibration import (
    Calibration,
    calibrate,
    calibration_shift,
    centre_on_threshold,
    measure_background,
)
from mitosis_core.types import ProbabilityMap


def field(seed: int = 0, shift: float = 0.0, cells: int = 520) -> ProbabilityMap:
    """Logits of a field whose every answer is `shift` higher; one cell is 1 µm²."""
    logits = np.random.default_rng(seed).normal(-6, 1, (cells, cells)) + shift
    return ProbabilityMap((1 / (1 + np.exp(-logits))).astype(np.float32), (4.0, 4.0), 0.25)


@pytest.mark.slow
@given(st.floats(-3, 3))
def test_a_large_field_that_answers_higher_everywhere_gets_the_same_scores(shift: float) -> None:
    calibration = Calibration(0.95, measure_background(field(), 0.95).level)
    plain, shifted = calibrate(field(), calibration), calibrate(field(shift=shift), calibration)
    # 0.27 mm² against a weight of 0.02: 7 % of the shift stays
    kept = np.log(shifted.values / (1 - shifted.values)) - np.log(plain.values / (1 - plain.values))
    assert np.median(kept) == pytest.approx(shift * 0.02 / (0.2704 + 0.02), abs=0.02)


def test_the_typical_field_is_left_alone_and_order_is_kept() -> None:
    found = field(3)
    same = calibrate(found, Calibration(0.95, measure_background(found, 0.95).level))
    assert np.allclose(same.values, found.values, rtol=1e-3)
    moved = calibrate(found, Calibration(0.95, -3.0)).values
    assert (np.diff(moved.ravel()[np.argsort(found.values, axis=None)]) >= 0).all()


def test_a_small_field_is_hardly_moved() -> None:
    found = field(cells=16)  # 256 µm²: one mitosis could fill it
    moved = calibrate(found, Calibration(0.95, measure_background(found, 0.95).level + 5))
    assert np.allclose(moved.values, found.values, rtol=0.1)


def on_glass(found: ProbabilityMap, share: float) -> ProbabilityMap:
    """The map with rows of glass above it, on which a network answers lowest."""
    rows = round(len(found.values) * share / (1 - share))
    glass = np.full((rows, found.values.shape[1]), 1e-5, np.float32)
    return ProbabilityMap(np.vstack([glass, found.values]), found.cell_px, found.um_per_px, tissue_share=1 - share)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_glass_beside_the_tissue_changes_no_score(share: float) -> None:
    found, calibration = field(), Calibration(0.99, -2.0)
    beside = calibrate(on_glass(found, share), calibration).values[-len(found.values) :]
    assert np.allclose(beside, calibrate(found, calibration).values, rtol=1e-2)


def test_mitoses_that_cover_much_of_a_field_do_not_move_themselves() -> None:
    """3 % of the field at a logit of 4: the background lies among them, and only the bound keeps it away."""
    found = field()
    level, gap = measure_background(found, 0.99)
    values = found.values.copy()
    values[:16] = 1 / (1 + np.exp(-4.0))
    dense = ProbabilityMap(values, found.cell_px, found.um_per_px)
    free, bound = (calibration_shift(dense, Calibration(0.99, level, most)) for most in (None, gap))
    assert free < -6 and -0.5 < bound <= 0
    assert calibration_shift(found, Calibration(0.99, level, gap)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="largest_gap"):
        Calibration(0.99, 0.0, -1.0)


def test_none_changes_nothing_and_bad_shares_are_refused() -> None:
    found = field()
    assert calibrate(found, None) is found
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="share"):
            Calibration(share, 0.0)


def test_centred_scores_are_half_at_the_raw_threshold_and_keep_their_order() -> None:
    centred = centre_on_threshold(np.array([0.999, 0.98, 0.5, 0.1], np.float32), 0.98)
    assert centred[1] == pytest.approx(0.5, abs=1e-5)
    assert (np.diff(centred) < 0).all()
    # by hand: odds of 0.5 are 1, those of 0.98 are 49
    assert centred[2] == pytest.approx(1 / 50, rel=1e-4)
