"""A network in two parts answers as it does whole, and shares its weights with the part that is trained."""

from typing import cast

import pytest
import torch

from mitosis_core.encoders import ENCODERS
from mitosis_core.methods import METHODS
from mitosis_core.methods.segmitos import LiteFCN
from train.retrain.heads import encode, head_in, head_logits, head_of


def network(encoder: str) -> LiteFCN:
    """With a head that does not answer the same everywhere."""
    torch.manual_seed(0)
    net = cast(LiteFCN, METHODS["segmitos"].build(encoder, False)).eval()
    torch.nn.init.normal_(net.classify.weight)
    return net


@pytest.mark.parametrize("encoder", ENCODERS)
@torch.no_grad()
def test_the_two_parts_answer_as_the_whole_network(encoder: str) -> None:
    net = network(encoder)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    whole, parts = net(images.float()), head_logits(head_of(net), encode(net, images))
    # The maps between the parts are kept in half precision.
    assert (whole - parts).std() < 0.05 * whole.std()


def test_the_network_has_what_its_part_has_learned_and_the_stages_before_stay() -> None:
    net = network("efficientnet_lite0")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    trained = head_of(net)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "it has its own weights"
    head_in(net).load_state_dict(trained.state_dict())
    changed = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    frozen = [f"encoder.blocks.{i}." for i in range(5)] + ["encoder.stem"]
    assert changed == {name for name, _ in net.named_parameters() if not name.startswith(tuple(frozen))}
