"""Crops for training: which place of which image comes next, and the labels that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from mitosis_core.errors import UnusableData
from mitosis_core.image.stain import REFERENCE, StainProfile, field_profile, mixed, normalise, stain_profile
from mitosis_core.scale import resample, to_resampled_px
from mitosis_core.scoring.matching import match
from mitosis_core.types import Detections, Float32, UInt8
from mitosis_core.vocabulary import LENIENT_RADIUS_UM
from train.config import FROM_MASKS, TrainConfig
from train.data.augment import Placement, other_scanner, other_stain
from train.data.examples import Example, not_ignored
from train.data.labels import (
    IGNORED,
    VARIANTS,
    boxes_of_masks,
    concentric_labels,
    concentric_labels_from_boxes,
    mask_labels,
)

BOX_UM = (
    7.5  # side of the box round a centroid of which no mask is known: DeepMitosis' 30 px at 0.25 µm/px (section 3.1)
)
_PASTED_UM = 7.0  # radius of the piece of a patch that is set into a field: a cell and a little round it
_SHIFT, _SHIFT_OF_A_PATCH = 0.35, 0.2  # how far from the middle of a crop its place may lie, in sides of the crop
_OWN_SHARE = 0.05  # how much of its own stain a patch is brought to when it is met by itself (stain.field_profile)
_KNOWN_SHARE = 0.5  # the same as if there were more tissue of its slide


def check_boxes(boxes: Sequence[torch.Tensor]) -> None:
    """Raises UnusableData unless every box has an area. boxes: any number of [N, 4] as x0, y0, x1, y1."""
    for one in boxes:
        if bool(((one[:, 2:] - one[:, :2]) <= 0).any()):
            raise UnusableData("A box of a mitosis has no area; please check the masks or boxes it comes from.")


@dataclass(eq=False)
class Tissue:
    """An example at the scale of the network; hard_xy_px, its false detections so far, is filled by mining.

    mask: instance mask, value k = k-th mitosis, or None.
    ignored: UInt8[H, W], nonzero where nobody has looked or was sure; None is nowhere.
    profile: of its stain as it was scanned, None where there is hardly any tissue.
    """

    pixels: UInt8
    mitoses_xy_px: Float32
    lookalikes_xy_px: Float32
    mask: UInt8 | None
    whole_field: bool
    hard_xy_px: Float32
    ignored: UInt8 | None = None
    profile: StainProfile | None = None
    scanner: str = ""

    @classmethod
    def from_example(cls, example: Example, um_per_px: float, stain: str, profile: StainProfile | None) -> Tissue:
        """An example at the network's scale, in the stain asked for (see `mitosis_core.image.stain.normalise`)."""
        pixels, pixel_px = resample(example.field.pixels, example.um_per_px, um_per_px)
        pixels = normalise(pixels, stain, profile)
        height, width = pixels.shape[:2]
        mask, ignored = (
            None if one is None else cv2.resize(one, (width, height), interpolation=cv2.INTER_NEAREST)
            for one in (example.mask, example.ignored)
        )
        none = np.zeros((0, 2), np.float32)
        mitoses = to_resampled_px(example.mitoses_xy_px, pixel_px)
        lookalikes = to_resampled_px(example.lookalikes_xy_px, pixel_px)
        return cls(pixels, mitoses, lookalikes, mask, example.whole_field, none, ignored, profile, example.scanner)


def pixel_px(example: Example, tissue: Tissue) -> tuple[float, float]:
    """(width, height) of a pixel at the network's scale, in pixels of the original image."""
    height, width = tissue.pixels.shape[:2]
    return example.field.width_px / width, example.field.height_px / height


def false_detections(found: Detections, tissue: Tissue, um_per_px: float) -> Float32:
    """Float32[N, 2]: the detections that hit no mitosis, but for those where nothing counts; places in the tissue."""
    extra = match(found.xy_px, tissue.mitoses_xy_px, LENIENT_RADIUS_UM / um_per_px, found.score).extra
    inside_px = np.clip(found.xy_px[extra], 0, np.array(tissue.pixels.shape[1::-1]) - 1).astype(np.float32)
    return np.asarray(inside_px[not_ignored(inside_px, tissue.ignored)], np.float32)


def prepare(examples: Sequence[Example], um_per_px: float, stain: str = "") -> list[Tissue]:
    """Every example at the network's scale, in the stain a version asks for (see stain.normalise).

    For the reference stain a field is measured by itself, as it will be when detecting. A small patch is measured
    together with the others of its slide, or by itself, as one that is met alone: half of them each way. Macenko's
    normalisation measures every patch by itself, and leaves one with hardly any tissue as it is. Raises UnusableModel
    for an unknown stain.
    """
    patches: dict[str, list[UInt8]] = {}
    for example in examples:
        if not example.whole_field and example.slide:
            patches.setdefault(example.slide, []).append(example.field.pixels)
    by_slide = {slide: stain_profile(*images) for slide, images in patches.items()}
    rng = np.random.default_rng(0)
    return [
        Tissue.from_example(
            e,
            um_per_px,
            stain,
            field_profile(e.field.pixels, e.um_per_px) if e.whole_field else _patch_profile(e, by_slide, rng),
        )
        for e in examples
    ]


