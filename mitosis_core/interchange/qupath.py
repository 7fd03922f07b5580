"""QuPath's GeoJSON: one FeatureCollection an image, each mark a point with a classification and measurements.

Drag the file onto the open image in QuPath. Points, not contours: QuPath 0.6 refuses outlines that are not quite valid
(its users report it: github.com/boyden/NuHTC/issues/9), points open. QuPath counts from the corner of the first pixel,
so half a pixel is added. `objectType`, `classification` (`Mitosis`, `Look-alike`, `Unsure`, with their colours),
`measurements` (numbers) and `metadata` (texts, since 0.5) are what QuPath's own reader looks for. The name of the image
and what is known of it stand in a member `concentric`, which QuPath passes over; without it the image is called as the
file. Read besides: points together, and outlines, as the middle of their extent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS, UNSURE
from mitosis_core.interchange.files import FileNames, Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.json_fields import areas_in, extras, facts, scale, size_in, text, words
from mitosis_core.interchange.json_stream import items, outline
from mitosis_core.interchange.marks import Mark, MarkedImage, number, score_of, whole

# Name and colour (RGB) of each classification.
CLASSES: dict[str, tuple[str, tuple[int, int, int]]] = {
    MITOSIS: ("Mitosis", (200, 0, 0)),
    LOOKALIKE: ("Look-alike", (0, 110, 200)),
    UNSURE: ("Unsure", (230, 160, 0)),
}
OURS = "concentric"
DECIMALS = 3
_OUTLINES = ("Polygon", "MultiPolygon", "LineString", "MultiLineString")


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """One image a file. Raises UnusableData with file and feature."""
    for source in sources:
        prefix = _prefix(source)
        if prefix is None:
            raise UnusableData(f"{source.shown} is no GeoJSON: it has no “features”.")
        own: object = next(items(source, OURS, nan=True), {}) if prefix == "features.item" else {}
        if not isinstance(own, Mapping):
            raise UnusableData(f"{source.shown}: “{OURS}” must be an object.")
        yield MarkedImage(
            text(own, "image", source.shown) or source.stem,
            tuple(_marks(source, prefix)),
            text(own, "digest", source.shown),
            whole(own.get("width_px"), "width_px", source.shown),
            whole(own.get("height_px"), "height_px", source.shown),
            scale(own, source.shown),
            text(own, "slide", source.shown),
            source.shown,
            "feature",
            areas=areas_in(own, source.shown),
        )


def _prefix(source: Source) -> str | None:
    """Where the features are: in a collection, in a plain list, or the document is one; None where it is no GeoJSON."""
    for prefix, event, value in outline(source, 100_000):
        if (prefix, event) == ("", "start_array"):
            return "item"
        if prefix == "type" and value == "Feature":
            return ""
        if prefix == "features" and event == "start_array":
            return "features.item"
    return None


def _marks(source: Source, prefix: str) -> Iterator[Mark]:
    seen: set[str] = set()
    for nth, feature in enumerate(items(source, prefix, nan=True), 1):
        place = f"{source.shown}, feature {nth}"
        if not isinstance(feature, Mapping) or not isinstance(feature.get("geometry"), Mapping):
            raise UnusableData(f"{place}: a feature must be an object with a geometry.")
        own = feature.get("id")
        if own is not None:
            if str(own) in seen:
                raise UnusableData(f"{place}: there is a feature with the id {str(own)[:60]} already.")
            seen.add(str(own))
        about = feature.get("properties") or {}
        if not isinstance(about, Mapping):
            raise UnusableData(f"{place}: the properties must be an object.")
        for x, y in _points(feature["geometry"], place):
            yield _mark(x, y, about, nth, place)


def _points(geometry: Mapping[str, Any], place: str) -> list[tuple[float, float]]:
    kind, given = geometry.get("type"), geometry.get("coordinates")
    if kind == "Point":
        return [_point(given, place)]
    if kind == "MultiPoint":
        if not isinstance(given, list):
            raise UnusableData(f"{place}: the coordinates must be a list of points.")
        return [_point(one, place) for one in given]
    if kind in _OUTLINES:
        corners = [_point(one, place) for one in _flat(given)]
        if not corners:
            raise UnusableData(f"{place}: the outline has no points.")
        x, y = ((min(side) + max(side)) / 2 for side in zip(*corners, strict=True))
        return [(x, y)]
    raise UnusableData(f"{place}: a {str(kind)[:40]} is neither points nor an outline.")


def _flat(coordinates: object) -> Iterator[list[Any]]:
    """The points of nested lists."""
    waiting = [coordinates]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            if one and not isinstance(one[0], list):
                yield one
            else:
                waiting += one


def _point(given: object, place: str) -> tuple[float, float]:
    if not isinstance(given, list) or len(given) < 2:
        raise UnusableData(f"{place}: a point must be a list of two numbers.")
    x, y = (number(value, "a coordinate", place) for value in given[:2])
    return x - 0.5, y - 0.5


def _mark(x: float, y: float, about: Mapping[str, Any], nth: int, place: str) -> Mark:
    kind = about.get("classification")
    label = kind.get("name") if isinstance(kind, Mapping) else kind
    measured = _measurements(about.get("measurements"))
    told = about.get("metadata") or {}
    if not isinstance(told, Mapping):
        raise UnusableData(f"{place}: the metadata must be an object.")
    score, size = score_of(measured.get("score"), place), size_in(measured, place)
    return Mark(x, y, str(label or ""), score, size, *words(told, place), nth)


def _measurements(given: object) -> Mapping[str, Any]:
    """By name; before QuPath 0.4 they were a list of objects."""
    if isinstance(given, list):
        return {str(one.get("name")): one.get("value") for one in given if isinstance(one, Mapping)}
    return given if isinstance(given, Mapping) else {}


# ---- writing


def write(folder: Path, images: Iterable[MarkedImage]) -> None:
    """One file an image."""
    names = FileNames()
    for image in images:
        own = {"image": image.name, **facts(image)}
        features = ",\n".join(json.dumps(_feature(mark), ensure_ascii=False) for mark in image.marks)
        head = f'{{"type": "FeatureCollection",\n"{OURS}": {json.dumps(own, ensure_ascii=False)},\n"features": [\n'
        names.path(folder, image.name, ".geojson").write_text(f"{head}{features}\n]}}\n", encoding="utf-8")


def _feature(mark: Mark) -> dict[str, Any]:
    name, colour = CLASSES[mark.label]
    known = extras(mark)
    measured = {key: value for key, value in known.items() if not isinstance(value, str)}
    told = {key: value for key, value in known.items() if isinstance(value, str)}
    properties: dict[str, Any] = {"objectType": "annotation", "classification": {"name": name, "color": list(colour)}}
    if measured:
        properties["measurements"] = measured
    if told:
        properties["metadata"] = told
    point = [round(mark.x_px + 0.5, DECIMALS), round(mark.y_px + 0.5, DECIMALS)]
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": point}, "properties": properties}


def recognises(source: Source) -> bool:
    """Whether it is a collection of features, or a list of them."""
    for prefix, event, value in outline(source, 100_000):
        if prefix in ("type", "item.type") and value in ("FeatureCollection", "Feature"):
            return True
        if event in ("number", "start_array") and prefix not in ("", "features"):
            return False
    return False


FORMAT = Format(
    "qupath",
    "QuPath GeoJSON",
    (".geojson", ".json"),
    read,
    write,
    Keeps.everything(0.01),
    recognises,
    per_image=True,
)
