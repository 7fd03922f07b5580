"""The one pipeline: a field and a version in, a prediction out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from mitosis_core.blobs import find_blobs
from mitosis_core.calibration import calibrate, centre
from mitosis_core.errors import MissingScale
from mitosis_core.model import Model
from mitosis_core.runtime import MULTIPLE_PX, Engine, describe_device, engine, pad, without_margin
from mitosis_core.scale import check_um_per_px, resample
from mitosis_core.stain import stain_profile, standardise, tissue_fraction
from mitosis_core.tiling import cover
from mitosis_core.types import Detections, Field, Float32, Prediction, ProbabilityMap, UInt8

__all__ = ["describe_device", "predict", "probability_map"]

Progress = Callable[[float], None]

WHOLE_FIELD_PX = 6_000_000  # up to this many pixels a field goes through the network in one piece (about 1.5 GB)
TILE_PX = 2048
HALO_PX = 224  # covers the receptive field of the networks here, so tiled and whole give the same map
_LITTLE_TISSUE = 0.02


def predict(field: Field, model: Model, *, device: str = "auto", progress: Progress | None = None) -> Prediction:
    """Find the mitoses of one field.

    device: "auto", "cpu" or "cuda". progress: called with the share done, 0..1.
    Raises MissingScale when the field has no plausible µm/px, UnusableModel when the version cannot be used,
    ConcentricError when there is no such device.
    """
    if field.um_per_px is None:
        raise MissingScale(f"The µm/px of {field.name} is not known; please give it (40x scanners: about 0.25).")
    check_um_per_px(field.um_per_px)
    started = time.perf_counter()
    report = progress or (lambda share: None)
    report(0.0)
    fraction = tissue_fraction(field.pixels)
    if fraction < _LITTLE_TISSUE:
        empty, notes = Detections(), ("Hardly any tissue was found in this field.",)
        return _answer(field, model, empty, None, notes, started)
    found_map = probability_map(field, engine(model, device), model.card.um_per_px, model.card.stride, report)
    found_map = calibrate(found_map, model.card.calibration)
    found = inside(find_blobs(found_map, model.card.blobs), field)
    raw = model.card.raw_threshold
    candidates = Detections(found.xy_px, centre(found.score, raw), found.area_um2)
    found_map = dataclasses.replace(found_map, values=centre(found_map.values, raw))
    report(1.0)
    return _answer(field, model, candidates, found_map, (), started)


def probability_map(
    field: Field, run: Engine, um_per_px: float, stride: int, report: Progress = lambda share: None
) -> ProbabilityMap:
    """The network's answer over the whole field, in one piece or tile by tile.

    um_per_px: scale the network sees; stride: pixels of that scale per cell of its answer.
    """
    assert field.um_per_px is not None, "checked by predict"
    pixels, (step_x, step_y) = resample(field.pixels, field.um_per_px, um_per_px)
    shape = pixels.shape[:2]
    pixels = pad(standardise(pixels, stain_profile(field.pixels)))
    whole = pixels.shape[0] * pixels.shape[1] <= WHOLE_FIELD_PX
    values = run(pixels) if whole else _tiled(pixels, run, stride, report)
    return ProbabilityMap(without_margin(values, stride, shape), (stride * step_x, stride * step_y), field.um_per_px)


def _tiled(pixels: UInt8, run: Engine, stride: int, report: Progress) -> Float32:
    """Every cell of the map comes from the one tile that owns it."""
    values = np.empty((pixels.shape[0] // stride, pixels.shape[1] // stride), np.float32)
    tiles = cover(pixels.shape[0], pixels.shape[1], TILE_PX, HALO_PX, MULTIPLE_PX)
    for done, tile in enumerate(tiles):
        answer = run(np.ascontiguousarray(pixels[tile.read.slices]))
        values[tile.owned.at(stride).slices] = answer[tile.owned_in_read.at(stride).slices]
        report(done / len(tiles))
    return values


def inside(found: Detections, field: Field) -> Detections:
    """Without what was found in the mirrored margin."""
    keep = (found.xy_px[:, 0] < field.width_px) & (found.xy_px[:, 1] < field.height_px)
    return found if keep.all() else Detections(found.xy_px[keep], found.score[keep], found.area_um2[keep])


def _answer(
    field: Field, model: Model, candidates: Detections, found_map: ProbabilityMap | None, notes: tuple[str, ...],
    started: float,
) -> Prediction:  # fmt: skip
    assert field.area_mm2 is not None, "checked by predict"
    seconds = time.perf_counter() - started
    return Prediction(candidates, model.threshold, model.version, seconds, field.area_mm2, found_map, notes)
