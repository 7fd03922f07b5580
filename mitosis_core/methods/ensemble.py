"""Several networks of one recipe, trained from different seeds, answering together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import box_iou, nms

from mitosis_core.methods.method import BoxNet, DenseBoxNet, DetectorNet, Found, SegmentationNet

_SAME = 0.3  # boxes that overlap by more (intersection over union) are of one figure


class Ensemble(SegmentationNet):
    """The mean of the members' logits: what one seed happens to see in a strange nucleus, the others do not."""

    def __init__(self, members: Sequence[SegmentationNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.stride = members[0].stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32[B, 3, H, W] in 0..255 -> mean of the members' logits, Float32[B, 2, h, w]."""
        return torch.stack([member(x) for member in self.members]).mean(0)


class BoxEnsemble(BoxNet):
    """Each figure once: its best box, its score the mean over the members, 0 where one does not see it."""

    def __init__(self, members: Sequence[BoxNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.stride = members[0].stride

    def find(self, x: torch.Tensor) -> Found:
        """Float32[1, 3, H, W] in 0..255 -> the members' boxes, fused."""
        return _fused([member.find(x) for member in self.members])  # type: ignore[operator]


class DenseBoxEnsemble(BoxEnsemble, DenseBoxNet):
    """The same of networks in two steps."""

    def raw(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The members' raw answers, one after the other."""
        return tuple(itertools.chain.from_iterable(member.raw(x) for member in self.members))  # type: ignore[operator]

    def decode(self, raw: Sequence[torch.Tensor], height: int, width: int) -> Found:
        """The members' raw answers on an image of this size -> their boxes, fused."""
        each = len(raw) // len(self.members)
        parts = [raw[start : start + each] for start in range(0, len(raw), each)]
        said = [m.decode(part, height, width) for m, part in zip(self.members, parts, strict=True)]  # type: ignore[operator]
        return _fused(said)

    def find(self, x: torch.Tensor) -> Found:
        """Float32[1, 3, H, W] in 0..255 -> the members' boxes, fused."""
        return DenseBoxNet.find(self, x)


def _fused(said: Sequence[Found]) -> Found:
    heat = torch.stack([one.heat for one in said]).mean(0)
    if len(said) == 1:
        return Found(said[0].boxes, said[0].score, heat)
    boxes, score = torch.cat([one.boxes for one in said]), torch.cat([one.score for one in said])
    kept = boxes[nms(boxes, score, _SAME)]
    return Found(kept, torch.stack([_best(kept, one) for one in said]).mean(0), heat)


def _best(boxes: torch.Tensor, said: Found) -> torch.Tensor:
    """[N]: the score one member gives to each of N boxes."""
    if not len(said.boxes) or not len(boxes):
        return boxes.new_zeros(len(boxes))
    same: torch.Tensor = box_iou(boxes, said.boxes) > _SAME
    return (same * said.score).amax(1)


def together(members: Sequence[DetectorNet]) -> Ensemble | BoxEnsemble:
    """One network out of members of one kind."""
    if all(isinstance(member, DenseBoxNet) for member in members):
        return DenseBoxEnsemble([member for member in members if isinstance(member, DenseBoxNet)])
    if all(isinstance(member, BoxNet) for member in members):
        return BoxEnsemble([member for member in members if isinstance(member, BoxNet)])
    return Ensemble([member for member in members if isinstance(member, SegmentationNet)])
