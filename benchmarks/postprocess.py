"""Post-processing: find_blobs on the network's grid against plain scikit-image on the full-size map.

`python -m benchmarks.postprocess [--quick]` measures both in turns on the same field, writes
benchmarks/results/postprocess.json and prints the same JSON as its last line.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.record import Figures, write_result
from mitosis_core.inference.blobs import BlobSettings, find_blobs
from mitosis_core.types import Float32, ProbabilityMap

SIZE_PX, STRIDE, UM_PER_PX, BLOBS = 2084, 4, 0.25, 60


def draw_map(rng: np.random.Generator) -> tuple[Float32, Float32]:
    """Float32[2084, 2084] with 60 soft discs of 3 to 5 µm on faint noise, and their Float32[60, 2] centres in px."""
    full = rng.uniform(0, 0.05, (SIZE_PX, SIZE_PX)).astype(np.float32)
    cells = rng.permutation(10 * 10)[:BLOBS]  # one per square of a 10 x 10 grid, so that none touch
    corner = np.stack([cells % 10, cells // 10], axis=1) * (SIZE_PX / 10)
    centres = (corner + rng.uniform(50, SIZE_PX / 10 - 50, (BLOBS, 2))).astype(np.float32)
    for (x, y), radius in zip(centres, rng.uniform(12, 20, BLOBS), strict=True):
        left, top = int(x) - 40, int(y) - 40
        rows, columns = np.mgrid[top : top + 81, left : left + 81]
        disc = 0.95 / (1 + np.exp((np.hypot(columns - x, rows - y) - radius) / 2))
        part = full[top : top + 81, left : left + 81]
        np.maximum(part, disc.astype(np.float32), out=part)
    return full, centres


def on_grid(full: Float32, stride: int = STRIDE) -> ProbabilityMap:
    """What a network of that stride answers: one cell, the mean of stride x stride pixels."""
    height, width = (side // stride for side in full.shape)
    cells = full[: height * stride, : width * stride].reshape(height, stride, width, stride).mean(axis=(1, 3))
    return ProbabilityMap(np.ascontiguousarray(cells, np.float32), (float(stride), float(stride)), UM_PER_PX)


def by_scikit_image(full: Float32, settings: BlobSettings) -> npt.NDArray[np.float64]:
    """The same steps as textbooks write them: Float64[N, 2] centroids in px."""
    from skimage.filters import gaussian, threshold_otsu
    from skimage.measure import label, regionprops

    smooth = gaussian(full, settings.smooth_um / UM_PER_PX)
    regions = regionprops(label(smooth > threshold_otsu(smooth), connectivity=2), intensity_image=smooth)
    kept = [r for r in regions if r.area * UM_PER_PX**2 >= settings.min_area_um2 and r.intensity_mean > 0.05]
    return np.array([r.centroid_weighted[::-1] for r in kept]).reshape(-1, 2)


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(repeats: int = 15) -> Figures:
    """Medians over interleaved repeats: postprocess_ratio is ours over theirs, times in ms, distances in px."""
    import cv2

    settings = BlobSettings()
    rng = np.random.default_rng(0)
    full, centres = draw_map(rng)
    map = on_grid(full)
    empty = on_grid(np.zeros_like(full))
    noise = on_grid(rng.uniform(0, 0.06, full.shape).astype(np.float32))
    loud = ProbabilityMap(rng.random(full.shape, dtype=np.float32), (1.0, 1.0), UM_PER_PX)
    found, peer = find_blobs(map, settings), by_scikit_image(full, settings)  # also warms both up
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(_seconds(lambda: find_blobs(map, settings)))
        theirs.append(_seconds(lambda: by_scikit_image(full, settings)))
    few = max(3, repeats // 3)
    return {
        "postprocess_ratio": median(o / t for o, t in zip(ours, theirs, strict=True)),
        "postprocess_ms": median(ours) * 1e3,
        "peer_ms": median(theirs) * 1e3,
        "centroid_max_px": _worst(found.xy_px, centres),
        "centroid_to_peer_max_px": _worst(found.xy_px, peer),
        "found": len(found),
        "peer_found": len(peer),
        "empty_ms": median(_seconds(lambda: find_blobs(empty, settings)) for _ in range(few)) * 1e3,
        "noisy_ms": median(_seconds(lambda: find_blobs(noise, settings)) for _ in range(few)) * 1e3,
        "noisy_found": len(find_blobs(noise, settings)),
        "full_size_noise_ms": median(_seconds(lambda: find_blobs(loud, settings)) for _ in range(few)) * 1e3,
        "repeats": repeats,
        "threads": cv2.getNumThreads(),
        "cpus": os.cpu_count(),
    }


def _worst(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """The farthest any wanted point lies from the nearest found one."""
    return float(np.linalg.norm(found[None] - wanted[:, None], axis=2).min(axis=1).max())


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    quick = parser.parse_args().quick
    write_result("postprocess-quick" if quick else "postprocess", measure(repeats=3 if quick else 15))


if __name__ == "__main__":
    main()
