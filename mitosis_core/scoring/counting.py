"""Counts as pathologists report them: mitoses in an area of tissue, per mm² and per 10 high-power fields (HPF).

A field and a case are counted alike, from detections above a threshold or from the verdicts of readers: all that is
asked for is where the mitoses are. The area is that of the tissue, glass left out. Formulas: docs/counting.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from mitosis_core.errors import ConcentricError
from mitosis_core.image.tissue import Tissue, find_tissue
from mitosis_core.types import Field, Float32, Region

COMMON_FIELD_DIAMETERS_MM = (0.40, 0.44, 0.50, 0.55, 0.59, 0.63)
FIELD_DIAMETER_MM = 0.55  # of a high-power field, where nobody has said: field number 22, objective 40x (0.2376 mm²)
POSSIBLE_DIAMETERS_MM = (0.2, 1.2)  # field numbers 18 to 26.5, objectives 25x to 63x, and some room

LEAST_MM2 = 0.02  # of tissue for a density: a square of 140 µm


@dataclass(frozen=True)
class NoResult:
    """Why a figure is not given: one sentence for the user."""

    reason: str


@dataclass(frozen=True)
class PoissonInterval:
    """The true values with which a count is compatible."""

    low: float
    high: float

    def times(self, factor: float) -> PoissonInterval:
        """The interval of a multiple of the count, such as a density."""
        return PoissonInterval(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Count:
    """Mitoses in an area of tissue; counts of several fields are added. area_mm2: None where µm/px is not known.

    Raises ValueError for a negative number of mitoses, or an area that is negative or not finite.
    """

    mitoses: int
    area_mm2: float | None

    def __post_init__(self) -> None:
        if self.mitoses < 0:
            raise ValueError(f"the number of mitoses must not be negative, not {self.mitoses}")
        if self.area_mm2 is not None and not (math.isfinite(self.area_mm2) and self.area_mm2 >= 0):
            raise ValueError(f"the area must not be negative, not {self.area_mm2}")

    def __add__(self, other: Count) -> Count:
        known = self.area_mm2 is not None and other.area_mm2 is not None
        area_mm2 = (self.area_mm2 or 0.0) + (other.area_mm2 or 0.0) if known else None
        return Count(self.mitoses + other.mitoses, area_mm2)

    @property
    def problem(self) -> NoResult | None:
        """Why there is no density; None where there is one."""
        if self.area_mm2 is None:
            return NoResult("The µm per pixel is not known, so there is no area, and neither density nor score.")
        if self.area_mm2 < LEAST_MM2:
            return NoResult(f"There is too little tissue ({self.area_mm2:.3f} mm²) for a density or a score.")
        return None

    @property
    def per_mm2(self) -> float | None:
        """Mitoses per mm² of tissue; None where `problem` says why not."""
        return None if self.area_mm2 is None or self.problem else density_per_mm2(self.mitoses, self.area_mm2)

    def per_10_hpf(self, field_diameter_mm: float) -> float | None:
        """Mitoses carried to 10 fields of a microscope; None where `problem` says why not."""
        if self.area_mm2 is None or self.problem:
            return None
        return per_10_hpf(self.mitoses, self.area_mm2, field_diameter_mm)

    def interval(self, level: float = 0.95) -> PoissonInterval:
        """Of the count itself; `times` carries it to densities. See `poisson_interval`."""
        return poisson_interval(self.mitoses, level)

    def interval_per_mm2(self, level: float = 0.95) -> PoissonInterval | None:
        """Of the density; None where `problem` says why not."""
        return None if self.area_mm2 is None or self.problem else self.interval(level).times(1 / self.area_mm2)


@dataclass(frozen=True, eq=False)
class FieldCount:
    """The mitoses of one field. xy_px: Float32[N, 2], those in the region; region: the part of the image that counts.

    tissue: of the region; None where the field has no µm/px.
    """

    name: str
    xy_px: Float32
    region: Region
    tissue: Tissue | None

    @cached_property
    def count(self) -> Count:
        """How many, in which area."""
        return Count(len(self.xy_px), None if self.tissue is None else self.tissue.area_mm2)


def count_field(field: Field, xy_px: Float32, region: Region | None = None) -> FieldCount:
    """Count the mitoses at Float32[N, 2] in a field.

    xy_px: `detections.above(threshold).xy_px`, or where readers said mitosis. region: what a reader reviewed, or what
    a version searched (`prediction.searched_region`); None: the whole field. What lies outside of it is not counted.
    """
    whole = field.extent if region is None else region.clipped(field.extent)
    tissue = None if field.um_per_px is None else find_tissue(field, whole)
    return FieldCount(field.name, xy_px if region is None else xy_px[whole.contains(xy_px)], whole, tissue)


def count_on_tissue(name: str, xy_px: Float32, tissue: Tissue, region: Region | None = None) -> FieldCount:
    """`count_field` for a field whose tissue was found before: the image is not needed again."""
    if region is None:
        return FieldCount(name, xy_px, tissue.region, tissue)
    inside = tissue.within(region)
    return FieldCount(name, xy_px[inside.region.contains(xy_px)], inside.region, inside)


def total(fields: Iterable[FieldCount]) -> Count:
    """The count of a case: mitoses and tissue of all its fields; without area when any field has none."""
    return sum((one.count for one in fields), Count(0, 0.0))


def poisson_interval(count: int, level: float = 0.95) -> PoissonInterval:
    """The exact interval of a Poisson count (Garwood 1936).

    Its ends are the expectations of which a count this high, or this low, is just not too rare: quantiles of chi² with
    2 n and 2 n + 2 degrees of freedom, halved. Raises ValueError for a negative count or a level outside 0 to 1.
    """
    from scipy.special import gammaincinv  # quantiles of chi² / 2, without the long import of scipy.stats

    if count < 0 or not 0 < level < 1:
        raise ValueError(f"an interval needs a count from 0 on and a level between 0 and 1, not {count} and {level}")
    tail = (1 - level) / 2
    low = float(gammaincinv(count, tail)) if count else 0.0
    return PoissonInterval(low, float(gammaincinv(count + 1, 1 - tail)))


def field_diameter_mm(field_number_mm: float, magnification: float) -> float:
    """Diameter of a microscope's field: the field number of its eyepiece over the magnification of its objective (times
    that of a tube lens between them). Raises ConcentricError when no microscope has such a high-power field.
    """
    low, high = POSSIBLE_DIAMETERS_MM
    possible = math.isfinite(field_number_mm) and math.isfinite(magnification) and magnification > 0
    if not possible or not low <= field_number_mm / magnification <= high:
        raise ConcentricError(
            f"A field number of {field_number_mm:g} and a magnification of {magnification:g} do not give a high-power "
            f"field ({low:g} to {high:g} mm across). Common are a field number of 22 and an objective of 40x: 0.55 mm."
        )
    return field_number_mm / magnification


def check_field_diameter(diameter_mm: float) -> float:
    """Return it when a high-power field may be so wide; raises ConcentricError with a sentence when not."""
    low, high = POSSIBLE_DIAMETERS_MM
    if not low <= diameter_mm <= high:
        raise ConcentricError(
            f"No high-power field is {diameter_mm:g} mm across (accepted: {low:g} to {high:g} mm). Common is 0.55 mm."
        )
    return diameter_mm


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


def _positive(value: float, what: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"the {what} must be positive, not {value}")
