"""An encoder that trains in no time, for the networks that stand on one."""

import torch
from torch import nn

from mitosis_core.encoders.encoder_net import EncoderNet


class TinyEncoder(EncoderNet):
    """Enough to tell a dark figure from pale tissue."""

    strides = (4, 8, 16)

    def __init__(self, channels: tuple[int, int, int] = (12, 16, 24)) -> None:
        super().__init__()
        self.channels = channels
        a, b, c = channels
        self.stages = nn.ModuleList([nn.Conv2d(3, a, 5, 4, 2), nn.Conv2d(a, b, 3, 2, 1), nn.Conv2d(b, c, 3, 2, 1)])

    def freezable_stages(self) -> list[nn.Module]:
        return list(self.stages)

    def forward(self, x: torch.Tensor, count: int = 3) -> list[torch.Tensor]:
        maps, x = [], x / 128 - 1
        for stage in self.stages[:count]:
            x = stage(x).relu()
            maps.append(x)
        return maps
