"""Labels as files that a browser sends and takes: what may be exported, what an uploaded file holds."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from db.engine import Store
from db.fields import StoredField
from db.label_export import Labels, export_labels, unfinished_fields
from db.label_import import ImageImport, Import
from db.predictions import versions_by_field
from db.reviews import readers
from mitosis_core.errors import ConcentricError, UnusableData
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.class_names import LABELS, label_of
from mitosis_core.interchange.command import summary
from mitosis_core.interchange.exchange import format_of
from mitosis_core.interchange.files import open_sources
from mitosis_core.interchange.format import Format
from mitosis_core.plurals import count_noun
from pages.shared.person import Person

SUFFIXES = sorted({suffix.removeprefix(".") for one in FORMATS.values() for suffix in one.suffixes} | {"zip"})
_MIME = {".csv": "text/csv", ".json": "application/json", ".geojson": "application/geo+json", ".zip": "application/zip"}


@dataclass(frozen=True)
class ExportedFile:
    """A file ready to be downloaded. says: what it holds, and what was left out."""

    name: str
    content: bytes
    mime: str
    says: str


@dataclass(frozen=True)
class FileContents:
    """What an uploaded file holds. classes: marks by the file's own names; readers: that it names."""

    format: Format
    classes: Counter[str]
    readers: tuple[str, ...]


def choices(store: Store, fields: Sequence[StoredField], who: Person) -> dict[str, Labels]:
    """Whose labels this person may export, by what the page calls them; only an admin those of others."""
    known, ids = readers(store), {field.id for field in fields}
    found: dict[str, Labels] = {}
    if who.may("admin"):
        found |= {"Consensus of the readers": Labels("consensus"), "All readers": Labels("readers")} if known else {}
        found |= {f"Reader {name}": Labels("reader", name) for name in known}
    elif who.name in known:
        found[f"Reader {who.name}"] = Labels("reader", who.name)
    seen = versions_by_field(store)
    names = sorted({version for key, of_field in seen.items() if key in ids for version in of_field})
    return found | {f"Detections of {name}": Labels("version", name) for name in names}


def says(one: Format) -> str:
    """What a format keeps, in a sentence."""
    keeps = one.keeps
    flags = {
        "score": keeps.score,
        "reader": keeps.reader,
        "time": keeps.time,
        "comments": keeps.comment,
        "µm/px": keeps.um_per_px,
        "case": keeps.slide,
        "pixel digest": keeps.digest,
        "reviewed area": keeps.areas,
    }
    kept = [name for name, is_kept in flags.items() if is_kept]
    labels = "All three classes" if keeps.labels == LABELS else " and ".join(_CLASS[label] for label in keeps.labels)
    place = "exact places" if keeps.position_px == 0 else f"places to {keeps.position_px:g} px"
    files = ", one file an image, in a zip" if one.per_image else ""
    return f"{labels}, {', '.join([place, *kept])}{files}."


_CLASS = {"mitosis": "Mitoses", "lookalike": "look-alikes", "unsure": "unsure cells"}


def export_file(
    store: Store, labels: Labels, fields: Sequence[StoredField], format_name: str, stem: str
) -> ExportedFile:
    """The labels of these fields as a file. Raises UnusableData."""
    chosen, ids = FORMATS[format_name], [field.id for field in fields]
    suffix = ".zip" if chosen.per_image else chosen.suffixes[0]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"labels{suffix}"
        written = export_labels(store, out, labels, field_ids=ids, format_name=format_name)
        content = out.read_bytes()
    said = summary(written, chosen.title)
    if left := unfinished_fields(store, labels, ids):
        said += f"\nNot finished, and so left out: {count_noun(left, 'field')}."
    return ExportedFile(f"{stem}{suffix}", content, _MIME.get(suffix, "application/octet-stream"), said)


@contextmanager
def on_disk(name: str, content: bytes | memoryview) -> Iterator[Path]:
    """An uploaded file at a path of its own name, as the readers of formats want it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (PurePath(name.replace("\\", "/")).name or "file")
        path.write_bytes(content)
        yield path


def contents(path: Path, format_name: str | None) -> FileContents:
    """Look into a file of labels. Raises UnusableData."""
    chosen = format_of(path, format_name)
    classes, names = Counter[str](), set[str]()
    with open_sources(path, chosen.suffixes) as sources:
        for image in chosen.read(sources):
            classes.update(mark.label for mark in image.marks)
            names |= {mark.reader for mark in image.marks if mark.reader} | set(filter(None, image.areas))
    return FileContents(chosen, classes, tuple(sorted(names)))


def proposed_class(name: str) -> str | None:
    """What a class of a file most likely is here, None where nobody can tell."""
    return label_of(name, {})


def possible_formats(path: Path) -> list[str]:
    """The formats a file may have: one where its content tells, else those that find marks in it, if there are."""
    try:
        return [format_of(path).name]
    except UnusableData:
        suffix = path.suffix.lower()
        usual = [one.name for one in FORMATS.values() if suffix == ".zip" or suffix in one.suffixes]
        return [name for name in usual if _has_marks(path, name)] or usual


def _has_marks(path: Path, format_name: str) -> bool:
    """Whether a file, read as this format, holds any."""
    try:
        return bool(contents(path, format_name).classes)
    except ConcentricError:
        return False


def rows(done: Import) -> list[dict[str, object]]:
    """What becomes of each image, for a table; a column in which nothing would stand is left out."""
    known = [_row(image) for image in done.images]
    used = {name for row in known for name, value in row.items() if value is not None} | {"image", "new"}
    return [{name: value for name, value in row.items() if name in used} for row in known]


def _row(image: ImageImport) -> dict[str, object]:
    numbers = {
        "new": image.new,
        "already there": image.there,
        "other class": image.changed,
        "outside the image": image.refused,
        "not taken": image.unplaced,
    }
    return {
        "image": image.name,
        **{name: number or None for name, number in numbers.items()},
        "why": image.problem or None,
    }
