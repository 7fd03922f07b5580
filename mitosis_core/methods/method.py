"""What makes a published system usable here: a record of functions, not a base class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Method:
    """build(encoder name, pretrained) gives the network: RGB 0..255 [B, 3, H, W] -> logits [B, 2, H/s, W/s].

    strides: pixels per cell of its answer, by encoder name ("" where it does not depend on it).
    """

    key: str
    title: str
    paper: str
    build: Callable[[str, bool], nn.Module]
