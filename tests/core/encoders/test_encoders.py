"""What an encoder says of itself is so, and the halo of the tiles reaches as far as the networks see."""

import pytest
import torch

from mitosis_core.encoders import ENCODERS, build_encoder
from mitosis_core.errors import UnusableModel
from mitosis_core.inference.runtime import MULTIPLE_PX
from mitosis_core.methods import METHODS
from mitosis_core.prediction import HALO_PX, TILE_PX


@pytest.mark.parametrize("name", ENCODERS)
def test_maps_have_the_strides_and_channels_that_are_named(name: str) -> None:
    encoder = build_encoder(name, pretrained=False).eval()
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 64, 96) * 255)
    wanted = [(1, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == wanted
    assert max(encoder.strides) <= MULTIPLE_PX and all(MULTIPLE_PX % s == 0 for s in encoder.strides)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("count", [1, 2])
def test_the_first_maps_alone_are_those_of_all(name: str, count: int) -> None:
    encoder = build_encoder(name, pretrained=False).eval()
    pixels = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        every, first = encoder(pixels), encoder(pixels, count=count)
    assert len(first) == count
    assert all(torch.equal(a, b) for a, b in zip(first, every, strict=False))


def test_an_unknown_encoder_is_a_sentence() -> None:
    with pytest.raises(UnusableModel, match="no encoder “resnet9000”; there are thin_resnet50"):
        build_encoder("resnet9000", pretrained=False)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [*ENCODERS, "vgg16-8s"])
def test_the_halo_covers_what_a_cell_of_the_map_depends_on(encoder: str) -> None:
    """NaN spreads to every cell that sees it, so the cells that stay numbers see none of it."""
    net = METHODS["segmitos"].build(encoder, False).eval()
    border = 256
    for unknown in (slice(0, border), slice(border, None)):
        pixels = torch.full((1, 3, 32, 2 * border), 128.0)
        pixels[..., unknown] = float("nan")
        with torch.no_grad():
            seen = net(pixels)[0, 1].isnan().any(dim=0)
        reach = int(seen.sum()) * net.stride - border
        assert 0 < reach <= HALO_PX
    assert TILE_PX > 4 * HALO_PX
