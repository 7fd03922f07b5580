"""How long one field takes: mitosis_core.predict against the same network run the plain way.

    python -m benchmarks.speed [--quick] [--image FILE --um-per-px F] [--random]

Both start from decoded pixels and run in turns, so that a busy machine slows both. The plain way: NumPy and Pillow
before the network, eager PyTorch in fp32 NCHW, the map enlarged to the size of the field, scikit-image after it.
Without an image the program draws a field of 2084 x 2084 px at 0.2456 µm/px. On a larger machine, keep it to two
cores with `taskset -c 0,1`.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import postprocess
from benchmarks.record import Figures, cpu_name, write_result
from mitosis_core import describe_device, load_model, predict, read_field
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.methods import METHODS
from mitosis_core.model import DEFAULT_VERSION, Model, ModelCard, list_versions, save_model
from mitosis_core.scoring.cost import peak_rss_gb
from mitosis_core.scoring.matching import match
from mitosis_core.types import Detections, Field, Float32, UInt8
from train.methods import default_config

if TYPE_CHECKING:
    from torch import nn

SIZE_PX, UM_PER_PX = 2084, 0.2456
PAPER_S = {"segmentation": 2.9, "post-processing": 0.13, "machine": "TITAN X"}  # SegMitos, section 4.7.3
_SAME_PX = 4.0  # detections of the two precisions closer than this (1 µm) are one


def main() -> None:
    """Measure and write the results."""
    given = _parser().parse_args()
    field = read_field(given.image, um_per_px=given.um_per_px) if given.image else drawn_field()
    with tempfile.TemporaryDirectory() as folder:
        model = random_version(Path(folder)) if given.random else load_model(given.model)
        figures = measure(field, model, repeats=1 if given.quick else 5)
        figures["methods"] = by_method(field, Path(folder), repeats=1 if given.quick else 5)
    after = postprocess.measure(repeats=3 if given.quick else 15)
    figures |= {key: after[key] for key in ("postprocess_ratio", "postprocess_ms")}
    write_result("speed-quick" if given.quick else "speed", figures)


def measure(field: Field, model: Model, repeats: int) -> Figures:
    """Everything but the post-processing alone. field_ratio is the median of ours / plain over interleaved repeats."""
    net = model.net()
    found = predict(field, model, device="cpu")  # also warms up, and converts a version that is new here
    ours, plain = [], []
    for _ in range(repeats):
        before = predict(field, model, device="cpu").seconds
        started = time.perf_counter()
        by_plain_pytorch(net, field, model.card)
        plain.append(time.perf_counter() - started)
        ours.append((before + predict(field, model, device="cpu").seconds) / 2)
    return {
        "field_ratio": median(o / p for o, p in zip(ours, plain, strict=True)),
        "field_s": median(ours),
        "plain_s": median(plain),
        "first_s": found.seconds,
        "paper_s": PAPER_S,
        "peak_rss_gb": peak_rss_gb(field, model),
        "found": found.count,
        **agreement(field, model),
        "field": f"{field.name}, {field.width_px} x {field.height_px} px at {field.um_per_px} µm/px",
        "version": model.version,
        "networks": model.card.members,
        "repeats": repeats,
        "runs_on": describe_device("cpu"),
        "machine": machine(),
    }


def by_method(field: Field, folder: Path, repeats: int) -> Figures:
    """Seconds per field of one version of every method, in turns; a shipped one, or one that nobody trained."""
    shipped = {load_model(name).card.method: load_model(name) for name in reversed(list_versions())}  # newest of each
    models = {method: shipped.get(method) or random_version(folder, method) for method in METHODS}
    for model in models.values():
        predict(field, model, device="cpu")  # warms up, converts
    seconds: dict[str, list[float]] = {method: [] for method in models}
    for _ in range(repeats):
        for method, model in models.items():
            seconds[method].append(predict(field, model, device="cpu").seconds)
    return {method: _cost(models[method], taken) for method, taken in seconds.items()}


def _cost(model: Model, seconds: list[float]) -> Figures:
    net = model.net()
    return {
        "seconds": median(seconds),
        "version": model.version,
        "encoder": model.card.encoder,
        "networks": model.card.members,
        "um_per_px": model.card.um_per_px,
        "parameters": sum(p.numel() for p in net.parameters()),
        "megabytes": model.weights.stat().st_size / 1e6,
    }


def by_plain_pytorch(net: nn.Module, field: Field, card: ModelCard) -> Float32:
    """Float32[N, 2] centroids, as one would first write it; net: on the CPU, fp32, NCHW."""
    import torch
    import torch.nn.functional as F
    from PIL import Image

    assert field.um_per_px is not None, "given to the benchmark"
    factor = field.um_per_px / card.um_per_px
    size = (round(field.width_px * factor), round(field.height_px * factor))
    pixels = np.asarray(Image.fromarray(field.pixels).resize(size, Image.Resampling.BICUBIC))
    below, right = -pixels.shape[0] % 32, -pixels.shape[1] % 32
    padded = np.pad(_standardised(pixels), ((0, below), (0, right), (0, 0)), mode="reflect")
    with torch.no_grad():
        logits = net(torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()))
        full = F.interpolate(logits.softmax(1)[:, 1:], scale_factor=card.stride, mode="bilinear")
        full = F.interpolate(full[..., : size[1], : size[0]], size=field.pixels.shape[:2], mode="bilinear")
    centroids: Float32 = postprocess.by_scikit_image(full[0, 0].numpy(), card.blobs).astype(np.float32)
    return centroids


def _standardised(pixels: UInt8) -> Float32:
    """What mitosis_core.image.stain does, in NumPy: mean and spread of each stain over tissue to the reference."""
    from mitosis_core.image.stain import REFERENCE, STAINS

    density = -np.log(np.maximum(pixels, 1) / 255.0)
    stains = density @ np.linalg.inv(STAINS)
    tissue = stains[density.mean(axis=2) > 0.15]
    stains = (stains - tissue.mean(axis=0)) / tissue.std(axis=0) * REFERENCE.spread + REFERENCE.mean
    light: Float32 = np.clip(255 * np.exp(-stains @ STAINS), 0, 255).round().astype(np.float32)
    return light


def agreement(field: Field, model: Model) -> Figures:
    """The accelerated engine against PyTorch in fp32 on the same pixels: how far maps, scores and detections differ."""
    import torch

    from mitosis_core.inference.blobs import find_blobs
    from mitosis_core.inference.calibration import calibrate
    from mitosis_core.inference.runtime import get_engine, torch_engine
    from mitosis_core.prediction import probability_map

    engines = (get_engine(model, "cpu"), torch_engine(model.net(), torch.device("cpu"), half=False))
    card = model.card
    fast, exact = (
        calibrate(probability_map(field, run, card.um_per_px, card.stride, card.stain), card.calibration)
        for run in engines
    )
    a, b = (find_blobs(one, card.blobs) for one in (fast, exact))
    return {
        "map_difference_max": float(np.abs(fast.values - exact.values).max()),
        "map_difference_mean": float(np.abs(fast.values - exact.values).mean()),
        "score_difference_max": _score_difference(a, b),
        "detections": len(b.above(card.raw_threshold)),
        "detections_differing": _differing(a.above(card.raw_threshold), b.above(card.raw_threshold)),
    }


def _score_difference(a: Detections, b: Detections) -> float:
    """Largest difference of score between candidates at the same place; 0 without candidates."""
    if not (len(a) and len(b)):
        return 0.0
    far = np.linalg.norm(a.xy_px[:, None] - b.xy_px[None], axis=2)
    nearest = far.argmin(axis=1)
    paired = far.min(axis=1) < _SAME_PX
    return float(np.abs(a.score - b.score[nearest])[paired].max(initial=0.0))


def _differing(a: Detections, b: Detections) -> int:
    """How many of either have no counterpart in the other."""
    same = len(match(a.xy_px, b.xy_px, _SAME_PX).pairs)
    return len(a) + len(b) - 2 * same


def machine() -> str:
    """What was measured on."""
    import openvino as ov
    import torch

    from mitosis_core.inference.runtime import _cpu_precision

    runtime = f"OpenVINO {ov.__version__.split('-')[0]} in {_cpu_precision(ov.Core())}"
    return f"{cpu_name()}, {torch.get_num_threads()} threads, {runtime}, torch {torch.__version__}"


def random_version(folder: Path, method: str = "segmitos") -> Model:
    """A version nobody trained: as fast as a trained one, and of no other use."""
    import torch

    from mitosis_core.inference.blobs import BlobSettings
    from mitosis_core.methods.ensemble import make_ensemble

    torch.manual_seed(0)
    encoder, um_per_px = "thin_resnet50", default_config(method).um_per_px
    net = make_ensemble([METHODS[method].build(encoder, False)])
    card = ModelCard("random", method, encoder, um_per_px, net.stride, 1, 0.5, BlobSettings(), None, "", "")
    return save_model(net, card, folder / f"random-{method}.safetensors")


def drawn_field() -> Field:
    """A field of SIZE_PX with 20 mitoses and as many look-alikes."""
    sample = draw_sample_field(seed=1, size_px=SIZE_PX, um_per_px=UM_PER_PX, mitoses=20, lookalikes=20)
    return dataclasses.replace(sample.field, name="drawn field")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path with one repeat")
    parser.add_argument("--image", type=Path, help="a field to use instead of a drawn one")
    parser.add_argument("--um-per-px", type=float, help="its scale, where the file does not say")
    parser.add_argument("--model", help=f"a version by name or file (default: {DEFAULT_VERSION})")
    parser.add_argument("--random", action="store_true", help="an untrained network instead")
    return parser


if __name__ == "__main__":
    main()
