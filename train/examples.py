"""What a network learns from: images with their centroids."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.contest_csv import read_annotations
from mitosis_core.reading import read_field
from mitosis_core.types import Field, Float32, UInt8


@dataclass(frozen=True, eq=False)
class Example:
    """One image and what is known of it.

    slide: the unit of splitting (slide or patient). mask: UInt8[H, W] instance mask where one was given.
    whole_field: False for a small patch cut round one mitosis, which is never scored.
    """

    field: Field
    slide: str
    mitoses_xy_px: Float32
    lookalikes_xy_px: Float32
    mask: UInt8 | None = None
    whole_field: bool = True

    @property
    def um_per_px(self) -> float:
        assert self.field.um_per_px is not None, "checked when read"
        return self.field.um_per_px


def read_examples(annotations: Path, images: Path, masks: Path | None = None) -> list[Example]:
    """The annotated fields, sorted by name. Raises UnusableData or UnreadableField."""
    examples = []
    for name, known in sorted(read_annotations(annotations).items()):
        field = read_field(images / name, um_per_px=known.um_per_px)
        if field.um_per_px is None:
            raise UnusableData(f"{name} has no µm/px, neither in the annotations nor in the file.")
        mask = _read_mask(masks, name) if masks else None
        examples.append(Example(field, known.slide, known.mitoses_xy_px, known.lookalikes_xy_px, mask))
    if not any(len(e.mitoses_xy_px) for e in examples):
        raise UnusableData("There is no mitosis among the annotations, so there is nothing to learn from.")
    return examples


def read_patches(table: Path, images: Path) -> list[Example]:
    """Patches with one mitosis at the centre each. table: CSV with columns image, um_per_px and case (optional)."""
    examples = []
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            if not row.get("image") or not row.get("um_per_px"):
                raise UnusableData(f"{table.name} needs the columns image and um_per_px in every row.")
            field = read_field(images / row["image"], um_per_px=float(row["um_per_px"]))
            centre = np.array([[field.width_px / 2, field.height_px / 2]], np.float32)
            none = np.zeros((0, 2), np.float32)
            examples.append(Example(field, row.get("case") or row["image"], centre, none, whole_field=False))
    return examples


def _read_mask(masks: Path, name: str) -> UInt8 | None:
    from PIL import Image

    path = masks / f"{Path(name).stem}.png"
    return np.asarray(Image.open(path), np.uint8) if path.exists() else None


def digest(examples: list[Example]) -> str:
    """sha256 over pixels, labels and masks: the identity of a training set, whatever the order of its files."""
    parts = sorted(
        f"{e.field.digest} {e.um_per_px:.6f} {e.slide} {e.mitoses_xy_px.tolist()} {e.lookalikes_xy_px.tolist()}"
        + ("" if e.mask is None else f" {hashlib.sha256(e.mask.tobytes()).hexdigest()}")
        for e in examples
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
