"""Writes the table of formats and what each one is into docs/formats.md: `python -m docs.formats_table`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.class_names import LABELS
from mitosis_core.interchange.format import Format

PAGE = Path(__file__).parent / "formats.md"
_MARKS = re.compile(r"(<!-- table:formats -->\n).*?(<!-- /table:formats -->)", re.DOTALL)
_COLUMNS = {
    "score": "score",
    "size of the cell": "cell_size",
    "reader": "reader",
    "time": "time",
    "comment": "comment",
    "size of the image": "image_size",
    "µm/px": "um_per_px",
    "slide": "slide",
    "digest": "digest",
    "reviewed area": "areas",
}


def formats_table() -> str:
    """What comes back of each format, and then what each one is."""
    head = ["`--to`", "format", "files", "place", "labels", "name of the image", *_COLUMNS]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    rows += [f"| {' | '.join(_cells(one))} |" for one in FORMATS.values()]
    return "\n".join([*rows, "", *(_section(one) for one in FORMATS.values())])


def _cells(one: Format) -> list[str]:
    keeps = one.keeps
    suffixes = " ".join(f"`{suffix}`" for suffix in one.suffixes)
    place = f"{keeps.position_px:g} px" if keeps.position_px else "exact"
    labels = "all" if keeps.labels == LABELS else ", ".join(keeps.labels)
    kept = ["yes" if getattr(keeps, name) else "" for name in _COLUMNS.values()]
    return [
        f"`{one.name}`",
        one.title,
        suffixes + (", one an image" if one.per_image else ""),
        place,
        labels,
        keeps.name,
        *kept,
    ]


def _section(one: Format) -> str:
    """Its heading and the docstring of its file."""
    text = (sys.modules[one.read.__module__].__doc__ or "").strip()
    needs = "\n\nTo write it, width and height of each image must be known." if one.needs_size else ""
    return f"## {one.title}\n\n{text}{needs}\n"


def write_table(text: str) -> str:
    """The page with its table and sections written anew."""
    return _MARKS.sub(lambda found: f"{found[1]}{formats_table()}\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(write_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
