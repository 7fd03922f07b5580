"""torchvision's ResNets up to stride 16: the same numbers as torchvision's own, and its files fit. No real download."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from mitosis_core import weights
from mitosis_core.encoders import build_encoder
from mitosis_core.encoders.resnet import ResNet, load_torchvision
from mitosis_core.errors import UnusableModel


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_pretrained_weights_come_from_torchvisions_file(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    whole = resnet18(weights=None)
    torch.save(whole.state_dict(), tmp_path / "served" / "resnet18.pth")
    digest = hashlib.sha256((tmp_path / "served" / "resnet18.pth").read_bytes()).hexdigest()
    sources = {"resnet18": weights.Source(digest, "test", url=f"{server}/resnet18.pth")}
    monkeypatch.setattr(weights.find_weights, "__defaults__", (sources,))
    net = build_encoder("resnet18", pretrained=True)
    assert (weights.cache_dir() / "resnet18.pth").exists()
    ours, theirs = net.state_dict(), whole.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert {name.split(".")[0] for name in theirs.keys() - ours.keys()} == {"layer4", "fc"}


def test_a_failed_download_is_a_sentence(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"resnet50": weights.Source("", "test", url=f"{server}/missing.pth")}
    monkeypatch.setattr(weights.find_weights, "__defaults__", (sources,))
    with pytest.raises(UnusableModel, match="could not be downloaded"):
        build_encoder("resnet50", pretrained=True)


def test_a_file_of_another_depth_does_not_fit(tmp_path: Path) -> None:
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "net.pth")
    with pytest.raises(RuntimeError, match=r"size mismatch|Unexpected key"):
        load_torchvision(ResNet(50), tmp_path / "net.pth")
    with pytest.raises(ValueError, match="18 or 50"):
        ResNet(34)


def test_colours_are_scaled_as_imagenets_were() -> None:
    """The first activation by hand: an image of ImageNet's mean colour is 0 to the network."""
    net = ResNet(18).eval()
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    theirs = resnet18(weights=None).eval()
    theirs.load_state_dict(net.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.allclose(net(mean)[0], theirs.layer1(torch.zeros(1, 64, 8, 8)), atol=1e-5)
        x = torch.rand(1, 3, 64, 64) * 255
        scaled = (x / 255 - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor(
            [0.229, 0.224, 0.225]
        ).view(1, 3, 1, 1)
        y = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(scaled)))))
        assert torch.allclose(net(x)[0], y, atol=1e-4)
        assert torch.allclose(net(x)[2], theirs.layer3(theirs.layer2(y)), atol=1e-4)


@pytest.mark.parametrize(("name", "channels"), [("resnet18", (64, 128, 256)), ("resnet50", (256, 512, 1024))])
def test_parts_hold_every_weight_once(name: str, channels: tuple[int, ...]) -> None:
    net = build_encoder(name, pretrained=False)
    assert net.channels == channels and net.strides == (4, 8, 16)
    in_parts = [id(p) for part in net.freezable_stages() for p in part.parameters()]
    assert sorted(in_parts) == sorted(id(p) for p in net.parameters())
