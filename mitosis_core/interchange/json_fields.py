"""What the JSON formats share: what is known of an image and of a mark, under the same names in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mitosis_core.errors import MissingScale, UnusableData
from mitosis_core.interchange.marks import Mark, MarkedImage, number
from mitosis_core.scale import check_um_per_px
from mitosis_core.types import Region


def text(entry: Mapping[str, Any], key: str, place: str) -> str:
    """A text of a JSON object, "" where there is none; raises UnusableData for anything else."""
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnusableData(f"{place}: “{key}” must be text.")
    return value


def scale(entry: Mapping[str, Any], place: str) -> float | None:
    """um_per_px of a JSON object, or None; raises UnusableData where it is not plausible."""
    if entry.get("um_per_px") is None:
        return None
    try:
        return check_um_per_px(number(entry["um_per_px"], "um_per_px", place))
    except MissingScale as error:
        raise UnusableData(f"{place}: {error}") from error


def size_in(entry: Mapping[str, Any], place: str) -> tuple[float, float] | None:
    """object_width_px and object_height_px of a JSON object, or None; raises UnusableData unless both are above 0."""
    keys = ("object_width_px", "object_height_px")
    if all(entry.get(key) is None for key in keys):
        return None
    width, height = (number(entry.get(key), key, place) for key in keys)
    if width <= 0 or height <= 0:
        raise UnusableData(f"{place}: object_width_px and object_height_px must be above 0.")
    return width, height


def areas_in(entry: Mapping[str, Any], place: str) -> dict[str, Region]:
    """areas_px of a JSON object, by reader; raises UnusableData for what is no rectangle of some size."""
    found = entry.get("areas_px")
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise UnusableData(f"{place}: “areas_px” must have an area for each reader.")
    return {str(reader): _region(edges, place) for reader, edges in found.items()}


def _region(edges: Any, place: str) -> Region:
    if not isinstance(edges, list | tuple) or len(edges) != 4:
        raise UnusableData(f"{place}: an area must have left, top, right and bottom.")
    left, top, right, bottom = (number(edge, "the edge of an area", place) for edge in edges)
    if not (left < right and top < bottom):
        raise UnusableData(f"{place}: an area must be left, top, right and bottom, and not empty.")
    return Region(left, top, right, bottom)


def words(entry: Mapping[str, Any], place: str) -> tuple[str, str, str]:
    """reader, time and comment of a mark's JSON object, "" for what is not there; raises UnusableData for no text."""
    return text(entry, "reader", place), text(entry, "time", place), text(entry, "comment", place)


def facts(image: MarkedImage) -> dict[str, Any]:
    """What is known of an image, without its name and marks."""
    known = {
        "slide": image.slide,
        "digest": image.digest,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "um_per_px": image.um_per_px,
        "areas_px": {reader: area.edges for reader, area in image.areas.items()} or None,
    }
    return {key: value for key, value in known.items() if value not in (None, "")}


def extras(mark: Mark) -> dict[str, Any]:
    """What is known of a mark, without place and label."""
    width, height = mark.size_px or (None, None)
    known = {
        "score": mark.score,
        "object_width_px": width,
        "object_height_px": height,
        "reader": mark.reader,
        "time": mark.time,
        "comment": mark.comment,
    }
    return {key: value for key, value in known.items() if value not in (None, "")}
