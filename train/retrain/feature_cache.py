"""Everything a retraining needs the frozen stages for: every crop and every field is encoded once."""

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
from mitosis_core.types import Float32, ProbabilityMap
from train.data.patches import Crops, Tissue, false_detections
from train.retrain.heads import (
    ENCODER_BATCH,
    Features,
    encode,
    field_probabilities,
    head_logits,
    head_of,
    split_batches,
)
from train.retrain.session import RetrainSession

_MINED_SCORE = 0.2  # raw score above which a false detection is worth learning from


@dataclass(eq=False)
class CachedFeatures:
    """The features of one network: of crops, and of whole fields.

    old_log_probabilities: Float32[N, 2, h, w], of the old version. even_odds_logit: Float32[N, 1, 1], where the loss
    has even odds. field_features, old_probabilities: by field, those of the whole field.
    """

    head: LiteFCN
    features: Features
    labels: torch.Tensor
    old_log_probabilities: torch.Tensor
    even_odds_logit: torch.Tensor
    field_features: dict[int, Features]
    old_probabilities: dict[int, Float32]


def cache_features(session: RetrainSession, index: int, member: LiteFCN) -> CachedFeatures:
    """Encode the crops and the fields with network number `index`. Raises Cancelled."""
    member = member.to(memory_format=torch.channels_last).eval()
    head = head_of(member)
    whole, old, crops = {}, {}, []
    for i, tissue in enumerate(session.tissues):
        session.stop_if_cancelled()
        features = encode(member, torch.from_numpy(pad(tissue.pixels)).permute(2, 0, 1)[None])
        old[i] = field_probabilities(head, features, tissue, member.stride)
        _mine(session, old[i], tissue)
        crops.append(_crops(session, member, tissue, index * len(session.tissues) + i))
        whole[i] = features
        session.report_phase("preparing", (index + (i + 1) / len(session.tissues)) / session.base.card.members)
    by_stride = zip(*(features for features, _ in crops), strict=True)
    features = [torch.cat(maps).contiguous(memory_format=torch.channels_last) for maps in by_stride]
    with torch.no_grad():
        old_log_probabilities = F.log_softmax(
            torch.cat([head_logits(head, part) for part in split_batches(features)]), 1
        )
    labels = torch.cat([labels for _, labels in crops])
    return CachedFeatures(head, features, labels, old_log_probabilities, _even_odds_logit(session, old), whole, old)


def _even_odds_logit(session: RetrainSession, old: dict[int, Float32]) -> torch.Tensor:
    """Where the loss has its boundary in the crops of each field.

    The old threshold lies at a high logit; learned from an even one, all scores would sink, and with them the
    slides that are not here. So the boundary is taken part of the way to the threshold.
    """
    card = session.base.card
    threshold = float(logit(np.full(1, card.raw_threshold, np.float32))[0])
    even = []
    for i in range(len(session.fields)):
        shift = np.median(logit(calibrate(session.probability_map(i, old[i]), card.calibration).values) - logit(old[i]))
        even += [session.config.boundary * (threshold - float(shift))] * session.crops_per_field
    return torch.tensor(even).view(-1, 1, 1)


def _mine(session: RetrainSession, values: Float32, tissue: Tissue) -> None:
    """The false detections of the old version become hard negatives."""
    card = session.base.card
    blobs = dataclasses.replace(card.blobs, min_area_um2=0.0, min_score=_MINED_SCORE)
    found = find_blobs(ProbabilityMap(values, (float(card.stride), float(card.stride)), card.um_per_px), blobs)
    tissue.hard_xy_px = false_detections(found, tissue, card.um_per_px)


def _crops(session: RetrainSession, member: LiteFCN, tissue: Tissue, number: int) -> tuple[Features, torch.Tensor]:
    """Features and labels (UInt8[N, h, w]) of the crops of one field; number: seeds them."""
    count = session.crops_per_field
    settings = session.config.for_crops(session.base.card.um_per_px)
    crops = Crops([tissue], settings, member.stride, count, offset=number * count)
    features, labels = [], []
    for start in range(0, count, ENCODER_BATCH):
        session.stop_if_cancelled()
        items = [crops[i] for i in range(start, min(count, start + ENCODER_BATCH))]
        features.append(encode(member, torch.stack([one.image for one in items])))
        labels.append(torch.stack([one.labels for one in items]))
    return [torch.cat(maps) for maps in zip(*features, strict=True)], torch.cat(labels)
