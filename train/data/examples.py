"""What a network learns from: images with their centroids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mitosis_core.errors import UnusableData
from mitosis_core.image.reading import read_field
from mitosis_core.image.tissue import find_tissue
from mitosis_core.interchange.annotation_csv import Annotations, read_annotations
from mitosis_core.interchange.csv_rows import read_rows, text_of, um_per_px_of
from mitosis_core.types import Field, Float32, UInt8
from train.data.labels import MOST, ellipse_masks


@dataclass(frozen=True, eq=False)
class Example:
    """One image and what is known of it.

    slide: the unit of splitting (slide or patient), on all its scanners; "" for a patch of which it is not known.
    mask: UInt8[H, W] instance mask, value k on the k-th mitosis, where the extent of the figures is known.
    whole_field: False for a small patch cut round one mitosis, which is never scored.
    scanner: what it was scanned with, where that is known.
    ignored: UInt8[H, W], nonzero where nothing may be learned or counted; everywhere else every mitosis is marked.
    """

    field: Field
    slide: str
    mitoses_xy_px: Float32
    lookalikes_xy_px: Float32
    mask: UInt8 | None = None
    whole_field: bool = True
    scanner: str = ""
    ignored: UInt8 | None = None

    @property
    def um_per_px(self) -> float:
        """µm per pixel of its image."""
        assert self.field.um_per_px is not None, "checked when read"
        return self.field.um_per_px

    @property
    def group(self) -> str:
        """Slide and scanner: what scores are compared by."""
        return f"{self.slide}, {self.scanner}" if self.scanner else self.slide

    @cached_property
    def tissue_share(self) -> float:
        """How much of its image is tissue, 0 to 1."""
        return find_tissue(self.field).share

    @property
    def counted_mm2(self) -> float:
        """Area in which detections count."""
        assert self.field.area_mm2 is not None, "checked when read"
        return self.field.area_mm2 * (1.0 if self.ignored is None else float((self.ignored == 0).mean()))


def read_examples(annotations: Path, images: Path, masks: Path | None = None, scanner: str = "") -> list[Example]:
    """The annotated fields, sorted by name.

    masks: folder of instance masks, a PNG named as its image; a field without one has ellipses in the place of its
    mitoses where their width and height are annotated. scanner: of the fields whose rows name none (column scanner).
    Raises UnusableData or UnreadableField.
    """
    if masks and not masks.is_dir():
        raise UnusableData(f"There is no folder “{masks}” of masks.")
    scanners = {row["image"]: row.get("scanner") or scanner for _, row in read_rows(annotations, ("image",))}
    examples = []
    for name, known in sorted(read_annotations(annotations).items()):
        field = read_field(images / name, um_per_px=known.um_per_px)
        if field.um_per_px is None:
            raise UnusableData(f"{name} has no µm/px, neither in the annotations nor in the file.")
        _check_inside(field, np.vstack([known.mitoses_xy_px, known.lookalikes_xy_px]))
        mask, mitoses = _mask(field, known, masks), known.mitoses_xy_px
        examples.append(Example(field, known.slide, mitoses, known.lookalikes_xy_px, mask, scanner=scanners[name]))
    if not any(len(e.mitoses_xy_px) for e in examples):
        raise UnusableData("There is no mitosis among the annotations, so there is nothing to learn from.")
    return examples


def _check_inside(field: Field, xy_px: Float32) -> None:
    """Raises UnusableData for a mark outside its image, of which the first pixel reaches from -0.5 to 0.5."""
    for x, y in xy_px[~field.extent.contains(xy_px)].tolist():
        size = f"{field.width_px} × {field.height_px} pixels"
        raise UnusableData(f"{field.name}: the mark at {x:g}, {y:g} lies outside the image of {size}.")


def read_patches(table: Path, images: Path) -> list[Example]:
    """Patches with one mitosis at the centre each. table: CSV with columns image, um_per_px, and where they are known
    case and scanner.

    Raises UnusableData or UnreadableField.
    """
    examples = []
    for number, row in read_rows(table, ("image", "um_per_px")):
        field = read_field(images / text_of(row, "image", number), um_per_px=um_per_px_of(row, number))
        centre = np.array([[field.width_px / 2, field.height_px / 2]], np.float32)
        none = np.zeros((0, 2), np.float32)
        case, scanner = row.get("case", ""), row.get("scanner", "")
        examples.append(Example(field, case, centre, none, whole_field=False, scanner=scanner))
    return examples


def read_tissue(table: Path, images: Path, masks: Path | None = None) -> list[Example]:
    """Fields in which no mitosis is marked, because there is none but where their masks say so.

    table: CSV with columns image, um_per_px, and where they are known slide (else the image is one) and scanner.
    masks: folder of PNGs named as the images, nonzero where nothing may be learned or counted.
    Raises UnusableData or UnreadableField.
    """
    examples, none = [], np.zeros((0, 2), np.float32)
    for number, row in read_rows(table, ("image", "um_per_px")):
        name = text_of(row, "image", number)
        field = read_field(images / name, um_per_px=um_per_px_of(row, number))
        path = masks / f"{Path(name).stem}.png" if masks else None
        ignored = _read_picture(path, field) if path and path.exists() else None
        slide = row.get("slide") or Path(name).stem
        examples.append(Example(field, slide, none, none, scanner=row.get("scanner", ""), ignored=ignored))
    return examples


def _mask(field: Field, known: Annotations, masks: Path | None) -> UInt8 | None:
    """The mask of a field as it was drawn, else from the sizes of its mitoses, else none."""
    path = masks / f"{Path(field.name).stem}.png" if masks else None
    if path and path.exists():
        return _read_mask(path, field)
    if known.sizes_px is None:
        return None
    try:
        return ellipse_masks((field.height_px, field.width_px), known.mitoses_xy_px, known.sizes_px)
    except UnusableData as error:
        raise UnusableData(f"{field.name}: {error}") from error


def _read_mask(path: Path, field: Field) -> UInt8:
    mask = _read_picture(path, field)
    if mask.max() > MOST:
        raise UnusableData(f"The mask {path.name} has a figure number {mask.max()}; they go from 1 to {MOST}.")
    return mask.astype(np.uint8)


def _read_picture(path: Path, field: Field) -> UInt8:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            mask = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnusableData(f"The mask {path.name} is damaged or not a PNG image.") from error
    if mask.ndim != 2:
        raise UnusableData(f"The mask {path.name} is a colour image; it should hold the number of a figure per pixel.")
    if mask.shape != field.pixels.shape[:2]:
        sizes = f"{mask.shape[1]} × {mask.shape[0]} pixels, its image {field.width_px} × {field.height_px}"
        raise UnusableData(f"The mask {path.name} has {sizes}; both must be of one size.")
    return mask


def not_ignored(xy_px: Float32, ignored: UInt8 | None) -> npt.NDArray[np.bool_]:
    """Bool[N]: the points that do not lie where `ignored` says that nothing counts; all where it is None."""
    if ignored is None:
        return np.ones(len(xy_px), bool)
    x, y = np.clip(np.rint(xy_px), 0, np.array(ignored.shape[::-1]) - 1).astype(int).T
    return np.asarray(ignored[y, x] == 0)


def digest(examples: list[Example]) -> str:
    """sha256 over pixels, labels and masks: the identity of a training set, whatever the order of its files."""
    parts = sorted(
        f"{e.field.digest} {e.um_per_px:.6f} {e.slide} {e.mitoses_xy_px.tolist()} {e.lookalikes_xy_px.tolist()}"
        + "".join(f" {hashlib.sha256(m.tobytes()).hexdigest()}" for m in (e.mask, e.ignored) if m is not None)
        for e in examples
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
