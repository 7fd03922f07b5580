"""Training DeepVer on the detector's own detections (DeepMitosis, sections 3.2 and 4.3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from mitosis_core.encoders import build_encoder
from mitosis_core.errors import UnusableData
from mitosis_core.image.stain import REFERENCE, StainProfile
from mitosis_core.inference.verifier import LOWEST_SCORE, PATCH_PX, UM_PER_PX, Verifier, cut_patches, fuse_scores
from mitosis_core.precision import autocast
from mitosis_core.scale import to_resampled_px
from mitosis_core.scoring.evaluation import ScoredField, threshold_curve
from mitosis_core.types import Detections, Float32, UInt8
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.data.augment import Placement, other_scanner, other_stain
from train.data.examples import Example, not_ignored
from train.data.patches import Tissue, pixel_px, prepare
from train.optimise import make_optimiser, optimiser_step, set_learning_rates, training_device, warmup_cosine

_SHIFT_PX = 8  # patches are moved by up to this much (2 µm): detections are not exact
_WIDE_PX = PATCH_PX * 3 // 2  # room to turn a patch
_WARMUP = 20
_STAIN_SHARE, _STAIN_JITTER = 0.5, 0.08  # as for detectors


@dataclass(frozen=True)
class VerifierConfig:
    """steps of AdamW on `batch` patches, half of them mitoses; learning rates at their peak (encoder, last layer).

    frozen: parts of the encoder, from the image on, that keep their weights. lower: detections below teach nothing.
    """

    steps: int = 200
    batch: int = 32
    lr: float = 4e-4
    lr_head: float = 1e-3
    weight_decay: float = 1e-2
    frozen: int = 2
    lower: float = LOWEST_SCORE
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Patches:
    """pixels: UInt8[N, P, P, 3], wider than what the verifier sees; mitosis: Bool[N]."""

    pixels: UInt8
    mitosis: npt.NDArray[np.bool_]


def fit_verifier(
    examples: Sequence[Example],
    detections: Sequence[Detections],
    encoder: str = "efficientnet_lite0",
    config: VerifierConfig | None = None,
    *,
    pretrained: bool = True,
) -> tuple[Verifier, list[float]]:
    """A verifier of a detector, and its loss at every step.

    detections: of each example, down to a low score, in pixels of its field; best made by a detector that has not
    trained on the example, whose mistakes are then those it will make. Raises UnusableData without mitoses or
    without anything else to tell them from, UnusableModel when the encoder's weights cannot be had.
    """
    config = config or VerifierConfig()
    torch.manual_seed(config.seed)
    tissues = prepare(examples, UM_PER_PX)
    patches = collect_patches(examples, tissues, [d.above(config.lower) for d in detections])
    device = training_device()
    net = Verifier(build_encoder(encoder, pretrained=pretrained)).to(device).train()
    for part in net.freezable_stages()[: config.frozen]:
        part.requires_grad_(False)
    optimiser = make_optimiser(net, lr_encoder=config.lr, lr_head=config.lr_head, weight_decay=config.weight_decay)
    profiles = [t.profile for t in tissues if t.profile] or [REFERENCE]
    losses = []
    for step in range(1, config.steps + 1):
        share = warmup_cosine(step, config.steps, _WARMUP)
        set_learning_rates(optimiser, max(share, 0.01))
        images, labels = (part.to(device) for part in _batch(patches, profiles, config, step))
        with autocast(device):
            logits = net(images)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        losses.append(optimiser_step(loss, net, optimiser))
    return net.cpu().eval(), losses


def collect_patches(
    examples: Sequence[Example], tissues: Sequence[Tissue], detections: Sequence[Detections]
) -> Patches:
    """What a verifier learns from: mitoses as annotated and as detected; false detections and given look-alikes.

    Nothing on ignored tissue is taken for a false detection. Raises UnusableData when either kind is missing.
    """
    side = _WIDE_PX + 2 * _SHIFT_PX
    pixels, mitosis = [], []
    for example, tissue, found in zip(examples, tissues, detections, strict=True):
        found_xy = to_resampled_px(found.xy_px, pixel_px(example, tissue))
        hit = _near(found_xy, tissue.mitoses_xy_px)
        wrong = np.vstack([found_xy[~hit], tissue.lookalikes_xy_px])
        wrong = wrong[not_ignored(wrong, tissue.ignored)]
        right = np.vstack([found_xy[hit], tissue.mitoses_xy_px])
        pixels.append(cut_patches(tissue.pixels, np.vstack([right, wrong]), side))
        mitosis.append(np.arange(len(right) + len(wrong)) < len(right))
    patches = Patches(np.concatenate(pixels), np.concatenate(mitosis))
    if not patches.mitosis.any() or patches.mitosis.all():
        missing = "false detections or look-alikes" if patches.mitosis.any() else "mitoses"
        raise UnusableData(f"There are no {missing} in these fields, so a verifier has nothing to tell apart.")
    return patches


def best_weight(fields: Sequence[ScoredField], verified: Sequence[Float32], radius_um: float = HIT_RADIUS_UM) -> float:
    """The weight of `inference.verifier.fuse_scores` with the highest average precision on held-out fields.

    fields: with the detector's scores; verified: for each the verifier's, Float32[N] in the order of its detections.
    Of equal weights the middle one. Raises UnusableData when the fields have no mitosis.
    """
    weights = np.linspace(0, 1, 21)
    precision = [threshold_curve(fused_fields(fields, verified, w), radius_um).average_precision for w in weights]
    if precision[0] is None:
        raise UnusableData("There is no mitosis in these fields, so no weight can be chosen.")
    best = weights[np.isclose(np.array(precision, float), max(p for p in precision if p is not None))]
    return float(best[len(best) // 2])


def fused_fields(fields: Sequence[ScoredField], verified: Sequence[Float32], weight: float) -> list[ScoredField]:
    """The fields with fused scores; what goes in is left as it is."""
    fused = []
    for field, scores in zip(fields, verified, strict=True):
        own = field.detections
        fused_detections = Detections(own.xy_px, fuse_scores(own.score, scores, weight), own.area_um2)
        fused.append(
            ScoredField(field.image, field.slide, fused_detections, field.true_xy_px, field.um_per_px, field.area_mm2)
        )
    return fused


def _near(xy_px: Float32, true_xy_px: Float32) -> npt.NDArray[np.bool_]:
    if not len(true_xy_px) or not len(xy_px):
        return np.zeros(len(xy_px), bool)
    away, _ = cKDTree(true_xy_px).query(xy_px)
    return np.asarray(away <= HIT_RADIUS_UM / UM_PER_PX)


def _batch(
    patches: Patches, profiles: Sequence[StainProfile], config: VerifierConfig, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Float32[B, 3, P, P] and Float32[B], as many mitoses as others; the same for the same seed and step."""
    rng = np.random.default_rng((config.seed, step))
    right, wrong = np.flatnonzero(patches.mitosis), np.flatnonzero(~patches.mitosis)
    half = config.batch // 2
    chosen = np.concatenate([rng.choice(right, half), rng.choice(wrong, config.batch - half)])
    middle, images = (patches.pixels.shape[1] - 1) / 2, []
    for patch in patches.pixels[chosen]:
        centre = middle + rng.uniform(-_SHIFT_PX, _SHIFT_PX, 2).astype(np.float32)
        image = Placement.draw(centre, PATCH_PX, rng).image(patch)
        images.append(other_scanner(other_stain(image, profiles, _STAIN_SHARE, _STAIN_JITTER, rng), rng))
    labels = torch.from_numpy(patches.mitosis[chosen].astype(np.float32))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return pixels.contiguous(memory_format=torch.channels_last), labels
