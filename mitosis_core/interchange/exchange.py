"""Reading and writing marks in any format of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mitosis_core.errors import UnusableData
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.csv_rows import short
from mitosis_core.interchange.files import only_file, open_sources, whole_or_nothing, zip_folder
from mitosis_core.interchange.format import Format
from mitosis_core.interchange.marks import MarkedImage, check_inside, unique, with_labels

_MOST_SNIFFED = 20  # files of a folder


@dataclass
class Written:
    """What was written: images, marks by label; lost: how many marks or images had something the format cannot hold."""

    images: int = 0
    marks: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


def read_marks(
    path: Path,
    format_name: str | None = None,
    *,
    classes: Mapping[str, str] | None = None,
    known: Callable[[MarkedImage], MarkedImage] = lambda image: image,
    skipped: Counter[str] | None = None,
) -> Iterator[MarkedImage]:
    """The images of a file, a folder or a zip, one by one, with labels of this program.

    format_name: of FORMATS; without it the files are looked at. classes: the file's class -> one of LABELS or SKIP, for
    classes that are not known. known: adds what the file does not say, such as the size of an image. skipped: gets how
    many marks of each class were left out as SKIP.
    Raises UnusableData, naming file and place: what is no such file, an image that comes twice, a class nobody knows, a
    mark outside its image. It may do so after some images; take nothing in before all have come.
    """
    chosen = format_of(path, format_name)
    with open_sources(path, chosen.suffixes) as sources:
        for image in unique(map(known, chosen.read(sources))):
            labelled = with_labels(image, classes or {}, skipped)
            check_inside(labelled)
            yield labelled


def format_of(path: Path, name: str | None = None) -> Format:
    """The format with a name, or the only one that files at a path look like. Raises UnusableData."""
    if name is not None:
        return _named(name)
    candidates = _candidates(path)
    found = candidates if len(candidates) == 1 else [one for one in candidates if _looks_like(path, one)]
    if len(found) == 1:
        return found[0]
    possible = [one.name for one in found or candidates or FORMATS.values()]
    raise UnusableData(f"{path.name} can be read as {' or '.join(possible)}; please say which it is.")


def format_to_write(out: Path, name: str | None = None) -> Format:
    """The format with a name, or the first that the suffix means. Raises UnusableData."""
    if name is not None:
        return _named(name)
    for one in FORMATS.values():
        if out.suffix.lower() in one.suffixes:
            return one
    raise UnusableData(f"The name {out.name} does not tell the format; please name one of {', '.join(FORMATS)}.")


def _named(name: str) -> Format:
    if name not in FORMATS:
        raise UnusableData(f"There is no format “{short(name)}”; there are {', '.join(FORMATS)}.")
    return FORMATS[name]


def _candidates(path: Path) -> list[Format]:
    """The formats that have files with such a suffix; in a folder or a zip all."""
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == ".zip":
        return list(FORMATS.values())
    return [one for one in FORMATS.values() if suffix in one.suffixes]


def _looks_like(path: Path, one: Format) -> bool:
    try:
        with open_sources(path, one.suffixes) as sources:
            return any(map(one.recognises, sources[:_MOST_SNIFFED]))
    except UnusableData:
        if not path.exists() or (path.suffix.lower() == ".zip" and ".zip" in one.suffixes):
            raise  # no such file, or a zip that nobody can open
        return False


def write_marks(
    out: Path, images: Iterable[MarkedImage], format_name: str | None = None, *, overwrite: bool = False
) -> Written:
    """Write images to a file; in a format that has a file an image to a folder or a .zip, or to a file for one image.

    It is written beside `out` and renamed, so that there is all of it or nothing. Labels are LABELS; what the format
    cannot hold is left out, and counted in `lost`.
    Raises UnusableData: there is something at `out` already (unless overwrite, and it is a file), the size of an image
    is not known and the format needs it, several images and a name for one file.
    """
    chosen = format_to_write(out, format_name)
    _check_free(out, overwrite)
    written = Written()
    with whole_or_nothing(out) as place:
        if not chosen.per_image:
            chosen.write(place, _passing(images, chosen, written))
            return written
        folder = place.with_name("files")
        folder.mkdir()
        chosen.write(folder, _passing(images, chosen, written))
        _gather(folder, place, chosen, written.images)
    return written


def _check_free(out: Path, overwrite: bool) -> None:
    if out.is_dir():
        if any(out.iterdir()):
            raise UnusableData(f"The folder {out} is not empty; please name a new or empty one.")
    elif out.exists() and not overwrite:
        raise UnusableData(f"There is a file {out} already.")


def _passing(images: Iterable[MarkedImage], chosen: Format, written: Written) -> Iterator[MarkedImage]:
    """The images as the format can hold them, counted."""
    for image in unique(images):
        if chosen.needs_size and (image.width_px is None or image.height_px is None):
            raise UnusableData(
                f"{chosen.title} needs the width and height of {short(image.name)}, which are not known here; give the "
                "folder of the images."
            )
        written.images += 1
        fitting = tuple(mark for mark in image.marks if mark.label in chosen.keeps.labels)
        written.lost.update(mark.label for mark in image.marks if mark.label not in chosen.keeps.labels)
        written.marks.update(mark.label for mark in fitting)
        _count_lost(image, fitting, chosen, written.lost)
        yield replace(image, marks=fitting)


def _count_lost(image: MarkedImage, marks: Iterable[object], chosen: Format, lost: Counter[str]) -> None:
    keeps = chosen.keeps
    of_marks = {
        "score": keeps.score,
        "size_px": keeps.cell_size,
        "reader": keeps.reader,
        "time": keeps.time,
        "comment": keeps.comment,
    }
    for name, kept in of_marks.items():
        if not kept:
            lost[name] += sum(getattr(mark, name) not in (None, "") for mark in marks)
    of_image = {
        "width_px": keeps.image_size,
        "um_per_px": keeps.um_per_px,
        "slide": keeps.slide,
        "digest": keeps.digest,
        "areas": keeps.areas,
    }
    lost.update(name for name, kept in of_image.items() if not kept and getattr(image, name) not in (None, "", {}))


def _gather(folder: Path, place: Path, chosen: Format, images: int) -> None:
    """The files of a format that has one an image, as one folder, one zip, or the only file."""
    suffix = place.suffix.lower()
    if suffix == chosen.suffixes[0] and images == 1 and len(list(folder.rglob("*"))) == 1:
        only_file(folder).rename(place)
    elif suffix == ".zip":
        zip_folder(folder, place)
    elif suffix == "":
        folder.rename(place)
    else:
        raise UnusableData(
            f"{chosen.title} has a file for each image, and there are {images} images; name a folder or a .zip"
            f"{'' if images > 1 else f', or a {chosen.suffixes[0]}'}."
        )
