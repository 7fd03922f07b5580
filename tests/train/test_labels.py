"""Laws of the concentric label: three values, disc inside ring, a disc wins, nothing known where nobody looked."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.labels import BACKGROUND, IGNORED, MITOSIS, VARIANTS, concentric_labels, mask_labels

points = st.lists(st.tuples(st.floats(-5, 69), st.floats(-5, 69)), max_size=6)


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
