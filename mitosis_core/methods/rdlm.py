"""RDLM (Ali et al., Journal of Healthcare Engineering 2021): a feature pyramid with a global bank, and focal loss.

The paper builds on an FPN with region proposals and does not say which of its two stages the focal loss enters. Here
there is one stage: every anchor of every level is scored at once (as in RetinaNet, from which the paper takes the
loss), because the loss is what lets such a dense head learn from thousands of easy background anchors per figure.
How it learns is `train.methods.rdlm`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import clip_boxes_to_image, nms

from mitosis_core.encoders import build_encoder
from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.errors import UnusableModel
from mitosis_core.methods.method import BoxOutput, DenseBoxNet, Method

UM_PER_PX = 0.333  # the scale the anchors below are meant for
ANCHORS_UM = (6.7, 9.3, 14.7)  # side of the square anchor of each level; figures are 7.5 to 15 µm across
_RATIOS = (0.5, 1.0, 2.0)  # height over width, at the same area
# Variants that learn by focal loss, and its gamma; the others learn by cross-entropy. 0.5 is the best row of Table 1.
FOCAL = {"": 0.5, "fpn-fl": 0.5, "gamma 0": 0.0, "gamma 1": 1.0, "gamma 2": 2.0}
NO_BANK = ("fpn-fl", "fpn")  # variants without the global bank

_FIRST = 0.01  # share of anchors a fresh network takes for mitoses
_LOWEST = 0.02  # boxes with a lower score are not answers
_SAME = 0.3  # boxes that overlap by more (IoU) are of one figure
_MOST = 4000  # candidates per megapixel that are compared with each other


class LevelOutput(NamedTuple):
    """What the head puts out on one level. logits: [B, A, h, w]; deltas: [B, A, 4, h, w] as `BoxCoder` has them."""

    logits: torch.Tensor
    deltas: torch.Tensor


class GlobalBank(nn.Module):
    """Section 2.2: the last maps of all stages of an encoder, kept in one vault, and what each level gains from it.

    channels: of the maps, finest first; width: of the levels; k, m: of equation 1 (256 each in the paper).
    """

    def __init__(self, channels: Sequence[int], width: int, k: int, m: int) -> None:
        super().__init__()
        self.gather = nn.ModuleList([nn.Conv2d(c, k, 3, 1, 1) for c in channels])
        self.store = nn.Conv2d(k, m, 3, 1, 1)
        self.gain = nn.ModuleList([nn.Conv2d(m, width, 3, 2 if i else 1, 1) for i in range(len(channels))])

    def vault(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Equation 1, each f a convolution and ReLU: [B, m, H, W] of the finest map."""
        size = maps[0].shape[-2:]
        kept = [F.relu(f(_enlarge(one, size))) for f, one in zip(self.gather, maps, strict=True)]
        return F.relu(self.store(sum(kept[1:], kept[0])))

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Equation 2: [B, width, h, w] for every map; convolved with stride 2, then averaged down to its size."""
        vault, gains = self.vault(maps), []
        for f, one in zip(self.gain, maps, strict=True):
            gain = f(vault)
            gains.append(F.avg_pool2d(gain, gain.shape[-1] // one.shape[-1]))
        return gains


class RDLMNet(DenseBoxNet):
    """Scores and boxes on every level of a feature pyramid, on any encoder of strides 4, 8 and 16.

    width: channels of the pyramid and its head; k, m: of its bank. The paper has 256 of each; 128 take twice as long on
    a CPU as these 64. depth: convolutions of the head before its outputs. variant: see `VARIANTS`.
    """

    stride = 4

    def __init__(
        self, encoder: EncoderNet, variant: str = "", *, width: int = 64, k: int = 64, m: int = 64, depth: int = 2
    ) -> None:
        super().__init__()
        self.encoder, self.variant = encoder, variant
        self.lateral = nn.ModuleList([nn.Conv2d(c, width, 1) for c in encoder.channels])
        self.smooth = nn.ModuleList([nn.Conv2d(width, width, 3, 1, 1) for _ in encoder.channels])
        self.bank = GlobalBank(encoder.channels, width, k, m) if variant not in NO_BANK else None
        self.tower = nn.ModuleList([nn.Conv2d(width, width, 3, 1, 1) for _ in range(depth)])
        self.score = nn.Conv2d(width, len(_RATIOS), 1)
        self.delta = nn.Conv2d(width, len(_RATIOS) * 4, 1)
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self._init_weights()

    def _init_weights(self) -> None:
        """The first weights behind the encoder: nothing normalises there, and few anchors may be taken for mitoses."""
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d) and not name.startswith("encoder."):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for layer in (self.score, self.delta):
            nn.init.normal_(layer.weight, std=0.01)
        nn.init.constant_(cast(torch.Tensor, self.score.bias), math.log(_FIRST / (1 - _FIRST)))

    def freezable_stages(self) -> list[nn.Module]:
        """The parts of its encoder, from the image on."""
        return self.encoder.freezable_stages()

    def pyramid(self, x: torch.Tensor) -> list[torch.Tensor]:
        """[B, width, h, w] per level, finest first: top-down, smoothed, calibrated by equation 3."""
        maps = self.encoder(x)
        merged: list[torch.Tensor] = []
        for features, lateral in zip(maps[::-1], self.lateral[::-1], strict=True):
            level = lateral(features)
            merged.insert(0, level + _enlarge(merged[0], level.shape[-2:]) if merged else level)
        levels = [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]
        if self.bank is None:
            return levels
        return [level + gain for level, gain in zip(levels, self.bank(maps), strict=True)]

    def head_outputs(self, x: torch.Tensor) -> list[LevelOutput]:
        """[B, 3, H, W] RGB in 0..255 -> what the head, shared by all levels, gives for every anchor; finest first."""
        levels = []
        for features in self.pyramid(x):
            y = F.relu(features)
            for layer in self.tower:
                y = F.relu(layer(y))
            logits, deltas = self.score(y).float(), self.delta(y).float()
            levels.append(LevelOutput(logits, deltas.unflatten(1, (len(_RATIOS), 4))))
        return levels

    def raw_outputs(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits [1, N] and deltas [1, N, 4] of all anchors, and the heat map [1, H / 4, W / 4]."""
        levels = self.head_outputs(x)
        with torch.autocast(x.device.type, enabled=False):
            return *flatten_levels(levels), _heat(levels)

    def decode(self, raw: Sequence[torch.Tensor], height: int, width: int) -> BoxOutput:
        """See `BoxNet`; what is compared with its neighbours grows with the area, so that a tile answers as a field."""
        logits, deltas, heat = raw
        score = logits[0].sigmoid()
        best, chosen = score.topk(min(len(score), math.ceil(_MOST * height * width / 1e6)))
        score, chosen = best[best > _LOWEST], chosen[best > _LOWEST]
        boxes = self.coder.decode_single(deltas[0, chosen], anchors(height, width, logits.device)[chosen])
        boxes = clip_boxes_to_image(boxes, (height, width))
        apart = nms(boxes, score, _SAME)
        return BoxOutput(boxes[apart], score[apart], heat[0])


