"""AMIDA13 and TUPAC16: one CSV file an image, in a folder for each case, one row a cell: row, column, confidence.

Whole pixels, row before column, y before x (https://tupac.grand-challenge.org/Submission-format/); the confidence may
be missing. Whether the first pixel is 0 or 1 is not published with the format. Here it is 0, as in the alternative
labels of TUPAC16 (Bertram et al., LABELS 2020, among them an organiser of both contests), whose folders are used too:
mitoses in `mitoses_ground_truth`, look-alikes in `nonmitoses_ground_truth`. Files elsewhere are mitoses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS
from mitosis_core.interchange.files import FileNames, Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.marks import MarkedImage
from mitosis_core.interchange.mitos14 import marks_of, rows_of

FOLDERS = {"mitoses_ground_truth": MITOSIS, "nonmitoses_ground_truth": LOOKALIKE}


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """One image for its one or two files; it is called by its folder and file, "05/01". Raises UnusableData."""
    files: dict[str, list[tuple[Source, str]]] = {}
    for source in sources:
        name, label = _name(source)
        files.setdefault(name, []).append((source, label))
    for name, parts in files.items():
        marks = tuple(mark for source, label in parts for mark in marks_of(source, label, swapped=True))
        shown = " and ".join(source.shown for source, _ in parts)
        yield MarkedImage(name, marks, source=shown, counted="row")


def _name(source: Source) -> tuple[str, str]:
    """Of its image, without the folder of all mitoses or look-alikes and what is above it; and what its rows are."""
    parts = PurePosixPath(source.name).with_suffix("").parts
    for nth, part in enumerate(parts):
        if part.lower() in FOLDERS:
            return "/".join(parts[nth + 1 :]), FOLDERS[part.lower()]
    return "/".join(parts), MITOSIS


def write(folder: Path, images: Iterable[MarkedImage]) -> None:
    """A file for the mitoses of an image, and one for its look-alikes if there are any."""
    names = {part: FileNames() for part in FOLDERS}
    for image in images:
        for part, label in FOLDERS.items():
            rows = rows_of(image, label, swapped=True)
            if rows or label == MITOSIS:
                names[part].path(folder / part, image.name, ".csv").write_text(rows, encoding="utf-8")


def recognises(source: Source) -> bool:
    """Whether it lies in one of the folders of the data set."""
    return any(part.lower() in FOLDERS for part in PurePosixPath(source.name).parts)


FORMAT = Format(
    "tupac16",
    "AMIDA13 and TUPAC16 CSV",
    (".csv",),
    read,
    write,
    Keeps(0.5, (MITOSIS, LOOKALIKE), "without suffix", score=True),
    recognises,
    per_image=True,
)
