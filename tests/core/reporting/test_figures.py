"""The words for the figures of a case."""

from __future__ import annotations

import numpy as np

from mitosis_core.reporting.figures import average_figures, case_figures, densest_figures, score_figures
from mitosis_core.scoring.counting import FieldCount, count_field
from mitosis_core.types import Field


def counted(mitoses: int, width_px: int = 1600, um_per_px: float | None = 0.5) -> FieldCount:
    """A field of 0.8 x 0.4 mm, all tissue, unless it is told otherwise."""
    field = Field(np.full((800, width_px, 3), (205, 140, 175), np.uint8), um_per_px, "drawn")
    return count_field(
        field, np.column_stack([np.arange(mitoses) * 9.0 + 5, np.full(mitoses, 50.0)]).astype(np.float32)
    )


def test_a_case_with_enough_tissue_has_density_and_both_scores() -> None:
    """Four fields of 0.32 mm²: 14 mitoses in 1.28 mm² are 10.9 per mm² and 26 per 10 fields of 0.55 mm: score 3."""
    figures = case_figures([counted(n) for n in (2, 2, 2, 8)], 0.55)
    values = {one.label: one.value for one in (*average_figures(figures), *score_figures(figures))}
    assert values == {
        "Mitoses": "14",
        "Tissue": "1.28 mm²",
        "Per mm²": "10.9",
        "Per 10 HPF": "26.0",
        "Mitotic score, 0.55 mm": "3",
        "Mitotic score per mm²": "3",
    }
    (only,) = densest_figures(figures, list("abcd"))
    assert only.value == "All of it"


def test_the_densest_2_mm2_names_its_fields() -> None:
    """Eight fields, 0.32 mm² each: seven in a row hold 2 mm²; the last seven have one mitosis more than the first."""
    figures = case_figures([counted(n) for n in (0, 1, 1, 1, 1, 1, 1, 1)], 0.55)
    area, run = densest_figures(figures, [f"f{n}" for n in range(8)])
    assert area.value == "7 mitoses, 3.1 per mm²" and area.note.startswith("f1 to f7, 7 fields. 2.24 mm² of tissue.")
    assert "Score" in area.note and "Chosen because it is dense" in area.note
    assert run.note == "The case has 8 of 10 fields: these are all."


def test_without_scale_or_tissue_there_is_one_sentence_and_no_score() -> None:
    for field in (counted(3, um_per_px=None), counted(3, width_px=20)):
        figures = case_figures([field], 0.55)
        *_, density = average_figures(figures)
        (score,) = score_figures(figures)
        assert density.value == score.value == "none" and density.note == score.note and density.note.endswith(".")
        assert densest_figures(figures, ["f"]) == []
