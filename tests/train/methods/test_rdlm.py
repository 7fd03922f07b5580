"""The losses of RDLM by hand, what teaches nothing, and that it learns."""

import math

import pytest
import torch

from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.methods.rdlm import RDLM, RDLMNet, anchors
from tests.core.methods.test_rdlm import tiny_net
from tests.core.tiny_encoder import TinyEncoder
from train.config import TrainConfig
from train.methods.rdlm import DEFAULTS, _aim, focal_loss, loss

CONFIG = TrainConfig()
NONE = torch.zeros(0, 4)


def _focal(p: float, target: float, alpha: float, gamma: float) -> float:
    return focal_loss(torch.tensor(p).logit(), torch.tensor(target), gamma, alpha).item()


def test_focal_loss_by_hand() -> None:
    assert _focal(0.9, 1, 0.5, 0.5) == pytest.approx(0.5 * math.sqrt(0.1) * -math.log(0.9), rel=1e-4)
    assert _focal(0.36, 0, 0.25, 0.5) == pytest.approx(0.75 * 0.6 * -math.log(0.64), rel=1e-4)
    for p, target in ((0.9, 1), (0.2, 1), (0.7, 0)):
        entropy = -math.log(p if target else 1 - p)
        assert _focal(p, target, 0.5, 0.0) == pytest.approx(entropy / 2, rel=1e-4)  # half the cross-entropy
    assert _focal(0.95, 1, 0.5, 2) < _focal(0.95, 1, 0.5, 0.5) < _focal(0.95, 1, 0.5, 0)  # sure and right


def test_its_gradient_is_finite_however_sure() -> None:
    logits = torch.tensor([-300.0, -300, 0, 300, 300], requires_grad=True)
    focal_loss(logits, torch.tensor([0.0, 1, 1, 0, 1]), 0.5).sum().backward()
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())
    assert logits.grad[0] == logits.grad[4] == 0 and logits.grad[1] < 0 < logits.grad[3]


def test_every_figure_has_anchors_and_what_is_unknown_has_none() -> None:
    places, labels = anchors(64, 64), torch.zeros(16, 16, dtype=torch.uint8)
    labels[:, 8:], labels[0, :8] = 255, 1  # unknown tissue; figures whose centroids lie outside
    boxes = torch.tensor([[10.0, 20, 32, 42], [50, 50, 53, 53]])  # an ordinary figure, and one too small for any anchor
    truth, index = _aim(places, labels, boxes)
    middle = (places[:, :2] + places[:, 2:]) / 2
    assert set(index.tolist()) == {0, 1} and len(index) == (truth == 1).sum()
    assert (middle[truth == 1] - (boxes[index, :2] + boxes[index, 2:]) / 2).abs().max() < 12
    background = middle[truth == 0]
    assert background[:, 0].max() < 32 and background[:, 1].min() >= 4
    assert (_aim(places, labels * 0, NONE)[0] == 0).all()


@pytest.mark.parametrize("variant", RDLM.variants)
def test_ignored_cells_teach_nothing(variant: str) -> None:
    net, x = tiny_net(variant), torch.rand(2, 3, 64, 64) * 255
    unknown = torch.full((2, 16, 16), 255, dtype=torch.uint8)
    nothing = loss(net, x, unknown, [NONE, NONE], CONFIG)
    nothing.backward()
    assert nothing == 0 and all(p.grad is None or not p.grad.any() for p in net.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        something = loss(net, x, unknown, [torch.tensor([[20.0, 20, 42, 42]]), NONE], CONFIG)
    something.backward()
    assert something > 0 and something.dtype == torch.float32 and bool(net.delta.weight.grad.any())


def test_the_name_of_the_variant_chooses_the_loss() -> None:
    x, labels = torch.rand(2, 3, 64, 64) * 255, torch.zeros(2, 16, 16, dtype=torch.uint8)
    for focal, entropy in (("", "glb-fpn"), ("fpn-fl", "fpn")):
        net = tiny_net(focal)
        low = loss(net, x, labels, [NONE, NONE], CONFIG)
        net.variant = entropy
        assert low < 0.2 * loss(net, x, labels, [NONE, NONE], CONFIG)  # a sure right answer costs sqrt(p) / 2 of it
    net = tiny_net()
    costs = []
    for net.variant in ("gamma 0", "", "gamma 1", "gamma 2"):
        costs.append(loss(net, x, labels, [NONE, NONE], CONFIG).item())
    assert costs == sorted(costs, reverse=True)  # the larger gamma, the less an easy answer counts
    with pytest.raises(TypeError, match="no anchors"):
        loss(TinyEncoder(), x, labels, [NONE, NONE], CONFIG)
    assert TrainConfig(**DEFAULTS).crop_px % 32 == 0


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["", "fpn"])
def test_it_learns_one_drawn_field(variant: str) -> None:
    torch.manual_seed(1)
    sample = draw_sample_field(seed=2, size_px=192, um_per_px=0.333, mitoses=3, lookalikes=0)
    xy = torch.from_numpy(sample.mitoses_xy_px) + 0.5
    x = torch.from_numpy(sample.field.pixels).permute(2, 0, 1)[None].float()
    boxes, labels = torch.cat([xy - 12, xy + 12], 1), torch.zeros(1, 48, 48, dtype=torch.uint8)
    net = RDLMNet(TinyEncoder(), variant, width=24, k=16, m=16).train()
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        value = loss(net, x, labels, [boxes], CONFIG)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    with torch.inference_mode():
        found = net.eval().detect(x)
    middle = (found.boxes[:3, :2] + found.boxes[:3, 2:]) / 2
    assert torch.cdist(xy, middle).amin(1).max() < 5 / 0.333  # 5 µm: the surest boxes are the mitoses
