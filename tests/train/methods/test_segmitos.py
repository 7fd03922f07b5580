"""The concentric loss by hand: mean of -log P over disc and background, the ring silent."""

import math

import pytest
import torch

from train.methods.segmitos import concentric_loss


def test_by_hand() -> None:
    # three pixels: disc with P(1) = 0.5, background with P(0) = 0.75, ring with a confident error
    logits = torch.tensor([[[[0.0, math.log(3), -9.0]], [[0.0, 0.0, 9.0]]]])
    labels = torch.tensor([[[1, 0, 255]]], dtype=torch.uint8)
    expected = (-math.log(0.5) - math.log(0.75)) / 2
    assert float(concentric_loss(logits, labels, 1.0)) == pytest.approx(expected, rel=1e-6)
    weighted = (-4 * math.log(0.5) - math.log(0.75)) / 2
    assert float(concentric_loss(logits, labels, 4.0)) == pytest.approx(weighted, rel=1e-6)


def test_the_ring_has_no_gradient() -> None:
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[0, 1:3, 1:3] = 255
    concentric_loss(logits, labels, 1.0).backward()
    assert logits.grad is not None
    assert logits.grad[0, :, 1:3, 1:3].abs().sum() == 0 and logits.grad[0, :, 0].abs().sum() > 0


def test_all_ignored_is_zero() -> None:
    labels = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    assert float(concentric_loss(torch.randn(1, 2, 4, 4), labels, 1.0)) == 0.0
