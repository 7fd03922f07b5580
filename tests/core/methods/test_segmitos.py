"""The networks of SegMitos: shapes, the coarse-to-fine initialisation of the paper, members that answer together."""

import pytest
import torch

from mitosis_core.encoders import ENCODERS, build_encoder
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import Ensemble
from mitosis_core.methods.fcn_vgg16 import FCNVGG16, load_imagenet
from mitosis_core.methods.segmitos import LiteFCN


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_light_network_answers_at_stride_4(encoder: str) -> None:
    torch.manual_seed(0)
    net = LiteFCN(build_encoder(encoder, pretrained=False)).eval()
    with torch.no_grad():
        answer = net(torch.rand(1, 3, 64, 96) * 255)
    assert answer.shape == (1, 2, 16, 24) and net.stride == 4
    # Before training every cell is called about 1 % mitosis.
    assert torch.allclose(answer.softmax(1)[:, 1], torch.tensor(0.01), atol=0.002)
    assert sum(p.numel() for part in net.freezable_stages() for p in part.parameters()) == sum(
        p.numel() for p in net.encoder.parameters()
    )


@pytest.fixture(scope="module")
def coarse() -> FCNVGG16:
    torch.manual_seed(0)
    net = FCNVGG16(32).eval()
    torch.nn.init.normal_(net.score.weight, 0, 0.1)
    return net


@pytest.mark.slow
def test_a_finer_network_begins_as_the_coarser_one(coarse: FCNVGG16) -> None:
    x = torch.rand(1, 3, 64, 96) * 255
    middle, fine = FCNVGG16(16).eval(), FCNVGG16(8).eval()
    middle.start_from(coarse)
    fine.start_from(middle)
    with torch.no_grad():
        expected = coarse(x)
        assert expected.shape == (1, 2, 64, 96)
        # Two or three bilinear steps instead of one: the same but for their smoothness.
        for finer in (middle, fine):
            both = torch.stack([expected.flatten(), finer(x).flatten()])
            assert float(torch.corrcoef(both)[0, 1]) > 0.97
    with pytest.raises(ValueError, match="not coarser"):
        coarse.start_from(fine)


@pytest.mark.slow
def test_imagenet_weights_find_their_place(coarse: FCNVGG16) -> None:
    state = {f"features.{k}": torch.full_like(v, 0.5) for k, v in coarse.encoder.state_dict().items()}
    state["classifier.0.weight"] = torch.arange(4096 * 25088, dtype=torch.float32).view(4096, 25088)
    state["classifier.0.bias"] = torch.ones(4096)
    state["classifier.3.weight"] = torch.eye(4096)
    state["classifier.3.bias"] = torch.zeros(4096)
    state["classifier.6.bias"] = torch.zeros(1000)  # ImageNet's own answer is not used
    net = FCNVGG16(32)
    load_imagenet(net, state)
    assert float(net.fc6.weight[3, 2, 1, 0].detach()) == 3 * 25088 + 2 * 49 + 7
    assert float(net.fc7.weight[5, 5, 0, 0].detach()) == 1 and bool((net.encoder[0].weight == 0.5).all())


def test_members_answer_with_the_mean_of_their_logits() -> None:
    torch.manual_seed(0)
    members = [LiteFCN(build_encoder("thin_resnet50", pretrained=False)).eval() for _ in range(2)]
    for member in members:
        torch.nn.init.normal_(member.classify.weight)
    x = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        together = Ensemble(members).eval()(x)
        apart = [member(x) for member in members]
    assert torch.allclose(together, (apart[0] + apart[1]) / 2, atol=1e-5)


def test_every_method_builds_without_pretrained_weights() -> None:
    for method in METHODS.values():
        assert method.build("thin_resnet50", False).stride >= 1
