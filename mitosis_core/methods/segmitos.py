"""SegMitos (Li et al., Medical Image Analysis 2019): segmentation trained on concentric labels.

`LiteFCN` is the published idea on a small encoder: one skip per stride, fused by addition (as FCN-16s and
FCN-8s fuse pool4 and pool3), but the answer stays at stride 4 where the post-processing works.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from mitosis_core.encoders import build_encoder
from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.errors import UnusableModel
from mitosis_core.methods.fcn_vgg16 import FCNVGG16, load_imagenet
from mitosis_core.methods.method import Method, SegmentationNet
from mitosis_core.weights import find_weights

PUBLISHED = {"vgg16-32s": 32, "vgg16-16s": 16, "vgg16-8s": 8}
COARSER = {"vgg16-16s": "vgg16-32s", "vgg16-8s": "vgg16-16s"}  # which one each starts from (section 4.1)


class LiteFCN(SegmentationNet):
    """[B, 3, H, W] RGB in 0..255, H and W multiples of 16 -> [B, 2, H/4, W/4] logits (background, mitosis)."""

    stride = 4

    def __init__(self, encoder: EncoderNet, width: int = 64) -> None:
        super().__init__()
        self.encoder = encoder
        self.lateral = nn.ModuleList([nn.Conv2d(c, width, 1) for c in encoder.channels])
        self.smooth = nn.ModuleList([nn.Conv2d(width, width, 3, 1, 1) for _ in encoder.channels])
        self.classify = nn.Conv2d(width, 2, 1)
        # Starts out answering "1 % mitosis everywhere", so that training does not begin with a shock.
        self.classify.load_state_dict({"weight": torch.zeros(2, width, 1, 1), "bias": torch.tensor([2.3, -2.3])})

    def freezable_stages(self) -> list[nn.Module]:
        """The parts of its encoder, from the image on."""
        return self.encoder.freezable_stages()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32[B, 3, H, W] in 0..255, or the encoder's maps -> logits Float32[B, 2, H / stride, W / stride]."""
        maps = self.encoder(x)
        y = torch.zeros(())
        for features, lateral, smooth in zip(maps[::-1], self.lateral[::-1], self.smooth[::-1], strict=True):
            skip = lateral(features)
            if y.ndim:
                skip = skip + F.interpolate(y, scale_factor=2.0, mode="nearest")
            y = F.relu(smooth(skip))
        return cast(torch.Tensor, self.classify(y))


def build(encoder: str, pretrained: bool, variant: str = "") -> SegmentationNet:
    """The network of an encoder; "vgg16-32s", "vgg16-16s" and "vgg16-8s" are the published ones."""
    if variant:
        raise UnusableModel(f"SegMitos has no variant “{variant}”; its networks differ by their encoder.")
    if encoder not in PUBLISHED:
        return LiteFCN(build_encoder(encoder, pretrained=pretrained))
    net = FCNVGG16(PUBLISHED[encoder])
    if pretrained:
        load_imagenet(net, torch.load(find_weights("vgg16"), map_location="cpu", weights_only=True))
    return net


SEGMITOS = Method(
    key="segmitos",
    title="SegMitos",
    paper="Li C. et al., Weakly supervised mitosis detection in breast histopathology images using concentric loss, "
    "Medical Image Analysis 53 (2019) 165-178",
    build=build,
    coarser=COARSER,
)
