"""The shipped version on real fields made difficult: glass, ink, a fold, crowded mitoses, images of a few cells.

    python -m benchmarks.hard_fields --annotations CSV --images DIR --painted DIR --patches CSV [--version NAME]

Every change is made to marked fields, one of each slide; crowds are mitoses of patches set into a field without any.
Each is counted beside the same field as it was. The version may have learned from these very fields: what counts is
the difference.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import cv2
import numpy as np

from benchmarks.record import Figures, cpu_name, write_result
from mitosis_core.model import DEFAULT_VERSION, Model, load_model
from mitosis_core.prediction import predict
from mitosis_core.scoring.matching import Scores, match
from mitosis_core.types import Detections, Field, Float32, UInt8
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.data.examples import Example, read_examples, read_patches, read_tissue

GLASS = 243
INKS = {"blue ink": (20, 60, 160), "black ink": (15, 15, 20), "green ink": (20, 120, 60)}
GLASS_SHARES = (1 / 3, 2 / 3, 0.9)
CROWDS = (10, 60, 120)
SIDES_PX = (64, 96, 128)
_HALF_PX = 30  # of a patch that is set into a field, 15 µm across
_CUT_PX = 40  # nearer to the cut of the glass a cell may be another


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--painted", type=Path, required=True)
    parser.add_argument("--patches", type=Path, required=True)
    parser.add_argument("--version", default=DEFAULT_VERSION)
    given = parser.parse_args()
    model = load_model(given.version)
    marked = _one_a_slide(read_examples(given.annotations, given.images))
    empty = _one_a_slide(read_tissue(given.painted / "fields.csv", given.painted / "images", given.painted / "masks"))
    patches = read_patches(given.patches, given.patches.parent / "images")
    write_result(
        "hard_fields",
        {
            "rows": [*_changed(marked, model), *_crowded(empty, patches, model), *_small(marked, model)],
            "version": model.version,
            "fields": [e.field.name for e in marked],
            "machine": f"{cpu_name()}, {platform.system()}",
        },
    )


def _one_a_slide(examples: Sequence[Example]) -> list[Example]:
    """Of each slide its first field with four mitoses or more, or without any where none has."""
    rich = [e for e in examples if len(e.mitoses_xy_px) >= 4] or list(examples)
    return list({e.slide: e for e in reversed(rich)}.values())[::-1]


def _row(change: str, part: str, before: Scores, after: Scores) -> Figures:
    print(change, part, before, after, flush=True)
    return {
        "change": change,
        "counted": part,
        "mitoses": after.tp + after.fn,
        "recall_before": before.recall,
        "recall": after.recall,
        "extra_before": before.fp,
        "extra": after.fp,
    }


def _changed(marked: Sequence[Example], model: Model) -> Iterator[Figures]:
    for share in GLASS_SHARES:
        where = f"beside the glass, from {_CUT_PX} px on"
        yield _compare(f"{share:.0%} glass", where, marked, model, _glass(share), share)
    for name, colour in INKS.items():
        yield _compare(name, "the whole field", marked, model, _ink(colour))
    yield _compare("a fold", "the whole field", marked, model, _fold)


def _compare(
    change: str, where: str, marked: Sequence[Example], model: Model, draw: Callable[[UInt8], UInt8], left: float = 0.0
) -> Figures:
    """left: share of the width that is not counted."""

    def beside(xy_px: Float32, e: Example) -> Float32:
        return xy_px[xy_px[:, 0] >= (left * e.field.width_px + _CUT_PX if left else 0)]

    sides = []
    for change_or_not in ((lambda pixels: pixels), draw):
        found = [_detect(change_or_not(e.field.pixels), e, model) for e in marked]
        sides.append(
            reduce(
                add,
                (
                    match(beside(d.xy_px, e), beside(e.mitoses_xy_px, e), HIT_RADIUS_UM / e.um_per_px).scores
                    for d, e in zip(found, marked, strict=True)
                ),
            )
        )
    return _row(change, where, *sides)


def _detect(pixels: UInt8, e: Example, model: Model) -> Detections:
    return predict(Field(np.ascontiguousarray(pixels), e.um_per_px, e.field.name), model, device="cpu").detections


def _glass(share: float) -> Callable[[UInt8], UInt8]:
    def draw(pixels: UInt8) -> UInt8:
        changed = pixels.copy()
        changed[:, : int(share * pixels.shape[1])] = GLASS
        return changed

    return draw


def _stroke(shape: tuple[int, ...], width_px: int) -> Float32:
    """Float32[H, W, 1]: a soft line across a field, from the upper left to the lower right."""
    line = np.zeros(shape[:2], np.float32)
    cv2.line(line, (shape[1] // 10, 0), (int(shape[1] * 0.7), shape[0]), 1.0, width_px)
    return np.asarray(cv2.GaussianBlur(line, (0, 0), 6)[..., None], np.float32)


def _ink(colour: tuple[int, int, int]) -> Callable[[UInt8], UInt8]:
    def draw(pixels: UInt8) -> UInt8:
        cover = 0.9 * _stroke(pixels.shape, 80)
        return np.asarray(np.rint(pixels * (1 - cover) + np.array(colour) * cover), np.uint8)

    return draw


def _fold(pixels: UInt8) -> UInt8:
    """Tissue that lies double: more than twice the optical density in a band."""
    density = -np.log(np.maximum(pixels, 1) / 255)
    doubled = 255 * np.exp(-density * (1 + 1.3 * _stroke(pixels.shape, 160)))
    return np.asarray(np.clip(doubled, 0, 255), np.uint8)


def _crowded(empty: Sequence[Example], patches: Sequence[Example], model: Model) -> Iterator[Figures]:
    """The same mitoses few and many; the recall before is that of the fewest."""
    first = None
    for many in CROWDS:
        scores = Scores()
        for e in empty:
            pixels, true = _with_mitoses(e.field.pixels, patches, many)
            found = _detect(pixels, e, model).xy_px
            scores += match(found, true, HIT_RADIUS_UM / e.um_per_px).scores
        first = first or scores
        yield _row(f"{many} mitoses set into a field", "the whole field", first, scores)


def _with_mitoses(pixels: UInt8, patches: Sequence[Example], many: int) -> tuple[UInt8, Float32]:
    """Patches on a grid, each with the median colour of the tissue round it, with a soft rim."""
    changed, rng, side = pixels.astype(np.float32), np.random.default_rng(1), int(np.ceil(np.sqrt(many)))
    row, column = np.mgrid[-_HALF_PX:_HALF_PX, -_HALF_PX:_HALF_PX]
    cover = np.clip((_HALF_PX - 1 - np.hypot(row, column)) / 6, 0, 1)[..., None]
    true = []
    for k in range(many):
        x, y = (int((k % side + 0.5) * pixels.shape[1] / side), int((k // side + 0.5) * pixels.shape[0] / side))
        source = patches[int(rng.integers(len(patches)))].field.pixels
        middle = source.shape[0] // 2
        patch = source[middle - _HALF_PX : middle + _HALF_PX, middle - _HALF_PX : middle + _HALF_PX].astype(np.float32)
        around = pixels[max(0, y - 60) : y + 60, max(0, x - 60) : x + 60]
        patch += np.median(around, (0, 1)) - np.median(patch, (0, 1))
        at = np.s_[y - _HALF_PX : y + _HALF_PX, x - _HALF_PX : x + _HALF_PX]
        changed[at] = cover * patch + (1 - cover) * changed[at]
        true.append((x, y))
    return np.clip(changed, 0, 255).astype(np.uint8), np.array(true, np.float32)


def _small(marked: Sequence[Example], model: Model) -> Iterator[Figures]:
    """Each mitosis cut out with little tissue round it."""
    whole = reduce(
        add,
        (
            match(_detect(e.field.pixels, e, model).xy_px, e.mitoses_xy_px, HIT_RADIUS_UM / e.um_per_px).scores
            for e in marked
        ),
    )
    for side in SIDES_PX:
        scores = Scores()
        for e in marked:
            for xy in e.mitoses_xy_px:
                limit = [e.field.width_px - side, e.field.height_px - side]
                left, top = np.clip(np.rint(xy) - side // 2, 0, limit).astype(int)
                found = _detect(e.field.pixels[top : top + side, left : left + side], e, model).xy_px
                inside = e.mitoses_xy_px - np.array([left, top], np.float32)
                inside = inside[((inside >= 0) & (inside < side)).all(1)]
                scores += match(found, inside, HIT_RADIUS_UM / e.um_per_px).scores
        yield _row(f"{side} px round each mitosis", "each such image", whole, scores)


if __name__ == "__main__":
    main()
