"""Running a network over a field, as fast as this machine can. An engine maps pixels to probabilities, or to boxes.

On a CPU: OpenVINO (bfloat16 where the processor has it), else PyTorch. On a GPU: PyTorch, channels_last, half
precision. Converted networks are kept in the cache directory under the sha256 of their weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from mitosis_core.errors import ConcentricError, UnusableModel
from mitosis_core.model import Model, ModelCard
from mitosis_core.types import Float32, UInt8
from mitosis_core.weights import cache_dir, is_sha256

if TYPE_CHECKING:
    import torch
    from openvino import CompiledModel, Core
    from torch import nn

    from mitosis_core.inference.verifier import Verifier
    from mitosis_core.methods.method import BoxOutput

MULTIPLE_PX = 32  # what the strides of every network here divide


class EngineOutput(NamedTuple):
    """What an engine gives. values: Float32[H/s, W/s] in [0, 1]; boxes: Float32[N, 5] as x0, y0, x1, y1, score, in
    pixels of what it was given, or None from a network whose only output is a map."""

    values: Float32
    boxes: Float32 | None = None


Engine = Callable[[UInt8], EngineOutput]  # UInt8[H, W, 3], H and W multiples of MULTIPLE_PX

# A larger image gets a network compiled for its very size (0.2 s where the one before was of another): OpenVINO then
# knows beforehand which of its maps can share memory, and takes up to 0.5 GB less.
_SMALL_PX = 2_000_000
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


def crop_padding(values: Float32, stride: int, shape: tuple[int, int]) -> Float32:
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


def get_engine(model: Model, device: str = "auto") -> Engine:
    """The fastest engine for a version here; made once (a few seconds for the first use of a version)."""
    with _making:
        return _engine(model, resolve_device(device))


_making = Lock()  # two browser sessions may begin at once, and tracing a network in two threads fails in both


@lru_cache(maxsize=4)
def _engine(model: Model, device: str) -> Engine:
    if device == "cuda":
        import torch

        return torch_engine(model.net(), torch.device("cuda"))
    converted = _converted_file(model.card)
    if _has_openvino() and converted.exists():
        return _openvino_engine(converted, model)
    import torch

    from mitosis_core.methods.method import DenseBoxNet, SegmentationNet

    net = model.net()
    if not _has_openvino() or not isinstance(net, SegmentationNet | DenseBoxNet):
        return torch_engine(net, torch.device("cpu"))
    _convert(net, converted)
    return _openvino_engine(converted, model)


def _converted_file(card: ModelCard) -> Path:
    """Where the converted network of a version is kept. Raises UnusableModel without a whole sha256 of its weights:
    it would be found for the weights of others."""
    if not is_sha256(card.weights_sha256):
        raise UnusableModel(f"The model card of {card.version} does not name its weights by their sha256.")
    return cache_dir() / "openvino" / f"{card.weights_sha256}-{_network_digest(card)}.xml"


def _network_digest(card: ModelCard) -> str:
    """Short digest of the network a card describes: a card that does not fit its weights finds no converted file."""
    identity = (_CONVERSION, card.method, card.variant, card.encoder, card.members, card.stride, card.verifier is None)
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:8]


@lru_cache(maxsize=4)
def load_verifier(model: Model, device: str = "auto") -> Verifier:
    """The verifier of a version of two stages, where it runs."""
    import torch

    net = model.second_stage()
    assert net is not None, "asked for versions of two stages only"
    return net.to(torch.device(resolve_device(device)), memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def torch_engine(net: nn.Module, device: torch.device, *, half: bool = True) -> Engine:
    """Eager PyTorch, channels_last; half: float16 on a GPU, bfloat16 on a CPU that computes in it."""
    import torch

    from mitosis_core.methods.method import BoxNet
    from mitosis_core.precision import autocast

    net = net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16

    def run(pixels: UInt8) -> EngineOutput:
        x = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None]
        x = x.float().contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(device, dtype, half=half):
            if isinstance(net, BoxNet):
                return _engine_output(net.detect(x))
            logits = net(x).float()
        return EngineOutput(torch.sigmoid(logits[0, 1] - logits[0, 0]).cpu().numpy())

    return run


def _engine_output(found: BoxOutput) -> EngineOutput:
    import torch

    boxes = torch.cat([found.boxes, found.score[:, None]], 1)
    return EngineOutput(found.heat.float().cpu().numpy(), boxes.float().cpu().numpy())


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _openvino_engine(converted: Path, model: Model) -> Engine:
    import openvino as ov

    core = ov.Core()
    of_one_size, of_any_size = (_compiler(core, converted) for _ in range(2))
    # One output is a map. More are the raw outputs of its anchors, which it decodes to boxes itself.
    decode = _decoder(model) if len(core.read_model(converted).outputs) > 1 else None

    def run(pixels: UInt8) -> EngineOutput:
        height, width = pixels.shape[:2]
        compiled = of_one_size(height, width) if height * width > _SMALL_PX else of_any_size(-1, -1)
        # A request of its own per call: two browser sessions may detect at the same time.
        request = compiled.create_infer_request()
        request.infer([np.ascontiguousarray(pixels)[None]], share_inputs=True)
        raw = [np.array(request.get_output_tensor(i).data, np.float32) for i in range(len(compiled.outputs))]
        return EngineOutput(raw[0][0]) if decode is None else decode(raw, height, width)

    return run


def _compiler(core: Core, converted: Path) -> Callable[[int, int], CompiledModel]:
    """From height and width, -1 for any, to the converted network compiled for them; the last one is kept."""

    @lru_cache(maxsize=1)
    def compiled(height: int, width: int) -> CompiledModel:
        network = core.read_model(converted)
        network.reshape([1, height, width, 3])
        return core.compile_model(network, "CPU", _settings(core))

    return compiled


def _settings(core: Core) -> dict[str, object]:
    """Threads are not pinned: each process would pin them to the same first cores, and leave the others idle."""
    precision = _cpu_precision(core)
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    return {**hints, **_threads()}


def _threads() -> dict[str, int]:
    """OMP_NUM_THREADS holds for OpenVINO too, which does not look at it: Dask sets it where workers share the cores."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return {"INFERENCE_NUM_THREADS": int(threads)} if threads.isdecimal() and int(threads) else {}


