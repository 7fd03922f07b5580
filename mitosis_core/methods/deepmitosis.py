"""DeepMitosis (Li et al., Medical Image Analysis 2018): segment, detect, verify. This is DeepDet, the detector.

A Faster R-CNN. The paper enlarges its patches twice (0.125 µm/px) so that one cell of a stride-16 map is 2 µm; here
the encoder's stride-16 map is carried down to stride 8, so that at 0.25 µm/px a cell is 2 µm too, at a quarter of the
cost. Verifying is `mitosis_core.inference.verifier`; boxes come from centroids in `train.methods.deepmitosis`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign, box_iou, clip_boxes_to_image, nms, remove_small_boxes

from mitosis_core import ranks
from mitosis_core.encoders import build_encoder
from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.errors import UnusableModel
from mitosis_core.methods.method import BoxNet, BoxOutput, Method

UM_PER_PX = 0.25  # the scale the anchors below are meant for
ANCHORS_UM = (8.0, 16.0, 32.0)  # the paper's 64, 128 and 256 px at 0.125 µm/px
_RATIOS = (0.5, 1.0, 2.0)
_CELL_PX = 8  # stride of the map the anchors stand on

_LOWEST = 0.02  # boxes with a lower score are not answers
_SAME = 0.3  # boxes that overlap by more (IoU) are of one figure
_PROPOSALS, _PATCH_PX = 300, 512  # the paper keeps 300 proposals of a patch that at our scale has this side
_BEFORE = 4  # times as many are compared: the time this takes grows with their square
_FEWEST = 48  # proposals of a small crop
_NEAR = 0.1  # a box that overlaps a known figure by this much (IoU) is judged by it, others by the tissue below

Target = dict[str, torch.Tensor]  # boxes Float[N, 4], labels Int64[N] (all 1), ignored Bool[H / 4, W / 4]


class DeepDet(BoxNet):
    """Faster R-CNN on any encoder of strides 4, 8 and 16; rpn_only: its region proposals are the answer (4.2.4)."""

    stride = 4

    def __init__(self, encoder: EncoderNet, *, rpn_only: bool = False, width: int = 64, hidden: int = 256) -> None:
        super().__init__()
        self.encoder = encoder
        self.fine = nn.Conv2d(encoder.channels[1], width, 1)
        self.coarse = nn.Conv2d(encoder.channels[2], width, 1)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        self.rpn = ProposalNetwork(width)
        self.roi_heads = None if rpn_only else _box_head(width, hidden)

    def freezable_stages(self) -> list[nn.Module]:
        """The parts of its encoder, from the image on."""
        return self.encoder.freezable_stages()

    def detect(self, x: torch.Tensor) -> BoxOutput:
        """Float32[1, 3, H, W] in 0..255 -> its boxes and their heat map."""
        features, images = self._feature_map(x)
        with torch.autocast(x.device.type, enabled=False):
            (boxes,), (score,), objectness = self.rpn.propose(images, features)
            if self.roi_heads is not None:
                answer = self.roi_heads({"0": features}, [boxes], images.image_sizes)[0][0]
                boxes, score = answer["boxes"], answer["scores"]
            else:
                kept = nms(boxes, score, _SAME)
                boxes, score = boxes[kept], score[kept]
            sure = score > _LOWEST
            size = (x.shape[-2] // self.stride, x.shape[-1] // self.stride)
            heat = F.interpolate(objectness[:, None], size=size, mode="bilinear")[0, 0]
        return BoxOutput(boxes[sure], score[sure], heat)

    def training_loss(
        self, images: torch.Tensor, boxes: Sequence[torch.Tensor], ignored: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sum of the four losses of Faster R-CNN, of two without its second stage.

        images: [B, 3, H, W] RGB in 0..255. boxes: B tensors [N, 4] as x0, y0, x1, y1 in pixels. ignored:
        Bool[B, H / 4, W / 4], tissue of which nobody knows what it is; nothing there counts as background.
        """
        features, listed = self._feature_map(images)
        if ignored is None:
            ignored = torch.zeros_like(images[:, 0, :: self.stride, :: self.stride], dtype=torch.bool)
        targets: list[Target] = [
            {"boxes": b.float(), "labels": torch.ones(len(b), dtype=torch.int64, device=b.device), "ignored": one}
            for b, one in zip(boxes, ignored, strict=True)
        ]
        with torch.autocast(images.device.type, enabled=False):
            proposals, losses = self.rpn(listed, {"0": features}, targets)
            known = [one[~on_ignored(one, target)] for one, target in zip(proposals, targets, strict=True)]
            if self.roi_heads is not None and any(ranks.gather(any(map(len, (*known, *boxes))))):
                second = self.roi_heads({"0": features}, known, listed.image_sizes, targets)[1]
                losses |= {name: self.roi_heads.fg_bg_sampler.weigh(one) for name, one in second.items()}
        return torch.stack(list(losses.values())).sum()

    def _feature_map(self, x: torch.Tensor) -> tuple[torch.Tensor, ImageList]:
        """The map at stride 8, Float32[B, width, H / 8, W / 8], and the images as torchvision wants them."""
        _, fine, coarse = self.encoder(x)
        upsampled = F.interpolate(self.coarse(coarse), scale_factor=2.0, mode="nearest")
        features = F.relu(self.smooth(F.relu(self.fine(fine) + upsampled)))
        return features.float(), ImageList(x, [(x.shape[-2], x.shape[-1])] * len(x))


