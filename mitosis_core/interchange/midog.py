"""The annotation file of the MIDOG challenges: like COCO's, but a box is [x1, y1, x2, y2], two corners.

Every box is 50 px wide and high and was made from a point that a pathologist clicked, its centre; it says nothing of
the size of the cell. Categories are `mitotic figure` and `hard negative`, which the files and papers of the challenges
also call `not mitotic figure`, `non-mitotic figure` or imposter. After MIDOG.json of github.com/DeepMicroscopy/MIDOG,
where the first box is [4336, 346, 4386, 396]; Aubreville et al., Sci Data 2023;10:484.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS
from mitosis_core.interchange.coco import (
    BOX_PX,
    DECIMALS,
    Box,
    Cell,
    boxes,
    from_corner_to_corner,
    read_documents,
    write_document,
)
from mitosis_core.interchange.files import Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.marks import Mark, MarkedImage

CATEGORIES = {MITOSIS: "mitotic figure", LOOKALIKE: "hard negative"}


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """The images of the documents. Raises UnusableData."""
    return read_documents(sources, _cell)


def _cell(box: Box, entry: Mapping[str, Any]) -> Cell:
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, None


def write(path: Path, images: Iterable[MarkedImage]) -> None:
    """One document."""
    write_document(path, images, CATEGORIES, _annotation, lambda image: {})


def _annotation(mark: Mark) -> dict[str, Any]:
    x, y, half = mark.x_px, mark.y_px, BOX_PX / 2
    return {"bbox": [round(value, DECIMALS) for value in (x - half, y - half, x + half, y + half)]}


def recognises(source: Source) -> bool:
    """Whether all its boxes are two corners 50 px apart."""
    found = boxes(source)
    return bool(found) and all(from_corner_to_corner(box) for box in found or ())


FORMAT = Format(
    "midog",
    "MIDOG JSON",
    (".json",),
    read,
    write,
    Keeps(0.01, (MITOSIS, LOOKALIKE), image_size=True),
    recognises,
    needs_size=True,
)
