"""torchvision's ResNets (He et al. 2016) up to stride 16, with their ImageNet weights (BSD-3-Clause)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18, resnet50

from mitosis_core.encoders.encoder_net import EncoderNet

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LEFT_OUT = ("layer4.", "fc.")  # of torchvision's network: stride 32 and the classes of ImageNet


class ResNet(EncoderNet):
    """[B, 3, H, W] RGB in 0..255 -> maps at strides 4, 8 and 16; depth: 18 (64, 128 and 256 channels) or 50 (256, 512
    and 1024). Raises ValueError for another depth."""

    strides = (4, 8, 16)

    def __init__(self, depth: int) -> None:
        super().__init__()
        if depth not in (18, 50):
            raise ValueError(f"depth must be 18 or 50, not {depth}")
        whole = (resnet18 if depth == 18 else resnet50)(weights=None)
        self.channels = (64, 128, 256) if depth == 18 else (256, 512, 1024)
        self.mean = nn.Buffer(255 * torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(255 * torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        # Named as torchvision names them, so that its files fit.
        self.conv1, self.bn1 = whole.conv1, whole.bn1
        self.layer1, self.layer2, self.layer3 = whole.layer1, whole.layer2, whole.layer3

    def freezable_stages(self) -> list[nn.Module]:
        """From the image on: what `frozen_stages` counts."""
        return [nn.Sequential(self.conv1, self.bn1), self.layer1, self.layer2, self.layer3]

    def forward(self, x: torch.Tensor, count: int = 3) -> list[torch.Tensor]:
        """Float32[B, 3, H, W] in 0..255 -> its maps, finest first, or `count` of them."""
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        x, maps = F.max_pool2d(x, 3, 2, 1), []
        for layer in (self.layer1, self.layer2, self.layer3)[:count]:
            x = layer(x)
            maps.append(x)
        return maps


def load_torchvision(net: ResNet, path: Path) -> None:
    """Fill `net` from torchvision's file of the same depth; what lies beyond stride 16 is left out.

    Raises RuntimeError when the file is of another network.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict({name: value for name, value in state.items() if not name.startswith(_LEFT_OUT)})
