"""MITOS-ATYPIA-14 (ICPR 2014 contest): CSV files, one row a cell: x, y and a degree of confidence.

An image has two files, NAME_mitosis.csv and NAME_not_mitosis.csv; results that were sent in have one, NAME.csv, of
mitoses. Whole pixels; the confidence, 0 to 1, may be missing
(https://mitos-atypia-14.grand-challenge.org/Evaluation-Metrics/). Whether the first pixel is 0 or 1 is not said there;
here it is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS
from mitosis_core.interchange.files import FileNames, Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.marks import Mark, MarkedImage, score_of
from mitosis_core.interchange.number_rows import number_rows

_ENDINGS = {"_not_mitosis": LOOKALIKE, "_mitosis": MITOSIS, "": MITOSIS}  # the first that fits
_NUMBERS = range(2, 4)


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """One image for its one or two files. Raises UnusableData with file and row."""
    files: dict[str, list[tuple[Source, str]]] = {}
    for source in sources:
        ending, label = next(item for item in _ENDINGS.items() if source.stem.lower().endswith(item[0]))
        files.setdefault(source.stem[: len(source.stem) - len(ending)], []).append((source, label))
    for name, parts in files.items():
        marks = tuple(mark for source, label in parts for mark in marks_of(source, label, swapped=False))
        yield MarkedImage(name, marks, source=" and ".join(source.shown for source, _ in parts), counted="row")


def marks_of(source: Source, label: str, *, swapped: bool) -> Iterator[Mark]:
    """The rows of one file, all of one label. swapped: the row of the pixel, y, comes first."""
    what = "row and column" if swapped else "x and y"
    for row, values in number_rows(source, _NUMBERS, f"{what}, and perhaps a confidence,"):
        x, y = values[1::-1] if swapped else values[:2]
        score = score_of(values[2] if len(values) > 2 else None, f"{source.shown}, row {row}")
        yield Mark(x, y, label, score, place=row)


def write(folder: Path, images: Iterable[MarkedImage]) -> None:
    """Two files an image, which are empty where it has no such cells."""
    names = FileNames()
    for image in images:
        for ending, label in _ENDINGS.items():
            if ending:
                path = names.path(folder, image.name, f"{ending}.csv", flat=True)
                path.write_text(rows_of(image, label, swapped=False), encoding="utf-8")


def rows_of(image: MarkedImage, label: str, *, swapped: bool) -> str:
    """The rows of all marks of one label."""
    rows = []
    for mark in image.marks:
        if mark.label == label:
            x, y = round(mark.x_px), round(mark.y_px)
            place = f"{y},{x}" if swapped else f"{x},{y}"
            rows.append(f"{place}\n" if mark.score is None else f"{place},{mark.score:.6f}\n")
    return "".join(rows)


def recognises(source: Source) -> bool:
    """Whether it is called as the files of the data set are."""
    return source.stem.lower().endswith("_mitosis")


FORMAT = Format(
    "mitos14",
    "MITOS-ATYPIA-14 CSV",
    (".csv",),
    read,
    write,
    Keeps(0.5, (MITOSIS, LOOKALIKE), "last part without suffix", score=True),
    recognises,
    per_image=True,
)
