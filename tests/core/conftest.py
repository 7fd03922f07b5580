"""A small random version, and a cache directory of its own for every test."""

from pathlib import Path

import pytest
import torch

from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import Ensemble
from mitosis_core.model import Model, ModelCard, save_model


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def random_version(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A network that has learned nothing but answers differently from place to place."""
    torch.manual_seed(3)
    net = METHODS["segmitos"].build("thin_resnet50", False)
    torch.nn.init.normal_(net.classify.weight, 0, 0.3)  # type: ignore[arg-type,union-attr]
    card = ModelCard(
        version="random",
        method="segmitos",
        encoder="thin_resnet50",
        um_per_px=0.333,
        stride=4,
        members=1,
        raw_threshold=0.5,
        blobs=BlobSettings(binarize="fixed", threshold=0.5, min_area_um2=0.0),
        calibration=None,
        weights_sha256="",
        created_at="2026-01-01T00:00:00+00:00",
    )
    return save_model(Ensemble([net]), card, tmp_path_factory.mktemp("version") / "random.safetensors")
