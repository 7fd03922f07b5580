"""The mitotic score, 1 to 3: the part of the Nottingham grade of breast cancer that counts mitoses.

By the published table of field diameters, and by the limits per mm². For research only: no score from here may decide
a grade or a treatment. Table, rules and sources: docs/counting.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mitosis_core.plurals import count_noun
from mitosis_core.scoring.counting import Count, NoResult, hpf_area_mm2, hpf_equivalents

RESEARCH_ONLY = "For research only: no score from this program may decide a diagnosis, a grade or a treatment."

CAP = (
    "College of American Pathologists, Protocol for the Examination of Resection Specimens From Patients With "
    "Invasive Carcinoma of the Breast, version 4.10.0.0, Table 1; from NHS Cancer Screening Programmes and The Royal "
    "College of Pathologists, Pathology Reporting of Breast Disease, NHSBSP Publication 58, 2005"
)
WHO = "WHO Classification of Tumours Editorial Board, Breast Tumours, 5th edition, IARC, Lyon 2019"


@dataclass(frozen=True)
class ScoreLimits:
    """Most mitoses for score 1 and for score 2, in 10 fields of a diameter."""

    field_diameter_mm: float
    score_1: int
    score_2: int


SCORE_TABLE = (
    ScoreLimits(0.40, 4, 9),
    ScoreLimits(0.41, 4, 9),
    ScoreLimits(0.42, 5, 10),
    ScoreLimits(0.43, 5, 10),
    ScoreLimits(0.44, 5, 11),
    ScoreLimits(0.45, 5, 11),
    ScoreLimits(0.46, 6, 12),
    ScoreLimits(0.47, 6, 12),
    ScoreLimits(0.48, 6, 13),
    ScoreLimits(0.49, 6, 13),
    ScoreLimits(0.50, 7, 14),
    ScoreLimits(0.51, 7, 14),
    ScoreLimits(0.52, 7, 15),
    ScoreLimits(0.53, 8, 16),
    ScoreLimits(0.54, 8, 16),
    ScoreLimits(0.55, 8, 17),
    ScoreLimits(0.56, 8, 17),
    ScoreLimits(0.57, 9, 18),
    ScoreLimits(0.58, 9, 19),
    ScoreLimits(0.59, 9, 19),
    ScoreLimits(0.60, 10, 20),
    ScoreLimits(0.61, 10, 21),
    ScoreLimits(0.62, 11, 22),
    ScoreLimits(0.63, 11, 22),
    ScoreLimits(0.64, 11, 23),
    ScoreLimits(0.65, 12, 24),
    ScoreLimits(0.66, 12, 24),
    ScoreLimits(0.67, 12, 25),
    ScoreLimits(0.68, 13, 26),
    ScoreLimits(0.69, 13, 27),
)
PER_MM2 = (3, 7)  # most mitoses per mm² for score 1 and for score 2
LEAST_SCORED_MM2 = 10 * hpf_area_mm2(SCORE_TABLE[0].field_diameter_mm)  # 1.26: no microscope of the table counts less


@dataclass(frozen=True)
class MitoticScore:
    """A score and how firm it is.

    score: 1, 2 or 3. counted: the whole number that was compared, in `unit`, with `limits`, the most for score 1 and 2.
    more, fewer: mitoses by which the count would have to rise or fall for the next score; None where there is none.
    extrapolated: less than the 10 fields were counted that the table asks for. source: where the limits are written.
    """

    score: int
    counted: int
    unit: str
    limits: tuple[int, int]
    more: int | None
    fewer: int | None
    extrapolated: bool
    source: str

    @property
    def margin(self) -> str:
        """What would change the score, in a sentence."""
        changes = [(self.more, "more", self.score + 1), (self.fewer, "fewer", self.score - 1)]
        said = [
            f"{count_noun(number, f'{word} mitosis')} would make it {score}"
            for number, word, score in changes
            if number is not None
        ]
        return "; ".join(said) + "."


def mitotic_score(count: Count, field_diameter_mm: float) -> MitoticScore | NoResult:
    """By the table of field diameters: the count carried to 10 fields of the microscope, half a mitosis rounded up.

    The row is that of the diameter to 0.01 mm. NoResult without area, with less than 1.26 mm² of tissue, or for a
    diameter that the table does not list.
    """
    if missing := _missing(count):
        return missing
    assert count.area_mm2 is not None, "else it is missing"
    nearest = math.floor(field_diameter_mm * 100 + 0.5 + 1e-9)
    row = next((one for one in SCORE_TABLE if round(one.field_diameter_mm * 100) == nearest), None)
    if row is None:
        first, last = SCORE_TABLE[0].field_diameter_mm, SCORE_TABLE[-1].field_diameter_mm
        return NoResult(
            f"The published table knows field diameters from {first:.2f} to {last:.2f} mm, not {field_diameter_mm:.2f} "
            "mm; the score per mm² needs no microscope."
        )
    short = (
        hpf_equivalents(count.area_mm2, field_diameter_mm) < 10 - 1e-6
    )  # a hair below 10 is rounding, not a missing field
    factor = 10 * hpf_area_mm2(field_diameter_mm) / count.area_mm2
    return _score(count.mitoses, factor, "per 10 HPF", (row.score_1, row.score_2), extrapolated=short, source=CAP)


def mitotic_score_per_mm2(count: Count) -> MitoticScore | NoResult:
    """By the limits per mm²: up to 3, 4 to 7, from 8 on; half a mitosis per mm² rounded up.

    NoResult without area or with less than 1.26 mm² of tissue.
    """
    if missing := _missing(count):
        return missing
    assert count.area_mm2 is not None, "else it is missing"
    return _score(count.mitoses, 1 / count.area_mm2, "per mm²", PER_MM2, extrapolated=False, source=WHO)


def _missing(count: Count) -> NoResult | None:
    """Why there is no score; None where there is one."""
    if count.problem or count.area_mm2 is None:
        return count.problem
    if count.area_mm2 < LEAST_SCORED_MM2:
        return NoResult(
            f"{count.area_mm2:.2f} mm² of tissue are too little for a mitotic score: 10 fields of the smallest "
            f"microscope in the published table are {LEAST_SCORED_MM2:.2f} mm²."
        )
    return None


def _score(
    mitoses: int, factor: float, unit: str, limits: tuple[int, int], *, extrapolated: bool, source: str
) -> MitoticScore:
    """factor: what one mitosis counts in that unit."""
    counted = _whole(mitoses, factor)
    score = 1 + sum(counted > limit for limit in limits)
    more = _first_above(limits[score - 1], factor) - mitoses if score < 3 else None
    fewer = mitoses - _first_above(limits[score - 2], factor) + 1 if score > 1 else None
    return MitoticScore(score, counted, unit, limits, more, fewer, extrapolated, source)


def _whole(mitoses: int, factor: float) -> int:
    return math.floor(mitoses * factor + 0.5 + 1e-9)


def _first_above(limit: int, factor: float) -> int:
    """The fewest mitoses that count more than the limit."""
    mitoses = max(0, math.floor((limit + 0.5) / factor) - 1)
    while _whole(mitoses, factor) <= limit:
        mitoses += 1
    return mitoses
