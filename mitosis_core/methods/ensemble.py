"""Several networks of one recipe, trained from different seeds, as one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import box_iou, nms

from mitosis_core.methods.method import BoxNet, BoxOutput, DenseBoxNet, DetectorNet, SegmentationNet

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

    def detect(self, x: torch.Tensor) -> BoxOutput:
        """Float32[1, 3, H, W] in 0..255 -> the members' boxes, fused."""
        return _fuse([member.detect(x) for member in self.members])  # type: ignore[operator]


class DenseBoxEnsemble(BoxEnsemble, DenseBoxNet):
    """The same of networks in two steps."""

    def raw_outputs(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The members' raw outputs, one after the other."""
        return tuple(itertools.chain.from_iterable(member.raw_outputs(x) for member in self.members))  # type: ignore[operator]

    def decode(self, raw: Sequence[torch.Tensor], height: int, width: int) -> BoxOutput:
        """The members' raw outputs for an image of this size -> their boxes, fused."""
        each = len(raw) // len(self.members)
        parts = [raw[start : start + each] for start in range(0, len(raw), each)]
        outputs = [m.decode(part, height, width) for m, part in zip(self.members, parts, strict=True)]  # type: ignore[operator]
        return _fuse(outputs)

    def detect(self, x: torch.Tensor) -> BoxOutput:
        """Float32[1, 3, H, W] in 0..255 -> the members' boxes, fused."""
        return DenseBoxNet.detect(self, x)


def _fuse(outputs: Sequence[BoxOutput]) -> BoxOutput:
    heat = torch.stack([one.heat for one in outputs]).mean(0)
    if len(outputs) == 1:
        return BoxOutput(outputs[0].boxes, outputs[0].score, heat)
    boxes, score = torch.cat([one.boxes for one in outputs]), torch.cat([one.score for one in outputs])
    kept = boxes[nms(boxes, score, _SAME)]
    return BoxOutput(kept, torch.stack([_member_scores(kept, one) for one in outputs]).mean(0), heat)


def _member_scores(boxes: torch.Tensor, output: BoxOutput) -> torch.Tensor:
    """[N]: the score one member gives to each of N boxes."""
    if not len(output.boxes) or not len(boxes):
        return boxes.new_zeros(len(boxes))
    same: torch.Tensor = box_iou(boxes, output.boxes) > _SAME
    return (same * output.score).amax(1)


def make_ensemble(members: Sequence[DetectorNet]) -> Ensemble | BoxEnsemble:
    """One network out of members of one kind."""
    if all(isinstance(member, DenseBoxNet) for member in members):
        return DenseBoxEnsemble([member for member in members if isinstance(member, DenseBoxNet)])
    if all(isinstance(member, BoxNet) for member in members):
        return BoxEnsemble([member for member in members if isinstance(member, BoxNet)])
    return Ensemble([member for member in members if isinstance(member, SegmentationNet)])
