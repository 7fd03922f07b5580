"""One 2084 x 2084 field, decoded image to detections: ours against the plain way, in turns in one run.

    python -m benchmarks.speed [--quick] [--image FILE --um-per-px F]

The plain way runs the same networks as anyone would write it first: Pillow for resampling, numpy for the stain,
eager fp32 PyTorch, the map enlarged to full size, scikit-image for the rest. Without --image the program draws a
field. Writes benchmarks/results/speed.json and prints that JSON as its last line.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.postprocess import measure as measure_postprocessing
from benchmarks.record import cpu_name, write_result
from mitosis_core import describe_device, load_model, predict, read_field
from mitosis_core.calibration import calibrate
from mitosis_core.model import Model
from mitosis_core.prediction import probability_map
from mitosis_core.runtime import engine, torch_engine
from mitosis_core.sample_field import draw_sample_field
from mitosis_core.stain import REFERENCE, STAINS
from mitosis_core.types import Field

SIZE_PX, UM_PER_PX = 2084, 0.2456
PAPER_S = {"segmentation": 2.9, "post-processing": 0.13, "machine": "TITAN X"}  # SegMitos, section 4.7.3


def plain_way(field: Field, model: Model, net: torch.nn.Module) -> np.ndarray[Any, Any]:
    """Float64[N, 3]: x, y and mean score of the detections, the straightforward way."""
    from skimage.filters import gaussian, threshold_otsu
    from skimage.measure import label, regionprops

    assert field.um_per_px is not None, "given by the benchmark"
    scale = field.um_per_px / model.card.um_per_px
    size = (round(field.width_px * scale), round(field.height_px * scale))
    pixels = np.asarray(Image.fromarray(field.pixels).resize(size, Image.Resampling.BICUBIC), np.float64)
    stains = -np.log(np.maximum(pixels, 1) / 255) @ np.linalg.inv(STAINS)
    tissue = stains[(stains @ STAINS).mean(2) > 0.15]
    stains = (stains - tissue.mean(0)) / tissue.std(0) * REFERENCE.spread + REFERENCE.mean
    pixels = np.clip(255 * np.exp(-stains @ STAINS), 0, 255)
    x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
    x = F.pad(x, (0, -x.shape[3] % 32, 0, -x.shape[2] % 32), mode="reflect")
    with torch.no_grad():
        probability = net(x).softmax(1)[:, 1:]
    full = F.interpolate(probability, scale_factor=4 / scale, mode="bilinear")[0, 0].numpy()
    smooth = gaussian(full, 1.0 / field.um_per_px)
    regions = regionprops(label(smooth > threshold_otsu(smooth), connectivity=2), intensity_image=smooth)
    return np.array([(*r.centroid_weighted[::-1], r.intensity_mean) for r in regions if r.area > 200]).reshape(-1, 3)


def measure_field(field: Field, model: Model, repeats: int) -> dict[str, Any]:
    """Seconds and their ratio, medians over interleaved repeats after one warm-up of each."""
    net = model.net()
    predict(field, model, device="cpu")
    plain_way(field, model, net)
    ours, theirs = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        predict(field, model, device="cpu")
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        plain_way(field, model, net)
        theirs.append(time.perf_counter() - started)
    return {
        "field_ratio": median(o / t for o, t in zip(ours, theirs, strict=True)),
        "field_s": median(ours),
        "plain_s": median(theirs),
        "repeats": repeats,
    }


def agreement(field: Field, model: Model) -> dict[str, Any]:
    """The accelerated map against plain fp32 PyTorch: the largest difference, and the detections of both."""
    card = model.card
    exact = torch_engine(model.net(), torch.device("cpu"), half=False)
    maps = [
        calibrate(probability_map(field, run, card.um_per_px, card.stride), card.calibration).values
        for run in (exact, engine(model, "cpu"))
    ]
    return {
        "map_difference_max": float(np.abs(maps[0] - maps[1]).max()),
        "map_difference_mean": float(np.abs(maps[0] - maps[1]).mean()),
    }


def peak_rss_gb(path: str, um_per_px: float) -> float:
    """Largest resident memory of a fresh process that analyses one field."""
    code = (
        "import resource, sys; from mitosis_core import load_model, predict, read_field;"
        "predict(read_field(sys.argv[1], um_per_px=float(sys.argv[2])), load_model(), device='cpu');"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, str(um_per_px)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="a field to measure on instead of a drawn one")
    parser.add_argument("--um-per-px", type=float, default=UM_PER_PX)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    given = parser.parse_args()
    field = draw_sample_field(seed=1, size_px=SIZE_PX, um_per_px=UM_PER_PX, mitoses=20, lookalikes=20).field
    if given.image:
        field = read_field(given.image, um_per_px=given.um_per_px)
    model = load_model()
    kept = Path("/tmp" if os.name == "posix" else ".") / f"concentric-speed-{os.getpid()}.png"
    Image.fromarray(field.pixels).save(kept, compress_level=1)
    try:
        memory = peak_rss_gb(str(kept), field.um_per_px or UM_PER_PX)
    finally:
        kept.unlink()
    after = measure_postprocessing(3 if given.quick else 15)
    write_result(
        "speed",
        {
            **measure_field(field, model, 1 if given.quick else 7),
            "peak_rss_gb": memory,
            "postprocess_ratio": after["postprocess_ratio"],
            "postprocess_ms": after["postprocess_ms"],
            **agreement(field, model),
            "field": "given image" if given.image else "drawn field",
            "version": model.version,
            "runs_on": describe_device("cpu"),
            "paper_s": PAPER_S,
            "machine": f"{cpu_name()}, torch {torch.__version__}",
        },
    )


if __name__ == "__main__":
    main()
