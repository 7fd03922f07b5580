"""One field of the command `detect`: how it is read and analysed, here or on a worker of a cluster, and its answer.

Nothing here holds pixels once the answer is made, so that it travels, and thousands can be held.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitosis_core.scoring.counting import Count
from mitosis_core.types import Detections, Field

if TYPE_CHECKING:
    from mitosis_core.model import Model

_READERS = min(4, os.cpu_count() or 1)  # images that are read at the same time


@dataclass(frozen=True)
class Image:
    """One image to look at. name: of its results, its path below the folder that was given."""

    path: Path
    name: str


@dataclass(frozen=True)
class Options:
    """What holds for every image. um_per_px: wins over the file's. threshold: None for the version's own.
    overlay: whether the detections are drawn on the image."""

    um_per_px: float | None = None
    threshold: float | None = None
    device: str = "auto"
    overlay: bool = False


@dataclass(frozen=True)
class FieldFacts:
    """A field without its pixels. digest: sha256 of them (Field.digest)."""

    name: str
    digest: str
    um_per_px: float | None
    width_px: int
    height_px: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, field: Field) -> FieldFacts:
        """What is written of a field."""
        return cls(field.name, field.digest, field.um_per_px, field.width_px, field.height_px, field.notes)


@dataclass(frozen=True, eq=False)
class Result:
    """The answer for one image. found: what lies above the threshold in force; notes: of the analysis.

    overlay: the image with its detections drawn, as JPEG, where that was asked for.
    """

    field: FieldFacts
    version: str
    threshold: float
    found: Detections
    tissue_mm2: float
    seconds: float
    notes: tuple[str, ...]
    overlay: bytes | None = None

    @property
    def count(self) -> Count:
        """Over the tissue: glass left out."""
        return Count(len(self.found), self.tissue_mm2)

    def to_dict(self) -> dict[str, Any]:
        """What is written of it as JSON."""
        rows = zip(self.found.xy_px.tolist(), self.found.score.tolist(), strict=True)
        return {
            "image": self.field.name,
            "model": self.version,
            "threshold": self.threshold,
            "um_per_px": self.field.um_per_px,
            "width_px": self.field.width_px,
            "height_px": self.field.height_px,
            "digest": self.field.digest,
            "tissue_mm2": round(self.tissue_mm2, 6),
            "count": len(self.found),
            "density_per_mm2": self.count.per_mm2,
            "seconds": round(self.seconds, 3),
            "notes": [*self.field.notes, *self.notes],
            "detections": [
                {"x_px": round(x, 2), "y_px": round(y, 2), "score": round(score, 4)} for (x, y), score in rows
            ],
        }


def read_ahead(images: list[Image], um_per_px: float | None) -> Iterator[tuple[Image, Future[Field]]]:
    """The images in their order, the next ones being read meanwhile; no more of them are held than are read at once."""
    with ThreadPoolExecutor(_READERS) as pool:
        coming: deque[tuple[Image, Future[Field]]] = deque()
        try:
            for image in images:
                coming.append((image, pool.submit(_read, image, um_per_px)))
                if len(coming) > _READERS:
                    yield coming.popleft()
            while coming:
                yield coming.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read(image: Image, um_per_px: float | None) -> Field:
    from mitosis_core.image.reading import read_field

    field = read_field(image.path, name=image.name, um_per_px=um_per_px)
    _ = field.digest  # here, not while the network waits
    return field


def analyse(field: Field, model: Model, options: Options) -> Result:
    """The mitoses of one field. Raises what `predict` raises."""
    from mitosis_core.prediction import predict

    prediction = predict(field, model, device=options.device)
    threshold = prediction.threshold if options.threshold is None else options.threshold
    found = prediction.candidates.above(threshold)
    return Result(
        FieldFacts.of(field),
        prediction.version,
        threshold,
        found,
        prediction.area_mm2,
        prediction.seconds,
        prediction.notes,
        _drawn(field, found) if options.overlay else None,
    )


def _drawn(field: Field, found: Detections) -> bytes:
    from io import BytesIO

    from PIL import Image as Picture

    from mitosis_core.image.overlay import draw_overlay

    file = BytesIO()
    Picture.fromarray(draw_overlay(field, found)).save(file, "JPEG", quality=92)
    return file.getvalue()
