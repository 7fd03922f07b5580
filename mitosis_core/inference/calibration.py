"""Scores that mean the same in every field.

On the tissue of an unknown laboratory a network may answer higher or lower everywhere: on its mitoses and on its
ordinary nuclei alike. What nearly all of a field is not mitosis tells by how much. The background logit of a field is
the one below which a fixed share of its tissue lies (far more than its mitoses usually cover); it is moved to one
reference, and with it every score.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mitosis_core.types import Float32, ProbabilityMap

_EPSILON = 1e-6  # probabilities closer to 0 or 1 than this are all the same
_ORDINARY_SHARE = 0.9  # of the tissue, which no number of mitoses reaches
_WEIGHT_MM2 = 0.02  # a field of this size counts as much as the reference; a whole HPF has 0.2 to 0.3


@dataclass(frozen=True)
class Calibration:
    """share: of the tissue, in (0, 1), below its background logit. reference: where every background logit is moved.

    largest_gap: how far at most a background logit lies above the logit that 90 % of the tissue does not exceed; None:
    any distance. It lies further only where mitoses cover a good part of a field, and these must not move themselves.
    """

    share: float
    reference: float
    largest_gap: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie between 0 and 1, not {self.share}")
        if self.largest_gap is not None and not self.largest_gap >= 0:
            raise ValueError(f"largest_gap must not be negative, as {self.largest_gap} is")


class Background(NamedTuple):
    """level: the logit that a share of the cells on tissue do not exceed. gap: how far it lies above the logit that
    90 % of them do not exceed."""

    level: float
    gap: float


def measure_background(found: ProbabilityMap, share: float) -> Background:
    """Of a map, for a share in (0, 1). Glass does not count: on it networks answer lowest of all."""
    logits = logit(found.values)
    level, ordinary = (
        float(np.quantile(logits, 1 - (1 - one) * found.tissue_share)) for one in (share, _ORDINARY_SHARE)
    )
    return Background(level, level - ordinary)


def calibrate(found: ProbabilityMap, calibration: Calibration | None) -> ProbabilityMap:
    """The map with its background logit at the reference; unchanged without a calibration.

    A small field says little about its tissue (one mitosis may fill it), so it is moved less.
    """
    return shift_map(found, calibration_shift(found, calibration))


def calibration_shift(found: ProbabilityMap, calibration: Calibration | None) -> float:
    """By how much the logits of this field move; 0 without a calibration."""
    if calibration is None:
        return 0.0
    area_mm2 = found.values.size * found.cell_area_um2 / 1e6 * found.tissue_share
    level, gap = measure_background(found, calibration.share)
    if calibration.largest_gap is not None:
        level -= max(0.0, gap - calibration.largest_gap)
    full = calibration.reference - level
    return float(full * area_mm2 / (area_mm2 + _WEIGHT_MM2))


def shift_logits(values: Float32, by: float) -> Float32:
    """Probabilities, of any shape, with `by` added to their logits."""
    return sigmoid(logit(values) + np.float32(by))


def shift_map(found: ProbabilityMap, by: float) -> ProbabilityMap:
    """The map with `by` added to its logits; the map itself where that is nothing."""
    return found if by == 0 else dataclasses.replace(found, values=shift_logits(found.values, by))


def centre_on_threshold(values: Float32, raw_threshold: float) -> Float32:
    """Probabilities or scores, of any shape, moved so that what was `raw_threshold` is 0.5.

    Networks trained with weighted classes are sure of nearly everything; so 0.5 means "as likely as not, as the
    validation fields had it", for every version.
    """
    return sigmoid(logit(values) - logit(np.full(1, raw_threshold, np.float32)))


def logit(values: Float32) -> Float32:
    """log(p / (1 - p)), finite also where a probability has run into 0 or 1."""
    kept = np.clip(values, _EPSILON, 1 - _EPSILON)
    return np.asarray(np.log(kept / (1 - kept)), np.float32)


def sigmoid(logits: Float32) -> Float32:
    """Inverse of `logit`."""
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
