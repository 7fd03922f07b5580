"""The command `detect`: the mitoses of one image, of a folder, or of thousands of fields.

The next images are read while the network works on one. With --out FILE.csv or .jsonl each field is written as soon as
it is done (.parquet: many at a time), and the same command given again goes on where it was stopped; other formats are
written at the end. With --dask or --workers other processes do the work, and the results are the same, in the same
order.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mitosis_core.cluster import Cluster, local_cluster, open_cluster
from mitosis_core.detection import FieldFacts, Image, Options, Result, analyse, read_ahead
from mitosis_core.detection_stream import SUFFIXES, DetectionStream, Key, open_stream
from mitosis_core.errors import ClusterUnusable, ConcentricError, UnusableData, UnusableModel
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.exchange import format_to_write, write_marks
from mitosis_core.interchange.files import whole_or_nothing
from mitosis_core.interchange.marks import Mark, MarkedImage
from mitosis_core.plurals import count_noun
from mitosis_core.scoring.counting import Count
from mitosis_core.types import Field

if TYPE_CHECKING:
    from mitosis_core.model import Model

OVERLAY_SUFFIX = ".overlay.jpg"  # behind the name of the image that it is drawn on
_LOCAL = "local"
_MOST_WORKERS = 1024
_MOST_FAILURES = 50  # sentences at the end


def add_detect(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    positive: Callable[[str], float],
    share: Callable[[str], float],
) -> None:
    """Add the command to those of `python -m mitosis_core`. positive, share: what reads such numbers."""
    detect = commands.add_parser("detect", help="find the mitoses of one or many images")
    detect.add_argument("inputs", nargs="+", type=Path, metavar="IMAGE_OR_DIR", help="a folder gives all below it")
    detect.add_argument("--um-per-px", type=positive, help="µm per pixel; wins over the metadata of the images")
    detect.add_argument("--model", metavar="NAME|FILE", help="a version by name or .safetensors file")
    detect.add_argument("--threshold", type=share, help="lowest score; by default the version's own")
    detect.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    detect.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".csv, .jsonl and .parquet grow field by field and are gone on with; others are written at the end",
    )
    detect.add_argument("--to", metavar="FORMAT", help=f"{', '.join(FORMATS)}; by default what FILE ends with")
    detect.add_argument("--overlay", type=Path, metavar="DIR", help="draw the detections on the images, as JPEG")
    detect.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler, such as tcp://computer:8786, or “local”")
    detect.add_argument("--workers", type=_count, metavar="N", help="that many processes on this computer")
    detect.set_defaults(run=_detect)


def _count(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= _MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"“{text}” is not a number from 1 to {_MOST_WORKERS}")
    return int(text)


def _detect(given: argparse.Namespace) -> int:
    from mitosis_core.model import load_model
    from mitosis_core.scale import check_um_per_px

    stream = _stream(given.out, given.to)
    if given.um_per_px is not None:
        check_um_per_px(given.um_per_px)
    images, unusable = _find_images(given.inputs)
    model = load_model(given.model)
    if given.overlay is not None:
        given.overlay.mkdir(parents=True, exist_ok=True)
    with _cluster(given) as cluster:
        run = _Run(model, given, stream, unusable, cluster)
        try:
            _write(run, images, given.out, given.to)
        except KeyboardInterrupt:
            again = "; the same command goes on here" if stream else ", nothing was written"
            print(f"Stopped{again}.", file=sys.stderr)
            run.stopped = True
        except ClusterUnusable as error:
            kept = " What was done is written; the same command goes on there." if stream and stream.done else ""
            raise ClusterUnusable(f"{error}{kept}") from error
    run.say_what_was_done()
    return 130 if run.stopped else 2 if run.unusable else 0


def _cluster(given: argparse.Namespace) -> AbstractContextManager[Cluster | None]:
    """What does the work, None for this process."""
    if given.dask in (None, _LOCAL):
        return nullcontext() if given.dask is given.workers is None else local_cluster(given.workers)
    if given.workers is not None:
        raise UnusableData("--workers is for this computer; a cluster at an address has the workers that were started.")
    return open_cluster(given.dask)


def _stream(out: Path | None, to: str | None) -> DetectionStream | None:
    """The file that grows, where that is asked for. What cannot be written is refused before the work."""
    if out is None:
        return None
    if not out.resolve().parent.is_dir():
        raise UnusableData(f"There is no folder “{out.parent}” to write the results to.")
    if out.suffix.lower() in {None: SUFFIXES, "csv": (".csv",)}.get(to, ()):
        return open_stream(out)
    chosen = format_to_write(out, to)
    if chosen.name != "json" and out.exists():
        raise UnusableData(f"There is a file {out} already.")
    return None


def _find_images(inputs: Iterable[Path]) -> tuple[list[Image], list[str]]:
    """The images to do, a folder giving all below it, and a sentence for every input without any."""
    from mitosis_core.image.folder import images_in

    images: list[Image] = []
    unusable: list[str] = []
    for source in inputs:
        if source.is_dir():
            inside = images_in(source)
            inside = [path for path in inside if not path.name.endswith(OVERLAY_SUFFIX)]  # drawn by this command
            images += [Image(path.absolute(), path.relative_to(source).as_posix()) for path in inside if path.is_file()]
            unusable += [] if inside else [f"There is no image in the folder “{source}”."]
        elif source.is_file():
            images.append(Image(source.absolute(), source.name))
        else:
            unusable.append(f"There is no file or folder “{source}”.")
    by_path = {image.path: image for image in reversed(images)}
    images = [by_path[path] for path in dict.fromkeys(image.path for image in images)]
    twice = [name for name, count in Counter(image.name for image in images).items() if count > 1]
    if twice:
        raise UnusableData(
            f"Several images are called {twice[0]}; results go by name, so give them one folder at a time."
        )
    broken = [image.name for image in images if not _fits_in_a_row(image.name)]
    unusable += [f"The name of the image {name!r} cannot stand in a table; please rename it." for name in broken]
    return [image for image in images if _fits_in_a_row(image.name)], unusable


def _fits_in_a_row(name: str) -> bool:
    """Whether a name has no control character, end of line, or half of a character."""
    return not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in name)


class _Run:
    """The fields of one command: what is done, skipped and failed."""

    def __init__(
        self,
        model: Model,
        given: argparse.Namespace,
        stream: DetectionStream | None,
        unusable: list[str],
        cluster: Cluster | None,
    ) -> None:
        self.unusable, self.stopped = unusable, False
        self._model, self._given, self._stream = model, given, stream
        self._options = Options(given.um_per_px, given.threshold, given.device, given.overlay is not None)
        self._cluster = cluster
        self._fields, self._skipped, self._mitoses, self._tissue_mm2 = 0, 0, 0, 0.0
        self._check_threshold()

    def _check_threshold(self) -> None:
        """Rows of one version at two thresholds could not be told apart by who reads them."""
        if self._stream is None or (known := self._stream.threshold_of(self._model.version)) is None:
            return
        wanted = self._model.threshold if self._given.threshold is None else self._given.threshold
        if wanted != known:
            raise UnusableData(
                f"{self._given.out.name} has detections of {self._model.version} from a score of {known:g} on, not "
                f"{wanted:g}; please name another file."
            )

    def results(self, images: list[Image]) -> Iterator[Result]:
        """The answers, one by one; what cannot be used becomes a sentence, what the stream has is skipped."""
        from tqdm import tqdm

        # disable=None: no bar where stderr is not a terminal.
        with tqdm(total=len(images), unit="field", disable=None, file=sys.stderr, smoothing=0.05) as bar:
            for image, coming in self._answers(images):
                try:
                    if (result := coming()) is not None:
                        self._take(result)
                        yield result
                except (UnusableModel, ClusterUnusable):
                    raise  # no other image could be analysed either
                except (ConcentricError, OSError) as error:
                    self.unusable.append(f"{image.name}: {error}")
                bar.update()

    def _answers(self, images: list[Image]) -> Iterator[tuple[Image, Callable[[], Result | None]]]:
        """Each image, in order, with what gives its answer: None where it is done already."""
        if self._cluster is not None:
            yield from self._answers_of_cluster(self._cluster, images)
            return
        for image, coming in read_ahead(images, self._options.um_per_px):
            yield image, partial(self._analysed_here, coming)

    def _answers_of_cluster(
        self, cluster: Cluster, images: list[Image]
    ) -> Iterator[tuple[Image, Callable[[], Result | None]]]:
        from mitosis_core.cluster_detection import Needed, detect_in_order, look_over

        needed = Needed.by(self._model)
        send = look_over(cluster, needed, [image.path for image in images])
        how = "the images are sent to them" if send else "they read the images themselves"
        print(f"{cluster.described()}; {how}.", file=sys.stderr)
        for image, coming in detect_in_order(cluster, needed, images, self._options, self._is_known, send):
            yield image, partial(self._analysed_there, coming)

    def _is_known(self, name: str) -> bool:
        return self._stream is not None and self._stream.knows(name, self._model.version)

    def _analysed_there(self, coming: Callable[[], FieldFacts | Result]) -> Result | None:
        answer = coming()
        if isinstance(answer, Result):
            return answer
        self._is_done(answer)
        return None

    def _analysed_here(self, coming: Future[Field]) -> Result | None:
        field = coming.result()
        return None if self._is_done(FieldFacts.of(field)) else analyse(field, self._model, self._options)

    def _take(self, result: Result) -> None:
        if result.overlay is not None:
            place = self._given.overlay / f"{result.field.name}{OVERLAY_SUFFIX}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(result.overlay)
        self._count(len(result.found), round(result.tissue_mm2, 6))
        if self._stream is not None:
            self._stream.add(result.to_dict())

    def _is_done(self, field: FieldFacts) -> bool:
        if self._stream is None or field.um_per_px is None:
            return False
        key: Key = (field.name, field.digest, self._model.version, field.um_per_px)
        if self._stream.changed(key):
            raise UnusableData(
                "the results have an image of this name with other pixels or another µm/px; please name another file."
            )
        if (known := self._stream.done.get(key)) is None:
            return False
        self._skipped += 1
        self._count(known.count, known.tissue_mm2)
        return True

    def _count(self, mitoses: int, tissue_mm2: float) -> None:
        self._fields, self._mitoses = self._fields + 1, self._mitoses + mitoses
        self._tissue_mm2 += tissue_mm2

    def say_what_was_done(self) -> None:
        """The summary, and what could not be used, on stderr: stdout is for results."""
        density = f" ({self._mitoses / self._tissue_mm2:.2f} per mm²)" if self._tissue_mm2 else ""
        done = f", {self._skipped} of them done before" if self._skipped else ""
        print(
            f"{count_noun(self._fields, 'field')}{done}: {count_noun(self._mitoses, 'mitosis')} in "
            f"{self._tissue_mm2:.3f} mm² of tissue{density}; {count_noun(len(self.unusable), 'file')} failed.",
            file=sys.stderr,
        )
        for sentence in self.unusable[:_MOST_FAILURES]:
            print(f"Error: {sentence}", file=sys.stderr)
        if (more := len(self.unusable) - _MOST_FAILURES) > 0:
            print(f"And {more} more.", file=sys.stderr)


# ---------------------------------------------------------------- what is given out


def _write(run: _Run, images: list[Image], out: Path | None, to: str | None) -> None:
    results = run.results(images)
    if out is None:
        print(_table([_Line.of(result) for result in results]), end="")
    elif run._stream is not None:
        with closing(run._stream):
            for _ in results:
                pass
    elif (chosen := format_to_write(out, to)).name == "json":
        _write_json(out, results)
    else:
        write_marks(out, map(_marked, results), chosen.name)


def _write_json(out: Path, results: Iterator[Result]) -> None:
    with whole_or_nothing(out) as place, place.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, result in enumerate(results):
            file.write(("\n" if number == 0 else ",\n") + json.dumps(result.to_dict(), indent=2, ensure_ascii=False))
        file.write("\n]\n")


def _marked(result: Result) -> MarkedImage:
    """The detections as marks of their version, for the files of other programs."""
    field, version = result.field, result.version
    rows = zip(result.found.xy_px.tolist(), result.found.score.tolist(), strict=True)
    marks = tuple(Mark(x, y, "mitosis", score, None, version) for (x, y), score in rows)
    return MarkedImage(field.name, marks, field.digest, field.width_px, field.height_px, field.um_per_px)


@dataclass(frozen=True)
class _Line:
    """One line of the table; no pixels, so that thousands can be held."""

    name: str
    count: Count
    notes: tuple[str, ...]

    @classmethod
    def of(cls, result: Result) -> _Line:
        return cls(result.field.name, result.count, (*result.field.notes, *result.notes))


def _table(lines: list[_Line]) -> str:
    """One line per field: count, area of tissue, density; what the reader should know below it."""
    width = max((len(line.name) for line in lines), default=5)
    text = [f"{'image':<{width}}  mitoses     mm²  per mm²"] if lines else []
    for line in lines:
        text.append(f"{line.name:<{width}}  {_counted(line.count)}")
        text += [f"  {note}" for note in line.notes]
    if len(lines) > 1:
        text.append(f"{'all':<{width}}  {_counted(sum((line.count for line in lines), Count(0, 0.0)))}")
    return "".join(f"{line}\n" for line in text)


def _counted(count: Count) -> str:
    density = "" if count.per_mm2 is None else f"{count.per_mm2:8.2f}"
    return f"{count.mitoses:7d} {count.area_mm2:7.3f} {density:>8}"
