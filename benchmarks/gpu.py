"""What a GPU brings: crops learned from per second, and milliseconds per field, on the GPU and on the CPU.

    python -m benchmarks.gpu [--quick] [--batch N]

Training: the default recipe on drawn fields, for the encoders that ship and for larger ones from scratch; the first
steps, in which memory is laid out, are left out. Detection: each shipped version on a drawn field of 2084 px, the
devices in turns. Without a usable GPU the CPU alone is measured and the result says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

import torch

from benchmarks.record import Figures, cpu_name, write_result
from benchmarks.speed import UM_PER_PX, drawn_field
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.inference.runtime import describe_device, resolve_device
from mitosis_core.methods import METHODS
from mitosis_core.model import Model, list_versions, load_model
from mitosis_core.prediction import predict
from train.data.examples import Example
from train.loop import Step, fit_net
from train.methods import default_config

METHOD = "segmitos"
ENCODERS = ("efficientnet_lite0", "thin_resnet50", "resnet18", "resnet50")
_LEFT_OUT = 5  # steps


def main() -> None:
    """Measure and write the results."""
    given = _parser().parse_args()
    devices = list(dict.fromkeys((resolve_device("auto"), "cpu")))
    steps, repeats = (_LEFT_OUT + 3, 1) if given.quick else (_LEFT_OUT + 50, 5)
    encoders = ENCODERS[:1] if given.quick else ENCODERS
    names = list_versions()[:1] if given.quick else list_versions()
    figures: Figures = {
        "gpu": describe_device("cuda") if "cuda" in devices else None,
        "training": [training(encoder, device, given.batch, steps) for encoder in encoders for device in devices],
        "detection": detection([load_model(name) for name in names], devices, repeats),
        "machine": f"{cpu_name()}, torch {torch.__version__}",
    }
    write_result("gpu-quick" if given.quick else "gpu", figures)


def training(encoder: str, device: str, batch: int, steps: int) -> Figures:
    """One training: crops per second, by the median step, and the most memory of the GPU."""
    drawn = [draw_sample_field(seed=n, size_px=768, um_per_px=UM_PER_PX, mitoses=8, lookalikes=8) for n in range(4)]
    examples = [Example(one.field, f"{n}", one.mitoses_xy_px, one.lookalikes_xy_px) for n, one in enumerate(drawn)]
    config = default_config(METHOD, encoder=encoder, batch=batch, steps=steps, validate_every=steps)
    ended: list[float] = []

    def report(step: Step) -> None:
        ended.append(time.perf_counter())

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    net = METHODS[METHOD].build(encoder, False, "")
    fit_net(net, examples, config, report=report, device=torch.device(device))
    seconds = [after - before for before, after in zip(ended[_LEFT_OUT - 1 :], ended[_LEFT_OUT:], strict=False)]
    return {
        "encoder": encoder,
        "device": device,
        "batch": batch,
        "crop_px": config.crop_px,
        "crops_per_s": batch / median(seconds),
        "gpu_gb": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
    }


def detection(models: Sequence[Model], devices: Sequence[str], repeats: int) -> list[Figures]:
    """Milliseconds per field of each version on each device, the median of repeats in turns."""
    field = drawn_field()
    for model in models:
        for device in devices:
            predict(field, model, device=device)  # warms up, converts
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats):
        for model in models:
            for device in devices:
                taken.setdefault((model.version, device), []).append(predict(field, model, device=device).seconds)
    return [
        {"version": version, "device": device, "ms_per_field": 1000 * median(seconds)}
        for (version, device), seconds in taken.items()
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path, one encoder and version, few steps")
    parser.add_argument("--batch", type=int, default=32, help="crops a step")
    return parser


if __name__ == "__main__":
    main()
