"""Running a network over a field, as fast as this machine can. An engine maps pixels to probabilities.

On a CPU: OpenVINO (bfloat16 where the processor has it), else PyTorch. On a GPU: PyTorch, channels_last, half
precision. Converted networks are kept in the cache directory under the sha256 of their weights.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model
from mitosis_core.types import Float32, UInt8
from mitosis_core.weights import cache_dir

if TYPE_CHECKING:
    import torch
    from torch import nn

MULTIPLE_PX = 32  # what the strides of every network here divide
Engine = Callable[[UInt8], Float32]  # UInt8[H, W, 3], H and W multiples of MULTIPLE_PX -> Float32[H/s, W/s] in [0, 1]

_CONVERSION = 1  # raise it when the conversion below changes, so that old files are not used


def pad(pixels: UInt8) -> UInt8:
    """Mirror the edges: MULTIPLE_PX of margin on every side, and more below and right up to a multiple of it.

    A network fills up with zeros beyond what it is given; without the margin it sees false figures at the border.
    """
    height, width = pixels.shape[:2]
    below, right = MULTIPLE_PX + -height % MULTIPLE_PX, MULTIPLE_PX + -width % MULTIPLE_PX
    return np.asarray(
        cv2.copyMakeBorder(pixels, MULTIPLE_PX, below, MULTIPLE_PX, right, cv2.BORDER_REFLECT_101), np.uint8
    )


def without_margin(values: Float32, stride: int, shape: tuple[int, int]) -> Float32:
    """The map of a padded field -> that of the field itself, of `shape` (height, width) in pixels."""
    margin, rows, columns = MULTIPLE_PX // stride, -(-shape[0] // stride), -(-shape[1] // stride)
    return np.ascontiguousarray(values[margin : margin + rows, margin : margin + columns])


def describe_device(device: str = "auto") -> str:
    """What `device` means on this machine, for people: "CPU (OpenVINO)", "GPU (NVIDIA ...)"."""
    if resolve_device(device) == "cuda":
        import torch

        return f"GPU ({torch.cuda.get_device_name()})"
    return "CPU (OpenVINO)" if _has_openvino() else "CPU (PyTorch)"


def resolve_device(device: str) -> str:
    """ "auto", "cpu" or "cuda" -> "cpu" or "cuda". Raises ConcentricError for a GPU that is not there."""
    if device == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ConcentricError("No usable NVIDIA GPU was found on this machine; choose the CPU.")
    return "cpu"


def engine(model: Model, device: str = "auto") -> Engine:
    """The fastest engine for a version here; made once (a few seconds for the first use of a version)."""
    with _making:
        return _engine(model, resolve_device(device))


_making = Lock()  # two browser sessions may begin at once, and tracing a network in two threads fails in both


@lru_cache(maxsize=4)
def _engine(model: Model, device: str) -> Engine:
    if device == "cuda":
        import torch

        return torch_engine(model.net(), torch.device("cuda"))
    if _has_openvino():
        return _openvino_engine(model)
    import torch

    return torch_engine(model.net(), torch.device("cpu"))


def torch_engine(net: nn.Module, device: torch.device, *, half: bool = True) -> Engine:
    """Eager PyTorch, channels_last; half: bfloat16 on the CPU, float16 on a GPU."""
    import torch

    net = net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16

    def run(pixels: UInt8) -> Float32:
        x = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None]
        x = x.float().contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=half):
            logits = net(x).float()
        return torch.sigmoid(logits[0, 1] - logits[0, 0]).cpu().numpy()

    return run


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _openvino_engine(model: Model) -> Engine:
    import openvino as ov

    core = ov.Core()
    path = cache_dir() / "openvino" / f"{model.card.weights_sha256[:32]}-{_CONVERSION}.xml"
    if not path.exists():
        _convert(model.net(), path)
    settings = {"INFERENCE_PRECISION_HINT": _cpu_precision(core), "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def run(pixels: UInt8) -> Float32:
        # A request of its own per call: two browser sessions may detect at the same time.
        request = compiled.create_infer_request()
        request.infer([np.ascontiguousarray(pixels)[None]], share_inputs=True)
        return np.array(request.get_output_tensor(0).data[0], np.float32)

    return run


def _cpu_precision(core: object) -> str:
    """bfloat16 only where the processor computes in it; elsewhere OpenVINO would only emulate it."""
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"  # type: ignore[attr-defined]


def _convert(net: nn.Module, path: Path) -> None:
    """Write the network as OpenVINO's own file, any height and width, bytes in and probabilities out."""
    import openvino as ov
    import torch

    class Probability(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits = self.net(pixels.permute(0, 3, 1, 2).float())
            return torch.sigmoid(logits[:, 1] - logits[:, 0])

    example = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO still uses torch.jit.trace, which says at length that it will go
        converted = ov.convert_model(Probability().eval(), example_input=example, input=[([1, -1, -1, 3], ov.Type.u8)])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    ov.save_model(converted, part)
    part.with_suffix(".bin").replace(path.with_suffix(".bin"))
    part.replace(path)
