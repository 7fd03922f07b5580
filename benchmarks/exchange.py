"""Files of other programs: 25,000 marks on 500 images written and read in every format, and the memory that takes.

`python -m benchmarks.exchange [--quick]` writes benchmarks/results/exchange.json and prints the same JSON as its last
line. Each format is measured in a process of its own, so that its peak of memory is its own; the same with ten times as
many images shows whether memory grows with the file. import_s and export_s: medians, by format.
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
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import cpu_name, write_result
from mitosis_core.interchange import FORMATS
from mitosis_core.interchange.exchange import read_marks, write_marks
from mitosis_core.interchange.marks import LABELS, Mark, MarkedImage

IMAGES, MARKS_PER_IMAGE, SIDE_PX = 500, 50, 2084
MORE = 10  # times as many images, to see whether memory stays flat


def images(count: int, marks: int = MARKS_PER_IMAGE) -> Iterator[MarkedImage]:
    """Drawn one after the other, so that what is held is what the format holds."""
    for nth in range(count):
        rng = random.Random(nth)
        yield MarkedImage(
            f"field-{nth:05d}.png",
            tuple(
                Mark(
                    rng.uniform(0, SIDE_PX - 1),
                    rng.uniform(0, SIDE_PX - 1),
                    LABELS[n % 3],
                    round(rng.random(), 4),
                    None,
                    "Reader 1",
                    "2026-01-02T03:04:05+00:00",
                )
                for n in range(marks)
            ),
            f"{nth:064x}",
            SIDE_PX,
            SIDE_PX,
            0.2456,
            f"slide {nth % 20}",
        )


def take_in(out: Path, name: str) -> int:
    """What an import does with a file; returns how many marks came. A store takes the images in here."""
    return sum(len(image.marks) for image in read_marks(out, name))


def measure_here(name: str, count: int, repeats: int) -> dict[str, float]:
    """Seconds to write and to read, and the peak of this process's memory, for one format."""
    writing, reading = [], []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            out = Path(folder) / (
                f"{repeat}.zip" if FORMATS[name].per_image else f"{repeat}{FORMATS[name].suffixes[0]}"
            )
            started = time.perf_counter()
            written = write_marks(out, images(count), name)
            writing.append(time.perf_counter() - started)
            started = time.perf_counter()
            if take_in(out, name) != written.marks.total():
                raise SystemExit(f"{name}: not all marks came back")
            reading.append(time.perf_counter() - started)
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


def result(count: int, repeats: int) -> dict[str, Any]:
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
