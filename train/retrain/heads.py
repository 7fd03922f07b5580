"""A network in two parts: the first stages of its encoder, which are frozen and encode every crop once, and the head,
which is trained: the last stage of the encoder and everything after it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from mitosis_core.inference.runtime import crop_padding
from mitosis_core.methods.segmitos import LiteFCN
from mitosis_core.precision import autocast, has_half
from mitosis_core.types import Float32
from train.data.patches import Tissue

ENCODER_BATCH = 32  # crops that go through an encoder together

Features = list[torch.Tensor]  # one map per stride: BFloat16[N, C, h, w]


@contextmanager
def single_thread() -> Iterator[None]:
    """The same sums on every machine; and threads that wait for a core another program holds are many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def member_networks(net: nn.Module) -> list[LiteFCN]:
    """The networks of a version of which the heads are trained (`train.retrain.config.way_of`)."""
    return [one for one in cast(Sequence[nn.Module], net.members) if isinstance(one, LiteFCN)]


class _LastStage(nn.Module):
    """Stands in for an encoder: from the maps of the stages before the last to those of all."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, maps: Features) -> Features:
        return [*maps, self.stage(maps[-1])]


def head_in(member: LiteFCN) -> LiteFCN:
    """The network from the last stage of its encoder on, sharing its weights: it takes what `encode` gives."""
    head = copy.copy(member)
    head._modules = {**member._modules, "encoder": _LastStage(member.freezable_stages()[-1])}
    return head


def head_of(member: LiteFCN) -> LiteFCN:
    """`head_in` with weights of its own, to be trained; its norms keep their statistics, a few fields have none."""
    return copy.deepcopy(head_in(member)).requires_grad_(True).eval()


def encode(member: LiteFCN, images: torch.Tensor) -> Features:
    """UInt8[N, 3, H, W] -> the maps of the encoder but for its last stage."""
    with torch.no_grad(), autocast(images.device):
        pixels = images.float().contiguous(memory_format=torch.channels_last)
        maps = member.encoder(pixels, count=len(member.encoder.channels) - 1)
    # Kept in half precision everywhere: it halves the memory, which is the limit here.
    return [m.to(torch.bfloat16).contiguous(memory_format=torch.channels_last) for m in maps]


def head_logits(head: nn.Module, features: Features) -> torch.Tensor:
    """Logits of the head, Float32[N, 2, h, w]."""
    device = features[0].device
    maps = features if has_half(device) else [m.float() for m in features]
    with autocast(device):
        return cast(torch.Tensor, head(maps)).float()


@torch.no_grad()
def field_probabilities(head: nn.Module, features: Features, tissue: Tissue, stride: int) -> Float32:
    """The probabilities on a whole field, Float32[h, w], from its features."""
    logits = head_logits(head, features)[0]
    height, width = tissue.pixels.shape[:2]
    return crop_padding(torch.sigmoid(logits[1] - logits[0]).numpy(), stride, (height, width))


def split_batches(features: Features) -> Iterator[Features]:
    """The same features, a few crops at a time."""
    return (list(part) for part in zip(*(torch.split(maps, ENCODER_BATCH) for maps in features), strict=True))


@torch.no_grad()
def interpolate_weights(weights: nn.Module, target: nn.Module, share: float) -> None:
    """Move weights that share of the way to others, in place."""
    for kept, new in zip(weights.parameters(), target.parameters(), strict=True):
        kept.lerp_(new, share)


@torch.no_grad()
def mean_weights(heads: Sequence[nn.Module]) -> nn.Module:
    """A network with the mean weights of several that began as one."""
    mean = copy.deepcopy(heads[0])
    for kept, *others in zip(mean.parameters(), *(head.parameters() for head in heads[1:]), strict=True):
        kept.copy_(torch.stack([kept, *others]).mean(0))
    return mean
