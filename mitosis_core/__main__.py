"""The command line: `python -m mitosis_core detect ...`, `evaluate ...` and `convert ...`.

Exit code 0 when everything was done, 2 when an argument or an input could not be used (with a sentence on stderr;
the other inputs are still done).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from mitosis_core import __version__
from mitosis_core.detect_command import add_detect
from mitosis_core.errors import ConcentricError, UnusableData, UnusableModel
from mitosis_core.interchange.annotation_csv import Annotations, ImageDetections, read_annotations, read_detections
from mitosis_core.interchange.command import add_convert
from mitosis_core.interchange.csv_rows import read_rows
from mitosis_core.types import Detections
from mitosis_core.vocabulary import LENIENT_RADIUS_UM


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (argparse exits by itself with 2 for arguments it cannot parse)."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ConcentricError as error:
        return _fail(error)
    except OSError as error:
        return _fail(f"{error.filename or 'A file'} cannot be read or written ({error.strerror or error}).")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mitosis_core", description="Detect mitoses in H&E fields.")
    parser.add_argument("--version", action="version", version=f"Concentric {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_detect(commands, _positive, _share)
    evaluate = commands.add_parser("evaluate", help="compare detections with annotations, as the contests do")
    evaluate.add_argument("--detections", type=Path, required=True, metavar="CSV")
    evaluate.add_argument("--annotations", type=Path, required=True, metavar="CSV")
    evaluate.add_argument(
        "--radius-um",
        type=_positive,
        default=LENIENT_RADIUS_UM,
        help=f"how far off a detection may be ({LENIENT_RADIUS_UM:g})",
    )
    evaluate.add_argument("--threshold", type=_share, default=0.0, help="lowest score that counts (0)")
    evaluate.add_argument("--model", metavar="NAME", help="which one, where the detections hold several models")
    evaluate.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, to know their areas")
    evaluate.add_argument("--field-mm2", type=_positive, help="area of a field where nothing else tells it")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.set_defaults(run=_evaluate)
    add_convert(commands)
    return parser


def _positive(text: str) -> float:
    return _number_between(text, 0, float("inf"), "a number above 0")


def _share(text: str) -> float:
    return _number_between(text, -1e-12, 1 + 1e-12, "a number from 0 to 1")


def _number_between(text: str, low: float, high: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low < value < high:
        raise argparse.ArgumentTypeError(f"“{text}” is not {what}")
    return value


def _fail(error: object) -> int:
    print(f"Error: {error}", file=sys.stderr)
    return 2


# ---------------------------------------------------------------- evaluate


def _evaluate(arguments: argparse.Namespace) -> int:
    from mitosis_core.scoring.evaluation import ScoredField, evaluate

    annotations = read_annotations(arguments.annotations)
    found = _one_model(read_detections(arguments.detections), arguments.model)
    unknown = sorted(set(found) - set(annotations))
    if unknown:
        print(f"Left out, for want of annotations: {', '.join(unknown)}.", file=sys.stderr)
    silent = sorted(set(annotations) - set(found))
    if silent:
        print(f"Without detections, so that all mitoses in them are missed: {', '.join(silent)}.", file=sys.stderr)
    areas = _areas_mm2(annotations, arguments)
    fields = [
        ScoredField(
            one.image,
            one.slide,
            found.get(one.image, Detections()),
            one.mitoses_xy_px,
            one.um_per_px,
            areas.get(one.image),
        )
        for one in annotations.values()
    ]
    result = evaluate(fields, arguments.radius_um, threshold=arguments.threshold)
    if arguments.json:
        images = {"left_out": unknown, "without_detections": silent}
        print(json.dumps({**result.to_dict(), **images}, indent=2, ensure_ascii=False))
    else:
        print(result.to_text(), end="")
    return 0


def _one_model(rows: list[ImageDetections], wanted: str | None) -> dict[str, Detections]:
    models = sorted({row.model for row in rows})
    if wanted is None and len(models) > 1:
        raise UnusableModel(f"The detections come from {' and '.join(models)}; choose one with --model.")
    if wanted is not None and wanted not in models:
        raise UnusableModel(f"There are no detections of the model “{wanted}”, only of {', '.join(models) or 'none'}.")
    return {row.image: row.detections for row in rows if wanted in (None, row.model)}


def _areas_mm2(annotations: dict[str, Annotations], arguments: argparse.Namespace) -> dict[str, float]:
    """From the columns width_px and height_px, else the images, else --field-mm2; an image without any is left out."""
    sizes = _sizes_in_columns(arguments.annotations)
    if arguments.images is not None:
        sizes = {**_sizes_of_images(arguments.images, annotations), **sizes}
    areas = {
        image: sizes[image][0] * sizes[image][1] * one.um_per_px**2 / 1e6
        for image, one in annotations.items()
        if image in sizes
    }
    default = arguments.field_mm2
    return areas if default is None else {**dict.fromkeys(annotations, default), **areas}


def _sizes_in_columns(path: Path) -> dict[str, tuple[float, float]]:
    """(width, height) in px per image where the file has such columns."""
    sizes = {}
    for _, row in read_rows(path, ("image",)):
        try:
            width, height = float(row["width_px"]), float(row["height_px"])
        except (KeyError, ValueError):
            continue
        if 0 < width < 1e6 and 0 < height < 1e6:
            sizes[row["image"]] = (width, height)
    return sizes


def _sizes_of_images(folder: Path, images: Iterable[str]) -> dict[str, tuple[float, float]]:
    """(width, height) in px from the headers alone; an image that cannot be opened has none."""
    from mitosis_core.image.folder import find_image, image_size, images_by_name

    files = images_by_name(folder)
    sizes: dict[str, tuple[float, float]] = {}
    for image in images:
        if path := find_image(files, image):
            with suppress(UnusableData):
                sizes[image] = image_size(path)
    return sizes


if __name__ == "__main__":
    sys.exit(main())
