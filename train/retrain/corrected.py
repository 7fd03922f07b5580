"""Fields with a reader's marks: what they label, and what is to be ignored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mitosis_core.errors import UnusableData
from mitosis_core.scale import to_resampled_px
from mitosis_core.types import Float32, Region
from mitosis_core.vocabulary import UNSURE_RADIUS_UM
from train.data.examples import Example, not_ignored
from train.data.labels import IGNORED, VARIANTS, concentric_labels
from train.data.patches import Tissue, pixel_px, prepare


@dataclass(frozen=True, eq=False)
class CorrectedField(Example):
    """A field with a reader's marks; its look-alikes are those the reader has named.

    unsure_xy_px: Float32[N, 2]; what lies there is neither a mitosis nor background. region: the part that was
    reviewed; None is all of it. Every mitosis inside it is marked.
    """

    unsure_xy_px: Float32 = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    region: Region | None = None

    @property
    def counted_mm2(self) -> float:
        """Area in which detections count: what was reviewed."""
        return (self.region or self.field.extent).area_mm2(self.um_per_px)


def check_trainable(examples: Sequence[Example]) -> None:
    """Raises UnusableData, in a sentence, when the fields cannot teach anything."""
    if not examples:
        raise UnusableData("There is no corrected field to learn from.")
    if not any(len(e.mitoses_xy_px) for e in examples):
        raise UnusableData(
            "There is no mitosis in the corrected fields, so there is nothing to learn what one looks like."
        )


def split_in_halves(example: Example) -> list[CorrectedField]:
    """One field as two, of each of which one half was reviewed, so that one validates what the other trained."""
    whole = (example.region if isinstance(example, CorrectedField) else None) or example.field.extent
    if whole.width_px >= whole.height_px:
        across = (whole.left + whole.right) / 2
        regions = [dataclasses.replace(whole, right=across), dataclasses.replace(whole, left=across)]
    else:
        down = (whole.top + whole.bottom) / 2
        regions = [dataclasses.replace(whole, bottom=down), dataclasses.replace(whole, top=down)]
    given = {f.name: getattr(example, f.name) for f in dataclasses.fields(example)}
    return [CorrectedField(**{**given, "region": region}) for region in regions]


def reviewed_tissues(examples: Sequence[Example], um_per_px: float, stain: str = "") -> list[Tissue]:
    """The examples as `prepare` has them, with all that was not reviewed, or is unsure, marked as ignored."""
    tissues = prepare(examples, um_per_px, stain)
    for example, tissue in zip(examples, tissues, strict=True):
        if isinstance(example, CorrectedField):
            _ignore(example, tissue, um_per_px)
    return tissues


def _ignore(example: CorrectedField, tissue: Tissue, um_per_px: float) -> None:
    """Mark unsure figures and all outside the reviewed region; the disc of a mitosis beside an unsure figure stays."""
    shape, pixel = tissue.pixels.shape[:2], pixel_px(example, tissue)
    reviewed = (example.region or example.field.extent).mask((shape[0], shape[1]), pixel).astype(np.uint8)
    unsure = to_resampled_px(example.unsure_xy_px.reshape(-1, 2), pixel)
    disc = VARIANTS["random"].inner_um[1] / um_per_px
    radii = [(disc, disc)] * len(tissue.mitoses_xy_px) + [(-1.0, UNSURE_RADIUS_UM / um_per_px)] * len(
        unsure
    )  # -1: no disc
    points = np.vstack([tissue.mitoses_xy_px, unsure]).astype(np.float32)
    tissue.ignored = (concentric_labels((shape[0], shape[1]), points, radii, reviewed=reviewed) == IGNORED).astype(
        np.uint8
    )
    tissue.mitoses_xy_px = tissue.mitoses_xy_px[not_ignored(tissue.mitoses_xy_px, tissue.ignored)]
    tissue.lookalikes_xy_px = tissue.lookalikes_xy_px[not_ignored(tissue.lookalikes_xy_px, tissue.ignored)]
