"""The shipped version on fields that are not as they should be, drawn so that the truth is known."""

import cv2
import numpy as np
import pytest

from mitosis_core import load_model, predict
from mitosis_core.image.sample_field import SampleField, draw_sample_field
from mitosis_core.inference.calibration import logit
from mitosis_core.prediction import HALO_PX
from mitosis_core.scoring.matching import Match, match
from mitosis_core.types import Field, Float32, UInt8
from mitosis_core.vocabulary import HIT_RADIUS_UM

UM_PER_PX = 0.25


@pytest.fixture(scope="module")
def drawn() -> SampleField:
    return draw_sample_field(0, 1536, UM_PER_PX, mitoses=12, lookalikes=0)


def found_in(pixels: UInt8) -> Float32:
    return predict(Field(pixels, UM_PER_PX, "hard"), load_model(), device="cpu").detections.xy_px


def matched(found: Float32, true: Float32) -> Match:
    return match(found, true, HIT_RADIUS_UM / UM_PER_PX)


@pytest.mark.slow
def test_sixty_mitoses_are_found_or_it_is_said_where_they_are() -> None:
    """More than a field holds as a rule: they cover enough of it to move its background, and with it their scores."""
    dense = draw_sample_field(0, 2048, UM_PER_PX, mitoses=60, lookalikes=0)
    found = predict(dense.field, load_model(), device="cpu")
    scores = matched(found.candidates.xy_px, dense.mitoses_xy_px).scores
    assert scores.recall > 0.75 and scores.precision > 0.9
    assert any("please look at lower scores" in note for note in found.notes)


@pytest.mark.slow
def test_a_field_of_few_mitoses_has_no_notes(drawn: SampleField) -> None:
    assert predict(drawn.field, load_model(), device="cpu").notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("share", [1 / 3, 0.6])
def test_glass_changes_nothing_on_the_tissue_beside_it(drawn: SampleField, share: float) -> None:
    """As if the field were its tissue alone."""
    cut = int(share * drawn.field.width_px)
    glass = drawn.field.pixels.copy()
    glass[:, :cut] = 243
    alone, beside = (
        predict(Field(np.ascontiguousarray(pixels), UM_PER_PX, "hard"), load_model(), device="cpu").candidates
        for pixels in (drawn.field.pixels[:, cut:], glass)
    )
    alone = alone.above(0.3)
    alone = alone.select(alone.xy_px[:, 0] > HALO_PX)  # nearer, networks see the glass itself
    there = (alone.xy_px + np.array([cut, 0])).astype(np.float32)
    pairs = matched(beside.xy_px, there).pairs
    assert len(pairs) == len(alone) > 0
    moved = logit(beside.score[pairs[:, 0]]) - logit(alone.score[pairs[:, 1]])
    assert np.abs(moved).max() < 0.5  # logits


@pytest.mark.slow
def test_lymphocytes_and_dying_cells_are_not_all_mitoses() -> None:
    rich = draw_sample_field(1, 2048, UM_PER_PX, mitoses=10, lookalikes=200)
    found = predict(rich.field, load_model(), device="cpu")
    surest = found.candidates.xy_px[np.argsort(-found.candidates.score)[:20]]
    assert matched(surest, rich.mitoses_xy_px).scores.tp >= 5
    assert matched(found.detections.xy_px, rich.mitoses_xy_px).scores.fp <= 20


@pytest.mark.slow
@pytest.mark.parametrize("ink", [(20, 60, 160), (15, 15, 20), (20, 120, 60)], ids=["blue", "black", "green"])
def test_nothing_is_found_on_ink(drawn: SampleField, ink: tuple[int, int, int]) -> None:
    cover = np.zeros(drawn.field.pixels.shape[:2], np.float32)
    cv2.line(cover, (400, 0), (900, 1536), 1.0, 60)
    cover = cv2.GaussianBlur(cover, (0, 0), 6)[..., None] * 0.9
    found = found_in(np.rint(drawn.field.pixels * (1 - cover) + np.array(ink) * cover).astype(np.uint8))
    x, y = np.rint(found).astype(int).T
    assert not (cover[y, x, 0] > 0.5).any()
    clear = drawn.mitoses_xy_px[[cover[int(y), int(x), 0] < 0.01 for x, y in drawn.mitoses_xy_px]]
    assert len(clear) >= 8 and matched(found, clear).scores.recall > 0.6


@pytest.mark.slow
def test_an_image_that_is_too_small_says_so(drawn: SampleField) -> None:
    for side_px, said in ((64, "only 16 µm across"), (128, "")):
        field = Field(np.ascontiguousarray(drawn.field.pixels[:side_px, :300]), UM_PER_PX, "small")
        notes = predict(field, load_model(), device="cpu").notes
        assert (said in notes[0]) if said else not notes
