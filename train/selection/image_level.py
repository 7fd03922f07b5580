"""What image-level labels say of detections: a threshold that knows which images hold a mitosis, and not where.

Fernandez-Martín et al. 2022, section 3 (Inference): the threshold is an operating point of the ROC curve of images. Any
method can take it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mitosis_core.errors import UnusableData
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Float32
from train.data.examples import Example

IMAGE_UM = 125.0  # side of an image: the paper's patches of 500 px (section 4.1) at 0.25 µm/px

Bool = npt.NDArray[np.bool_]


def image_threshold(scored: Sequence[ScoredField], fields: Sequence[Example]) -> float:
    """The operating point of the images of these fields.

    Raises UnusableData unless there are images with and without a mitosis, and detections that tell them apart.
    """
    threshold = operating_point(*image_scores(scored, fields))
    if threshold <= 0:  # every image is called, even those where nothing is found
        raise UnusableData("No detection tells fields with a mitosis from the rest, so there is no good threshold.")
    return threshold


def image_scores(scored: Sequence[ScoredField], fields: Sequence[Example]) -> tuple[Float32, Bool]:
    """Score (Float32[N], that of the best detection, 0 without one) and truth (Bool[N]) of every image.

    The images are the fields cut into equal parts with sides as near to IMAGE_UM as leaves nothing over: a narrow rest
    would be an image of another kind, and to drop it would lose mitoses.
    """
    scores, truth = [], []
    for one, example in zip(scored, fields, strict=True):
        size_px = np.array(example.field.pixels.shape[:2])
        parts = np.maximum(1, np.rint(size_px * example.um_per_px / IMAGE_UM)).astype(int)
        best, holds = np.zeros(parts, np.float32), np.zeros(parts, bool)
        np.maximum.at(best, _part(one.detections.xy_px, size_px, parts), one.detections.score)
        holds[_part(example.mitoses_xy_px, size_px, parts)] = True
        scores.append(best.ravel())
        truth.append(holds.ravel())
    return np.concatenate(scores), np.concatenate(truth)


def _part(
    xy_px: Float32, size_px: npt.NDArray[np.int_], parts: npt.NDArray[np.int_]
) -> tuple[npt.NDArray[np.int_], ...]:
    """Row and column, Int[N] each, of the part of a field in which each point lies."""
    yx = (xy_px.reshape(-1, 2)[:, ::-1] + 0.5) / size_px
    return tuple(np.clip((yx * parts).astype(int), 0, parts - 1).T)


def area_under_roc(scores: Float32, truth: Bool) -> float:
    """How often an image with a mitosis scores higher than one without (a tie counts half), from scores[N], truth[N].

    That is the area under the ROC curve (Mann & Whitney). Raises UnusableData unless there are both kinds.
    """
    holding, empty = _by_kind(scores, truth)
    below, up_to = (np.searchsorted(empty, holding, side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(empty)))


def operating_point(scores: Float32, truth: Bool) -> float:
    """The threshold of section 3 (Inference), from image-level scores[N] and truth[N]: score >= threshold is mitosis.

    The paper does not say which point of the ROC curve it takes; this is the one nearest to (0, 1), of equally near
    ones that with fewer false alarms. Raises UnusableData unless there are images with and without a mitosis.
    """
    holding, empty = _by_kind(scores, truth)
    thresholds = np.unique(scores)[::-1]
    missed = np.searchsorted(holding, thresholds) / len(holding)
    alarms = (len(empty) - np.searchsorted(empty, thresholds)) / len(empty)
    return float(thresholds[np.argmin(np.hypot(missed, alarms))])


def _by_kind(scores: Float32, truth: Bool) -> tuple[Float32, Float32]:
    """The scores of images with a mitosis and of those without, each in ascending order."""
    if truth.all() or not truth.any():
        raise UnusableData("A threshold needs images with and images without a mitosis.")
    return np.sort(scores[truth]), np.sort(scores[~truth])
