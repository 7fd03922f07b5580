"""Thin ResNet-50: half-width bottlenecks, batch norms folded into biased convolutions (Yahoo's open_nsfw, BSD-2).

A dense encoder: unlike depthwise ones it trains fast on a CPU.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.errors import UnusableModel

# (blocks, inner width, outer width, stride) up to stride 16
_STAGES = ((3, 32, 128, 1), (4, 64, 256, 2), (6, 128, 512, 2))
_MEAN_RGB = (123.0, 117.0, 104.0)


class Bottleneck(nn.Module):
    """1 x 1 (strided), 3 x 3, 1 x 1 and a shortcut."""

    def __init__(self, channels_in: int, width: int, channels_out: int, stride: int) -> None:
        super().__init__()
        same = channels_in == channels_out and stride == 1
        self.short = None if same else nn.Conv2d(channels_in, channels_out, 1, stride)
        self.a = nn.Conv2d(channels_in, width, 1, stride)
        self.b = nn.Conv2d(width, width, 3, 1, 1)
        self.c = nn.Conv2d(width, channels_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, D, H / stride, W / stride]."""
        y = self.c(F.relu(self.b(F.relu(self.a(x)))))
        return F.relu(y + (x if self.short is None else self.short(x)))


class ThinResNet50(EncoderNet):
    """[B, 3, H, W] RGB in 0..255 -> maps at strides 4, 8 and 16 with 128, 256 and 512 channels."""

    channels = (128, 256, 512)
    strides = (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(_MEAN_RGB).view(1, 3, 1, 1), persistent=False)
        self.stem = nn.Conv2d(3, 64, 7, 2, 3)
        stages, channels = [], 64
        for blocks, width, out, stride in _STAGES:
            layers = []
            for i in range(blocks):
                layers.append(Bottleneck(channels, width, out, stride if i == 0 else 1))
                channels = out
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)  # each a Sequential of Bottlenecks

    def freezable_stages(self) -> list[nn.Module]:
        """From the image on: what `frozen_stages` counts."""
        return [self.stem, *self.stages]

    def forward(self, x: torch.Tensor, count: int = 3) -> list[torch.Tensor]:
        """Float32[B, 3, H, W] in 0..255 -> its maps, finest first, or `count` of them."""
        x = F.relu(self.stem(x - self.mean))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)  # pads right and bottom, as the weights were trained
        maps = []
        for stage in self.stages[:count]:
            x = stage(x)
            maps.append(x)
        return maps


def load_onnx(net: ThinResNet50, path: Path) -> None:
    """Copy the convolutions of open-nsfw.onnx into `net`, in the order of the graph; its head is not used.

    Raises UnusableModel without the package that reads such files, ValueError when the file is of another network.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise UnusableModel("The weights of thin_resnet50 need a package to be read: run  pip install onnx") from error

    graph = onnx.load(str(path)).graph
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    convolutions = iter([node for node in graph.node if node.op_type == "Conv"])
    ours = [net.stem]
    for stage in net.stages:
        for block in stage.children():
            assert isinstance(block, Bottleneck)
            ours += [c for c in (block.short, block.a, block.b, block.c) if c is not None]
    with torch.no_grad():
        for conv, node in zip(ours, convolutions, strict=False):
            weight, bias = values[node.input[1]], values[node.input[2]]
            if weight.shape != conv.weight.shape:
                raise ValueError(f"{node.name}: {tuple(weight.shape)} does not fit {tuple(conv.weight.shape)}")
            conv.load_state_dict({"weight": weight, "bias": bias})
        net.stem.weight.copy_(net.stem.weight.flip(1))  # the file wants BGR, we feed RGB
