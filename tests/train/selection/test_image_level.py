"""Choices from "does this image hold a mitosis" alone: the images of a field, the ROC curve, its operating point."""

import numpy as np
import pytest

from mitosis_core.errors import UnusableData
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Detections, Field
from train.config import TrainConfig
from train.data.examples import Example
from train.selection.evaluation import scores_at_threshold
from train.selection.image_level import area_under_roc, image_scores, image_threshold, operating_point

TRUTH = np.array([True, True, True, False, False, False])
SCORES = np.array([0.9, 0.8, 0.6, 0.7, 0.3, 0.2], np.float32)


def field(
    found: list[tuple[float, float, float]], true: list[tuple[float, float]], size: tuple[int, int] = (1000, 500)
) -> tuple[ScoredField, Example]:
    """found: x, y and score; true: x, y; size: width and height at 0.25 µm/px."""
    tissue = Field(np.zeros((size[1], size[0], 3), np.uint8), 0.25, "field")
    numbers = np.array(found, np.float32).reshape(-1, 3)
    xy = np.array(true, np.float32).reshape(-1, 2)
    detections = Detections(numbers[:, :2], numbers[:, 2], np.full(len(numbers), 40))
    example = Example(tissue, "slide", xy, np.zeros((0, 2), np.float32))
    return ScoredField("field", "slide", detections, xy, 0.25), example


def test_the_images_of_a_field_by_hand() -> None:
    """1000 x 1000 px are two by two images of 500; the best detection speaks for each, wherever it lies."""
    found = [(10, 20, 0.3), (400, 480, 0.7), (600, 20, 0.2), (999, 999, 0.9)]
    scores, truth = image_scores(*([one] for one in field(found, [(250, 250), (499, 600)], (1000, 1000))))
    assert scores == pytest.approx([0.7, 0.2, 0, 0.9]) and truth.tolist() == [True, False, True, False]


def test_wide_and_narrow_fields() -> None:
    scores, truth = image_scores(*([one] for one in field([(1099.4, 0, 0.4)], [(540, 0)], (1100, 200))))
    assert scores == pytest.approx([0, 0.4]) and truth.tolist() == [True, False]  # two halves of 550 px, in one row
    scores, truth = image_scores(*([one] for one in field([], [], (3000, 1600))))
    assert len(scores) == len(truth) == 6 * 3 and not scores.any() and not truth.any()


def test_the_area_under_the_curve_by_hand() -> None:
    # 0.9 and 0.8 beat all three images without a mitosis, 0.6 two of them
    assert area_under_roc(SCORES, TRUTH) == pytest.approx(8 / 9)
    assert area_under_roc(SCORES, ~TRUTH) == pytest.approx(1 / 9)
    assert area_under_roc(np.full(6, 0.5, np.float32), TRUTH) == 0.5
    # 0.5 beats one and ties with one of two, 0 ties with one of two
    tied = area_under_roc(np.array([0.5, 0, 0.5, 0], np.float32), np.array([True, True, False, False]))
    assert tied == pytest.approx((1.5 + 0.5) / 4)


def test_the_operating_point_by_hand() -> None:
    # (alarms, found) is (0, 1/3) at 0.9, (0, 2/3) at 0.8, (1/3, 2/3) at 0.7, (1/3, 1) at 0.6: 0.8 and 0.6 are as near.
    assert operating_point(SCORES, TRUTH) == pytest.approx(0.8)
    assert operating_point(SCORES[:5], TRUTH[:5]) == pytest.approx(0.8)  # 1/3 missed against 1/2 of false alarms
    assert operating_point(SCORES, SCORES > 0.25) == pytest.approx(0.3)  # told apart without an error


def test_one_kind_of_image_alone_says_nothing() -> None:
    for one_kind in (np.ones(6, bool), np.zeros(6, bool)):
        for choice in (operating_point, area_under_roc):
            with pytest.raises(UnusableData, match="images with and images without"):
                choice(SCORES, one_kind)


def test_the_threshold_by_hand_and_that_it_does_not_know_where() -> None:
    """Left images hold a mitosis, right ones none. Within an image neither a hit nor a miss changes anything."""
    found = [[(100, 100, 0.9), (900, 100, 0.4)], [(100, 100, 0.6), (900, 100, 0.3)], [(100, 100, 0.2)]]
    for true in ((100, 100), (400, 400)):
        scored, fields = zip(*(field(one, [true]) for one in found), strict=True)
        # at 0.6 one of three is missed and no alarm raised, at 0.2 none is missed and two of three are false alarms
        assert image_threshold(scored, fields) == pytest.approx(0.6)
        said = scores_at_threshold(scored, fields, TrainConfig(threshold="image"))
        assert said.threshold == pytest.approx(0.6)
        assert said.recall == (pytest.approx(2 / 3) if true == (100, 100) else 0)
    scored, fields = zip(*(field(one, [(100, 100)]) for one in found), strict=True)
    assert scores_at_threshold(scored, fields, TrainConfig()).threshold != pytest.approx(0.6)


def test_without_a_telling_detection_there_is_no_threshold() -> None:
    for found in ([], [(900.0, 100.0, 0.8)]):  # nothing at all, and only where no mitosis is
        with pytest.raises(UnusableData, match="No detection tells"):
            image_threshold(*([one] for one in field(found, [(100, 100)])))
