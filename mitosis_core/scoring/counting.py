"""Counts as pathologists report them: per mm², per 10 high-power fields, and the Nottingham mitotic score.

The score depends on the diameter of the microscope's field. Only diameters whose thresholds are certain are given:
0.44, 0.59 and 0.63 mm from Elston & Ellis, Histopathology 1991;19:403-410, and 0.50 mm from the UK breast screening
guidelines (NHSBSP Pathology Reporting of Breast Disease). No threshold is interpolated for another diameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

COMMON_FIELD_DIAMETERS_MM = (0.40, 0.44, 0.50, 0.55, 0.59, 0.63)
FIELD_DIAMETER_MM = 0.55  # 0.2376 mm²: a 40x objective with an eyepiece of field number 22

_ELSTON_ELLIS = "Elston & Ellis 1991"
# Field diameter -> most mitoses per 10 HPF for score 1 and for score 2, and where that is written.
_SCORE_TABLE: dict[float, tuple[int, int, str]] = {
    0.44: (5, 10, _ELSTON_ELLIS),
    0.50: (7, 14, "NHSBSP"),
    0.59: (9, 19, _ELSTON_ELLIS),
    0.63: (11, 22, _ELSTON_ELLIS),
}
SCORE_DIAMETERS_MM = tuple(_SCORE_TABLE)


@dataclass(frozen=True)
class MitoticScore:
    """score: 1, 2 or 3. per_10_hpf: the count it rests on, carried to 10 fields and rounded.

    extrapolated: fewer than 10 fields were counted, so this is a hint and no Nottingham score.
    """

    score: int
    per_10_hpf: int
    hpf_counted: float
    extrapolated: bool
    source: str


def hpf_area_mm2(field_diameter_mm: float = FIELD_DIAMETER_MM) -> float:
    """Area of one round high-power field. Raises ValueError for a diameter that is not positive."""
    _positive(field_diameter_mm, "field diameter")
    return math.pi * field_diameter_mm**2 / 4


def density_per_mm2(mitoses: int, area_mm2: float) -> float:
    """Mitoses per mm². Raises ValueError for an area that is not positive or a negative count."""
    _positive(area_mm2, "area")
    if mitoses < 0:
        raise ValueError(f"the number of mitoses must not be negative, not {mitoses}")
    return mitoses / area_mm2


def hpf_equivalents(area_mm2: float, field_diameter_mm: float = FIELD_DIAMETER_MM) -> float:
    """How many high-power fields the area is worth."""
    _positive(area_mm2, "area")
    return area_mm2 / hpf_area_mm2(field_diameter_mm)


def per_10_hpf(mitoses: int, area_mm2: float, field_diameter_mm: float = FIELD_DIAMETER_MM) -> float:
    """The count carried to the area of 10 high-power fields."""
    return density_per_mm2(mitoses, area_mm2) * 10 * hpf_area_mm2(field_diameter_mm)


def mitotic_score(mitoses: int, area_mm2: float, field_diameter_mm: float) -> MitoticScore:
    """The mitotic component (1 to 3) of the Nottingham grade.

    mitoses in area_mm2 are carried to 10 fields of field_diameter_mm (half a mitosis rounds up). Raises ValueError for
    a diameter without published thresholds here; SCORE_DIAMETERS_MM lists those there are.
    """
    row = next((row for mm, row in _SCORE_TABLE.items() if math.isclose(mm, field_diameter_mm, abs_tol=1e-6)), None)
    if row is None:
        known = ", ".join(f"{mm:.2f}" for mm in SCORE_DIAMETERS_MM)
        raise ValueError(f"no mitotic score is known for a field diameter of {field_diameter_mm} mm, only for {known}")
    count = math.floor(per_10_hpf(mitoses, area_mm2, field_diameter_mm) + 0.5 + 1e-9)
    counted = hpf_equivalents(area_mm2, field_diameter_mm)
    most_1, most_2, source = row
    score = 1 if count <= most_1 else 2 if count <= most_2 else 3
    # A hair below 10 is rounding, not a missing field.
    return MitoticScore(score, count, counted, counted < 10 - 1e-6, source)


def _positive(value: float, what: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"the {what} must be positive, not {value}")
