"""Several networks of one recipe, trained from different seeds, answering together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mitosis_core.methods.method import SegmentationNet


class Ensemble(SegmentationNet):
    """The mean of the members' logits: what one seed happens to see in a strange nucleus, the others do not."""

    def __init__(self, members: Sequence[SegmentationNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.stride = members[0].stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([member(x) for member in self.members]).mean(0)
