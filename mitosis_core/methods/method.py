"""What makes a published system usable here: a record of functions, not a base class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


class SegmentationNet(nn.Module):
    """forward: [B, 3, H, W] RGB in 0..255 -> [B, 2, H / stride, W / stride] logits (background, mitosis)."""

    stride: int

    def parts(self) -> list[nn.Module]:
        """From the image on: what may be kept frozen while training, a part at a time."""
        raise NotImplementedError


@dataclass(frozen=True)
class Method:
    """build(encoder name, pretrained) gives the network; it raises KeyError for an encoder it does not know."""

    key: str
    title: str
    paper: str
    build: Callable[[str, bool], SegmentationNet]
