"""The contests' matching: best score first, nearest free centroid, one-to-one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.scoring.matching import Scores, match

_POINTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=15)


def _xy(points: list[tuple[int, int]]) -> np.ndarray:
    return np.asarray(points, np.float32).reshape(-1, 2)


@given(_POINTS, _POINTS, st.integers(1, 12), st.randoms(use_true_random=False))
def test_one_to_one_within_the_radius_and_nothing_is_lost(found, true, radius, random) -> None:
    score = [random.random() for _ in found]
    result = match(_xy(found), _xy(true), radius, score)
    first, second = result.pairs[:, 0].tolist(), result.pairs[:, 1].tolist()
    assert len(set(first)) == len(first) and len(set(second)) == len(second)
    assert sorted(first + result.extra.tolist()) == list(range(len(found)))
    assert sorted(second + result.missed.tolist()) == list(range(len(true)))
    assert (np.linalg.norm(_xy(found)[first] - _xy(true)[second], axis=1) <= radius).all()
    assert result.scores.tp + result.scores.fp == len(found)
    assert result.scores.tp + result.scores.fn == len(true)


@given(_POINTS, _POINTS, st.integers(1, 12))
def test_whoever_is_left_over_had_nobody_free_in_reach(found, true, radius) -> None:
    result = match(_xy(found), _xy(true), radius)
    for i in result.extra:
        for j in result.missed:
            assert np.linalg.norm(_xy(found)[i] - _xy(true)[j]) > radius


@given(_POINTS, _POINTS, st.integers(1, 12), st.integers(0, 15))
def test_the_matching_of_the_best_is_the_beginning_of_the_matching_of_all(found, true, radius, n) -> None:
    every, best = match(_xy(found), _xy(true), radius), match(_xy(found[:n]), _xy(true), radius)
    assert [pair for pair in every.pairs.tolist() if pair[0] < n] == best.pairs.tolist()


def test_the_best_score_takes_first_even_from_a_nearer_one() -> None:
    # The 0.9 lies 3 px off and takes the only mitosis; the 0.8 on top of it is left over.
    result = match(_xy([(10, 10), (13, 10)]), _xy([(10, 10)]), 5, score=[0.8, 0.9])
    assert result.pairs.tolist() == [[1, 0]] and result.extra.tolist() == [0]


def test_the_nearest_free_mitosis_is_taken_and_the_border_of_the_radius_counts() -> None:
    result = match(_xy([(0, 0), (0, 0), (0, 0)]), _xy([(5, 0), (3, 0), (0, 6)]), 5)
    assert result.pairs.tolist() == [[0, 1], [1, 0]]
    assert result.extra.tolist() == [2] and result.missed.tolist() == [2]


def test_scores_by_hand() -> None:
    scores = Scores(tp=3, fp=1, fn=2) + Scores(tp=1, fp=1, fn=0)
    assert scores == Scores(4, 2, 2)
    assert (scores.precision, scores.recall, scores.f1) == (4 / 6, 4 / 6, 8 / 12)
    assert (Scores().precision, Scores().recall, Scores().f1) == (0, 0, 0)
    assert (Scores(fp=2).precision, Scores(fn=2).recall, Scores(fp=2, fn=2).f1) == (0, 0, 0)


@pytest.mark.parametrize("radius", [0, -1, float("nan")])
def test_a_radius_that_is_none_is_refused(radius: float) -> None:
    with pytest.raises(ValueError):
        match(_xy([]), _xy([]), radius)
    with pytest.raises(ValueError):
        match(_xy([(1, 1)]), _xy([(1, 1)]), 5, score=[0.1, 0.2])
