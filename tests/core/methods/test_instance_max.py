"""Instance-max: one score per image in five ways, one map, and who learns from the score."""

import math

import pytest
import torch
from torch import nn

from mitosis_core.encoders import build_encoder
from mitosis_core.encoders.encoder_net import EncoderNet
from mitosis_core.errors import UnusableModel
from mitosis_core.methods.instance_max import INSTANCE_MAX, VARIANTS, InstanceNet, Pooling, build


class Means(EncoderNet):
    """Mean colour of squares of 4, 8 and 16 px: positions that can be set by hand."""

    channels = (3, 3, 3)
    strides = (4, 8, 16)

    def freezable_stages(self) -> list[nn.Module]:
        return [nn.Identity() for _ in range(4)]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [nn.functional.avg_pool2d(x, stride) for stride in self.strides]


def by_hand(pooling: Pooling) -> InstanceNet:
    """The logit of a position is its red minus 3."""
    net = InstanceNet(Means(), pooling)
    weight = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    net.classify.load_state_dict({"weight": weight, "bias": torch.tensor([-3.0])})
    return net


def reds(*values: float) -> torch.Tensor:
    """[1, 3, 16, 16 * N]: one position for each red; green is 10 times as much."""
    x = torch.zeros(1, 3, 16, 16 * len(values))
    for i, value in enumerate(values):
        x[:, 0, :, 16 * i : 16 * (i + 1)] = value
        x[:, 1, :, 16 * i : 16 * (i + 1)] = 10 * value
    return x


def test_the_score_of_an_image_by_hand() -> None:
    x = reds(1.0, 5.0)  # logits -2 and 2, sigmoids 0.119 and 0.881
    assert by_hand("instance-max").image_logit(x).item() == pytest.approx(2.0)
    assert by_hand("instance-mean").image_logit(x).item() == pytest.approx(0.0, abs=1e-6)  # the mean sigmoid is 0.5
    assert by_hand("embedding-mean").image_logit(x).item() == pytest.approx(0.0, abs=1e-6)
    assert by_hand("embedding-max").image_logit(x).item() == pytest.approx(2.0)


def test_the_mean_is_one_of_probabilities_and_never_infinite() -> None:
    net = by_hand("instance-mean")
    probability = (1 / (1 + math.exp(2)) + 1 / (1 + math.exp(-4))) / 2
    assert net.image_logit(reds(1.0, 7.0)).item() == pytest.approx(math.log(probability / (1 - probability)), rel=1e-5)
    assert net.image_logit(reds(-197.0, -197.0)).item() == pytest.approx(-200.0)
    assert net.image_logit(reds(203.0, 203.0)).item() == pytest.approx(200.0)


def test_attention_weights_features_by_hand() -> None:
    net = by_hand("attention")
    assert net.attend is not None
    for p in net.attend.parameters():
        nn.init.zeros_(p)
    assert net.image_logit(reds(1.0, 5.0)).item() == pytest.approx(0.0, abs=1e-6)  # no attention is the mean
    hidden, out = net.attend[0], net.attend[2]
    assert isinstance(hidden, nn.Conv2d) and isinstance(out, nn.Conv2d)
    with torch.no_grad():
        hidden.weight[0, 0] = 100.0  # tanh(100 * red) is 1 for red > 0, else 0
        out.weight[0, 0] = math.log(3)
    # Weights 3/4 and 1/4 of reds 4 and 0: the pooled red is 3, the logit 0.
    assert net.image_logit(reds(4.0, 0.0)).item() == pytest.approx(0.0, abs=1e-5)
    # The map: logits 1 and -3, the first with log 3 more.
    assert torch.allclose(net(reds(4.0, 0.0))[0, 1], torch.tensor([[1 + math.log(3), -3.0]]), atol=1e-5)


@pytest.mark.parametrize("pooling", ["instance-max", "instance-mean", "embedding-mean", "embedding-max"])
def test_of_equal_positions_image_and_position_say_the_same(pooling: Pooling) -> None:
    net, x = by_hand(pooling), reds(4.5, 4.5, 4.5)
    assert torch.allclose(net(x)[0, 1], net.image_logit(x).expand(1, 3), atol=1e-5)


def test_only_the_best_position_learns_from_a_maximum() -> None:
    for pooling, learning in (("instance-max", [False, True, False]), ("instance-mean", [True] * 3)):
        x = reds(1.0, 5.0, 4.0).requires_grad_()
        by_hand(pooling).image_logit(x).sum().backward()  # type: ignore[arg-type]
        assert x.grad is not None
        assert [bool(part.abs().sum() > 0) for part in x.grad[0, 0].split(16, 1)] == learning


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_of_every_variant(variant: str) -> None:
    torch.manual_seed(0)
    net = build("resnet18", False, variant).eval()
    x = torch.rand(2, 3, 64, 96) * 255
    with torch.no_grad():
        answer, image = net(x), net.image_logit(x)
    stride = {"2 stages": 8, "1 stage": 4}.get(variant, 16)
    assert net.stride == stride and answer.shape == (2, 2, 64 // stride, 96 // stride) and image.shape == (2,)
    assert (answer[:, 0] == 0).all() and answer.isfinite().all() and image.isfinite().all()
    if VARIANTS[variant][0] == "instance-max":
        assert torch.allclose(image, answer[:, 1].amax((1, 2)), atol=1e-5)
    assert len(net.freezable_stages()) == {16: 4, 8: 3, 4: 2}[stride]


def test_the_method_names_its_variants() -> None:
    assert INSTANCE_MAX.variants[0] == "" and INSTANCE_MAX.key == "instance_max"
    with pytest.raises(UnusableModel, match="no variant “median”; it has “instance-mean”"):
        INSTANCE_MAX.build("resnet18", False, "median")
    with pytest.raises(UnusableModel, match="no encoder “resnet9000”"):
        INSTANCE_MAX.build("resnet9000", False)


def test_the_score_is_a_number_in_half_precision_too() -> None:
    net = InstanceNet(build_encoder("thin_resnet50", pretrained=False), "attention").eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        score = net.image_logit(torch.rand(1, 3, 32, 32) * 255)
    assert score.dtype == torch.float32 and bool(score.isfinite())
