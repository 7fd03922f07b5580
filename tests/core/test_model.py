"""Versions: what is written is read back, what is damaged or does not belong together is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from mitosis_core.blobs import BlobSettings
from mitosis_core.calibration import Calibration
from mitosis_core.errors import UnusableModel
from mitosis_core.model import DEFAULT_VERSION, Model, ModelCard, list_versions, load_model, save_model


@pytest.fixture
def copy(random_version: Model, tmp_path: Path) -> Path:
    for suffix in (".safetensors", ".json"):
        shutil.copy(random_version.weights.with_suffix(suffix), tmp_path / f"copy{suffix}")
    return tmp_path / "copy.safetensors"


def test_what_is_written_is_read_back(random_version: Model, copy: Path) -> None:
    loaded = load_model(copy)
    assert loaded.card == random_version.card and loaded.threshold == 0.5
    kept, expected = loaded.net().state_dict(), random_version.net().state_dict()
    assert kept.keys() == expected.keys() and all(torch.equal(kept[name], expected[name]) for name in kept)


def test_a_card_survives_its_json(random_version: Model) -> None:
    card = dataclasses.replace(
        random_version.card,
        calibration=Calibration(0.95, -5.5),
        blobs=BlobSettings(finder="peaks", score="peak"),
        stain="macenko",
    )
    assert ModelCard.from_json(card.to_json()) == card
    for broken in (
        "",
        "[]",
        "{}",
        card.to_json().replace('"stride"', '"strid"'),
        card.to_json().replace("peaks", "hills"),
    ):
        with pytest.raises(UnusableModel, match="card"):
            ModelCard.from_json(broken)


def test_a_card_from_before_there_were_stains_asks_for_the_reference(random_version: Model) -> None:
    values = json.loads(random_version.card.to_json())
    del values["stain"]
    assert ModelCard.from_json(json.dumps(values)) == random_version.card


def test_a_changed_byte_is_refused(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    with pytest.raises(UnusableModel, match="sha256"):
        load_model(copy)


def test_a_card_of_another_network_is_refused(copy: Path) -> None:
    card = json.loads(copy.with_suffix(".json").read_text())
    copy.with_suffix(".json").write_text(json.dumps({**card, "encoder": "efficientnet_lite0"}))
    with pytest.raises(UnusableModel, match="do not fit"):
        load_model(copy).net()


def test_an_unknown_method_and_missing_files_are_refused(copy: Path, tmp_path: Path) -> None:
    card = json.loads(copy.with_suffix(".json").read_text())
    copy.with_suffix(".json").write_text(json.dumps({**card, "method": "tea leaves"}))
    with pytest.raises(UnusableModel, match="tea leaves"):
        load_model(copy).net()
    copy.with_suffix(".json").unlink()
    load_model.cache_clear()
    with pytest.raises(UnusableModel, match="card"):
        load_model(copy)
    with pytest.raises(UnusableModel, match="no version or file"):
        load_model(tmp_path / "nothing.safetensors")


def test_saving_never_leaves_half_a_version(random_version: Model, tmp_path: Path) -> None:
    saved = save_model(random_version.net(), random_version.card, tmp_path / "a" / "new.safetensors")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["new.json", "new.safetensors"]
    assert load_model(saved.weights).card == saved.card


def test_the_shipped_version() -> None:
    assert list_versions()[0] == DEFAULT_VERSION
    model = load_model()
    assert model.weights.stat().st_size < 20e6
    assert model.card.data["sha256"] and model.card.licence and model.card.scores["validation"]["f1"] > 0
