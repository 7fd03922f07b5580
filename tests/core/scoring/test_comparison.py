"""Champion against challenger, worked out by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.errors import UnusableData
from mitosis_core.scoring.comparison import Comparison, assessable, changes, compare, difference
from mitosis_core.scoring.evaluation import ScoredField, evaluate
from mitosis_core.types import Detections, Region

UM_PER_PX = 0.25  # 5 µm are 20 px
HALF = (0.5, 0.5)
TRUE = [(100, 100), (200, 200), (300, 300)]


def scored(
    image: str, slide: str, found: list[tuple[float, float]], true: list[tuple[float, float]], score: float = 0.9
) -> ScoredField:
    xy = np.array(found, np.float32).reshape(-1, 2)
    detections = Detections(xy, np.full(len(xy), score, np.float32), np.full(len(xy), 60, np.float32))
    return ScoredField(image, slide, detections, np.array(true, np.float32).reshape(-1, 2), UM_PER_PX, 0.1)


# In a.png the champion finds 1 of 3 and is wrong at (400, 400); the challenger finds the other 2, loses the first, and
# is wrong at (500, 500). In b.png both find the one mitosis, and both are wrong at (50, 400), some pixels apart.
CHAMPION = [scored("a.png", "A", [(100, 110), (400, 400)], TRUE), scored("b.png", "B", [(9, 9), (50, 400)], [(9, 9)])]
CHALLENGER = [
    scored("a.png", "A", [(200, 200), (310, 300), (500, 500)], TRUE),
    scored("b.png", "B", [(9, 9), (55, 400)], [(9, 9)]),
]


def test_the_counts_and_their_difference() -> None:
    both = compare(CHAMPION, CHALLENGER, HALF)
    assert (both.fields, both.cases, both.mitoses) == (2, 2, 4)
    counts = [
        tuple(getattr(getattr(both, side), key) for key in ("tp", "fp", "fn")) for side in ("champion", "challenger")
    ]
    assert counts == [(2, 2, 2), (3, 2, 1)]
    assert both.champion.f1 == pytest.approx(4 / 8) and both.challenger.f1 == pytest.approx(6 / 9)
    assert both.challenger.fp_per_mm2 == pytest.approx(2 / 0.2)
    assert both.difference.f1 == pytest.approx(6 / 9 - 4 / 8)
    assert both.difference.over == "fields"
    # b.png drawn twice says 0; a.png drawn twice says 4/6 - 2/5: the interval reaches from one to the other.
    assert both.difference.low == pytest.approx(0) and both.difference.high == pytest.approx(4 / 6 - 2 / 5)


def test_every_case_has_its_row() -> None:
    first, second = compare(CHAMPION, CHALLENGER, HALF).by_case
    assert (first.case, first.mitoses) == ("A", 3) and (second.case, second.mitoses) == ("B", 1)
    assert (first.champion, first.challenger) == (pytest.approx(2 / 5), pytest.approx(4 / 6))
    assert first.difference == pytest.approx(4 / 6 - 2 / 5) and second.difference == 0


def test_which_figures_changed() -> None:
    found = [(one.kind, one.image, one.x, one.y) for one in changes(CHAMPION, CHALLENGER, HALF)]
    assert found[0] == ("newly lost", "a.png", 100, 100)  # where the mitosis is, not where it was found
    assert set(found[1:3]) == {("newly found", "a.png", 200, 200), ("newly found", "a.png", 300, 300)}
    assert found[3:] == [("newly false", "a.png", 500, 500), ("no longer false", "a.png", 400, 400)]


def test_each_version_counts_from_its_own_threshold() -> None:
    unsure = [
        dataclasses.replace(
            CHALLENGER[0], detections=dataclasses.replace(CHALLENGER[0].detections, score=np.full(3, 0.4, np.float32))
        ),
        CHALLENGER[1],
    ]
    assert compare(CHAMPION, unsure, (0.5, 0.3)).challenger.tp == 3
    assert compare(CHAMPION, unsure, HALF).challenger.tp == 1


def test_a_stored_comparison_is_read_as_it_was() -> None:
    """Through JSON, with the champion's name or, as older ones, without; without an area there is no FROC."""
    made = compare(CHAMPION, CHALLENGER, HALF, against="the champion")
    stored = json.loads(json.dumps(made.to_dict()))
    assert Comparison.from_dict(stored) == made and made.against == "the champion"
    del stored["against"]
    assert Comparison.from_dict(stored) == dataclasses.replace(made, against="")
    nowhere = [dataclasses.replace(field, area_mm2=None) for field in CHAMPION]
    made = compare(nowhere, nowhere, HALF)
    assert made.champion.curve.fp_per_mm2 is None
    assert Comparison.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_the_sign_of_the_interval() -> None:
    """Better in every field: the whole interval lies above 0; the other way round, below; over cases from five on."""
    better = [scored(f"{n}.png", f"case {n}", TRUE, TRUE) for n in range(5)]
    worse = [scored(f"{n}.png", f"case {n}", TRUE[: 1 + n % 2], TRUE) for n in range(5)]
    up, down = (compare(*sides, HALF).difference for sides in ((worse, better), (better, worse)))
    assert 0 < up.low <= up.f1 <= up.high and up.over == "cases"
    assert (down.f1, down.low, down.high) == pytest.approx((-up.f1, -up.high, -up.low))


def test_sides_that_cannot_be_compared() -> None:
    with pytest.raises(UnusableData, match="no field held out"):
        compare([], [], HALF)
    with pytest.raises(ValueError, match="different fields"):
        compare(CHAMPION, CHALLENGER[::-1], HALF)


places = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=6)


@given(fields=st.lists(st.tuples(places, places), min_size=1, max_size=4))
def test_a_version_compared_with_itself_has_not_changed(fields: list[tuple[list[tuple[float, float]], ...]]) -> None:
    side = [scored(f"{n}.png", f"{n % 2}", found, true) for n, (found, true) in enumerate(fields)]
    one = evaluate(side, 5.0, threshold=0.5)
    same = difference(one, one)
    assert (same.f1, same.low, same.high) == (0, 0, 0)
    assert changes(side, side, HALF) == []


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    um_per_px: float
    region: Region | None
    unsure_xy_px: np.ndarray


def test_only_what_was_reviewed_and_sure_is_judged() -> None:
    xy = np.array([[10, 10], [50, 60], [50, 75], [200, 10]], np.float32)
    found = Detections(xy, np.full(4, 0.9, np.float32), np.full(4, 50, np.float32))
    labels = Labels(UM_PER_PX, Region(0, 0, 100, 100), np.array([[50, 50]], np.float32))
    assert assessable(labels, found).xy_px.tolist() == [[10, 10], [50, 75]]
    assert len(assessable(Labels(UM_PER_PX, None, np.zeros((0, 2), np.float32)), found)) == 4
    assert len(assessable(labels, Detections())) == 0


def test_a_detection_belongs_to_the_region_of_its_pixel() -> None:
    """Columns 10 to 19 were reviewed: they reach from x = 9.5 to x = 19.5."""
    xy = np.array([[9.4, 5], [9.6, 5], [19.4, 5], [19.6, 5]], np.float32)
    labels = Labels(UM_PER_PX, Region(10, 0, 20, 10), np.zeros((0, 2), np.float32))
    assert assessable(labels, Detections(xy, np.full(4, 0.9), np.full(4, 50))).xy_px[:, 0] == pytest.approx([9.6, 19.4])
