"""Several detectors: a figure counts once, and the side that does not see it votes too."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mitosis_core.inference.fusion import fuse
from mitosis_core.types import Detections


def detections(*rows: tuple[float, float, float]) -> Detections:
    xy, score = [row[:2] for row in rows], [row[2] for row in rows]
    return Detections(np.array(xy, np.float32), np.array(score, np.float32), np.full(len(rows), 50, np.float32))


def test_by_hand() -> None:
    a = detections((10, 10, 0.9), (50, 50, 0.4))
    b = detections((12, 10, 0.5), (90, 90, 0.8))
    both = fuse([a, b], distance_px=5)
    assert both.xy_px.tolist() == [[10, 10], [90, 90], [50, 50]]
    assert both.score == pytest.approx([0.7, 0.4, 0.2])


def test_of_one_side_two_close_figures_are_one() -> None:
    twice = detections((10, 10, 0.9), (11, 10, 0.6))
    assert fuse([twice], 5).score.tolist() == pytest.approx([0.9])


points = st.lists(st.tuples(*[st.floats(0, 100, width=32)] * 2, st.floats(0, 1, width=32)), max_size=12)


@given(points, points)
@example([], [(0.0, 0.0, 0.0), (7.0, 2.0**-14, 0.0)])
def test_no_two_of_a_fusion_are_the_same_figure(
    first: list[tuple[float, ...]], second: list[tuple[float, ...]]
) -> None:
    sides = [detections(*first) if first else Detections(), detections(*second) if second else Detections()]  # type: ignore[arg-type]
    found = fuse(sides, 7.0)
    xy = found.xy_px.astype(float)  # in single precision a gap just over 7 is 7
    gaps = np.hypot(*(xy[:, None] - xy[None]).T) + 100 * np.eye(len(found))
    assert len(found) <= len(first) + len(second) and (not len(found) or gaps.min() > 7.0 - 1e-9)
    assert all(0 <= score <= 1 for score in found.score)
