"""ImageJ: a zip of ROIs for each image, as the ROI Manager saves it, one point ROI a mark.

Open it with the image in ImageJ or Fiji. ImageJ counts points as this program does: whole numbers are the centres of
pixels (only areas count from their corners). A ROI is called as its class, which has a colour; its properties
hold label, score, size of the cell, reader and time, and the name of the image. Read besides: points
together, and areas, as the middle of their extent.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS, UNSURE
from mitosis_core.interchange.csv_rows import number_in
from mitosis_core.interchange.files import FileNames, Source, open_archive
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.marks import Mark, MarkedImage, score_of

if TYPE_CHECKING:
    from roifile import ImagejRoi

COLOURS = {MITOSIS: b"\xff\xc8\x00\x00", LOOKALIKE: b"\xff\x00\x6e\xc8", UNSURE: b"\xff\xe6\xa0\x00"}  # ARGB
_MOST_ROI_BYTES, _MOST_COMMENT_BYTES = 1 << 24, 65535
_UNNAMED = re.compile(r"\d+(-\d+)*|[0-9a-f]{8}-[0-9a-f-]{27}")  # how ImageJ calls ROIs that nobody named


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """One image a zip (or a single .roi). Raises UnusableData with file and ROI."""
    for source in sources:
        marks: list[Mark] = []
        image = ""
        for nth, (comment, data) in enumerate(_rois(source)):
            image = image or comment
            if data is None:
                continue
            place = f"{source.shown}, ROI {nth}"
            roi = _decoded(data, place)
            told = _properties(roi)
            image = image or told.get("image", "")
            marks += [_mark(x, y, roi, told, nth, place) for x, y in _points(roi, place)]
        yield MarkedImage(image or source.stem, tuple(marks), source=source.shown, counted="ROI")


def _rois(source: Source) -> Iterator[tuple[str, bytes | None]]:
    """The comment of a zip, which is the name of its image, alone; then each ROI."""
    with source.open() as file:
        if source.suffix == ".roi":
            yield "", None
            yield "", file.read(_MOST_ROI_BYTES)
            return
        with open_archive(file, source.shown) as archive:
            yield archive.comment, None
            for name in archive.names:
                if name.lower().endswith(".roi"):
                    with archive.unpacked(name) as roi:
                        yield "", roi.read(_MOST_ROI_BYTES)


def _decoded(data: bytes, place: str) -> ImagejRoi:
    from roifile import ImagejRoi

    try:
        return ImagejRoi.frombytes(data)
    except Exception as error:  # damaged bytes fail in many ways
        raise UnusableData(f"{place} is damaged, or is no ROI of ImageJ.") from error


def _points(roi: ImagejRoi, place: str) -> list[tuple[float, float]]:
    from roifile import ROI_TYPE

    try:
        corners = np.asarray(roi.coordinates(), np.float64).reshape(-1, 2)
    except Exception as error:
        raise UnusableData(f"{place} is damaged, or is no ROI of ImageJ.") from error
    if not len(corners) or not np.isfinite(corners).all():
        raise UnusableData(f"{place} has no points, or points that are no numbers.")
    if roi.roitype == ROI_TYPE.POINT:
        return [(float(x), float(y)) for x, y in corners]
    x, y = (corners.min(axis=0) + corners.max(axis=0)) / 2 - 0.5  # areas count from the corner of a pixel
    return [(float(x), float(y))]


def _properties(roi: ImagejRoi) -> dict[str, str]:
    pairs = (line.partition(":") for line in (roi.props or "").splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}


def _mark(x: float, y: float, roi: ImagejRoi, told: Mapping[str, str], nth: int, place: str) -> Mark:
    named = "" if _UNNAMED.fullmatch(roi.name or "") else roi.name or ""
    size = [_told(told, f"object_{side}_px", place) for side in ("width", "height")]
    width, height = size
    return Mark(
        x,
        y,
        told.get("label") or named,
        score_of(_told(told, "score", place), place),
        None if width is None or height is None else (width, height),
        told.get("reader", ""),
        told.get("time", ""),
        told.get("comment", ""),
        nth,
    )


def _told(told: Mapping[str, str], key: str, place: str) -> float | None:
    return number_in(told[key], f"{place}: {key}") if key in told else None


# ---- writing


def write(folder: Path, images: Iterable[MarkedImage]) -> None:
    """One zip of ROIs an image."""
    names = FileNames()
    for image in images:
        with zipfile.ZipFile(names.path(folder, image.name, ".zip"), "w") as archive:
            archive.comment = image.name.encode()[:_MOST_COMMENT_BYTES]
            for nth, mark in enumerate(image.marks, 1):
                entry = zipfile.ZipInfo(f"{nth:05d}-{mark.label}.roi")  # without the hour
                archive.writestr(entry, _encoded(mark, image.name))


def _encoded(mark: Mark, image: str) -> bytes:
    from roifile import ROI_TYPE, ImagejRoi

    roi = ImagejRoi.frompoints(np.array([[mark.x_px, mark.y_px]], np.float32), name=mark.label)
    roi.roitype = ROI_TYPE.POINT
    roi.stroke_color = COLOURS[mark.label]
    width, height = mark.size_px or (None, None)
    told = {
        "image": image,
        "label": mark.label,
        "score": mark.score,
        "reader": mark.reader,
        "time": mark.time,
        "comment": mark.comment,
        "object_width_px": width,
        "object_height_px": height,
    }
    lines = (f"{key}: {' '.join(str(value).split())}\n" for key, value in told.items() if value not in (None, ""))
    roi.props = "".join(lines)
    return roi.tobytes()


def recognises(source: Source) -> bool:
    """Whether it is a ROI, or a zip with ROIs alone."""
    if source.suffix == ".roi":
        return True
    try:
        with source.open() as file, open_archive(file, source.shown) as archive:
            return bool(archive.names) and all(PurePosixPath(n).suffix.lower() == ".roi" for n in archive.names)
    except UnusableData:
        return source.suffix == ".zip"  # nothing else reads it, and the reader says what is wrong


FORMAT = Format(
    "imagej",
    "ImageJ ROIs",
    (".zip", ".roi"),
    read,
    write,
    Keeps(0.01, score=True, cell_size=True, reader=True, time=True, comment=True),
    recognises,
    per_image=True,
)
