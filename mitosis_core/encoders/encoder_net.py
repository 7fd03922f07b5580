"""What every encoder offers."""

from __future__ import annotations

from torch import nn


class EncoderNet(nn.Module):
    """forward: [B, 3, H, W] RGB in 0..255 -> one map per stride, finest first, with these channels; or the first so
    many of them alone."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def freezable_stages(self) -> list[nn.Module]:
        """From the image on: what may be kept frozen, a part at a time."""
        raise NotImplementedError