class ProposalNetwork(RegionProposalNetwork):  # type: ignore[misc]
    """The region proposal network of section 3.1: 256 anchors a batch, positive from IoU 0.7, negative below 0.3.

    A batch of small crops is what one large patch is in the paper, so the 256 are drawn from the whole batch.
    """

    def __init__(self, width: int) -> None:
        sizes = tuple(round(um / UM_PER_PX) for um in ANCHORS_UM)
        anchors = AnchorGenerator((sizes,), (_RATIOS,))
        # torchvision's anchors stand on the corners of the cells; these stand on their middles.
        anchors.cell_anchors = [cell + _CELL_PX / 2 for cell in anchors.cell_anchors]
        limits = {"training": _PROPOSALS, "testing": _PROPOSALS}  # not used: see filter_proposals
        super().__init__(anchors, RPNHead(width, len(sizes) * len(_RATIOS)), 0.7, 0.3, 256, 0.5, limits, limits, 0.7)
        self.fg_bg_sampler = BatchSampler(256, 0.5)

    def propose(
        self, images: ImageList, features: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """Boxes [N, 4] and objectness [N] of every image, and the best objectness of every cell [B, h, w]."""
        objectness, deltas = self.head([features])
        anchors = self.anchor_generator(images, [features])
        best = objectness[0].sigmoid().amax(1)
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        proposals = self.box_coder.decode(deltas, anchors).view(len(anchors), -1, 4)
        return *self.filter_proposals(proposals, objectness, images.image_sizes, []), best

    def filter_proposals(
        self, proposals: torch.Tensor, objectness: torch.Tensor, image_shapes: list[tuple[int, int]], _: list[int]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The best proposals of every image, as many as the paper keeps of a patch per area, overlapping below 0.7."""
        scores = objectness.detach().reshape(len(proposals), -1).sigmoid()
        answer = []
        for boxes, score, (height, width) in zip(proposals, scores, image_shapes, strict=True):
            most = max(_FEWEST, math.ceil(_PROPOSALS * height * width / _PATCH_PX**2))
            score, best = score.topk(min(_BEFORE * most, len(score)))
            boxes = clip_boxes_to_image(boxes[best], (height, width))
            kept = remove_small_boxes(boxes, 1.0)
            kept = kept if self.training else kept[score[kept] > _LOWEST]
            boxes, score = boxes[kept], score[kept]
            apart = nms(boxes, score, self.nms_thresh)[:most]
            answer.append((boxes[apart], score[apart]))
        return [boxes for boxes, _ in answer], [score for _, score in answer]

    def assign_targets_to_anchors(
        self, anchors: list[torch.Tensor], targets: list[Target]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """As torchvision's, with background from an overlap of 0 on (section 3.3.2)."""
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, boxes, target in zip(labels, anchors, targets, strict=True):
            label[(label == 0) & on_ignored(boxes, target)] = -1  # nobody's, as between the thresholds
        return labels, matched

    def compute_loss(
        self, objectness: torch.Tensor, deltas: torch.Tensor, labels: list[torch.Tensor], aims: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As torchvision's, over the anchors drawn from all crops of a batch."""
        first, second = super().compute_loss(objectness, deltas, labels, aims)
        return self.fg_bg_sampler.weigh(first), self.fg_bg_sampler.weigh(second)


class BatchSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    """Draws its number from all images of a batch together: few of many small crops hold a mitosis.

    Where several processes share the batch, the first draws for all of them.
    """

    share = 1.0  # of what was drawn last, the part in these images, against an equal part for every process

    def __call__(self, labels: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        parts = ranks.gather(torch.cat(labels) if ranks.size() == 1 else torch.cat(labels).cpu())
        draw = super().__call__
        (positive,), (negative,) = ranks.from_first(lambda: draw([torch.cat(parts)]))
        drawn = [int(one.sum()) for one in (positive | negative).split([len(part) for part in parts])]
        self.share = drawn[ranks.number()] * ranks.size() / max(1, sum(drawn))
        lengths, sizes = [len(part) for part in parts], [len(one) for one in labels]
        mine = [one.split(lengths)[ranks.number()].to(labels[0].device) for one in (positive, negative)]
        return list(mine[0].split(sizes)), list(mine[1].split(sizes))

    def weigh(self, mean: torch.Tensor) -> torch.Tensor:
        """The mean over what was drawn here -> this process's part of that over the whole batch; 0 where it is over
        nothing, which torchvision takes for no number."""
        return mean * self.share if self.share else mean.nan_to_num(0.0) * 0


def on_ignored(boxes: torch.Tensor, target: Target) -> torch.Tensor:
    """Bool[N]: boxes away from every known figure whose middle lies on tissue nobody knows."""
    ignored = target["ignored"]
    cells = ((boxes[:, :2] + boxes[:, 2:]) / 2 / DeepDet.stride).long()
    row, column = cells[:, 1].clamp(0, ignored.shape[0] - 1), cells[:, 0].clamp(0, ignored.shape[1] - 1)
    away = ignored[row, column]
    if len(target["boxes"]):
        away = away & (box_iou(boxes, target["boxes"]).amax(1) < _NEAR)
    return away


def _box_head(width: int, hidden: int) -> RoIHeads:
    """The second stage: a proposal is mitosis from IoU 0.5, all others are background, with IoU 0 too (section 3.1).

    7 x 7 cells of the map under a proposal and two linear layers, narrow where the paper has VGG's of 4096.
    """
    pool = MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2)
    classes = FastRCNNPredictor(hidden, 2)
    layers = TwoMLPHead(width * 49, hidden)
    head = RoIHeads(pool, layers, classes, 0.5, 0.5, 512, 0.25, None, _LOWEST, _SAME, 100_000)
    head.fg_bg_sampler = BatchSampler(512, 0.25)
    return head


def build(encoder: str, pretrained: bool, variant: str = "") -> DeepDet:
    """The network of an encoder; "rpn" is its first stage alone."""
    if variant not in DEEPMITOSIS.variants:
        raise UnusableModel(f"DeepMitosis has no variant “{variant}”, only “rpn” besides the published one.")
    return DeepDet(build_encoder(encoder, pretrained=pretrained), rpn_only=variant == "rpn")


DEEPMITOSIS = Method(
    key="deepmitosis",
    title="DeepMitosis",
    paper="Li C. et al., DeepMitosis: Mitosis detection via deep detection, verification and segmentation networks, "
    "Medical Image Analysis 45 (2018) 121-133",
    build=build,
    variants=("", "rpn"),
)
