"""Everything a retraining needs the frozen encoder for: it sees every crop and every judging field once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from mitosis_core.inference.blobs import find_blobs
from mitosis_core.inference.calibration import calibrate, logit
from mitosis_core.inference.runtime import pad
from mitosis_core.methods.segmitos import LiteFCN
from mitosis_core.scoring.matching import match
from mitosis_core.types import Float32, ProbabilityMap
from train.data.patches import Crops, Tissue
from train.retrain.corrected import vouched_for
from train.retrain.heads import AT_ONCE, Features, answer, batches, head_of, probabilities, see
from train.retrain.session import Task

_MINED_SCORE = 0.2  # raw score above which a false detection is worth learning from
_MATCH_UM = 7.5


@dataclass(eq=False)
class Seen:
    """What one network makes of all fields: crops of those it learns from, and the whole of those that judge.

    answers: Float32[N, 2, h, w], log-probabilities of the old version. even: Float32[N, 1, 1], the logit at which the
    loss sees even odds. whole, old: by field, its features and the old version's probabilities.
    """

    head: LiteFCN
    features: Features
    labels: torch.Tensor
    answers: torch.Tensor
    even: torch.Tensor
    whole: dict[int, Features]
    old: dict[int, Float32]


def look(task: Task, index: int, member: LiteFCN) -> Seen:
    """Let network number `index` see the crops and the fields. Raises Cancelled."""
    member = member.to(memory_format=torch.channels_last).eval()
    head = head_of(member)
    judging = {i for _, judges in task.splits for i in judges}
    whole, old, crops = {}, {}, []
    for i, tissue in enumerate(task.tissues):
        task.stop_if_cancelled()
        features = see(member, torch.from_numpy(pad(tissue.pixels)).permute(2, 0, 1)[None])
        old[i] = probabilities(head, features, tissue, member.stride)
        if i < task.learning:
            _mine(task, old[i], tissue)
            crops.append(_crops(task, member, tissue, index * len(task.tissues) + i))
        if i in judging:
            whole[i] = features
    seen = zip(*(features for features, _ in crops), strict=True)
    features = [torch.cat(maps).contiguous(memory_format=torch.channels_last) for maps in seen]
    with torch.no_grad():
        answers = F.log_softmax(torch.cat([answer(head, part) for part in batches(features)]), 1)
    labels = torch.cat([labels for _, labels in crops])
    return Seen(head, features, labels, answers, _even(task, old), whole, old)


def _even(task: Task, old: dict[int, Float32]) -> torch.Tensor:
    """Where the loss has its boundary in the crops of each field.

    The old threshold lies at a high logit; learned from an even one, all scores would sink, and with them the
    slides that are not here. So the boundary is taken part of the way to the threshold.
    """
    card = task.base.card
    threshold = float(logit(np.full(1, card.raw_threshold, np.float32))[0])
    even = []
    for i in range(task.learning):
        shift = np.median(logit(calibrate(task.map_of(i, old[i]), card.calibration).values) - logit(old[i]))
        even += [task.config.boundary * (threshold - float(shift))] * task.per_field
    return torch.tensor(even).view(-1, 1, 1)


def _mine(task: Task, values: Float32, tissue: Tissue) -> None:
    """The false detections of the old version become hard negatives."""
    card = task.base.card
    blobs = dataclasses.replace(card.blobs, min_area_um2=0.0, min_score=_MINED_SCORE)
    found = find_blobs(ProbabilityMap(values, (float(card.stride), float(card.stride)), card.um_per_px), blobs)
    extra = match(found.xy_px, tissue.mitoses_xy_px, _MATCH_UM / card.um_per_px, found.score).extra
    inside_px = np.clip(found.xy_px[extra], 0, np.array(tissue.pixels.shape[1::-1]) - 1).astype(np.float32)
    tissue.hard_xy_px = inside_px[vouched_for(inside_px, tissue)]


def _crops(task: Task, member: LiteFCN, tissue: Tissue, number: int) -> tuple[Features, torch.Tensor]:
    """Features and labels (UInt8[N, h, w]) of the crops of one field; number: seeds them."""
    count = task.per_field
    settings = task.config.for_crops(task.base.card.um_per_px)
    crops = Crops([tissue], settings, member.stride, count, offset=number * count)
    features, labels = [], []
    for start in range(0, count, AT_ONCE):
        task.stop_if_cancelled()
        items = [crops[i] for i in range(start, min(count, start + AT_ONCE))]
        features.append(see(member, torch.stack([one.image for one in items])))
        labels.append(torch.stack([one.labels for one in items]))
    return [torch.cat(maps) for maps in zip(*features, strict=True)], torch.cat(labels)