def _decoder(model: Model) -> Callable[[Sequence[Float32], int, int], EngineOutput]:
    import torch

    from mitosis_core.methods.method import DenseBoxNet

    net = model.net()
    assert isinstance(net, DenseBoxNet), "others are converted to a map, or not at all"

    def decode(raw: Sequence[Float32], height: int, width: int) -> EngineOutput:
        with torch.inference_mode():
            return _engine_output(net.decode([torch.from_numpy(one) for one in raw], height, width))

    return decode


def _cpu_precision(core: Core) -> str:
    """bfloat16 only where the processor computes in it; elsewhere OpenVINO would only emulate it."""
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def _convert(net: nn.Module, path: Path) -> None:
    """Write the network as OpenVINO's own file, any height and width: bytes in, probabilities or raw outputs out."""
    import openvino as ov
    import torch

    from mitosis_core.methods.method import DenseBoxNet

    class Exported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            x = pixels.permute(0, 3, 1, 2).float()
            if isinstance(self.net, DenseBoxNet):
                return self.net.raw_outputs(x)
            logits = self.net(x)
            return torch.sigmoid(logits[:, 1] - logits[:, 0])

    example = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO still uses torch.jit.trace, which says at length that it will go
        converted = ov.convert_model(Exported().eval(), example_input=example, input=[([1, -1, -1, 3], ov.Type.u8)])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    ov.save_model(converted, part)
    part.with_suffix(".bin").replace(path.with_suffix(".bin"))
    part.replace(path)
