"""Training DeepDet: its loss, and boxes where only centroids are known (DeepMitosis, sections 3.1 and 3.3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mitosis_core.errors import UnusableData, UnusableModel
from mitosis_core.methods.deepmitosis import UM_PER_PX, DeepDet
from mitosis_core.methods.method import DetectorNet, SegmentationNet
from mitosis_core.model import Model
from mitosis_core.prediction import predict
from mitosis_core.types import Float32, ProbabilityMap, UInt8
from train.config import TrainConfig
from train.data.examples import Example
from train.data.labels import BACKGROUND, check_count
from train.data.patches import BOX_UM, check_boxes

Ints = npt.NDArray[np.intp]

LARGEST_UM = 30.0  # no figure is wider: a larger blob is several things run together

# Crops of 32 µm: four of them are what the paper's enlarged patch covers in each direction. Mined false detections,
# which harm SegMitos, serve it.
DEFAULTS: dict[str, Any] = {
    "um_per_px": UM_PER_PX,
    "crop_px": 128,
    "batch": 24,
    "steps": 800,
    "share_mitosis": 0.35,
    "mine_every": 120,
    "validate_every": 800,
    "members": 1,
    "verifier": "efficientnet_lite0",
}


def loss(
    net: DetectorNet, images: torch.Tensor, labels: torch.Tensor, boxes: Sequence[torch.Tensor], config: TrainConfig
) -> torch.Tensor:
    """What a step makes smaller: the sum of Faster R-CNN's losses.

    images: Float32[B, 3, c, c], RGB in 0..255. labels: UInt8[B, c / 4, c / 4]; what is not 0 is background for nobody:
    unsure or unreviewed tissue, and figures whose middle lies outside the crop. boxes: B tensors Float32[N, 4] as
    x0, y0, x1, y1 in pixels of the crop; they are cut at its border. Raises UnusableData for a box without area.
    """
    assert isinstance(net, DeepDet), "the loss of one method is given its own networks"
    side = images.shape[-1]
    cut = [one.clamp(0, side) for one in boxes]
    check_boxes(cut)
    return net.training_loss(images, cut, labels != BACKGROUND)


def with_estimated_masks(examples: Iterable[Example], model: Model) -> list[Example]:
    """DeepSeg: the examples, every field without a mask with the one that `model` estimates (section 3.3).

    Its threshold is the version's own. Patches stay as they are: the map of a field is calibrated by its background,
    of which a patch cut round one figure shows too little. Raises UnusableModel for a version that answers with boxes,
    UnusableData for a field whose mitoses cannot be in a mask.
    """
    if not isinstance(model.net(), SegmentationNet):
        raise UnusableModel(
            f"{model.version} answers with boxes, so it cannot outline figures; choose a version of SegMitos."
        )
    return [e if e.mask is not None or not e.whole_field else _with_estimated_mask(e, model) for e in examples]


def _with_estimated_mask(example: Example, model: Model) -> Example:
    field = example.field
    # No map where hardly any tissue was found, so no blobs.
    none = ProbabilityMap(np.zeros((1, 1), np.float32), (field.width_px, field.height_px), example.um_per_px)
    found_map = predict(field, model).map or none
    try:
        mask = estimated_masks(found_map, example.mitoses_xy_px, (field.height_px, field.width_px))
    except UnusableData as error:
        raise UnusableData(f"{field.name}: {error}") from error
    return dataclasses.replace(example, mask=mask)


def estimated_masks(found_map: ProbabilityMap, xy_px: Float32, shape: tuple[int, int], threshold: float = 0.5) -> UInt8:
    """DeepSeg: UInt8[H, W], k on the k-th figure and 0 elsewhere, in pixels of the image of `shape` (section 3.3).

    A figure is the connected blob of the segmentation map, at or above `threshold`, that covers its centroid; what two
    centroids share belongs to the nearer one. Without a blob, or with one wider than LARGEST_UM, it is a square of
    BOX_UM. xy_px: Float32[N, 2]. Raises UnusableData for more figures than a mask can number or a centroid outside
    the image.
    """
    points = np.rint(np.asarray(xy_px, np.float32).reshape(-1, 2)).astype(int)
    check_count(len(points))
    if ((points < 0) | (points >= shape[::-1])).any():
        raise UnusableData("The centroid of a mitosis lies outside its image.")
    foreground = (_in_pixels(found_map, shape) >= threshold).view(np.uint8)
    _, blobs, extent, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    half = BOX_UM / found_map.um_per_px / 2
    masks = np.zeros(shape, np.uint8)
    for k, (x, y) in enumerate(points):
        blob = blobs[y, x]
        left, top, width, height = (int(n) for n in extent[blob, :4])
        whole = blob > 0 and max(width, height) * found_map.um_per_px <= LARGEST_UM
        if not whole:
            left, top = max(0, round(x - half)), max(0, round(y - half))
            width, height = round(x + half) - left, round(y + half) - top
        window = np.s_[top : top + height, left : left + width]
        mine = _nearest(points, left, top, masks[window].shape) == k
        masks[window][mine & (blobs[window] == blob) if whole else mine] = k + 1
    return masks


def _in_pixels(found_map: ProbabilityMap, shape: tuple[int, int]) -> Float32:
    """The map, Float32[H, W], read between the middles of its cells at every pixel of the image."""
    (across, down), (height, width) = found_map.cell_px, shape
    cells = np.array([[1 / across, 0, 0.5 / across - 0.5], [0, 1 / down, 0.5 / down - 0.5]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    values = cv2.warpAffine(found_map.values, cells, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32)


def _nearest(points: Ints, left: int, top: int, shape: tuple[int, ...]) -> Ints:
    """Int[h, w]: which of the points (N, 2) is nearest to each pixel of a window."""
    rows, columns = np.mgrid[top : top + shape[0], left : left + shape[1]]
    away = (columns[..., None] - points[:, 0]) ** 2 + (rows[..., None] - points[:, 1]) ** 2
    return np.asarray(away.argmin(-1))
