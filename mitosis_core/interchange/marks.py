"""What every format carries: images and the marks on them; what the classes of other programs are called here; and the
checks that hold whatever the format.

A mark lies at (x_px, y_px): x right, y down, (0, 0) the centre of the top-left pixel. Formats that count otherwise say
so, and convert.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import SKIP, label_of
from mitosis_core.interchange.csv_rows import short
from mitosis_core.types import Region, on_image

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
_MOST_PLACES = 10  # of one sentence


@dataclass(frozen=True, slots=True)
class Mark:
    """One marked cell.

    label: one of LABELS; as a file is read, first the file's own name of the class. score: 0 to 1, None where nobody
    gave one. size_px: width and height of the cell, where they were measured. reader: who marked it, a person or a
    version. time: when, ISO 8601. comment: what the reader wrote about it, on one line. place: where it stands in its
    file, see MarkedImage.counted.
    """

    x_px: float
    y_px: float
    label: str
    score: float | None = None
    size_px: tuple[float, float] | None = None
    reader: str = ""
    time: str = ""
    comment: str = ""
    place: int = 0


@dataclass(frozen=True)
class MarkedImage:
    """An image and all its marks.

    name: of its file. digest: sha256 of its pixels (`Field.digest`). slide: the slide or case it was cut from.
    areas: by reader, the part of the image that was reviewed; without one it is the whole image. What is not known is
    "" or None. source, counted: the file it was read from, and what the places of its marks count there ("row", "line",
    "annotation"...).
    """

    name: str
    marks: tuple[Mark, ...] = ()
    digest: str = ""
    width_px: int | None = None
    height_px: int | None = None
    um_per_px: float | None = None
    slide: str = ""
    source: str = ""
    counted: str = "mark"
    areas: Mapping[str, Region] = field(default_factory=dict, hash=False)


def where(image: MarkedImage, marks: Iterable[Mark]) -> str:
    """Where these marks stand, for a sentence: "points.csv, rows 3, 5 and 7"."""
    places = [mark.place for mark in marks]
    shown = [str(place) for place in places[:_MOST_PLACES]]
    if len(places) > _MOST_PLACES:
        shown.append(f"{len(places) - _MOST_PLACES} more")
    listed = " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)
    return f"{image.source or image.name}, {image.counted}{'s' if len(places) > 1 else ''} {listed}"


def with_labels(image: MarkedImage, classes: Mapping[str, str], skipped: Counter[str] | None = None) -> MarkedImage:
    """The image with the labels of this program instead of the file's classes; what is SKIP is left out, and counted
    by class in `skipped`.

    Raises UnusableData for a class that is neither known nor in `classes`.
    """
    labels = {name: label_of(name, classes) for name in {mark.label for mark in image.marks}}
    for mark in image.marks:
        if labels[mark.label] is None:
            called = f"the class “{short(mark.label)}” is not known" if mark.label else "the mark has no class"
            raise UnusableData(
                f"{where(image, [mark])}: {called}; say whether it is mitosis, lookalike or unsure, or skip it."
            )
    if skipped is not None:
        skipped.update(mark.label for mark in image.marks if labels[mark.label] == SKIP)
    if all(name == label for name, label in labels.items()):
        return image
    marks = [(mark, labels[mark.label]) for mark in image.marks]
    return replace(image, marks=tuple(replace(m, label=label) for m, label in marks if label not in (None, SKIP)))


def with_size(image: MarkedImage, width_px: int, height_px: int) -> MarkedImage:
    """The image with the size that its pixels have. Raises UnusableData when the file with the marks says another one:
    then its marks are places in another image, or in the same one at another magnification.
    """
    said = (image.width_px or width_px, image.height_px or height_px)
    if said != (width_px, height_px):
        raise UnusableData(
            f"{image.source or image.name}: the image {short(image.name)} is said to have {said[0]} × {said[1]} px, "
            f"but it has {width_px} × {height_px} px."
        )
    return replace(image, width_px=width_px, height_px=height_px)


def outside(image: MarkedImage) -> list[Mark]:
    """The marks that lie outside the image; with an unknown size those left of it or above it."""
    width = math.inf if image.width_px is None else image.width_px
    height = math.inf if image.height_px is None else image.height_px
    return [m for m in image.marks if not on_image(m.x_px, m.y_px, width, height)]


def check_inside(image: MarkedImage) -> None:
    """Raises UnusableData, with their places, when marks lie outside the image; says so when x and y look swapped."""
    wrong = outside(image)
    if not wrong:
        return
    name = short(image.name)
    size = "" if image.width_px is None else f" ({image.width_px} × {image.height_px} px)"
    swapped = replace(image, marks=tuple(replace(m, x_px=m.y_px, y_px=m.x_px) for m in wrong))
    if 2 * len(wrong) > len(image.marks) and image.width_px is not None and not outside(swapped):
        raise UnusableData(
            f"{where(image, wrong)}: {len(wrong)} of {len(image.marks)} marks lie outside the image {name}{size}, and "
            "inside it with x and y exchanged: are the two columns swapped?"
        )
    lies = "this mark lies" if len(wrong) == 1 else f"{len(wrong)} marks lie"
    raise UnusableData(f"{where(image, wrong)}: {lies} outside the image {name}{size}.")


def unique(images: Iterable[MarkedImage]) -> Iterator[MarkedImage]:
    """The images; raises UnusableData when one comes twice."""
    seen: dict[str, str] = {}
    for image in images:
        if image.name in seen:
            raise UnusableData(
                f"The image {short(image.name)} comes twice: in {seen[image.name]} and in {image.source}."
                if seen[image.name] != image.source
                else f"{image.source}: the image {short(image.name)} comes twice."
            )
        seen[image.name] = image.source
        yield image


def number(value: object, what: str, place: str) -> float:
    """A finite number of a file; raises UnusableData, beginning with the place, for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return float(value)
        except OverflowError:
            pass
    shown = "missing" if value is None else f"“{short(str(value))}”"
    raise UnusableData(f"{place}: {what} must be a number, but is {shown}.")


def whole(value: object, what: str, place: str) -> int | None:
    """A positive whole number of a file, or None where it says nothing; raises UnusableData for anything else."""
    if value is None:
        return None
    found = number(value, what, place)
    if found < 1 or found != int(found):
        raise UnusableData(f"{place}: {what} must be a whole number above 0, not {found:g}.")
    return int(found)


def score_of(value: object, place: str) -> float | None:
    """A score from 0 to 1, or None where the file says nothing; raises UnusableData for anything else."""
    if value is None:
        return None
    found = number(value, "the score", place)
    if not 0 <= found <= 1:
        raise UnusableData(f"{place}: the score must lie between 0 and 1, not {found:g}.")
    return found


def grouped(rows: Iterable[tuple[K, T]], counts: Counter[K]) -> Iterator[tuple[K, list[T]]]:
    """Rows by their key, each group as soon as it is whole; counts: how many rows each has.

    Where the rows of a key stand together no more than one group is held.
    """
    held: dict[K, list[T]] = {}
    for key, row in rows:
        group = held.setdefault(key, [])
        group.append(row)
        if len(group) == counts[key]:
            yield key, held.pop(key)
