"""The command `convert`: marks from one file format to another."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mitosis_core.image.folder import find_image, image_size, images_by_name
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.class_names import LABELS, SKIP
from mitosis_core.interchange.marks import MarkedImage, with_size
from mitosis_core.plurals import count_noun

if TYPE_CHECKING:
    from mitosis_core.interchange.exchange import Written

# What lost things are called in the summary.
_CALLED = {
    "score": "scores",
    "size_px": "sizes of cells",
    "reader": "readers",
    "time": "times",
    "comment": "comments",
    "width_px": "sizes of images",
    "um_per_px": "µm/px",
    "slide": "slides",
    "digest": "digests",
}


def add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `python -m mitosis_core`."""
    names = ", ".join(FORMATS)
    convert = commands.add_parser("convert", help="turn marks from one file format into another")
    convert.add_argument("source", type=Path, metavar="IN", help="a file, a folder of files or a .zip of them")
    convert.add_argument("out", type=Path, metavar="OUT", help="a file; or a folder or .zip for one file an image")
    convert.add_argument("--from", dest="from_format", metavar="FORMAT", help=f"{names}; by default what IN looks like")
    convert.add_argument("--to", dest="to_format", metavar="FORMAT", help="the same; by default what OUT ends with")
    convert.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        type=class_is,
        metavar="NAME=LABEL",
        help=f"what a class of IN is: {', '.join(LABELS)} or {SKIP}; may be repeated",
    )
    convert.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images, to know their sizes and names"
    )
    convert.add_argument("--um-per-px", type=float, metavar="UM", help="µm per pixel, where IN does not say")
    convert.add_argument("--overwrite", action="store_true", help="replace OUT when there is such a file")
    convert.set_defaults(run=_convert)


def class_is(text: str) -> tuple[str, str]:
    """NAME=LABEL of the command line. Raises ArgumentTypeError."""
    name, sign, label = text.rpartition("=")
    if not sign or label not in (*LABELS, SKIP):
        raise argparse.ArgumentTypeError(f"“{text}” is not NAME=LABEL with {', '.join(LABELS)} or {SKIP}")
    return name, label


def _convert(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from mitosis_core.interchange.exchange import format_of, format_to_write, read_marks, write_marks
    from mitosis_core.scale import check_um_per_px

    if arguments.um_per_px is not None:
        check_um_per_px(arguments.um_per_px)
    read_as = format_of(arguments.source, arguments.from_format)
    write_as = format_to_write(arguments.out, arguments.to_format)
    known = _known(arguments.images, arguments.um_per_px)
    skipped: Counter[str] = Counter()
    classes = dict(arguments.classes)
    images = read_marks(arguments.source, read_as.name, classes=classes, known=known, skipped=skipped)
    # disable=None: no bar where stderr is not a terminal.
    shown = tqdm(images, unit="image", disable=None, file=sys.stderr)
    written = write_marks(arguments.out, shown, write_as.name, overwrite=arguments.overwrite)
    print(f"{arguments.source.name} ({read_as.title}) → {arguments.out.name} ({write_as.title})")
    print(summary(written, write_as.title))
    if skipped:
        parts = (f"{count_noun(count, 'mark')} of {name}" for name, count in sorted(skipped.items()))
        print(f"Skipped: {', '.join(parts)}.")
    return 0


def summary(written: Written, title: str) -> str:
    """What was written, and in a second line what the format could not hold."""
    counts = ", ".join(f"{written.marks[label]} {label}" for label in LABELS if written.marks[label]) or "none"
    lines = [f"{count_noun(written.images, 'image')}, {count_noun(written.marks.total(), 'mark')} ({counts})."]
    lost = [f"{count_noun(written.lost[label], 'mark')} of {label}" for label in LABELS if written.lost[label]]
    lost += [called for name, called in _CALLED.items() if written.lost[name]]
    if lost:
        lines.append(f"Left out, as {title} cannot hold it: {', '.join(lost)}.")
    if parts := written.lost["areas"]:
        lines.append(
            f"Reviewed in part, which {title} cannot hold: {count_noun(parts, 'image')}. Read again, all of it counts "
            "as reviewed."
        )
    return "\n".join(lines)


def _known(folder: Path | None, um_per_px: float | None) -> Callable[[MarkedImage], MarkedImage]:
    """What adds size and whole name of its file in a folder to an image, and µm/px, where they are not known."""
    files = images_by_name(folder) if folder is not None else {}

    def known(image: MarkedImage) -> MarkedImage:
        if image.um_per_px is None:
            image = replace(image, um_per_px=um_per_px)
        path = find_image(files, image.name)
        if path is None:
            return image
        name = image.name if Path(image.name).suffix.lower() == path.suffix.lower() else f"{image.name}{path.suffix}"
        return replace(with_size(image, *image_size(path)), name=name)

    return known
