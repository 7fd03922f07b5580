"""Pascal VOC: one XML file an image, with a box for each object.

Boxes are whole pixels within the image, the first of them 1, and both sides belong to the box (VOC development kit,
Everingham et al., Int J Comput Vis 2010;88:303). Classes are `mitosis`, `lookalike` and `unsure`. The exact place
stands in `point`, which VOC 2012 has for its reference points; `score`, `reader` and `time` are additions that other
readers pass over. A mark whose size nobody measured gets a box of 51 px, and says so (`box`: `nominal`). A file with a
document type, and so with entities, is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.csv_rows import number_in
from mitosis_core.interchange.files import FileNames, Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.marks import Mark, MarkedImage, score_of, whole

DECIMALS = 3
BOX_PX = 51  # odd, so that a pixel is its middle
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_DEEPEST = 20


@dataclass
class _Element:
    """What is read of an object or of the whole file: text by path ("bndbox/xmin"), and the line it begins in."""

    line: int
    texts: dict[str, str] = field(default_factory=dict)


class _Reader:
    """Follows the elements of one file and keeps the text of each; expat tells it of them."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.whole, self.objects = _Element(1), list[_Element]()
        self._path: list[str] = []
        self._text = ""

    def _refuse(self, *_: object) -> None:
        raise UnusableData("it has a document type (<!DOCTYPE>), which is not read")

    def _start(self, name: str, _: object) -> None:
        self._path.append(name)
        self._text = ""
        if self._path[0] != "annotation":
            raise UnusableData("it does not begin with <annotation>, as Pascal VOC does")
        if len(self._path) > _DEEPEST:
            raise UnusableData("its elements are nested too deeply")
        if self._path == ["annotation", "object"]:
            self.objects.append(_Element(self.parser.CurrentLineNumber))

    def _characters(self, text: str) -> None:
        self._text += text

    def _end(self, _: str) -> None:
        path, text = self._path[1:], self._text.strip()
        in_object = path[:1] == ["object"]
        if text:
            element = self.objects[-1] if in_object else self.whole
            element.texts["/".join(path[1:] if in_object else path)] = text
        self._path.pop()
        self._text = ""


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """One image a file. Raises UnusableData with file and line."""
    for source in sources:
        found = _parsed(source)
        texts = found.whole.texts
        size = [_number(texts, f"size/{side}", source.shown) or None for side in ("width", "height")]  # 0: not known
        width, height = (whole(side, "the size", source.shown) for side in size)
        yield MarkedImage(
            texts.get("filename") or source.stem,
            tuple(_mark(one, f"{source.shown}, line {one.line}") for one in found.objects),
            width_px=width,
            height_px=height,
            source=source.shown,
            counted="line",
        )


def _parsed(source: Source) -> _Reader:
    reader = _Reader()
    with source.open() as file:
        try:
            reader.parser.ParseFile(file)
        except UnusableData as error:
            raise UnusableData(f"{source.shown}, line {reader.parser.CurrentLineNumber}: {error}.") from error
        except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two: an unknown encoding
            what = "it was cut short" if "no element" in str(error) else f"this is no XML ({error})"
            raise UnusableData(f"{source.shown}, line {reader.parser.CurrentLineNumber}: {what}.") from error
    return reader


def _number(texts: Mapping[str, str], key: str, place: str) -> float | None:
    return number_in(texts[key], f"{place}: {key}") if key in texts else None


def _mark(element: _Element, place: str) -> Mark:
    texts = element.texts
    sides = [_number(texts, f"bndbox/{side}", place) for side in ("xmin", "ymin", "xmax", "ymax")]
    point = [_number(texts, f"point/{side}", place) for side in ("x", "y")]
    left, top, right, bottom = sides
    if left is None or top is None or right is None or bottom is None:
        if None in point:
            raise UnusableData(f"{place}: the object has no bndbox with xmin, ymin, xmax and ymax.")
        left = right = top = bottom = 0.0
    elif right < left or bottom < top:
        raise UnusableData(f"{place}: xmax and ymax of a box must not lie before xmin and ymin.")
    nominal = texts.get("box") == "nominal" or None in sides
    x, y = ((a + b) / 2 if one is None else one for one, a, b in zip(point, (left, top), (right, bottom), strict=True))
    return Mark(
        x - 1,
        y - 1,
        texts.get("name", ""),
        score_of(_number(texts, "score", place), place),
        None if nominal else (right - left + 1, bottom - top + 1),
        texts.get("reader", ""),
        texts.get("time", ""),
        texts.get("comment", ""),
        element.line,
    )


# ---- writing


def write(folder: Path, images: Iterable[MarkedImage]) -> None:
    """One file an image."""
    names = FileNames()
    for image in images:
        head = {"filename": image.name, "size": {"width": image.width_px, "height": image.height_px, "depth": 3}}
        body = "".join(f"  {_xml({'object': _object(mark, image)})}\n" for mark in image.marks)
        content = f"<annotation>\n  {_xml(head)}\n{body}</annotation>\n"
        names.path(folder, image.name, ".xml").write_text(content, encoding="utf-8")


def _object(mark: Mark, image: MarkedImage) -> dict[str, Any]:
    width, height = mark.size_px or (BOX_PX, BOX_PX)
    left, right = _sides(mark.x_px, width, image.width_px or 1)
    top, bottom = _sides(mark.y_px, height, image.height_px or 1)
    own = {"score": mark.score, "reader": mark.reader, "time": mark.time, "comment": mark.comment}
    own["box"] = "" if mark.size_px else "nominal"
    return {
        "name": mark.label,
        "pose": "Unspecified",
        "truncated": 0,
        "difficult": 0,
        "bndbox": {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom},
        "point": {"x": round(mark.x_px + 1, DECIMALS), "y": round(mark.y_px + 1, DECIMALS)},
        **{key: value for key, value in own.items() if value not in (None, "")},
    }


def _sides(middle: float, size: float, end: int) -> tuple[int, int]:
    """First and last pixel of a box, as VOC counts them, within an image that has its last pixel at `end`."""
    whole_size = max(1, round(size))
    first = math.floor(middle - whole_size / 2 + 2)  # half a pixel up: its first pixel is whole
    first, last = (min(max(side, 1), end) for side in (first, first + whole_size - 1))
    return first, last


def _xml(values: Mapping[str, Any]) -> str:
    """Elements of these names; a mapping holds others."""
    return "".join(
        f"<{name}>{_xml(value) if isinstance(value, Mapping) else escape(_NOT_IN_XML.sub('', str(value)))}</{name}>"
        for name, value in values.items()
    )


def recognises(source: Source) -> bool:
    """Whether it is XML that begins with an annotation."""
    with source.open() as file:
        return b"<annotation" in file.read(4096)


FORMAT = Format(
    "voc",
    "Pascal VOC",
    (".xml",),
    read,
    write,
    Keeps(0.01, score=True, reader=True, time=True, comment=True, image_size=True),
    recognises,
    per_image=True,
    needs_size=True,
)
