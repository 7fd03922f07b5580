"""COCO: one JSON document of images, categories and annotations with boxes (https://cocodataset.org/#format-data).

Categories are `mitotic figure`, `hard negative` and `unsure`. A box is [x, y, width, height] from the top-left corner
of the image, where 0, 0 is the corner of the first pixel, not its centre: pycocotools gives the pixel in column 5, row
7 the box [5, 7, 1, 1]. So half a pixel is added. A mark whose size nobody measured gets a box of 50 px, and says so
(`box`: `nominal`). `score`, `reader`, `time` and `comment` of an annotation, and `digest`, `um_per_px`, `slide` and
`areas_px` of an image, are additions that other readers pass over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS, UNSURE
from mitosis_core.interchange.csv_rows import short
from mitosis_core.interchange.files import Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.json_fields import areas_in, extras, facts, scale, text, words
from mitosis_core.interchange.json_stream import items, outline
from mitosis_core.interchange.marks import Mark, MarkedImage, grouped, number, score_of, whole

BOX_PX = 50  # side of the box of a mark without a size, as in MIDOG
DECIMALS = 3
CATEGORIES = {MITOSIS: "mitotic figure", LOOKALIKE: "hard negative", UNSURE: "unsure"}

Box = tuple[float, float, float, float]
Cell = tuple[float, float, tuple[float, float] | None]  # x, y and size
CellOf = Callable[[Box, Mapping[str, Any]], Cell]


@dataclass(frozen=True)
class _Document:
    """The small part of a document, which is held while its annotations pass."""

    images: dict[int | str, Mapping[str, Any]]
    categories: dict[int | str, str]
    counts: Counter[int | str]


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """The images of the documents, each as soon as all its annotations were read. Raises UnusableData."""
    return read_documents(sources, _cell)


def read_documents(sources: Sequence[Source], cell: CellOf) -> Iterator[MarkedImage]:
    """The images of documents like COCO's; cell: what a box, and the annotation it is of, say of place and size."""
    for source in sources:
        document = _small_part(source)
        for key in document.images:
            if not document.counts[key]:
                yield _image(key, [], document, source)
        rows = ((entry["image_id"], (nth, entry)) for nth, entry in enumerate(items(source, "annotations.item"), 1))
        for key, entries in grouped(rows, document.counts):
            marks = [_mark(nth, entry, document, cell, source) for nth, entry in entries]
            yield _image(key, marks, document, source)


def _small_part(source: Source) -> _Document:
    images = _by_id(source, "images", "file_name")
    categories = _by_id(source, "categories", "name")
    if not images:
        raise UnusableData(f"{source.shown} has no list of images, as “images”.")
    names = Counter(entry["file_name"] for entry in images.values())
    if len(names) < len(images):
        raise UnusableData(f"{source.shown}: two images are called {short(names.most_common(1)[0][0])}.")
    counts: Counter[int | str] = Counter()
    seen: set[int | str] = set()
    for nth, entry in enumerate(items(source, "annotations.item"), 1):
        place = f"{source.shown}, annotation {nth}"
        if not isinstance(entry, Mapping):
            raise UnusableData(f"{place}: an annotation must be an object with image_id, category_id and bbox.")
        if "id" in entry:
            if (own := _key(entry, "id", place)) in seen:
                raise UnusableData(f"{place}: there is an annotation with the id {short(str(own))} already.")
            seen.add(own)
        if (key := _key(entry, "image_id", place)) not in images:
            raise UnusableData(f"{place}: there is no image with the id {short(str(key))}.")
        counts[key] += 1
    return _Document(images, {key: str(entry["name"]) for key, entry in categories.items()}, counts)


def _by_id(source: Source, part: str, name: str) -> dict[int | str, Mapping[str, Any]]:
    found: dict[int | str, Mapping[str, Any]] = {}
    for nth, entry in enumerate(items(source, f"{part}.item"), 1):
        place = f"{source.shown}, {nth}. of “{part}”"
        if not isinstance(entry, Mapping) or not text(entry, name, place):
            raise UnusableData(f"{place}: it must have an id and a {name}.")
        if (key := _key(entry, "id", place)) in found:
            raise UnusableData(f"{place}: the id {short(str(key))} is there already.")
        found[key] = entry
    return found


def _key(entry: Mapping[str, Any], name: str, place: str) -> int | str:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UnusableData(f"{place}: {name} must be a number.")
    return value


def _image(key: int | str, marks: list[Mark], document: _Document, source: Source) -> MarkedImage:
    entry = document.images[key]
    place = f"{source.shown}, image {short(entry['file_name'])}"
    return MarkedImage(
        entry["file_name"],
        tuple(marks),
        text(entry, "digest", place),
        whole(entry.get("width"), "width", place),
        whole(entry.get("height"), "height", place),
        scale(entry, place),
        text(entry, "slide", place),
        source.shown,
        "annotation",
        areas=areas_in(entry, place),
    )


