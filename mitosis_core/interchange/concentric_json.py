"""Concentric's own JSON: a list of images, one to a line, each with its `marks`; nothing is lost.

An image has `image` (its name), and where they are known `slide`, `digest`, `width_px`, `height_px` and `um_per_px`; a
mark has `x_px`, `y_px`, `label`, and where they are known `score`, `object_width_px`, `object_height_px`, `reader`,
`time` and `comment`. Where a reader reviewed a part of the image alone, `areas_px` has it by the reader's name: [left,
top, right, bottom], from the corner of the image. What `detect --out x.json` and `x.jsonl` write is read too: their
`detections` are mitoses of their `model`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import MITOSIS
from mitosis_core.interchange.csv_rows import short
from mitosis_core.interchange.files import Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.json_fields import areas_in, extras, facts, scale, size_in, text, words
from mitosis_core.interchange.json_stream import items, lines, outline
from mitosis_core.interchange.marks import Mark, MarkedImage, number, score_of, whole


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """The images of the files, one by one. Raises UnusableData."""
    for source in sources:
        for place, entry in enumerate(_entries(source), 1):
            yield _image(entry, f"{source.shown}, image {place}", source)


def _entries(source: Source) -> Iterator[object]:
    """Of a list, or one to a line."""
    if source.suffix == ".jsonl":
        return lines(source)
    if next(outline(source, 1), ("", "start_array", None))[1] != "start_array":
        raise UnusableData(f"{source.shown} is no list of images.")
    return items(source, "item")


def _image(entry: object, place: str, source: Source) -> MarkedImage:
    if not isinstance(entry, Mapping) or not text(entry, "image", place):
        raise UnusableData(f"{place}: an image must have a name, as “image”.")
    marks = entry.get("marks", entry.get("detections", ()))
    if not isinstance(marks, list | tuple):
        raise UnusableData(f"{place}: “marks” must be a list.")
    found = text(entry, "model", place) if "marks" not in entry else None
    name, slide, digest = (text(entry, key, place) for key in ("image", "slide", "digest"))
    shown = f"{source.shown}, {short(name)}"
    return MarkedImage(
        name,
        tuple(_mark(mark, nth, found, f"{shown}, mark {nth}") for nth, mark in enumerate(marks, 1)),
        digest,
        whole(entry.get("width_px"), "width_px", place),
        whole(entry.get("height_px"), "height_px", place),
        scale(entry, place),
        slide,
        shown,
        areas=areas_in(entry, place),
    )


def _mark(entry: object, nth: int, model: str | None, place: str) -> Mark:
    """model: of detections, which are all mitoses; None where marks have labels."""
    if not isinstance(entry, Mapping):
        raise UnusableData(f"{place}: a mark must have x_px, y_px and a label.")
    x, y = (number(entry.get(key), key, place) for key in ("x_px", "y_px"))
    label = text(entry, "label", place) if model is None else MITOSIS
    reader, time, comment = words(entry, place)
    return Mark(
        x,
        y,
        label,
        score_of(entry.get("score"), place),
        size_in(entry, place),
        reader or model or "",
        time,
        comment,
        nth,
    )


def write(path: Path, images: Iterable[MarkedImage]) -> None:
    """A list of images, one to a line; without the brackets and commas where the suffix is .jsonl."""
    before, between, after = ("", "\n", "\n") if path.suffix.lower() == ".jsonl" else ("[\n", ",\n", "\n]\n")
    with path.open("w", encoding="utf-8") as file:
        file.write(before)
        for place, image in enumerate(images):
            marks = [{"x_px": m.x_px, "y_px": m.y_px, "label": m.label, **extras(m)} for m in image.marks]
            entry = {"image": image.name, **facts(image), "marks": marks}
            file.write((between if place else "") + json.dumps(entry, ensure_ascii=False))
        file.write(after)


def recognises(source: Source) -> bool:
    """Whether it is a list whose first object has an image; no other format has an object to a line."""
    if source.suffix == ".jsonl":
        return True
    first = (prefix for prefix, event, _ in outline(source, 200) if event == "map_key" or prefix == "item.image")
    events = outline(source, 1)
    return next(events, ("", "", None))[1] == "start_array" and "item.image" in first


FORMAT = Format(
    "json",
    "Concentric JSON",
    (".json", ".jsonl"),
    read,
    write,
    Keeps.everything(0),
    recognises,
)
