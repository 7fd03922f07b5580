"""Augmentation with torchvision.transforms.v2: geometry, and the stain as a second scanner would show it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from mitosis_core.image.stain import from_stains, to_stains


class StainShift(v2.Transform):  # type: ignore[misc]
    """Move the image's stain statistics towards those of another tissue, then jitter them.

    statistics: Float[K, 2, 3], per known image the mean and the spread of the three stain densities.
    One of them is drawn as the aim and up to `most` of the way is gone; `jitter` is the spread of
    a further log-scale and shift per stain. So the network cannot tell a mitosis by its lab's colours.
    """

    def __init__(self, statistics: torch.Tensor, jitter: float = 0.08, most: float = 0.5) -> None:
        super().__init__()
        self.statistics, self.jitter, self.most = statistics, jitter, most

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the aim, how far to go, and the jitter."""
        aim = self.statistics[int(torch.randint(len(self.statistics), ()))]
        noise = torch.randn(2, 3) * self.jitter
        return {"aim": aim, "share": self.most * torch.rand(()), "gain": noise[0].exp(), "shift": noise[1] * 0.3}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Images change, all else stays."""
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        stains = to_stains(inpt)
        own, share = stain_statistics(stains), params["share"]
        aim = own + share * (params["aim"] - own)
        gain = params["gain"] * aim[1] / own[1].clamp_min(0.02)
        shifted = (stains - own[0].view(3, 1, 1)) * gain.clamp(0.3, 3.0).view(3, 1, 1)
        shifted += (aim[0] + params["shift"] * aim[1]).view(3, 1, 1)
        return tv_tensors.Image(from_stains(shifted).round().to(torch.uint8))


class Recompress(v2.Transform):  # type: ignore[misc]
    """JPEG at a random quality, as the next scanner's export may be."""

    def __init__(self, quality: tuple[int, int]) -> None:
        super().__init__()
        self.quality = quality

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the quality."""
        low, high = self.quality
        return {"quality": int(torch.randint(low, high + 1, ()))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Images change, all else stays."""
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        pixels = np.ascontiguousarray(inpt.permute(1, 2, 0).numpy())
        _, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, params["quality"]])
        decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)  # stays in the order it came in: no colour swap needed
        return tv_tensors.Image(torch.from_numpy(decoded).permute(2, 0, 1))


def stain_statistics(stains: torch.Tensor) -> torch.Tensor:
    """[3, H, W] stain densities -> [2, 3]: mean and standard deviation of each stain."""
    flat = stains.reshape(3, -1)
    return torch.stack([flat.mean(1), flat.std(1)])


def training_transforms(crop_px: int, stain: StainShift) -> v2.Transform:
    """uint8 Image (larger than the crop), label Mask and centroid KeyPoints -> the augmented crop of crop_px."""
    fill: dict[Any, Any] = {tv_tensors.Image: 235, tv_tensors.Mask: 255, "others": 0}
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(180, scale=(0.85, 1.2), shear=5, interpolation=v2.InterpolationMode.BILINEAR, fill=fill),
            v2.CenterCrop(crop_px),
            v2.RandomApply([stain], 0.9),
            v2.RandomApply([v2.ColorJitter(0.1, 0.1, 0.1, 0.01)], 0.3),
            v2.RandomChoice(
                [v2.GaussianBlur(5, (0.3, 1.4)), v2.RandomAdjustSharpness(3.0, 1.0), v2.Identity()], [0.25, 0.25, 0.5]
            ),
            v2.RandomApply([Recompress((40, 95))], 0.4),
        ]
    )
