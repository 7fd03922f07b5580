"""The second look: patches at the border, who is asked, and equation 1 by hand."""

import numpy as np
import pytest
import torch

from mitosis_core.encoders import build_encoder
from mitosis_core.inference.verifier import PATCH_PX, UM_PER_PX, Verifier, cut_patches, fuse_scores, verifier_scores
from mitosis_core.types import UInt8


@pytest.fixture(scope="module")
def net() -> Verifier:
    torch.manual_seed(0)
    return Verifier(build_encoder("thin_resnet50", pretrained=False)).eval()


@pytest.fixture(scope="module")
def pixels() -> UInt8:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def test_a_patch_is_the_papers() -> None:
    assert PATCH_PX * UM_PER_PX == 24.0


def test_one_logit_per_patch(net: Verifier) -> None:
    with torch.inference_mode():
        assert net(torch.rand(3, 3, 96, 96) * 255).shape == (3,)
    assert sum(len(list(p.parameters())) for p in net.freezable_stages()) == len(list(net.encoder.parameters()))


def test_patches_have_their_point_in_the_middle_and_are_mirrored_beyond_the_border(pixels: UInt8) -> None:
    cut = cut_patches(pixels, np.array([[80.0, 60.2], [0.0, 119.0], [-3.0, 500.0]], np.float32), 32)
    assert cut.shape == (3, 32, 32, 3) and cut.dtype == np.uint8
    assert (cut[0] == pixels[44:76, 64:96]).all()
    assert (cut[1, 16, 16] == pixels[119, 0]).all()
    assert (cut[1, 16, 15] == pixels[119, 1]).all() and (cut[1, 17, 16] == pixels[118, 0]).all()
    assert (cut[2] == cut[1]).all()  # a point outside is moved to the border
    assert cut_patches(pixels, np.zeros((0, 2), np.float32)).shape == (0, 96, 96, 3)
    with pytest.raises(ValueError, match="too small"):
        cut_patches(pixels[:40], np.zeros((1, 2), np.float32), 96)


def test_only_detections_above_the_lower_bound_are_looked_at(net: Verifier, pixels: UInt8) -> None:
    xy = np.array([[40, 40], [80, 60], [120, 80]], np.float32)
    said = verifier_scores(net, pixels, xy, np.array([0.9, 0.05, 0.5], np.float32), lower=0.5)
    assert said.dtype == np.float32 and said[1] == 0 and 0 < said[0] < 1 and 0 < said[2] < 1
    turned = verifier_scores(net, pixels, xy[::-1], np.array([0.5, 0.05, 0.9], np.float32), lower=0.5)[::-1]
    np.testing.assert_allclose(turned, said, atol=1e-6)
    assert len(verifier_scores(net, pixels, xy[:0], np.zeros(0, np.float32))) == 0


def test_fusing_by_hand() -> None:
    detection, verification = np.array([0.9, 0.6, 0.04], np.float32), np.array([0.2, 1.0, 0.0], np.float32)
    assert fuse_scores(detection, verification, 0.25) == pytest.approx([0.375, 0.9, 0.01])  # the last was not looked at
    assert fuse_scores(detection, verification, 1.0) == pytest.approx(detection)
    assert fuse_scores(detection, verification, 0.0) == pytest.approx(verification)
    with pytest.raises(ValueError, match="between 0 and 1"):
        fuse_scores(detection, verification, 1.2)
