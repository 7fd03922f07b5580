"""The one pipeline: a field and a version in, a prediction out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mitosis_core.errors import MissingScale
from mitosis_core.image.stain import MeasuredStain, field_profile, measure_stain, normalise
from mitosis_core.image.tissue import Tissue, find_tissue
from mitosis_core.inference.blobs import BlobSettings, find_blobs
from mitosis_core.inference.calibration import (
    calibration_shift,
    centre_on_threshold,
    shift_logits,
    shift_map,
)
from mitosis_core.inference.fusion import fuse
from mitosis_core.inference.runtime import (
    MULTIPLE_PX,
    Engine,
    EngineOutput,
    crop_padding,
    describe_device,
    get_engine,
    load_verifier,
    pad,
)
from mitosis_core.inference.tiling import Window, cover
from mitosis_core.model import Model
from mitosis_core.scale import check_um_per_px, resample, to_original_px
from mitosis_core.types import Bool, Detections, Field, Float32, Prediction, ProbabilityMap, Region, UInt8

__all__ = ["NetworkOutput", "describe_device", "find_candidates", "infer", "predict", "probability_map"]

Progress = Callable[[float], None]

WHOLE_FIELD_PX = 6_000_000  # up to this many pixels a field goes through the network in one piece (about 0.8 GB)
TILE_PX = 2048
HALO_PX = 224  # covers the receptive field of the networks here, so tiled and whole give the same map
_LITTLE_TISSUE = 0.02
_LARGE_SHIFT = -4.0  # logits; on tissue without mitoses it was between -3.8 and 0.2, on a field of 60 mitoses -5
_SMALL_UM = 30.0  # of images 16 µm across three of four mitoses are missed, of 24 µm hardly more than of fields


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
    measured, tissue = measure_stain(field.pixels), find_tissue(field)
    if measured.tissue_fraction < _LITTLE_TISSUE:
        empty, notes = Detections(), ("Hardly any tissue was found in this field.",)
        return _make_prediction(field, model, empty, None, notes, started, tissue)
    card = model.card
    run = get_engine(model, device)
    output = infer(field, run, card.um_per_px, card.stride, card.stain, report, measured, tissue)
    shift = calibration_shift(output.map, card.calibration)
    found, found_map = find_candidates(output, field, card.blobs, shift)
    found = apply_verifier(found, field, model, device, measured)
    raw = card.raw_threshold
    found = Detections(found.xy_px, centre_on_threshold(found.score, raw), found.area_um2)
    found_map = dataclasses.replace(found_map, values=centre_on_threshold(found_map.values, raw))
    report(1.0)
    return _make_prediction(field, model, found, found_map, _notes(field, shift), started, tissue)


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """What the network of a version puts out for a field, before calibration and any threshold.

    boxes: its detections, in pixels of the field; None from a network whose only output is a map.
    """

    map: ProbabilityMap
    boxes: Detections | None = None


def find_candidates(
    output: NetworkOutput, field: Field, blobs: BlobSettings, shift: float = 0.0
) -> tuple[Detections, ProbabilityMap]:
    """Every detection down to a low score, and the map, their logits moved by `shift` (see calibration)."""
    found_map = shift_map(output.map, shift)
    if output.boxes is None:
        return exclude_border(find_blobs(found_map, blobs), field, blobs.border_um), found_map
    found = Detections(output.boxes.xy_px, shift_logits(output.boxes.score, shift), output.boxes.area_um2).above(
        blobs.min_score
    )
    # What lies near a surer one is the same figure, seen from two tiles or in two parts.
    found = fuse([found], blobs.peak_distance_um / output.map.um_per_px)
    return exclude_border(found, field, blobs.border_um), found_map


def apply_verifier(
    found: Detections, field: Field, model: Model, device: str = "auto", measured: MeasuredStain | None = None
) -> Detections:
    """The detections with the scores of both stages; as they are for a version of one stage."""
    settings = model.card.verifier
    if settings is None:
        return found
    from mitosis_core.inference.verifier import fuse_scores, verify_field

    scores = verify_field(load_verifier(model, device), field, found, settings.lower, measured)
    return Detections(found.xy_px, fuse_scores(found.score, scores, settings.weight), found.area_um2)


def probability_map(field: Field, run: Engine, um_per_px: float, stride: int, stain: str = "") -> ProbabilityMap:
    """The map alone of what `infer` gives."""
    return infer(field, run, um_per_px, stride, stain).map


def infer(
    field: Field,
    run: Engine,
    um_per_px: float,
    stride: int,
    stain: str = "",
    report: Progress = lambda share: None,
    measured: MeasuredStain | None = None,
    tissue: Tissue | None = None,
) -> NetworkOutput:
    """The network's output over the whole field, in one piece or tile by tile.

    um_per_px: scale the network sees; stride: pixels of that scale per cell of its answer; stain: what the field is
    brought to before it is cut into tiles (see stain.normalise); measured, tissue: the stain and the tissue of the
    field, where they were measured already. Raises UnusableModel for an unknown stain.
    """
    assert field.um_per_px is not None, "checked by predict"
    pixels, (step_x, step_y) = resample(field.pixels, field.um_per_px, um_per_px)
    shape = pixels.shape[:2]
    pixels = pad(normalise(pixels, stain, field_profile(field.pixels, field.um_per_px, measured)))
    whole = pixels.shape[0] * pixels.shape[1] <= WHOLE_FIELD_PX
    output = run(pixels) if whole else _tiled(pixels, run, stride, report)
    values = crop_padding(output.values, stride, shape)
    share = (tissue or find_tissue(field)).share
    found_map = ProbabilityMap(values, (stride * step_x, stride * step_y), field.um_per_px, share)
    if output.boxes is None:
        return NetworkOutput(found_map)
    return NetworkOutput(found_map, exclude_border(_detections(output.boxes, (step_x, step_y), field.um_per_px), field))


def _detections(boxes: Float32, pixel_px: tuple[float, float], um_per_px: float) -> Detections:
    """Boxes on the padded image -> detections in pixels of the field; the area is that of the ellipse inside."""
    left, top, right, bottom, score = boxes.T
    centre_px = np.stack([(left + right) / 2, (top + bottom) / 2], 1) - 0.5 - MULTIPLE_PX
    area_px = np.pi / 4 * (right - left) * (bottom - top) * pixel_px[0] * pixel_px[1]
    return Detections(to_original_px(centre_px.astype(np.float32), pixel_px), score, area_px * um_per_px**2)


def _tiled(pixels: UInt8, run: Engine, stride: int, report: Progress) -> EngineOutput:
    """Every cell of the map, and every box by its middle, comes from the one tile that owns it."""
    values = np.empty((pixels.shape[0] // stride, pixels.shape[1] // stride), np.float32)
    boxes: list[Float32] = []
    tiles = cover(pixels.shape[0], pixels.shape[1], TILE_PX, HALO_PX, MULTIPLE_PX)
    for done, tile in enumerate(tiles):
        output = run(np.ascontiguousarray(pixels[tile.read.slices]))
        values[tile.owned.at(stride).slices] = output.values[tile.owned_in_read.at(stride).slices]
        if output.boxes is not None:
            moved = output.boxes + np.array([tile.read.left, tile.read.top] * 2 + [0], np.float32)
            boxes.append(moved[_owned(moved, tile.owned)])
        report(done / len(tiles))
    return EngineOutput(values, np.concatenate(boxes) if boxes else None)


def _owned(boxes: Float32, owned: Window) -> Bool:
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    return np.asarray((x >= owned.left) & (x < owned.right) & (y >= owned.top) & (y < owned.bottom))


def exclude_border(found: Detections, field: Field, border_um: float = 0.0) -> Detections:
    """Without what was found in the mirrored margin, or nearer to an edge than border_um: a nucleus that is cut there
    looks like a metaphase plate."""
    keep = searched_region(field, border_um).contains(found.xy_px)
    return found if keep.all() else found.select(keep)


def searched_region(field: Field, border_um: float) -> Region:
    """The part in which figures can be found: the field without its border of border_um, a quarter of it at most."""
    assert field.um_per_px is not None, "checked by predict"
    return field.extent.without_border(border_um / field.um_per_px)


def _notes(field: Field, shift: float) -> tuple[str, ...]:
    assert field.um_per_px is not None, "checked by predict"
    across_um, notes = min(field.width_px, field.height_px) * field.um_per_px, []
    if across_um < _SMALL_UM:
        small = f"below {_SMALL_UM:.0f} µm of tissue mitoses are missed."
        notes.append(f"This image is only {across_um:.0f} µm across; {small}")
    if shift < _LARGE_SHIFT:
        notes.append(
            "Much of this field looks like mitosis to the detector, so its scores were lowered; "
            "if mitoses are crowded here, please look at lower scores too."
        )
    return tuple(notes)


def _make_prediction(
    field: Field,
    model: Model,
    candidates: Detections,
    found_map: ProbabilityMap | None,
    notes: tuple[str, ...],
    started: float,
    tissue: Tissue,
) -> Prediction:
    assert field.um_per_px is not None, "checked by predict"
    area_mm2 = tissue.within(searched_region(field, model.card.blobs.border_um)).area_mm2
    seconds = time.perf_counter() - started
    return Prediction(candidates, model.threshold, model.version, seconds, area_mm2, found_map, notes)
