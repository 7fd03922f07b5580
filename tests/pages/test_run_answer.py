"""The sentence and the recommendation of a run: hand-made comparisons with known answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from db.fields import list_fields
from mitosis_core.scoring.comparison import Change, Comparison, CurvePoints, Difference, VersionScores
from pages.shared.service.run_answer import changed_cells, run_answer
from tests.train.finished import finished_fields


def side(tp: int, fp: int) -> VersionScores:
    return VersionScores(
        recall=0,
        precision=0,
        fp_per_mm2=None,
        curve=CurvePoints([], [], None),
        f1=0,
        tp=tp,
        fp=fp,
        fn=23 - tp,
        average_precision=None,
        threshold=0.5,
    )


def comparison(
    old: tuple[int, int], new: tuple[int, int], f1: float, low: float, high: float, fields: int = 7, mitoses: int = 23
) -> Comparison:
    return Comparison(fields, 2, mitoses, side(*old), side(*new), Difference(f1, low, high, "fields"), [], [], "old")


def test_worse_is_to_be_kept_out_in_plain_words() -> None:
    answer = run_answer(comparison((11, 8), (10, 6), -0.01, -0.1, 0.08), "new")
    assert (
        answer.says == "The challenger new finds 10 instead of 11 of 23 mitoses and makes 2 fewer false detections (6)."
    )
    assert (answer.advice, answer.promote) == ("Reject it and keep the active version.", False)


def test_clearly_better_is_to_be_promoted() -> None:
    answer = run_answer(comparison((11, 8), (15, 8), 0.1, 0.02, 0.2), "new")
    assert (
        answer.says == "The challenger new finds 15 instead of 11 of 23 mitoses and makes as many false detections (8)."
    )
    assert (answer.advice, answer.promote) == ("Promote it.", True)


@pytest.mark.parametrize(("low", "fields", "mitoses"), [(-0.01, 7, 23), (0.02, 1, 1), (0.02, 4, 23), (0.02, 7, 19)])
def test_what_may_be_chance_is_not_to_be_promoted(low: float, fields: int, mitoses: int) -> None:
    answer = run_answer(comparison((0, 0), (1, 1), 0.1, low, 0.2, fields, mitoses), "new")
    assert "may be chance: reject it, keep the active version" in answer.advice and not answer.promote


def test_the_same_number_and_one_more() -> None:
    says = run_answer(comparison((11, 8), (11, 9), -0.01, -0.1, 0.1), "new").says
    assert says == (
        "The challenger new finds the same number of mitoses, 11 of 23, and makes 1 more false detection (9)."
    )


def test_changed_cells_know_their_field_and_who_marks_them(tmp_path: Path) -> None:
    store = finished_fields(tmp_path / "data", fields=1)
    (field,) = list_fields(store)
    kinds = ("newly found", "newly lost", "newly false", "no longer false")
    changes = [Change(field.digest, kind, 10, 20) for kind in kinds] + [Change("gone", "newly lost", 1, 1)]  # type: ignore[arg-type]
    found = changed_cells(store, dataclasses.replace(comparison((1, 1), (1, 1), 0, 0, 0), changes=changes))
    assert {kind: [(one.mitosis, one.before, one.after) for one in cells] for kind, cells in found.items()} == {
        "newly found": [(True, False, True)],
        "newly lost": [(True, True, False)],
        "newly false": [(False, False, True)],
        "no longer false": [(False, True, False)],
    }
