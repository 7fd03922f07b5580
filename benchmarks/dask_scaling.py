"""Detection on a Dask cluster: what two processes bring, what the cluster costs, and what a killed worker costs.

    python -m benchmarks.dask_scaling [--quick]

200 drawn fields (--quick: 8) go in parts through each way in turns, so that a busy machine slows all of them; the
figures are medians of the ratios of a part. The ways: the plain loop and one worker process, both with two cores, which
tells what the cluster costs; one worker with one core, and two workers with one each, which tells how it scales. The
processor time of a field, over all processes, is what a busy machine changes least.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil
from PIL import Image as Picture

from benchmarks.record import Figures, cpu_name, write_result
from mitosis_core import load_model
from mitosis_core.cluster import Cluster, local_cluster
from mitosis_core.cluster_detection import Needed, detect_in_order, look_over
from mitosis_core.detection import Image, Options, Result, analyse, read_ahead
from mitosis_core.image.sample_field import draw_sample_field

SIZE_PX, UM_PER_PX = 1024, 0.25
OPTIONS = Options(UM_PER_PX, device="cpu")
Detect = Callable[[list[Image]], Iterator[Result]]
Rows = list[list[dict[str, float]]]


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path with 8 fields")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_ones:
        images = draw(Path(folder), 8 if quick else 200)
        clusters = {}
        for name, workers, cores in (("one_worker_two_cores", 1, 2), ("one_worker", 1, 1), ("two_workers", 2, 2)):
            began = time.perf_counter()
            clusters[name] = open_ones.enter_context(local_cluster(workers, cores))
            start_s = time.perf_counter() - began
        figures = measure(images, clusters, part=4 if quick else 20)
        figures["killed"] = with_a_worker_killed(images[: 8 if quick else 40], clusters["two_workers"])
    figures |= {"start_s": start_s, "field_px": SIZE_PX, "machine": cpu_name(), "version": load_model().version}
    write_result("dask_scaling-quick" if quick else "dask_scaling", figures)


def draw(folder: Path, count: int) -> list[Image]:
    """As files, as they come from a scanner."""
    images = [Image(folder / f"{number:03d}.png", f"{number:03d}.png") for number in range(count)]
    for seed, image in enumerate(images):
        sample = draw_sample_field(seed=seed, size_px=SIZE_PX, um_per_px=UM_PER_PX, mitoses=5, lookalikes=5)
        Picture.fromarray(sample.field.pixels).save(image.path, compress_level=1)
    return images


def measure(images: list[Image], clusters: dict[str, Cluster], part: int) -> Figures:
    """Seconds of every part by each way, and whether the rows are the same."""
    ways: dict[str, Detect] = {"plain": plain, **{name: on(cluster) for name, cluster in clusters.items()}}
    for way in ways.values():  # loads the network everywhere
        list(way(images[:4]))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    same, memory = True, []
    parts = [images[first : first + part] for first in range(0, len(images), part)]
    for number, some in enumerate(parts):
        found: dict[str, Rows] = {}
        for turn in range(len(ways)):
            name = list(ways)[(turn + number) % len(ways)]  # nobody is always the first
            there = clusters.get(name)
            began, used = time.perf_counter(), processor_s(there)
            found[name] = rows(ways[name](some))
            seconds[name].append(time.perf_counter() - began)
            processor[name].append(processor_s(there) - used)
        same = same and all(one == found["plain"] for one in found.values())
        memory.append(rss_mb())
    return {
        "fields": len(images),
        "parts": len(parts),
        "same_rows": same,
        "throughput_two_to_one_worker": ratio(seconds["one_worker"], seconds["two_workers"]),
        "throughput_two_workers_to_plain": ratio(seconds["plain"], seconds["two_workers"]),
        "overhead": ratio(seconds["one_worker_two_cores"], seconds["plain"]) - 1,
        "overhead_processor": ratio(processor["one_worker_two_cores"], processor["plain"]) - 1,
        "field_s": {name: sum(taken) / len(images) for name, taken in seconds.items()},
        "field_processor_s": {name: sum(taken) / len(images) for name, taken in processor.items()},
        "rss_mb": {"after_first_part": memory[0], "after_last_part": memory[-1]},
        "worker_rss_mb": max(clusters["two_workers"].ask(rss_mb)),
    }


def processor_s(cluster: Cluster | None) -> float:
    """Of this process, and of the workers of a cluster."""
    return own_processor_s() + (sum(cluster.ask(own_processor_s)) if cluster else 0.0)


def own_processor_s() -> float:
    """Of this process, or of the worker that is asked, since it began."""
    taken = psutil.Process().cpu_times()
    return float(taken.user + taken.system)


def ratio(above: list[float], below: list[float]) -> float:
    """The median over the parts."""
    return median(a / b for a, b in zip(above, below, strict=True))


def plain(images: list[Image]) -> Iterator[Result]:
    """The loop of one process, the next images being read meanwhile."""
    model = load_model()
    for _, coming in read_ahead(images, UM_PER_PX):
        yield analyse(coming.result(), model, OPTIONS)


def on(cluster: Cluster) -> Detect:
    """The same on a cluster."""
    needed = Needed.by(load_model())

    def detect(images: list[Image]) -> Iterator[Result]:
        send = look_over(cluster, needed, [image.path for image in images])
        for _, coming in detect_in_order(cluster, needed, images, OPTIONS, lambda name: False, send):
            found = coming()
            assert isinstance(found, Result), "nothing is known yet"
            yield found

    return detect


def with_a_worker_killed(images: list[Image], cluster: Cluster) -> Figures:
    """One of two workers is killed when a quarter is done; the rows are compared with those of the plain loop."""
    began = time.perf_counter()
    whole = rows(on(cluster)(images))
    whole_s = time.perf_counter() - began
    victim, found = cluster.ask(os.getpid)[0], []
    began = time.perf_counter()
    for number, result in enumerate(on(cluster)(images)):
        found.append(result.to_dict()["detections"])
        if number == len(images) // 4:
            os.kill(victim, signal.SIGKILL)
    return {
        "fields": len(images),
        "same_rows": found == whole == rows(plain(images)),
        "seconds": time.perf_counter() - began,
        "seconds_without": whole_s,
    }


def rows(results: Iterator[Result]) -> Rows:
    """What is written of each field."""
    return [result.to_dict()["detections"] for result in results]


def rss_mb() -> float:
    """Memory of this process, or of the worker that is asked."""
    return float(psutil.Process().memory_info().rss) / 1e6


if __name__ == "__main__":
    main()
