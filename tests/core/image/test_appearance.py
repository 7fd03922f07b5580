"""Novelty: distances by hand, and fields that look alike are near each other."""

from __future__ import annotations

import numpy as np
import pytest

from mitosis_core.image.appearance import measure_appearance, novelty
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.types import Field


def test_distance_to_the_nearest_reviewed_in_standard_deviations() -> None:
    # One number varies: 0, 1, 2, 5 have mean 2 and variance (4 + 1 + 0 + 9) / 4; the other, all 7, says nothing.
    looks = [[0, 7], [1, 7], [2, 7], [5, 7]]
    expected = np.array([0, 1, 0, 3]) / np.sqrt(14 / 4)
    assert novelty(looks, [True, False, True, False]) == pytest.approx(expected)


def test_two_numbers_count_as_their_root_mean_square() -> None:
    # Both have standard deviation 1/2 or 1: each differs by two of them.
    assert novelty([[0, 0], [1, 2]], [True, False]) == pytest.approx(np.array([0.0, 2.0]))


def test_without_a_reviewed_field_everything_is_new() -> None:
    assert np.isinf(novelty([[0.0], [1.0]], [False, False])).all()


def test_fields_that_are_all_alike_are_not_new() -> None:
    assert novelty([[3.0, 1.0]] * 3, [True, False, False]) == pytest.approx(np.zeros(3))


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    looks, done = rng.normal(size=(30, 5)), rng.random(30) < 0.3
    assert novelty(looks * [1, 10, 0.1, 3, 1e4] + 5, done) == pytest.approx(novelty(looks, done))


def test_a_field_in_another_stain_is_further_than_another_field_of_the_same() -> None:
    one, same = (draw_sample_field(seed=seed, size_px=320).field for seed in (1, 2))
    pale = Field((255 - (255 - same.pixels.astype(float)) * 0.6).astype(np.uint8), 0.25, "pale")
    looks = [measure_appearance(field) for field in (one, same, pale)]
    values = novelty(looks, [True, False, False])
    assert values[2] > 2 * values[1]
    assert all(0 <= look[-1] <= 1 for look in looks)


def test_bare_glass_has_no_look() -> None:
    assert measure_appearance(Field(np.full((200, 200, 3), 245, np.uint8), 0.25, "glass")) == ()
