"""Files of other programs: 25,000 marks on 500 images from a store to every format and from there into another store,
and the memory that takes.

`python -m benchmarks.exchange [--quick]` writes benchmarks/results/exchange.json and prints the same JSON as its last
line. Each format is measured in a process of its own, so that its peak of memory is its own; the same with four times
as many images shows whether memory grows with the file. import_s and export_s: medians, by format.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.record import Figures, cpu_name, write_result
from db.engine import Store, open_store
from db.label_export import Labels, export_labels
from db.label_import import ImportSettings, import_labels
from db.schema import FieldRow
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.class_names import LABELS
from mitosis_core.interchange.exchange import write_marks
from mitosis_core.interchange.marks import Mark, MarkedImage

IMAGES, MARKS_PER_IMAGE, SIDE_PX = 500, 50, 2084
READER = "Reader 1"
SQUARES = SIDE_PX // 8
MORE = 4  # times as many images, to see whether memory stays flat


def images(count: int, marks: int = MARKS_PER_IMAGE) -> Iterator[MarkedImage]:
    """Drawn one after the other, so that what is held is what the format holds."""
    for nth in range(count):
        rng = random.Random(nth)
        # Like cells, no two in the same pixel: one of 260 x 260 squares of 8 px for each, and anywhere in its middle.
        squares = rng.sample(range(SQUARES**2), marks)
        yield MarkedImage(
            f"field-{nth:05d}.png",
            tuple(
                Mark(
                    8 * (square % SQUARES) + rng.uniform(1, 7),
                    8 * (square // SQUARES) + rng.uniform(1, 7),
                    LABELS[n % 3],
                    round(rng.random(), 4),
                    None,
                    READER,
                    "2026-01-02T03:04:05+00:00",
                )
                for n, square in enumerate(squares)
            ),
            f"{nth:064x}",
            SIDE_PX,
            SIDE_PX,
            0.2456,
            f"slide {nth % 20}",
        )


def make_store(folder: Path, count: int) -> Store:
    """A store that has the images as rows, without their pixels: neither direction opens an image."""
    store = open_store(folder)
    now = datetime.now(UTC)
    with store.writing() as session:
        for image in images(count, 0):
            session.add(
                FieldRow(
                    digest=image.digest,
                    name=image.name,
                    case=image.slide,
                    um_per_px=image.um_per_px,
                    scale_source="given",
                    width_px=SIDE_PX,
                    height_px=SIDE_PX,
                    file_size=0,
                    created_at=now,
                )
            )
    return store


def take_in(store: Store, out: Path, name: str) -> int:
    """Import a file as the labels of a reader; returns how many marks are new."""
    return import_labels(store, out, ImportSettings(READER, name, finish=True)).total("new")


def fill(store: Store, folder: Path, count: int) -> None:
    """The marks of all images, as finished reviews."""
    write_marks(folder / "all.json", images(count), "json")
    take_in(store, folder / "all.json", "json")


def measure_here(name: str, count: int, repeats: int) -> dict[str, float]:
    """Seconds to write and to read, and the peak of this process's memory, for one format."""
    writing, reading, chosen = [], [], FORMATS[name]
    with tempfile.TemporaryDirectory() as folder:
        source = make_store(Path(folder) / "source", count)
        fill(source, Path(folder), count)
        for repeat in range(repeats):
            out = Path(folder) / f"{repeat}{'.zip' if chosen.per_image else chosen.suffixes[0]}"
            started = time.perf_counter()
            written = export_labels(source, out, Labels("reader", READER), format_name=name)
            writing.append(time.perf_counter() - started)
            target = make_store(Path(folder) / f"target {repeat}", count)
            started = time.perf_counter()
            if take_in(target, out, name) != written.marks.total():
                raise SystemExit(f"{name}: not all marks came back")
            reading.append(time.perf_counter() - started)
            target.close()
        source.close()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return {"export_s": median(writing), "import_s": median(reading), "peak_rss_gb": peak_gb}


def measure(name: str, count: int, repeats: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.exchange", "--format", name, "--images", str(count)]
    done = subprocess.run(
        [*command, "--repeats", str(repeats)], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def result(count: int, repeats: int) -> Figures:
    """The figures of all formats."""
    small = {name: measure(name, count, repeats) for name in FORMATS}
    large = {name: measure(name, count * MORE, 1) for name in FORMATS}
    return {
        "import_s": {name: round(one["import_s"], 3) for name, one in small.items()},
        "export_s": {name: round(one["export_s"], 3) for name, one in small.items()},
        "peak_rss_gb": round(max(one["peak_rss_gb"] for one in small.values()), 4),
        "peak_rss_gb_of_format": {name: round(one["peak_rss_gb"], 4) for name, one in small.items()},
        f"peak_rss_gb_with_{MORE}_times_the_images": {n: round(one["peak_rss_gb"], 4) for n, one in large.items()},
        "images": count,
        "marks": count * MARKS_PER_IMAGE,
        "repeats": repeats,
        "machine": f"{cpu_name()}, {platform.system()}",
    }


def main() -> None:
    """Measure all formats and write the results; with --format only print those of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images, one repeat")
    parser.add_argument("--format", choices=FORMATS, help="measure this one in this process")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    if given.format:
        print(json.dumps(measure_here(given.format, given.images, given.repeats)))
    elif given.quick:
        write_result("exchange-quick", result(20, 1))
    else:
        write_result("exchange", result(given.images, given.repeats))


if __name__ == "__main__":
    main()
