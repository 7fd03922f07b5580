"""What makes a published system usable here: a record of functions, not a base class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import nn


class DetectorNet(nn.Module):
    """A network that looks at tissue: RGB in 0..255 goes in; `stride` pixels per cell of its map."""

    stride: int

    def freezable_stages(self) -> list[nn.Module]:
        """From the image on: what may be kept frozen while training, a part at a time."""
        raise NotImplementedError

    def start_from(self, coarser: DetectorNet) -> None:
        """Take the weights of a coarser network of the same method, where there is one (`Method.coarser`)."""
        raise NotImplementedError


class SegmentationNet(DetectorNet):
    """forward: [B, 3, H, W] RGB in 0..255 -> [B, 2, H / stride, W / stride] logits (background, mitosis)."""


class BoxOutput(NamedTuple):
    """What a BoxNet puts out for one image.

    boxes: [N, 4] as x0, y0, x1, y1 in pixels of the image; score: [N] in [0, 1].
    heat: [H / stride, W / stride] in [0, 1], how sure it is of mitosis in each cell.
    """

    boxes: torch.Tensor
    score: torch.Tensor
    heat: torch.Tensor


class BoxNet(DetectorNet):
    """A network that answers with boxes round single figures."""

    def detect(self, x: torch.Tensor) -> BoxOutput:
        """[1, 3, H, W] RGB in 0..255, H and W multiples of 32 -> boxes down to a low score, no two of one figure."""
        raise NotImplementedError


class DenseBoxNet(BoxNet):
    """A BoxNet in two steps: convolutions alone, which a runtime can take over, and the decoding of their outputs."""

    def raw_outputs(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs of the convolutions for [1, 3, H, W]: a fixed number of tensors."""
        raise NotImplementedError

    def decode(self, raw: Sequence[torch.Tensor], height: int, width: int) -> BoxOutput:
        """The detections in the `raw_outputs` of an image of this size."""
        raise NotImplementedError

    def detect(self, x: torch.Tensor) -> BoxOutput:
        """Float32[1, 3, H, W] in 0..255 -> its boxes and their heat map."""
        return self.decode(self.raw_outputs(x), x.shape[-2], x.shape[-1])


class Build(Protocol):
    """Gives the network of an encoder and a variant ("" is the published one), pretrained where that is asked for.

    Raises UnusableModel for an encoder or a variant it does not know, or weights that cannot be had.
    """

    def __call__(self, encoder: str, pretrained: bool, variant: str = "") -> DetectorNet: ...


@dataclass(frozen=True)
class Method:
    """One published system. variants: what its paper compares, the published choice first.

    coarser: encoder -> that of the network which is trained first, and from whose weights the finer one starts.
    """

    key: str
    title: str
    paper: str
    build: Build
    variants: tuple[str, ...] = ("",)
    coarser: Mapping[str, str] = field(default_factory=dict)
