"""The numbers of an evaluation, against hand fractions and against matching again at every threshold."""

import json
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosis_core.errors import UnusableData
from mitosis_core.scoring.evaluation import ScoredField, best_threshold, evaluate, threshold_curve
from mitosis_core.scoring.matching import Scores, match
from mitosis_core.types import Detections

_TRUE = np.array([[100, 100], [200, 100], [300, 100], [400, 100]], np.float32)


def _field(scores, at, true=_TRUE, slide="A", image="a.png", area_mm2=0.25) -> ScoredField:
    """at: x of each detection; the mitoses lie at x = 100, 200, 300, 400."""
    xy = np.array([[x, 100] for x in at], np.float32).reshape(-1, 2)
    return ScoredField(image, slide, Detections(xy, scores, np.ones(len(at))), true, 0.5, area_mm2)


@st.composite
def _fields(draw: st.DrawFn) -> list[ScoredField]:
    fields = []
    for number in range(draw(st.integers(1, 4))):
        points = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)
        found, true = draw(points), draw(points)
        scores = draw(st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), min_size=len(found), max_size=len(found)))
        detections = Detections(np.array(found).reshape(-1, 2), scores, np.ones(len(found)))
        truth = np.array(true, np.float32).reshape(-1, 2)
        fields.append(ScoredField(f"{number}.png", f"{number % 2}", detections, truth, 0.5, 0.1))
    return fields


def _by_matching_again(fields: list[ScoredField], radius_um: float, threshold: float) -> Scores:
    found = ((f.detections.above(threshold), f) for f in fields)
    return reduce(add, (match(d.xy_px, f.true_xy_px, radius_um / f.um_per_px, d.score).scores for d, f in found))


@given(_fields(), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]))
def test_one_pass_gives_what_matching_at_every_threshold_gives(fields, threshold) -> None:
    expected = _by_matching_again(fields, 5, threshold)
    assert threshold_curve(fields, 5).at(threshold) == expected
    assert evaluate(fields, 5, threshold=threshold, samples=10).scores == expected


@given(_fields())
def test_no_threshold_is_better_than_the_best(fields) -> None:
    curve = threshold_curve(fields, 5)
    if not curve.tp.any():
        with pytest.raises(UnusableData):
            best_threshold(fields, 5)
        return
    best = best_threshold(fields, 5)
    f1 = _by_matching_again(fields, 5, best).f1
    assert f1 >= max(_by_matching_again(fields, 5, t).f1 for t in (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1))


@settings(max_examples=40)
@given(_fields())
def test_ratios_and_interval_stay_within_bounds(fields) -> None:
    result = evaluate(fields, 5, samples=50)
    assert 0 <= result.scores.f1 <= 1
    assert result.average_precision is None or 0 <= result.average_precision <= 1
    if result.f1_interval is not None:
        assert 0 <= result.f1_interval.low <= result.f1_interval.high <= 1
    assert reduce(add, (row.scores for row in result.fields)) == result.scores
    json.loads(json.dumps(result.to_dict(), allow_nan=False))


def test_by_hand() -> None:
    # By score: hit, miss, hit, hit on four mitoses. Radius 5 µm = 10 px, so x = 211 is a miss.
    result = evaluate([_field([0.9, 0.8, 0.7, 0.6], [100, 211, 210, 300])], 5)
    assert result.scores == Scores(3, 1, 1)
    assert result.fp_per_mm2 == 1 / 0.25
    # Precision 1, 1/2, 2/3, 3/4 at recall 1/4, 1/4, 1/2, 3/4; made monotone from the right: 1, 3/4, 3/4, 3/4.
    assert result.average_precision == pytest.approx(1 / 4 * 1 + 1 / 2 * 3 / 4)
    # F1 = 2 tp / (found + 4): 2/5, 2/6, 4/7, 6/8. The best is the last, its plateau (0, 0.6].
    assert result.curve.f1.tolist() == pytest.approx([2 / 5, 2 / 6, 4 / 7, 6 / 8])
    assert result.best_threshold == pytest.approx(0.3)


def test_the_best_threshold_is_the_middle_of_its_plateau_and_the_higher_of_two() -> None:
    # F1 after each: 2/5, 4/6, 4/7, 4/8, 6/9: the second and the last are 2/3 both.
    field = _field([0.9, 0.8, 0.6, 0.5, 0.4], [100, 200, 1000, 1100, 300])
    assert best_threshold([field], 5) == pytest.approx(0.7)


def test_the_interval_is_over_slides_and_says_so_when_there_are_too_few() -> None:
    good = [_field([0.9] * 4, [100, 200, 300, 400], slide=s, image=f"{s}.png") for s in "ABC"]
    interval = evaluate(good, 5).f1_interval
    assert interval is not None and (interval.low, interval.high, interval.over) == (1, 1, "slides")
    mixed = evaluate([*good, _field([], [], slide="D")], 5).f1_interval
    assert mixed is not None and mixed.low < 6 / 7 < mixed.high  # 12 of 16 found, none wrong: F1 = 24/28
    two = evaluate(good[:2], 5)
    assert two.f1_interval is not None and two.f1_interval.over == "fields" and "three slides" in two.notes[0]
    one = evaluate(good[:1], 5)
    assert one.f1_interval is None and one.notes


def test_the_same_seed_gives_the_same_interval() -> None:
    fields = [_field([0.9], [x], slide=s) for s, x in zip("ABCD", (100, 0, 200, 0), strict=True)]
    assert evaluate(fields, 5).f1_interval == evaluate(fields, 5).f1_interval


def test_without_area_or_truth_a_number_is_missing_not_wrong() -> None:
    none = np.zeros((0, 2), np.float32)
    result = evaluate([_field([0.9], [100], true=none, area_mm2=None), _field([], [], true=none)], 5)
    assert result.scores == Scores(0, 1, 0)
    assert result.fp_per_mm2 is None and any("area" in note for note in result.notes)
    assert result.average_precision is None and result.best_threshold is None
    assert "a.png" in result.to_text()


def test_no_field_is_refused() -> None:
    with pytest.raises(UnusableData):
        evaluate([], 5)
