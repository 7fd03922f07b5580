"""One line of the table of formats: how it is read and written, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mitosis_core.interchange.class_names import LABELS
from mitosis_core.interchange.files import Source
from mitosis_core.interchange.marks import MarkedImage


@dataclass(frozen=True)
class Keeps:
    """What comes back when a file of this format is written and read again.

    position_px: how far a mark may move at most; 0 where it comes back exactly. labels: those it can hold; marks of
    others are left out. name: the whole name of the image, or that without the suffix of its file. The rest: whether
    scores, sizes of cells, readers, times, comments; size of the image, µm/px, slide, digest and reviewed area come
    back.
    """

    position_px: float
    labels: tuple[str, ...] = LABELS
    name: Literal["whole", "without suffix", "last part without suffix"] = "whole"
    score: bool = False
    cell_size: bool = False
    reader: bool = False
    time: bool = False
    comment: bool = False
    image_size: bool = False
    um_per_px: bool = False
    slide: bool = False
    digest: bool = False
    areas: bool = False

    @classmethod
    def everything(cls, position_px: float, *, areas: bool = True) -> Keeps:
        """Of a format that holds all that is known, perhaps but for the reviewed areas."""
        return cls(position_px, LABELS, "whole", True, True, True, True, True, True, True, True, True, areas)


Read = Callable[[Sequence[Source]], Iterator[MarkedImage]]
Write = Callable[[Path, Iterable[MarkedImage]], None]


@dataclass(frozen=True)
class Format:
    """A file format for marks.

    suffixes: of its files, the first is written. per_image: it is a file an image, so that several images are a folder
    of files or a zip of it. read: from the files, in the order of their names, to images; labels are the file's own
    names of the classes. write: images to a path, which is a folder for a format that is per_image; labels are
    LABELS. recognises: whether a file looks like this format. needs_size: width and height of each image must be known
    to write it. The docstring of the file that reads it goes into the documents.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    read: Read = field(repr=False)
    write: Write = field(repr=False)
    keeps: Keeps
    recognises: Callable[[Source], bool] = field(repr=False)
    per_image: bool = False
    needs_size: bool = False