def _patch_profile(
    patch: Example, by_slide: dict[str, StainProfile | None], rng: np.random.Generator
) -> StainProfile | None:
    own = stain_profile(patch.field.pixels)
    if not patch.slide:
        share = float(rng.choice([_OWN_SHARE, _KNOWN_SHARE]))
        return own and mixed(own, share)
    if rng.random() < 0.5:
        return by_slide[patch.slide]
    return own and mixed(own, _OWN_SHARE)


class Crop(NamedTuple):
    """image: UInt8[3, crop, crop]; labels: UInt8[crop / stride, crop / stride]; boxes: Float32[N, 4] as x0, y0, x1, y1
    in pixels of the crop, one round each mitosis whose centroid lies in it."""

    image: torch.Tensor
    labels: torch.Tensor
    boxes: torch.Tensor


Place = tuple[Tissue, Float32 | None]  # a point of a tissue; None is anywhere


class Crops(Dataset[Crop]):
    """Endless, seeded crops. Item i depends on (seed, i) alone, so a resumed run sees what it would have seen.

    They are drawn in the shares of the config: a mitosis of a field, a patch (pasted into a field, or whole), a hard
    negative (look-alike or mined), any place. Within a share a scanner is drawn first, each by the square root of what
    it has, so that a large collection does not outweigh the others.
    """

    def __init__(
        self, tissues: Sequence[Tissue], config: TrainConfig, stride: int, length: int, offset: int = 0
    ) -> None:
        self.config, self.stride, self.length, self.offset = config, stride, length, offset
        fields = [t for t in tissues if t.whole_field]
        places: dict[str, list[Place]] = {
            "mitosis": [(t, xy) for t in fields for xy in t.mitoses_xy_px],
            "patch": [(t, t.mitoses_xy_px[0]) for t in tissues if not t.whole_field],
            "lookalike": [(t, xy) for t in fields for xy in t.lookalikes_xy_px],
            "hard": [(t, xy) for t in fields for xy in t.hard_xy_px],
            "anywhere": [(t, None) for t in fields],
        }
        shares = {
            "mitosis": config.share_mitosis,
            "patch": config.share_patch,
            "lookalike": config.share_lookalike,
            "hard": config.share_hard,
            "anywhere": config.share_anywhere,
        }
        # Few hard negatives are mostly doubtful cells: none is shown more often than a mitosis of a field is.
        usual = config.share_mitosis / max(1, len(places["mitosis"]))
        shares["hard"] = min(shares["hard"], usual * len(places["hard"]))
        present = {kind: share for kind, share in shares.items() if places[kind] and share > 0}
        self.kinds = list(present)
        self.shares = np.array(list(present.values())) / sum(present.values())
        self.places = {kind: _by_scanner(some) for kind, some in places.items() if some}
        self.profiles = [t.profile for t in tissues if t.profile] or [REFERENCE]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Crop:
        config, rng = self.config, np.random.default_rng((self.config.seed, index + self.offset))
        kind = str(rng.choice(self.kinds, p=self.shares))
        pasted = kind == "patch" and rng.random() >= config.share_whole
        tissue, xy = self._draw("anywhere" if pasted else kind, rng)
        placed = Placement.draw(self._centre(tissue, xy, rng), config.crop_px, rng)
        image, mask, points = (
            placed.image(tissue.pixels),
            self._mask(tissue, placed),
            placed.points(tissue.mitoses_xy_px),
        )
        if pasted:
            points = self._paste(image, mask, tissue.mask is not None, points, *self._draw(kind, rng), rng)
        image = other_stain(image, self.profiles, config.stain_share, config.stain_jitter, rng)
        image = other_scanner(image, rng)
        labels = self._labels(mask, points, tissue, placed.scale, rng)
        return Crop(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels), self._boxes(mask, points))

    def _draw(self, kind: str, rng: np.random.Generator) -> Place:
        by_scanner, shares = self.places[kind]
        some = by_scanner[int(rng.choice(len(by_scanner), p=shares))]
        return some[int(rng.integers(len(some)))]

    def _centre(self, tissue: Tissue, xy: Float32 | None, rng: np.random.Generator) -> Float32:
        if xy is None:
            return np.array([rng.integers(side) for side in tissue.pixels.shape[1::-1]], np.float32)
        # A patch hardly reaches beyond the crop: shifted less, more of the crop is tissue.
        most = _SHIFT if tissue.whole_field else _SHIFT_OF_A_PATCH
        return np.asarray(xy + rng.uniform(-most, most, 2) * self.config.crop_px, np.float32)

    def _mask(self, tissue: Tissue, placed: Placement) -> UInt8:
        """255 beyond the tissue and where it is to be ignored, else the instance mask (0 without one)."""
        known = np.zeros(tissue.pixels.shape[:2], np.uint8) if tissue.mask is None else tissue.mask
        mask = placed.mask(known, IGNORED)
        if tissue.ignored is not None:
            mask[placed.mask(tissue.ignored, 0) > 0] = IGNORED
        return mask

    def _paste(
        self,
        image: UInt8,
        mask: UInt8,
        masked: bool,
        points: Float32,
        patch: Tissue,
        xy: Float32 | None,
        rng: np.random.Generator,
    ) -> Float32:
        """Set a round piece of a patch into the tissue of a field: its mitosis, or as often a place beside it.

        If crops of patches were shown as they are, nearly all with a mitosis, the look of another scanner would be
        enough to tell one; and a seam must say nothing either. Returns the centroids with the new one, if any.
        Where the field has instance masks (`masked`) the new figure has a disc of BOX_UM in its mask, and what the
        piece covers is gone from it.
        """
        assert xy is not None, "patches have their figure at a known place"
        radius, side = _PASTED_UM / self.config.um_per_px, self.config.crop_px
        figure, angle = bool(rng.random() < 0.5), rng.uniform(0, 2 * np.pi)
        beside = 0.0 if figure else 1.3 * radius
        cut = (xy + beside * np.array([np.cos(angle), np.sin(angle)])).astype(np.float32)
        place = (side * (0.5 + rng.uniform(-0.3, 0.3, 2))).astype(np.float32)
        piece = Placement.draw(cut, side, rng, place).image(patch.pixels)
        away = np.hypot(*(np.indices((side, side))[::-1] - place[:, None, None]))
        share = np.clip((radius - away) / 4, 0, 1)[..., None]  # feathered over 4 px
        image[:] = np.rint(share * piece + (1 - share) * image).astype(np.uint8)
        if masked:
            known = mask != IGNORED
            free = int(np.setdiff1d(np.arange(1, IGNORED), mask)[0])
            mask[known & (away <= radius)] = 0
            mask[known & figure & (away <= BOX_UM / self.config.um_per_px / 2)] = free
        apart = np.hypot(*(points - place).T) > 1.5 * radius if len(points) else np.zeros(0, bool)
        kept = points[apart]
        return np.vstack([kept, place]).astype(np.float32) if figure else kept

    def _labels(self, mask: UInt8, points: Float32, tissue: Tissue, scale: float, rng: np.random.Generator) -> UInt8:
        """Labels on the network's own grid; the middle pixel of each cell stands for it."""
        stride, config = self.stride, self.config
        cells = mask[stride // 2 :: stride, stride // 2 :: stride]
        reviewed = (cells != IGNORED).astype(np.uint8)
        if tissue.mask is not None and config.labels == "mask":
            return np.where(cells == IGNORED, cells, mask_labels(cells))
        if tissue.mask is not None and config.labels == "ellipse":
            boxes = boxes_of_masks(np.where(mask == IGNORED, 0, mask)) / np.float32(stride)
            return concentric_labels_from_boxes(cells.shape, boxes, reviewed=reviewed)
        variant = VARIANTS["random" if config.labels in FROM_MASKS else config.labels]
        xy = ((points + 0.5) / stride - 0.5).astype(np.float32)
        cell_um = stride * config.um_per_px / scale
        radii = [(inner / cell_um, outer / cell_um) for inner, outer in (variant.draw(rng) for _ in xy)]
        return concentric_labels(cells.shape, xy, radii, reviewed=reviewed)

    def _boxes(self, mask: UInt8, points: Float32) -> torch.Tensor:
        """The box of the mask that lies on a centroid, or a square round it. Pixel i reaches from i to i + 1."""
        side, boxes = self.config.crop_px, []
        half = BOX_UM / self.config.um_per_px / 2
        for x, y in points.tolist():
            column, row = round(x), round(y)
            if not (0 <= column < side and 0 <= row < side):
                continue
            number = int(mask[row, column])
            if number in (0, IGNORED):
                boxes.append([x + 0.5 - half, y + 0.5 - half, x + 0.5 + half, y + 0.5 + half])
            else:
                rows, columns = np.nonzero(mask == number)
                ends = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                boxes.append([float(end) for end in ends])
        return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _by_scanner(places: Sequence[Place]) -> tuple[list[list[Place]], Float32]:
    """The places of each scanner, and the share of each."""
    scanners: dict[str, list[Place]] = {}
    for tissue, xy in places:
        scanners.setdefault(tissue.scanner, []).append((tissue, xy))
    roots = np.sqrt([len(some) for some in scanners.values()])
    return list(scanners.values()), np.asarray(roots / roots.sum())
