"""The command line: `python -m mitosis_core detect ...`, `evaluate ...` and `convert ...`.

Exit code 0 when everything was done, 2 when an argument or an input could not be used (with a sentence on stderr;
the other inputs are still done).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitosis_core import __version__
from mitosis_core.errors import ConcentricError, UnusableData, UnusableModel
from mitosis_core.interchange.command import add_convert
from mitosis_core.interchange.contest_csv import (
    Annotations,
    ImageDetections,
    read_annotations,
    read_detections,
    read_rows,
    write_detections,
)
from mitosis_core.scoring.counting import Count
from mitosis_core.types import Detections, Field, Prediction
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

    detect = commands.add_parser("detect", help="find the mitoses of one or many images")
    detect.add_argument("inputs", nargs="+", type=Path, metavar="IMAGE_OR_DIR")
    detect.add_argument("--um-per-px", type=_positive, help="µm per pixel; wins over the metadata of the images")
    detect.add_argument("--model", metavar="NAME|FILE", help="a version by name or .safetensors file")
    detect.add_argument("--threshold", type=_share, help="lowest score; by default the version's own")
    detect.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    detect.add_argument("--out", type=Path, metavar="FILE", help="a .csv or .json file; without it a table is printed")
    detect.add_argument("--overlay", type=Path, metavar="DIR", help="draw the detections on the images, as JPEG")
    detect.set_defaults(run=_detect)

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


# ---------------------------------------------------------------- detect


@dataclass(frozen=True, eq=False)
class _Result:
    """The answer for one image; found: what lies above the threshold in force."""

    field: Field
    prediction: Prediction
    threshold: float
    found: Detections

    @property
    def count(self) -> Count:
        return Count(len(self.found), self.prediction.area_mm2)

    def to_dict(self) -> dict[str, Any]:
        rows = zip(self.found.xy_px.tolist(), self.found.score.tolist(), self.found.area_um2.tolist(), strict=True)
        return {
            "image": self.field.name,
            "model": self.prediction.version,
            "threshold": self.threshold,
            "um_per_px": self.field.um_per_px,
            "area_mm2": self.prediction.area_mm2,
            "count": len(self.found),
            "density_per_mm2": self.count.per_mm2,
            "seconds": round(self.prediction.seconds, 3),
            "notes": [*self.field.notes, *self.prediction.notes],
            "detections": [
                {"x_px": round(x, 2), "y_px": round(y, 2), "score": round(score, 4), "area_um2": round(area, 2)}
                for (x, y), score, area in rows
            ],
        }


def _detect(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from mitosis_core.model import load_model
    from mitosis_core.scale import check_um_per_px

    _check_out(arguments.out)
    if arguments.um_per_px is not None:
        check_um_per_px(arguments.um_per_px)
    paths, unusable = _find_images(arguments.inputs)
    model = load_model(arguments.model)
    if arguments.overlay is not None:
        arguments.overlay.mkdir(parents=True, exist_ok=True)
    results = []
    # disable=None: no bar where stderr is not a terminal.
    for path in tqdm(paths, unit="field", disable=None, file=sys.stderr):
        try:
            results.append(_detect_one(path, model, arguments))
        except (ConcentricError, OSError) as error:
            unusable.append(f"{path.name}: {error}")
    _give_out(results, arguments.out)
    for sentence in unusable:
        _fail(sentence)
    return 2 if unusable else 0


def _check_out(out: Path | None) -> None:
    """Before the work, not after it."""
    if out is None:
        return
    if out.suffix.lower() not in (".csv", ".json"):
        raise UnusableData(f"The results can be written as .csv or .json, not as “{out.name}”.")
    if not out.resolve().parent.is_dir():
        raise UnusableData(f"There is no folder “{out.parent}” to write the results to.")


def _find_images(inputs: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """The images to do, a folder giving those directly in it, and a sentence for every input without any."""
    from mitosis_core.image.reading import IMAGE_SUFFIXES

    paths: list[Path] = []
    unusable: list[str] = []
    for source in inputs:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
            paths += inside
            unusable += [] if inside else [f"There is no image in the folder “{source}”."]
        elif source.is_file():
            paths.append(source)
        else:
            unusable.append(f"There is no file or folder “{source}”.")
    paths = list(dict.fromkeys(path.absolute() for path in paths))
    twice = [name for name, count in Counter(path.name for path in paths).items() if count > 1]
    if twice:
        raise UnusableData(
            f"Several images are called {twice[0]}; results go by name, so give them one folder at a time."
        )
    return paths, unusable


def _detect_one(path: Path, model: Any, arguments: argparse.Namespace) -> _Result:
    from mitosis_core.image.reading import read_field
    from mitosis_core.prediction import predict

    field = read_field(path, um_per_px=arguments.um_per_px)
    prediction = predict(field, model, device=arguments.device)
    threshold = prediction.threshold if arguments.threshold is None else arguments.threshold
    result = _Result(field, prediction, threshold, prediction.candidates.above(threshold))
    if arguments.overlay is not None:
        from PIL import Image

        from mitosis_core.image.overlay import draw_overlay

        drawn = Image.fromarray(draw_overlay(field, result.found))
        drawn.save(arguments.overlay / f"{field.name}.overlay.jpg", quality=92)
    return result


def _give_out(results: list[_Result], out: Path | None) -> None:
    if out is None:
        print(_table(results), end="")
    elif out.suffix.lower() == ".csv":
        write_detections(out, [ImageDetections(r.field.name, r.prediction.version, r.found) for r in results])
    else:
        text = json.dumps([result.to_dict() for result in results], indent=2, ensure_ascii=False)
        out.write_text(text + "\n", encoding="utf-8")


def _table(results: list[_Result]) -> str:
    """One line per field: count, area of tissue, density; what the reader should know below it."""
    width = max((len(result.field.name) for result in results), default=5)
    lines = [f"{'image':<{width}}  mitoses     mm²  per mm²"] if results else []
    for result in results:
        lines.append(f"{result.field.name:<{width}}  {_counted(result.count)}")
        lines += [f"  {note}" for note in (*result.field.notes, *result.prediction.notes)]
    if len(results) > 1:
        lines.append(f"{'all':<{width}}  {_counted(sum((result.count for result in results), Count(0, 0.0)))}")
    return "".join(f"{line}\n" for line in lines)


def _counted(count: Count) -> str:
    density = "" if count.per_mm2 is None else f"{count.per_mm2:8.2f}"
    return f"{count.mitoses:7d} {count.area_mm2:7.3f} {density:>8}"


# ---------------------------------------------------------------- evaluate


def _evaluate(arguments: argparse.Namespace) -> int:
    from mitosis_core.scoring.evaluation import ScoredField, evaluate

    annotations = read_annotations(arguments.annotations)
    found = _one_model(read_detections(arguments.detections), arguments.model)
    unknown = sorted(set(found) - set(annotations))
    if unknown:
        print(f"Left out, for want of annotations: {', '.join(unknown)}.", file=sys.stderr)
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
        print(json.dumps({**result.to_dict(), "left_out": unknown}, indent=2, ensure_ascii=False))
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
        if not arguments.images.is_dir():
            raise UnusableData(f"There is no folder “{arguments.images}”.")
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
    from PIL import Image

    sizes: dict[str, tuple[float, float]] = {}
    for image in images:
        try:
            with Image.open(folder / Path(image).name) as picture:
                sizes[image] = picture.size
        except (OSError, ValueError, Image.DecompressionBombError):
            continue
    return sizes


if __name__ == "__main__":
    sys.exit(main())
