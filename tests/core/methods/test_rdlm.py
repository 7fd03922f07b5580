"""RDLM: its anchors and boxes, the bank and its variants, and that tiles say what the whole field says."""

import numpy as np
import pytest
import torch

from mitosis_core.errors import UnusableModel
from mitosis_core.inference.tiling import Window, cover
from mitosis_core.methods.method import BoxOutput
from mitosis_core.methods.rdlm import ANCHORS_UM, RDLM, UM_PER_PX, RDLMNet, anchors, build, flatten_levels
from tests.core.tiny_encoder import TinyEncoder


def tiny_net(variant: str = "") -> RDLMNet:
    torch.manual_seed(0)
    return RDLMNet(TinyEncoder(), variant, width=16, k=12, m=8)


@pytest.fixture
def excited() -> RDLMNet:
    """An untrained network that is sure of something, differently in different places."""
    net = tiny_net().eval()
    net.score.load_state_dict({"weight": net.score.weight * 200, "bias": torch.zeros(3)})
    return net


def _find(net: RDLMNet, pixels: torch.Tensor) -> BoxOutput:
    with torch.inference_mode():
        return net.detect(pixels)


@pytest.mark.parametrize("variant", RDLM.variants)
def test_every_anchor_has_a_score_and_a_box(variant: str) -> None:
    levels = tiny_net(variant).head_outputs(torch.rand(2, 3, 64, 96) * 255)
    assert [tuple(level.logits.shape) for level in levels] == [(2, 3, 16, 24), (2, 3, 8, 12), (2, 3, 4, 6)]
    assert [tuple(level.deltas.shape[1:3]) for level in levels] == [(3, 4)] * 3
    logits, deltas = flatten_levels(levels)
    assert (2, *anchors(64, 96).shape) == deltas.shape == (*logits.shape, 4)
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.3)  # it begins almost without mitoses
    one = 16 * 24 * 3 + (5 * 12 + 7) * 3 + 1  # second level, row 5, column 7, ratio 1
    assert logits[1, one] == levels[1].logits[1, 1, 5, 7] and deltas[1, one, 2] == levels[1].deltas[1, 1, 2, 5, 7]


def test_it_answers_with_boxes_and_a_map(excited: RDLMNet) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = _find(excited, torch.rand(1, 3, 96, 128) * 255)
    assert found.heat.shape == (96 // excited.stride, 128 // excited.stride)
    assert len(found.boxes) == len(found.score) > 0
    assert all(t.dtype == torch.float32 and bool(torch.isfinite(t).all()) for t in found)
    assert found.score.min() > 0.02 and found.heat.min() >= 0 and found.score.max() <= found.heat.max() <= 1
    assert found.boxes.min() >= 0 and bool((found.boxes <= torch.tensor([128, 96, 128, 96])).all())
    parts = [p for part in excited.freezable_stages() for p in part.parameters()]
    assert len(parts) == len(list(excited.encoder.parameters()))


def test_a_pale_field_may_hold_nothing() -> None:
    net = tiny_net().eval()
    net.score.load_state_dict({"weight": torch.zeros_like(net.score.weight), "bias": torch.full((3,), -9.0)})
    found = _find(net, torch.full((1, 3, 64, 64), 240.0))
    assert found.boxes.shape == (0, 4) and found.score.shape == (0,) and found.heat.shape == (16, 16)


def test_only_some_variants_have_a_bank() -> None:
    banks = {v: any(name.startswith("bank.") for name in tiny_net(v).state_dict()) for v in RDLM.variants}
    assert {v for v, has in banks.items() if not has} == {"fpn-fl", "fpn"}
    assert build("thin_resnet50", False, "fpn").variant == "fpn"
    with pytest.raises(UnusableModel, match="no variant “yolo”"):
        build("thin_resnet50", False, "yolo")


def test_the_bank_calibrates_every_level() -> None:
    net, x = tiny_net(), torch.rand(1, 3, 64, 96) * 255
    assert net.bank is not None
    maps = net.encoder(x)
    assert net.bank.vault(maps).shape == (1, 8, 16, 24)  # m channels at the size of the finest stage
    gains, calibrated = net.bank(maps), net.pyramid(x)
    net.bank = None
    for gain, level, plain in zip(gains, calibrated, net.pyramid(x), strict=True):
        assert gain.shape == level.shape and torch.equal(level, plain + gain)  # equation 3


def test_anchors_stand_on_the_middles_of_their_cells() -> None:
    boxes = anchors(64, 96)
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    first = 0
    for stride, side_um in zip((4, 8, 16), ANCHORS_UM, strict=True):
        rows, columns = 64 // stride, 96 // stride
        level = slice(first, first := first + rows * columns * 3)
        grid = middle[level].view(rows, columns, 3, 2)
        assert torch.allclose(grid[1, 2], torch.tensor([2.5, 1.5]) * stride)
        assert torch.allclose(size[level].prod(1).sqrt() * UM_PER_PX, torch.tensor(side_um))
        assert torch.allclose((size[level][:, 1] / size[level][:, 0])[:3], torch.tensor([0.5, 1, 2]))
    assert first == len(boxes)


def test_a_box_survives_its_coding() -> None:
    net, places = tiny_net(), anchors(64, 64)
    corner = torch.rand(len(places), 2) * 40
    boxes = torch.cat([corner, corner + 8 + torch.rand(len(places), 2) * 30], 1)
    assert torch.allclose(net.coder.decode_single(net.coder.encode_single(boxes, places), places), boxes, atol=1e-3)


def _inside(found: BoxOutput, window: Window, left: int, top: int) -> torch.Tensor:
    """[N, 5]: boxes and scores whose middle a window owns, by position; left, top: where what was read begins."""
    boxes = found.boxes + torch.tensor([left, top, left, top])
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    owned = (x >= window.left + 1) & (x < window.right - 1) & (y >= window.top + 1) & (y < window.bottom - 1)
    rows = torch.cat([boxes, found.score[:, None]], 1)[owned]
    return rows[np.lexsort(rows.round().numpy().T)] if len(rows) else rows


def test_a_tile_says_what_the_whole_field_says(excited: RDLMNet) -> None:
    x = torch.rand(1, 3, 384, 512, generator=torch.Generator().manual_seed(1)) * 255
    # Few are sure, so that neither the number of candidates nor a chain of overlapping ones reaches over a halo.
    with torch.inference_mode():
        sure = flatten_levels(excited.head_outputs(x))[0].topk(100).values.min()
    excited.score.load_state_dict({"weight": excited.score.weight, "bias": excited.score.bias - sure - 3.9})
    whole, seen = _find(excited, x), 0
    for tile in cover(384, 512, 320, 128, 32):
        rows, columns = tile.read.slices
        found, owned = _find(excited, x[:, :, rows, columns]), tile.owned.at(4)
        there, here = whole.heat[owned.slices], found.heat[tile.owned_in_read.at(4).slices]
        assert torch.allclose(there, here, atol=1e-3)
        expected = _inside(whole, tile.owned, 0, 0)
        answered = _inside(found, tile.owned, tile.read.left, tile.read.top)
        assert answered.shape == expected.shape and torch.allclose(answered, expected, atol=1e-2)
        seen += len(expected)
    assert seen > 10
