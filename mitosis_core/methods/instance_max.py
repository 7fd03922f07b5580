"""Instance-max (Fernandez-Martín et al. 2022): a network that learned which images hold a mitosis finds the mitoses.

The first three stages of an encoder, a 1 x 1 classifier, a sigmoid at every position, and the maximum over the
positions as the score of the image (section 3). The other ways to sum up an image are those of its Table 2, fewer
stages those of its Fig. 3. How it learns is `train.methods.instance_max`.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import nn

from mitosis_core.encoders import build_encoder
from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.errors import UnusableModel
from mitosis_core.methods.method import Method, SegmentationNet

Pooling = Literal["instance-max", "instance-mean", "embedding-mean", "embedding-max", "attention"]

# (how positions become one score, stages of the encoder)
VARIANTS: dict[str, tuple[Pooling, int]] = {
    "": ("instance-max", 3),
    "instance-mean": ("instance-mean", 3),
    "embedding-mean": ("embedding-mean", 3),
    "embedding-max": ("embedding-max", 3),
    "attention": ("attention", 3),
    "2 stages": ("instance-max", 2),
    "1 stage": ("instance-max", 1),
}
_ATTENTION = 128  # hidden width of the attention, as Ilse et al. have it

_FIRST_WEIGHTS = 0.01  # their spread


class InstanceNet(SegmentationNet):
    """[B, 3, H, W] RGB in 0..255, H and W multiples of the stride -> [B, 2, H / stride, W / stride] logits, 0 for the
    background, so that the softmax of the pipeline is the paper's sigmoid.

    The map of every pooling is the classifier applied position by position, also where training applied it to pooled
    features. For "attention" the paper does not say which map it scores: here the odds of a position count as often as
    the (unnormalised) weight attention gives it, so that a position says the same in a tile and in a whole field.
    """

    def __init__(self, encoder: EncoderNet, pooling: Pooling = "instance-max", stages: int = 3) -> None:
        super().__init__()
        self.encoder, self.pooling, self.stages = encoder, pooling, stages
        self.stride, channels = encoder.strides[stages - 1], encoder.channels[stages - 1]
        self.classify = nn.Conv2d(channels, 1, 1)
        # Starts out unsure everywhere: the winner of a maximum over chance answers is a large one, and all unlearning.
        weight = torch.empty_like(self.classify.weight).normal_(0.0, _FIRST_WEIGHTS)
        self.classify.load_state_dict({"weight": weight, "bias": torch.tensor([-2.0])})
        hidden = [nn.Conv2d(channels, _ATTENTION, 1), nn.Tanh(), nn.Conv2d(_ATTENTION, 1, 1, bias=False)]
        self.attend = nn.Sequential(*hidden) if pooling == "attention" else None

    def freezable_stages(self) -> list[nn.Module]:
        """The parts of its encoder, from the image on."""
        return self.encoder.freezable_stages()[: self.stages + 1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32[B, 3, H, W] in 0..255 -> logits Float32[B, 2, H / stride, W / stride]."""
        features = self._features(x)
        logit = self.classify(features)
        if self.attend is not None:
            logit = logit + self.attend(features)
        return torch.cat([torch.zeros_like(logit), logit], 1)

    def image_logit(self, x: torch.Tensor) -> torch.Tensor:
        """[B]: how sure it is that there is a mitosis anywhere in the image, as the logit of the score H of eq. 1."""
        features = self._features(x)
        if self.pooling.startswith("instance"):
            logit = self.classify(features).float().flatten(1)
            return logit.amax(1) if self.pooling == "instance-max" else _logit_of_mean(logit)
        if self.attend is not None:  # Ilse et al. 2018, equations 7 and 8
            weight = self.attend(features).float().flatten(2).softmax(2).view(len(x), 1, *features.shape[2:])
            pooled = (weight * features).sum((2, 3), keepdim=True)
        elif self.pooling == "embedding-mean":
            pooled = features.mean((2, 3), keepdim=True)
        else:
            pooled = features.amax((2, 3), keepdim=True)
        return cast(torch.Tensor, self.classify(pooled)).float().flatten()

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.encoder(x)[self.stages - 1])


def _logit_of_mean(logit: torch.Tensor) -> torch.Tensor:
    """[B, N] -> [B]: the logit of the mean of the sigmoids, which never leaves the logarithms."""
    return F.logsigmoid(logit).logsumexp(1) - F.logsigmoid(-logit).logsumexp(1)


def build(encoder: str, pretrained: bool, variant: str = "") -> InstanceNet:
    """Raises UnusableModel for an unknown encoder or variant, or weights that cannot be had."""
    if variant not in VARIANTS:
        known = ", ".join(f"“{name}”" for name in VARIANTS if name)
        raise UnusableModel(f"Instance-max has no variant “{variant}”; it has {known}.")
    return InstanceNet(build_encoder(encoder, pretrained=pretrained), *VARIANTS[variant])


INSTANCE_MAX = Method(
    key="instance_max",
    title="Instance-max",
    paper="Fernandez-Martín C. et al., Challenging mitosis detection algorithms: global labels allow centroid "
    "localization, IDEAL 2022, LNCS 13756",
    build=build,
    variants=tuple(VARIANTS),
)
