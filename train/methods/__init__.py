"""How each of the published systems learns: its loss, and the options that suit it where they differ from the usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from mitosis_core.errors import UnusableModel
from mitosis_core.methods.method import DetectorNet
from train.config import TrainConfig
from train.methods import deepmitosis, instance_max, rdlm, segmitos


class Loss(Protocol):
    """images: Float32[B, 3, c, c] RGB in 0..255. labels: UInt8[B, c / stride, c / stride], 1 disc, 0 background, 255
    ignored. boxes: B times Float32[N, 4] in pixels of the crop, one per mitosis. Called under autocast; a scalar."""

    def __call__(
        self,
        net: DetectorNet,
        images: torch.Tensor,
        labels: torch.Tensor,
        boxes: Sequence[torch.Tensor],
        config: TrainConfig,
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class Recipe:
    """options: of TrainConfig, where the method wants others than its defaults. idle_parts: some weights have no say in
    some batches, or in any."""

    loss: Loss
    options: Mapping[str, Any] = field(default_factory=dict)
    idle_parts: bool = False


RECIPES: dict[str, Recipe] = {
    "segmitos": Recipe(segmitos.loss, segmitos.DEFAULTS),
    "deepmitosis": Recipe(deepmitosis.loss, deepmitosis.DEFAULTS, idle_parts=True),
    "rdlm": Recipe(rdlm.loss, rdlm.DEFAULTS),
    "instance_max": Recipe(instance_max.loss, instance_max.DEFAULTS, idle_parts=True),
}


def default_config(method: str, **given: Any) -> TrainConfig:
    """The options of a method, with those that were given. Raises UnusableModel for an unknown method."""
    if method not in RECIPES:
        raise UnusableModel(f"There is no method “{method}”; there are {', '.join(RECIPES)}.")
    return TrainConfig(**{"method": method, **RECIPES[method].options, **given})