def _mark(nth: int, entry: Mapping[str, Any], document: _Document, cell: CellOf, source: Source) -> Mark:
    place = f"{source.shown}, annotation {nth}"
    category = _key(entry, "category_id", place)
    if category not in document.categories:
        raise UnusableData(f"{place}: there is no category with the id {short(str(category))}.")
    given = entry.get("bbox")
    if not isinstance(given, list) or len(given) != 4:
        raise UnusableData(f"{place}: bbox must be a list of four numbers.")
    left, top, third, fourth = (number(value, "each number of bbox", place) for value in given)
    x, y, size = cell((left, top, third, fourth), entry)
    if size is not None and min(size) <= 0:
        raise UnusableData(f"{place}: the width and height of bbox must be above 0.")
    score = score_of(entry.get("score"), place)
    return Mark(x, y, document.categories[category], score, size, *words(entry, place), nth)


def _cell(box: Box, entry: Mapping[str, Any]) -> Cell:
    left, top, width, height = box
    size = None if entry.get("box") == "nominal" else (width, height)
    return left + width / 2 - 0.5, top + height / 2 - 0.5, size


# ---- writing


def write(path: Path, images: Iterable[MarkedImage]) -> None:
    """One document; annotations first, so that no more than one image is held."""
    write_document(path, images, CATEGORIES, _annotation, facts)


def write_document(
    path: Path,
    images: Iterable[MarkedImage],
    categories: Mapping[str, str],
    annotation: Callable[[Mark], Mapping[str, Any]],
    facts_of: Callable[[MarkedImage], Mapping[str, Any]],
) -> None:
    """One document like COCO's. annotation: of a mark, without ids; facts_of: what else is said of an image."""
    ids = {label: nth for nth, label in enumerate(categories, 1)}
    entries, count = [], 0
    with path.open("w", encoding="utf-8") as file:
        head = {"description": "Marks exported by Concentric", "version": "1.0"}
        kinds = [{"id": ids[label], "name": name, "supercategory": "cell"} for label, name in categories.items()]
        file.write(f'{{"info": {json.dumps(head)},\n"licenses": [],\n"categories": {json.dumps(kinds)},\n')
        file.write('"annotations": [')
        for image_id, image in enumerate(images, 1):
            size = {"width": image.width_px, "height": image.height_px}
            own = {k: v for k, v in facts_of(image).items() if k not in ("width_px", "height_px")}
            entries.append(json.dumps({"id": image_id, "file_name": image.name, **size, **own}, ensure_ascii=False))
            for mark in image.marks:
                count += 1
                entry = {"id": count, "image_id": image_id, "category_id": ids[mark.label], **annotation(mark)}
                file.write((",\n" if count > 1 else "\n") + json.dumps(entry, ensure_ascii=False))
        file.write('\n],\n"images": [\n' + ",\n".join(entries) + "\n]}\n")


def _annotation(mark: Mark) -> dict[str, Any]:
    width, height = mark.size_px or (BOX_PX, BOX_PX)
    corner = (mark.x_px - width / 2 + 0.5, mark.y_px - height / 2 + 0.5)
    box = [round(value, DECIMALS) for value in (*corner, width, height)]
    own = {key: value for key, value in extras(mark).items() if not key.startswith("object_")}
    nominal = {} if mark.size_px else {"box": "nominal"}
    return {"bbox": box, "area": round(box[2] * box[3], DECIMALS), "iscrowd": 0, "segmentation": [], **nominal, **own}


def boxes(source: Source, most: int = 50) -> list[Box] | None:
    """The first boxes of a document like COCO's, or None when it is none."""
    values: list[float] = []
    keys: set[object] = set()
    for prefix, event, value in outline(source):
        if prefix == "" and event == "map_key":
            keys.add(value)
        elif prefix == "annotations.item.bbox.item" and isinstance(value, int | float):
            values.append(value)
        if len(values) >= 4 * most:
            break
    if "annotations" not in keys or not (keys & {"images", "categories"}):
        return None
    return [(a, b, c, d) for a, b, c, d in zip(*(values[k::4] for k in range(4)), strict=False)]


def from_corner_to_corner(box: Box) -> bool:
    """Whether it can only be MIDOG's way: two corners, BOX_PX apart."""
    return all(abs(side - BOX_PX) < 0.01 for side in (box[2] - box[0], box[3] - box[1]))


def recognises(source: Source) -> bool:
    """Whether there are annotations with boxes that have a width and a height."""
    found = boxes(source)
    return found is not None and not (found and all(from_corner_to_corner(box) for box in found))


FORMAT = Format(
    "coco",
    "COCO",
    (".json",),
    read,
    write,
    Keeps.everything(0.01),
    recognises,
    needs_size=True,
)
