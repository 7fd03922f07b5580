"""Pixels as amounts of the stains and back, to draw the tissue of another laboratory."""

from __future__ import annotations

import numpy as np
import torch

from mitosis_core.image.stain import STAINS


def to_stains(rgb: torch.Tensor) -> torch.Tensor:
    """[..., 3, H, W] RGB in 0..255 -> stain densities (haematoxylin, eosin, residual), same shape, float32."""
    density = -torch.log((rgb.float().clamp_min(1.0)) / 255.0)
    return torch.einsum("...chw,cs->...shw", density, _matrix(rgb, np.linalg.inv(STAINS)))


def from_stains(stains: torch.Tensor) -> torch.Tensor:
    """Inverse of `to_stains`: stain densities -> RGB in 0..255, float32, clipped."""
    density = torch.einsum("...shw,sc->...chw", stains, _matrix(stains, STAINS))
    return (255.0 * torch.exp(-density)).clamp(0.0, 255.0)


def _matrix(like: torch.Tensor, values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device=like.device)
