"""Laws of the concentric label: three values, disc inside ring, a disc wins, nothing known where nobody looked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.errors import UnusableData
from train.config import FROM_MASKS, LABELS
from train.data.labels import (
    BACKGROUND,
    IGNORED,
    MITOSIS,
    VARIANTS,
    boxes_of_masks,
    concentric_labels,
    concentric_labels_from_boxes,
    ellipse_masks,
    mask_labels,
)

points = st.lists(st.tuples(st.floats(-5, 69), st.floats(-5, 69)), max_size=6)


def test_every_variant_of_the_paper_can_be_chosen() -> None:
    assert (*VARIANTS, *FROM_MASKS) == LABELS


def test_one_disc_by_hand() -> None:
    labels = concentric_labels((5, 5), np.array([[2.0, 2.0]], np.float32), [(1.0, 2.0)])
    expected = np.array(
        [
            [0, 0, 255, 0, 0],
            [0, 255, 1, 255, 0],
            [255, 1, 1, 1, 255],
            [0, 255, 1, 255, 0],
            [0, 0, 255, 0, 0],
        ]
    )
    assert (labels == expected).all()


@given(points, st.floats(1, 8), st.floats(1, 3))
def test_values_and_rings(centroids: list[tuple[float, float]], inner: float, ratio: float) -> None:
    xy = np.array(centroids, np.float32).reshape(-1, 2)
    labels = concentric_labels((64, 64), xy, [(inner, inner * ratio)] * len(xy))
    rows, columns = np.mgrid[:64, :64]
    nearest = np.full((64, 64), np.inf)
    for x, y in xy:
        nearest = np.minimum(nearest, np.hypot(columns - float(x), rows - float(y)))
    assert set(np.unique(labels)) <= {BACKGROUND, MITOSIS, IGNORED}
    assert (labels[nearest < inner - 1e-3] == MITOSIS).all()
    assert (labels[(nearest > inner + 1e-3) & (nearest < inner * ratio - 1e-3)] == IGNORED).all()
    assert (labels[nearest > inner * ratio + 1e-3] == BACKGROUND).all()


def test_a_later_ring_does_not_overwrite_an_earlier_disc() -> None:
    xy = np.array([[10, 10], [16, 10]], np.float32)
    labels = concentric_labels((20, 30), xy, [(3, 6), (3, 6)])
    assert labels[10, 10] == MITOSIS and labels[10, 12] == MITOSIS and labels[10, 16] == MITOSIS


def test_outside_the_reviewed_area_nothing_is_known() -> None:
    reviewed = np.zeros((20, 20), np.uint8)
    reviewed[:, :10] = 1
    labels = concentric_labels((20, 20), np.array([[10, 10]], np.float32), [(4, 6)], reviewed=reviewed)
    assert (labels[:, 10:] == IGNORED).all()
    assert labels[10, 8] == MITOSIS and labels[0, 0] == BACKGROUND


def test_radii_of_the_paper_in_micrometres() -> None:
    rng = np.random.default_rng(0)
    assert VARIANTS["circle12"].draw(rng) == (3.0, 3.0)
    assert VARIANTS["fixed15"].draw(rng) == (3.75, 7.5)
    drawn = np.array([VARIANTS["random"].draw(rng) for _ in range(500)])
    ratio = drawn[:, 1] / drawn[:, 0]
    assert drawn[:, 0].min() >= 2.5 and drawn[:, 0].max() <= 4.25 and drawn[:, 0].std() > 0.3
    assert ratio.min() >= 1.5 and ratio.max() <= 2.5


def test_circle_has_no_ring() -> None:
    labels = concentric_labels((30, 30), np.array([[15, 15]], np.float32), [(5, 5)])
    assert set(np.unique(labels)) == {BACKGROUND, MITOSIS}


def test_masks_become_labels() -> None:
    assert (mask_labels(np.array([[0, 1], [7, 0]], np.uint8)) == [[0, 1], [1, 0]]).all()


def test_the_ellipses_of_a_box_by_hand() -> None:
    """A box 7 wide and 3 high; the disc has half-axes 0.5 of it (1.75, 0.75), the ring 1 (3.5, 1.5)."""
    labels = concentric_labels_from_boxes((5, 9), np.array([[1, 1, 8, 4]], np.float32), inner=0.5, outer=1.0)
    expected = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 255, 255, 255, 255, 255, 0, 0],
            [0, 255, 255, 1, 1, 1, 255, 255, 0],
            [0, 0, 255, 255, 255, 255, 255, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0, 0],
        ]
    )
    assert (labels == expected).all()


def test_disc_and_ring_of_a_box_have_half_and_twice_the_area_of_its_ellipse() -> None:
    labels = concentric_labels_from_boxes((300, 400), np.array([[100, 100, 300, 200]], np.float32))
    ellipse = np.pi * 100 * 50
    assert (labels == MITOSIS).sum() == pytest.approx(ellipse / 2, rel=0.01)
    assert (labels != BACKGROUND).sum() == pytest.approx(2 * ellipse, rel=0.01)
    assert (labels[100:200, 100:300] != BACKGROUND).all()  # the whole box, to its corners
    assert (labels == labels[:, ::-1]).all() and (labels == labels[::-1]).all()


def test_a_square_box_is_a_circle_and_discs_win() -> None:
    boxes = np.array([[5, 5, 16, 16], [14, 5, 25, 16]], np.float32)
    xy, half = np.array([[10, 10], [19, 10]], np.float32), 5.5
    circles = concentric_labels((20, 30), xy, [(half * 0.5, half * 1.5)] * 2)
    assert (concentric_labels_from_boxes((20, 30), boxes, inner=0.5, outer=1.5) == circles).all()
    nothing = concentric_labels_from_boxes((4, 4), boxes, reviewed=np.zeros((4, 4), np.uint8))
    assert (nothing == IGNORED).all()
    assert not concentric_labels_from_boxes((4, 4), np.zeros((0, 4), np.float32)).any()


def test_masks_become_boxes() -> None:
    mask = np.array([[0, 7, 7, 0], [0, 7, 0, 0], [2, 0, 0, 0]], np.uint8)
    assert boxes_of_masks(mask).tolist() == [[0, 2, 1, 3], [1, 0, 3, 2]]
    assert boxes_of_masks(np.zeros((3, 3), np.uint8)).shape == (0, 4)
    assert concentric_labels_from_boxes(mask.shape, boxes_of_masks(mask))[2, 0] == MITOSIS


def test_objects_of_known_size_become_masks() -> None:
    """5 wide and 3 high; on its right end lies a smaller one of 1 x 1."""
    masks = ellipse_masks((5, 9), np.array([[3, 2], [5, 2]], np.float32), np.array([[5, 3], [1, 1]], np.float32))
    expected = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 1, 1, 1, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 2, 0, 0, 0],
            [0, 0, 1, 1, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0, 0],
        ]
    )
    assert (masks == expected).all()
    swapped = ellipse_masks((5, 9), np.array([[5, 2], [3, 2]], np.float32), np.array([[1, 1], [5, 3]], np.float32))
    assert ((swapped == 1) == (masks == 2)).all()


@pytest.mark.parametrize(
    ("xy", "size", "sentence"),
    [
        ([[5, 5]] * 255, [2, 2], "255 figures in one image are more than a mask can number"),
        ([[5, 5]], [20, 3], "as large as its image"),
        ([[5, 5], [5, 5]], [3, 3], "covers no pixel of its own"),
        ([[50, 5]], [3, 3], r"at \(50, 5\) covers no pixel"),
        ([[5.5, 5.5]], [0.5, 0.5], "covers no pixel"),
    ],
)
def test_objects_that_no_mask_can_show_are_refused(xy: list[list[float]], size: list[float], sentence: str) -> None:
    with pytest.raises(UnusableData, match=sentence):
        ellipse_masks((20, 20), np.array(xy, np.float32), np.array([size] * len(xy), np.float32))


@pytest.mark.parametrize("box", [[3, 3, 3, 9], [3, 9, 8, 9], [8, 3, 3, 9], [0, 0, np.nan, 4]])
def test_a_box_without_area_is_refused(box: list[float]) -> None:
    with pytest.raises(UnusableData, match="has no height or no width"):
        concentric_labels_from_boxes((20, 20), np.array([box], np.float32))
    with pytest.raises(ValueError, match="not be smaller"):
        concentric_labels_from_boxes((20, 20), np.zeros((0, 4), np.float32), inner=2.0, outer=1.0)
