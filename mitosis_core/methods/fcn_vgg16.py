"""FCN-32s, 16s and 8s on VGG-16 (Long et al. 2015), as SegMitos publishes them: two classes, any input size.

The first convolution pads by 1 instead of the original's 100, and the 7 x 7 one by 3, which gives the same
alignment without the cropping; inputs are multiples of 32.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import vgg16

from mitosis_core.methods.method import DetectorNet, SegmentationNet

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_POOL3, _POOL4 = 17, 24  # the ends of VGG's third and fourth block, in torchvision's numbering


class FCNVGG16(SegmentationNet):
    """[B, 3, H, W] RGB in 0..255 -> [B, 2, H, W] logits. finest: 32, 16 or 8, the stride before the upsampling."""

    stride = 1

    def __init__(self, finest: int) -> None:
        super().__init__()
        if finest not in (32, 16, 8):
            raise ValueError(f"finest must be 32, 16 or 8, not {finest}")
        self.finest = finest
        self.mean = nn.Buffer(255 * torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(255 * torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        self.encoder = vgg16(weights=None).features
        self.fc6, self.fc7 = nn.Conv2d(512, 4096, 7, padding=3), nn.Conv2d(4096, 4096, 1)
        self.score = nn.Conv2d(4096, 2, 1)
        self.score_pool4 = nn.Conv2d(512, 2, 1) if finest <= 16 else None
        self.score_pool3 = nn.Conv2d(256, 2, 1) if finest <= 8 else None
        for head in (self.score, self.score_pool4, self.score_pool3):
            if head is not None:  # a new skip starts at zero: the finer network begins as the coarser one
                head.load_state_dict({name: torch.zeros_like(value) for name, value in head.state_dict().items()})

    def freezable_stages(self) -> list[nn.Module]:
        """The blocks of VGG-16, from the image on."""
        ends = (0, 5, 10, _POOL3, _POOL4, len(self.encoder))
        return [self.encoder[start:end] for start, end in itertools.pairwise(ends)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32[B, 3, H, W] in 0..255 -> logits Float32[B, 2, H / stride, W / stride]."""
        size = x.shape[-2:]
        x = (x - self.mean) / self.std
        pool3 = self.encoder[:_POOL3](x)
        pool4 = self.encoder[_POOL3:_POOL4](pool3)
        x = F.dropout(F.relu(self.fc6(self.encoder[_POOL4:](pool4))), 0.5, self.training)
        y = self.score(F.dropout(F.relu(self.fc7(x)), 0.5, self.training))
        for head, skip in ((self.score_pool4, pool4), (self.score_pool3, pool3)):
            if head is not None:
                y = head(skip) + F.interpolate(y, size=skip.shape[-2:], mode="bilinear")
        return F.interpolate(y, size=size, mode="bilinear")

    def start_from(self, coarser: DetectorNet) -> None:
        """Take every weight the coarser network has (32s -> 16s -> 8s, section 4.1 of the paper)."""
        missing = self.load_state_dict(coarser.state_dict(), strict=False)
        if missing.unexpected_keys:
            raise ValueError(f"FCN-{self.finest}s starts from a coarser network; this one is not coarser")


def load_imagenet(net: FCNVGG16, state: dict[str, torch.Tensor]) -> None:
    """Fill in torchvision's VGG-16: the convolutions, and its first two linear layers as fc6 and fc7."""
    net.encoder.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")})
    for layer, key, shape in (
        (net.fc6, "classifier.0", (4096, 512, 7, 7)),
        (net.fc7, "classifier.3", (4096, 4096, 1, 1)),
    ):
        layer.load_state_dict({"weight": state[f"{key}.weight"].view(shape), "bias": state[f"{key}.bias"]})
