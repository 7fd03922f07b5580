"""Augmentation of crops: geometry as one affine map, then stain and sharpness as of another laboratory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mitosis_core.image.stain import REFERENCE, StainProfile, restain
from mitosis_core.types import Float32, UInt8

_SCALE = (0.85, 1.2)
_STRETCH = 0.05  # spread of the two sides' own scale, and of the shear
_QUALITY = (40, 96)


@dataclass(frozen=True)
class Placement:
    """Where each pixel of a crop comes from: an affine map from pixels of the tissue to pixels of the crop.

    matrix: Float32[2, 3]. side_px: of the crop. scale: mean enlargement.
    """

    matrix: Float32
    side_px: int
    scale: float

    @classmethod
    def draw(
        cls, centre_xy: Float32, side_px: int, rng: np.random.Generator, at_xy: Float32 | None = None
    ) -> Placement:
        """A random turn, mirroring, scale and shear with `centre_xy` at `at_xy`, or in the middle of the crop."""
        angle, scale = rng.uniform(0, 2 * np.pi), rng.uniform(*_SCALE)
        wide, high = scale * np.exp(_STRETCH * rng.normal(size=2))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        mirror = 1 if rng.random() < 0.5 else -1
        linear = turn @ np.diag([wide * mirror, high]) @ np.array([[1, _STRETCH * rng.normal()], [0, 1]])
        at = np.full(2, (side_px - 1) / 2) if at_xy is None else at_xy
        matrix = np.hstack([linear, (at - linear @ centre_xy)[:, None]]).astype(np.float32)
        return cls(matrix, side_px, float(scale))

    def image(self, pixels: UInt8) -> UInt8:
        """UInt8[H, W, 3] -> the crop; beyond the tissue it is mirrored."""
        size, flags = (self.side_px, self.side_px), cv2.INTER_LINEAR
        return np.asarray(cv2.warpAffine(pixels, self.matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101))

    def mask(self, mask: UInt8, outside: int) -> UInt8:
        """UInt8[H, W] -> the mask of the crop, `outside` beyond the tissue."""
        size = (self.side_px, self.side_px)
        return np.asarray(
            cv2.warpAffine(mask, self.matrix, size, flags=cv2.INTER_NEAREST, borderValue=float(outside)), np.uint8
        )

    def points(self, xy_px: Float32) -> Float32:
        """Points of the tissue -> pixels of the crop."""
        return np.asarray(xy_px @ self.matrix[:, :2].T + self.matrix[:, 2], np.float32)


def other_stain(
    image: UInt8, profiles: Sequence[StainProfile], most: float, jitter: float, rng: np.random.Generator
) -> UInt8:
    """A crop in the reference stain as a laboratory between the reference and one of `profiles` would stain it.

    Up to `most` of the way is gone; jitter: spread of a further log-scale of each stain, and of its shift in units of
    three spreads. So a network cannot tell a mitosis by its laboratory's colours.
    """
    if rng.random() < 0.1:
        return image
    other, share = profiles[int(rng.integers(len(profiles)))], most * rng.random()
    gain, shift = rng.normal(size=(2, 3)) * jitter
    spread = (1 - share) * np.array(REFERENCE.spread) + share * np.array(other.spread)
    mean = (1 - share) * np.array(REFERENCE.mean) + share * np.array(other.mean) + 0.3 * shift * spread
    aim = StainProfile((*map(float, mean),), (*map(float, spread * np.exp(gain)),))  # type: ignore[arg-type]
    return restain(image, REFERENCE, aim)


def other_scanner(image: UInt8, rng: np.random.Generator) -> UInt8:
    """Softer or sharper for half of the crops, and compressed again for 4 in 10, as another scanner's export may be."""
    kind = rng.random()
    if kind < 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.4)), np.uint8)
    elif kind < 0.5:
        amount, soft = rng.uniform(0.3, 1.5), cv2.GaussianBlur(image, (0, 0), 1.0)
        image = np.asarray(cv2.addWeighted(image, 1 + amount, soft, -amount, 0), np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*_QUALITY))]
        # Decoded in the order it came in, so no colour swap is needed.
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return image
