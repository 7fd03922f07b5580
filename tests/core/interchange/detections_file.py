"""Detections as the file that `detect` writes, for tests of what reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mitosis_core.interchange.annotation_csv import DETECTION_COLUMNS, ImageDetections
from mitosis_core.interchange.safe_csv import SafeTable


def write_detections(path: Path, rows: Iterable[ImageDetections]) -> None:
    """Image by image; an image without any leaves no row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = SafeTable(file)
        table.write_row(DETECTION_COLUMNS)
        for one in rows:
            found = one.detections
            for (x, y), score in zip(found.xy_px, found.score, strict=True):
                table.write_row((one.image, x, y, score, one.model))
