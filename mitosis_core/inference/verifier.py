"""DeepVer (DeepMitosis, sections 3.2 and 4.3.2): a second look at every detection of any detector.

A classifier sees a square of tissue round each detection; its answer and the detector's score are fused (equation 1).
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import torch
from torch import nn

from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.image.stain import MeasuredStain, measure_stain, standardise
from mitosis_core.precision import autocast
from mitosis_core.scale import resample, to_resampled_px
from mitosis_core.types import Detections, Field, Float32, UInt8

UM_PER_PX = 0.25  # the scale the verifier sees
PATCH_PX = 96  # the paper's patch: 24 µm of tissue at that scale
LOWEST_SCORE = 0.1  # of a detection that is verified; the paper's detector is surer of itself: 0.88
_BATCH = 64


class Verifier(nn.Module):
    """[N, 3, P, P] RGB in 0..255, P a multiple of 32 -> [N] logits: is what stands in the middle a mitosis?

    The paper averages the last map of a ResNet-50. Here the means of all maps of an encoder are read, each once over
    the patch and once over its middle half: the smaller the encoder, the less its last map knows where the middle is.
    """

    def __init__(self, encoder: EncoderNet) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.LayerNorm(2 * sum(encoder.channels))
        self.drop = nn.Dropout(0.3)
        self.classify = nn.Linear(2 * sum(encoder.channels), 1)

    def freezable_stages(self) -> list[nn.Module]:
        """From the image on: what may be kept frozen while training, a part at a time."""
        return self.encoder.freezable_stages()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32[B, 3, H, W] in 0..255 -> logits Float32[B]."""
        pooled = []
        for features in self.encoder(x):
            rows, columns = features.shape[-2] // 4, features.shape[-1] // 4
            middle = features[..., rows : features.shape[-2] - rows, columns : features.shape[-1] - columns]
            pooled += [features.mean((2, 3)), middle.mean((2, 3))]
        return cast(torch.Tensor, self.classify(self.drop(self.norm(torch.cat(pooled, 1).float())))[:, 0])


def cut_patches(pixels: UInt8, xy_px: Float32, size_px: int = PATCH_PX) -> UInt8:
    """UInt8[N, size_px, size_px, 3] round Float32[N, 2] points of UInt8[H, W, 3]; mirrored beyond the border.

    Raises ValueError when the image is too small to be mirrored.
    """
    half = size_px // 2
    if min(pixels.shape[:2]) <= half:
        raise ValueError(
            f"an image of {pixels.shape[1]} x {pixels.shape[0]} px is too small for patches of {size_px} px"
        )
    padded = cv2.copyMakeBorder(pixels, half, half, half, half, cv2.BORDER_REFLECT_101)
    corners = np.rint(np.asarray(xy_px, np.float32).reshape(-1, 2)).astype(int)
    corners = np.clip(corners, 0, np.array(pixels.shape[1::-1]) - 1)
    patches = [padded[y : y + size_px, x : x + size_px] for x, y in corners]
    return np.stack(patches) if patches else np.zeros((0, size_px, size_px, 3), np.uint8)


def verify_field(
    net: Verifier,
    field: Field,
    found: Detections,
    lower: float = LOWEST_SCORE,
    measured: MeasuredStain | None = None,
) -> Float32:
    """Float32[N]: the `verifier_scores` of the detections in a field with µm/px.

    It always sees the reference stain, whatever the detector of the version sees. measured: the stain of the field,
    where it was measured already.
    """
    assert field.um_per_px is not None, "checked before anything is detected"
    pixels, pixel_px = resample(field.pixels, field.um_per_px, UM_PER_PX)
    if min(pixels.shape[:2]) <= PATCH_PX // 2:  # smaller than a patch: nothing to look at
        return found.score
    pixels = standardise(pixels, (measured or measure_stain(field.pixels)).profile)
    return verifier_scores(net, pixels, to_resampled_px(found.xy_px, pixel_px), found.score, lower)


def verifier_scores(
    net: Verifier, pixels: UInt8, xy_px: Float32, scores: Float32, lower: float = LOWEST_SCORE
) -> Float32:
    """Float32[N] in [0, 1]: how sure the verifier is of each detection; 0 where the score is below `lower`.

    pixels: UInt8[H, W, 3] at UM_PER_PX, in the reference stain; xy_px: Float32[N, 2] on them; scores: Float32[N].
    """
    answers = np.zeros(len(scores), np.float32)
    asked = np.flatnonzero(np.asarray(scores) >= lower)
    device = next(net.parameters()).device
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    net = net.eval()
    for start in range(0, len(asked), _BATCH):
        some = asked[start : start + _BATCH]
        x = torch.from_numpy(cut_patches(pixels, xy_px[some])).to(device).permute(0, 3, 1, 2)
        x = x.float().contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(device, dtype):
            answers[some] = net(x).float().sigmoid().cpu().numpy()
    return answers


def fuse_scores(detection: Float32, verification: Float32, weight: float) -> Float32:
    """Float32[N]: weight * detection + (1 - weight) * verification, equation 1.

    A detection the verifier was not asked about has verification 0 and keeps weight * detection.
    Raises ValueError for a weight outside 0..1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie between 0 and 1, not {weight}")
    return np.asarray(weight * detection + (1 - weight) * verification, np.float32)