def anchors(height: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """Float32[N, 4], x0, y0, x1, y1 in pixels round the middles of the cells; by level, row, column and ratio."""
    boxes = []
    for stride, side_um in zip((4, 8, 16), ANCHORS_UM, strict=True):
        ratio, side = torch.tensor(_RATIOS, device=device), side_um / UM_PER_PX
        half = torch.stack([side / ratio.sqrt(), side * ratio.sqrt()], 1) / 2
        y = (torch.arange(height // stride, device=device) + 0.5) * stride
        x = (torch.arange(width // stride, device=device) + 0.5) * stride
        middle = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)[:, :, None]
        boxes.append(torch.cat([middle - half, middle + half], 3).view(-1, 4))
    return torch.cat(boxes)


def flatten_levels(levels: Sequence[LevelOutput]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [B, N] and deltas [B, N, 4] of all levels, in the order of `anchors`."""
    logits = torch.cat([level.logits.permute(0, 2, 3, 1).flatten(1) for level in levels], 1)
    deltas = torch.cat([level.deltas.permute(0, 3, 4, 1, 2).flatten(1, 3) for level in levels], 1)
    return logits, deltas


def _heat(levels: Sequence[LevelOutput]) -> torch.Tensor:
    """[B, H / 4, W / 4]: the surest anchor of every cell, coarser levels read between their cells (A of equation 9)."""
    size = levels[0].logits.shape[-2:]
    best = [level.logits.amax(1, keepdim=True).sigmoid() for level in levels]
    spread = [best[0], *(F.interpolate(one, size, mode="bilinear") for one in best[1:])]
    return torch.cat(spread, 1).amax(1)


def _enlarge(features: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(features, tuple(size), mode="nearest")


def build(encoder: str, pretrained: bool, variant: str = "") -> RDLMNet:
    """Raises UnusableModel for an unknown encoder or variant, or weights that cannot be had."""
    if variant not in RDLM.variants:
        known = ", ".join(f"“{name}”" for name in RDLM.variants if name)
        raise UnusableModel(f"RDLM has no variant “{variant}”; besides the published one it has {known}.")
    return RDLMNet(build_encoder(encoder, pretrained=pretrained), variant)


# The rows of the paper's Table 1: all of it; the bank without focal loss; focal loss without the bank; neither;
# other exponents of the focal loss.
VARIANTS = ("", "glb-fpn", "fpn-fl", "fpn", "gamma 0", "gamma 1", "gamma 2")

RDLM = Method(
    key="rdlm",
    title="RDLM",
    paper="Ali H. et al., Representation of differential learning method for mitosis detection, "
    "Journal of Healthcare Engineering 2021",
    build=build,
    variants=VARIANTS,
)
