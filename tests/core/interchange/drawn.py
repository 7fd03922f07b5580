"""Marked images as hypothesis draws them, and what a format must give back of them."""

from dataclasses import replace
from datetime import datetime

from hypothesis import strategies as st

from mitosis_core.interchange.class_names import LABELS
from mitosis_core.interchange.format import Format
from mitosis_core.interchange.marks import Mark, MarkedImage
from mitosis_core.types import Region

words = st.text("abÄ é,;'\"&<=+_-.0", max_size=8).map(lambda text: " ".join(text.split()))
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
    lambda t: t.replace(microsecond=0).isoformat() + "+00:00"
)


def inside(size_px: int) -> st.SearchStrategy[float]:
    """A coordinate within the image, whose first pixel reaches from -0.5 to 0.5."""
    return st.floats(-0.5, size_px - 0.5, width=32)


def marks(width_px: int, height_px: int) -> st.SearchStrategy[Mark]:
    return st.builds(
        Mark,
        inside(width_px),
        inside(height_px),
        st.sampled_from(LABELS),
        st.none() | st.floats(0, 1).map(lambda score: round(score, 6)),
        st.none() | st.tuples(st.floats(1, 60), st.floats(1, 60)).map(lambda s: (round(s[0], 3), round(s[1], 3))),
        words,
        st.just("") | times,
        words,
    )


def areas(width_px: int, height_px: int) -> st.SearchStrategy[dict[str, Region]]:
    """Parts of an image, by reader."""
    part = st.builds(
        lambda left, top: Region(left * width_px, top * height_px, width_px, height_px),
        st.floats(0, 0.9),
        st.floats(0, 0.9),
    )
    return st.dictionaries(words, part, max_size=2)


@st.composite
def images(draw: st.DrawFn) -> list[MarkedImage]:
    """Up to four images of several sizes, with all that can be known of them, or not."""
    names = draw(st.lists(st.from_regex(r"[A-Za-z0-9_Ä]{1,6}", fullmatch=True), unique_by=str.casefold, max_size=4))
    found = []
    for name in names:
        width, height = draw(st.integers(1, 3000)), draw(st.integers(1, 3000))
        found.append(
            MarkedImage(
                f"{name}.png",
                tuple(draw(st.lists(marks(width, height), max_size=5))),
                draw(st.sampled_from(["", "ab" * 32])),
                width,
                height,
                draw(st.none() | st.floats(0.1, 2)),
                draw(words),
                areas=draw(areas(width, height)),
            )
        )
    return found


def as_kept(image: MarkedImage, chosen: Format) -> MarkedImage:
    """What a format says comes back of an image, but for the places of its marks."""
    keeps = chosen.keeps
    name = image.name if keeps.name == "whole" else image.name.removesuffix(".png")
    kept = tuple(
        Mark(
            mark.x_px,
            mark.y_px,
            mark.label,
            mark.score if keeps.score else None,
            mark.size_px if keeps.cell_size else None,
            mark.reader if keeps.reader else "",
            mark.time if keeps.time else "",
            mark.comment if keeps.comment else "",
        )
        for mark in image.marks
        if mark.label in keeps.labels
    )
    size = (image.width_px, image.height_px) if keeps.image_size else (None, None)
    return MarkedImage(
        name,
        kept,
        image.digest if keeps.digest else "",
        *size,
        image.um_per_px if keeps.um_per_px else None,
        image.slide if keeps.slide else "",
        areas=image.areas if keeps.areas else {},
    )


def as_read(image: MarkedImage, chosen: Format) -> MarkedImage:
    """An image that was read, without where it was read from, and without what its format does not promise."""
    plain = tuple(replace(mark, place=0) for mark in image.marks)
    if not chosen.keeps.cell_size:
        plain = tuple(replace(mark, size_px=None) for mark in plain)
    return replace(image, marks=plain, source="", counted="mark")
