"""Haematoxylin and eosin as two of three channels: densities, how much tissue there is, and a common stain.

`normalise` brings a field to the stain a version learned from, because laboratories differ more than tumours do.
`standardise` is what versions ask for unless they say otherwise: mean and spread of each stain over the tissue
(Reinhard's idea, in stain space), which is one affine map of optical density; `macenko` is what the paper of
instance-max names.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mitosis_core.errors import UnusableModel
from mitosis_core.types import Float32, UInt8

# Ruifrok & Johnston 2001, rows haematoxylin, eosin, residual (their cross product), each of length 1.
_H = np.array([0.650, 0.704, 0.286])
_E = np.array([0.072, 0.990, 0.105])
_ROWS = np.stack([_H / np.linalg.norm(_H), _E / np.linalg.norm(_E)])
_R = np.cross(_ROWS[0], _ROWS[1])
STAINS: np.ndarray = np.vstack([_ROWS, _R / np.linalg.norm(_R)])

TISSUE_DENSITY = 0.15  # mean optical density of the palest cytoplasm; empty glass is under 0.05


@dataclass(frozen=True)
class StainProfile:
    """Mean and standard deviation of the three stain densities over tissue."""

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]


# Every field is brought to this one: the middle of the fields and patches the default version learned from.
REFERENCE = StainProfile((0.48, 0.50, 0.33), (0.36, 0.23, 0.17))

_LOG = -np.log(np.maximum(np.arange(256, dtype=np.float32), 1.0) / 255.0)
_ENOUGH_MM2 = 0.02  # of tissue, to be measured by itself: a square of 140 µm; a whole HPF has 0.2 to 0.3
_MOST_STRETCH = 2.5  # a nearly stainless field is not blown up beyond this


def tissue_fraction(pixels: UInt8) -> float:
    """Share of the image that is tissue rather than glass, 0..1, judged on every 8th pixel."""
    return float(_is_tissue(_LOG[pixels[::8, ::8]]).mean())


def stain_profile(*images: UInt8) -> StainProfile | None:
    """Profile over the tissue of one or more images of one slide (every 4th pixel), ink left out; None where there is
    none."""
    sparse = np.concatenate([image[::4, ::4].reshape(-1, 1, 3) for image in images])
    density = cv2.LUT(sparse, _LOG)
    tissue = (cv2.transform(density, np.full((1, 3), 1 / 3)) > TISSUE_DENSITY).astype(np.uint8)
    tissue[_is_ink(density)] = 0
    if np.count_nonzero(tissue) < 100:
        return None
    mean, spread = cv2.meanStdDev(cv2.transform(density, np.linalg.inv(STAINS).T), mask=tissue)
    return StainProfile((*map(float, mean.ravel()),), (*map(float, spread.ravel()),))  # type: ignore[arg-type]


def _is_ink(density: Float32) -> npt.NDArray[np.bool_]:
    """Bool[H, W]: blue or green ink, which takes far more of the red light than of the green; no tissue in H&E does."""
    red, green = density[..., 0], density[..., 1]
    return np.asarray((red > 1.3 * green) & (red > 0.4))


@dataclass(frozen=True)
class MeasuredStain:
    """One measurement of an image. profile: over its tissue, None where there is none; tissue_fraction: 0..1."""

    profile: StainProfile | None
    tissue_fraction: float


def measure_stain(pixels: UInt8) -> MeasuredStain:
    """The stain of one image UInt8[H, W, 3]."""
    return MeasuredStain(stain_profile(pixels), tissue_fraction(pixels))


def field_profile(pixels: UInt8, um_per_px: float, measured: MeasuredStain | None = None) -> StainProfile | None:
    """The profile of a single image, as fields are brought to the reference when detecting.

    A small image is a few cells, of which one may be a mitosis: below 0.02 mm² of tissue its profile is mixed with the
    REFERENCE, the more the less there is. measured: the stain of these pixels, where it was measured already.
    """
    measured = measured or measure_stain(pixels)
    own = measured.profile
    if own is None:
        return None
    tissue_mm2 = measured.tissue_fraction * pixels.shape[0] * pixels.shape[1] * um_per_px**2 / 1e6
    return mixed(own, min(1.0, tissue_mm2 / _ENOUGH_MM2))


def mixed(own: StainProfile, share: float) -> StainProfile:
    """`share` (0 to 1) of a profile and the rest of the REFERENCE; the profile itself at 1."""
    mean, spread = (
        tuple(share * a + (1 - share) * b for a, b in zip(mine, common, strict=True))
        for mine, common in ((own.mean, REFERENCE.mean), (own.spread, REFERENCE.spread))
    )
    return StainProfile(mean, spread)  # type: ignore[arg-type]


def normalise(pixels: UInt8, stain: str, profile: StainProfile | None) -> UInt8:
    """UInt8[H, W, 3] in the stain a version asks for (ModelCard.stain): "" is the REFERENCE, reached from the profile
    given; "macenko", measured on these very pixels; "none" leaves them as they are.

    Raises UnusableModel for any other.
    """
    match stain:
        case "":
            return standardise(pixels, profile)
        case "macenko":
            return macenko(pixels)
        case "none":
            return pixels
    raise UnusableModel(f"The stain “{stain}” is not known here; there are macenko, none, and empty for the reference.")


def standardise(pixels: UInt8, profile: StainProfile | None) -> UInt8:
    """UInt8[H, W, 3] with the given profile -> the same tissue in the REFERENCE stain; unchanged without a profile."""
    return pixels if profile is None else restain(pixels, profile, REFERENCE)


def restain(pixels: UInt8, own: StainProfile, aim: StainProfile) -> UInt8:
    """UInt8[H, W, 3] with the profile `own` -> the same tissue with the profile `aim`."""
    ratio = np.asarray(aim.spread) / np.maximum(own.spread, 1e-3)
    ratio = np.clip(ratio, 1 / _MOST_STRETCH, _MOST_STRETCH)
    shift = np.asarray(aim.mean) - ratio * np.asarray(own.mean)
    matrix = STAINS.T @ np.diag(ratio) @ np.linalg.inv(STAINS).T
    affine = np.hstack([-matrix, (np.log(255.0) - STAINS.T @ shift)[:, None]])
    light = cv2.exp(cv2.transform(cv2.LUT(pixels, _LOG), affine))
    return np.asarray(cv2.convertScaleAbs(light), np.uint8)


# The stains Macenko et al. 2009 normalise to, rows haematoxylin and eosin, and their strongest (99 %) densities, as
# published with their code.
_MACENKO = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
_MACENKO_STRONGEST = np.array([1.9705, 1.0308])


def macenko(pixels: UInt8) -> UInt8:
    """UInt8[H, W, 3] -> the same tissue in the stains of Macenko et al. 2009; unchanged where there is hardly any.

    The two stains are the extreme directions (1 % and 99 %) of the tissue's optical densities within their main plane,
    from every 4th pixel; what lies outside that plane is left out, as they do.
    """
    density = cv2.LUT(pixels[::4, ::4].reshape(-1, 1, 3), _LOG)[:, 0].astype(np.float64)
    density = density[_is_tissue(density)]
    if len(density) < 100:
        return pixels
    plane = np.linalg.eigh(np.cov(density.T))[1][:, 1:]
    plane = plane * np.where(plane.sum(0) < 0, -1, 1)  # of the two directions of an axis, that of more light taken
    along, across = (density @ plane[:, ::-1]).T
    ends = np.deg2rad(np.percentile(np.rad2deg(np.arctan2(across, along)), (1, 99)))
    stains = np.stack([np.cos(ends), np.sin(ends)], 1) @ plane[:, ::-1].T
    stains = stains[np.argsort(-stains[:, 0])]  # haematoxylin takes more of the red
    amounts = np.linalg.pinv(stains.T)
    strongest = np.maximum(np.percentile(density @ amounts.T, 99, axis=0), 1e-3)
    matrix = _MACENKO.T @ np.diag(_MACENKO_STRONGEST / strongest) @ amounts
    affine = np.hstack([-matrix, np.full((3, 1), np.log(255.0))])
    light = cv2.exp(cv2.transform(cv2.LUT(pixels, _LOG), affine))
    return np.asarray(cv2.convertScaleAbs(light), np.uint8)


def _is_tissue(density: Float32) -> npt.NDArray[np.bool_]:
    return np.asarray(density.mean(axis=-1) > TISSUE_DENSITY)
