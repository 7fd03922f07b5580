"""How each of the published systems learns: its loss, and the options that suit it where they differ from the usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from mitosis_core.errors import UnusableModel
from mitosis_core.methods.method import DetectorNet
from train import deepmitosis, instance_max, rdlm
from train.config import TrainConfig
from train.losses import concentric_loss


class Loss(Protocol):
    """images: Float32[B, 3, c, c] RGB in 0..255. labels: UInt8[B, c / stride, c / stride], 1 disc, 0 background, 255
    ignored. boxes: B times Float32[N, 4] in pixels of the crop, one per mitosis. Called under autocast; a scalar."""

    def __call__(
        self, net: DetectorNet, images: torch.Tensor, labels: torch.Tensor, boxes: Sequence[torch.Tensor],
        config: TrainConfig,
    ) -> torch.Tensor: ...  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """options: of TrainConfig, where the method wants others than its defaults."""

    loss: Loss
    options: Mapping[str, Any] = field(default_factory=dict)


def _segmitos(
    net: DetectorNet, images: torch.Tensor, labels: torch.Tensor, boxes: Sequence[torch.Tensor], config: TrainConfig
) -> torch.Tensor:
    return concentric_loss(net(images), labels, config.mitosis_weight)


# Negatives from anywhere and none mined: what a network wrongly finds in the fields it learns from is too often a
# mitosis that nobody marked (docs/methods.md).
_SEGMITOS: dict[str, Any] = {
    "share_mitosis": 0.3, "share_patch": 0.3, "share_whole": 0.3, "share_anywhere": 0.4, "share_lookalike": 0.0,
    "share_hard": 0.0, "mine_every": 0, "stain_jitter": 0.12, "stain_share": 0.8,
}  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "segmitos": Recipe(_segmitos, _SEGMITOS),
    "deepmitosis": Recipe(deepmitosis.loss, deepmitosis.DEFAULTS),
    "rdlm": Recipe(rdlm.loss, rdlm.DEFAULTS),
    "instance_max": Recipe(instance_max.loss, instance_max.DEFAULTS),
}


def default_config(method: str, **given: Any) -> TrainConfig:
    """The options of a method, with those that were given. Raises UnusableModel for an unknown method."""
    if method not in RECIPES:
        raise UnusableModel(f"There is no method “{method}”; there are {', '.join(RECIPES)}.")
    return TrainConfig(**{"method": method, **RECIPES[method].options, **given})
