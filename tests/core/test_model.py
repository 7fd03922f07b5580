"""Versions: what is written is read back, what is damaged or does not belong together is refused."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mitosis_core.card_schema import SCHEMA
from mitosis_core.errors import UnusableModel
from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.inference.calibration import Calibration
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


def _deep(levels: int) -> dict[str, Any]:
    return {"before": _deep(levels - 1)} if levels else {}


CARD = load_model().card.to_json()
BAD_VALUES: dict[str, list[Any]] = {
    "version": ["", None, 7, ["x"], {}, "x" * 201, "a\nb", "\ud800"],
    "method": ["", None, []],
    "encoder": [{"a": 1}, True],
    "um_per_px": [0, -1, 5, "0.25", None, True, [], math.nan, math.inf, 10**400],
    "stride": [0, 4.5, "4", None, 10**9, True],
    "members": [0, 21, 10**30, "three", 1.5, None, True],
    "raw_threshold": [0, 1, 7, "x", None, math.nan],
    "blobs": [
        None,
        [],
        {"finder": "hills"},
        {"smooth_um": 1e300},
        {"patch_um": 1e-9},
        {"peak_distance_um": "5"},
        {"surprise": 1},
        {"threshold": [1]},
        {"threshold_low": 0.9},
        {"max_area_um2": 1.0},
    ],
    "calibration": [
        [],
        5,
        {},
        {"share": 0.9},
        {"share": 2, "reference": 0},
        {"share": 0.9, "reference": math.inf},
        {"share": 0.9, "reference": 1e9},
        {"share": 0.9, "reference": 0, "surprise": 1},
    ],
    "weights_sha256": ["", None, 5, "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"],
    "created_at": [None, 5, "x" * 41, {}],
    "data": [
        [],
        None,
        "x",
        5,
        {"fields": "many"},
        {"fields": 10**300},
        {"fields": math.nan},
        {"mitoses": -1},
        {"sha256": ["x"]},
        {"slides": "A01"},
        {"note": {}},
        {"note": "\ud800"},
        {"\ud800": 1},
        _deep(300),
    ],
    "split": [[], None, {"x": math.nan}, {"x": "\udfff"}],
    "training": [[], None, "x", _deep(250)],
    "scores": [[], None, 0.5, {"f1": math.inf}],
    "licence": [None, 5, [], "x" * 20_001],
    "purpose": [None, 5, [], "x" * 20_001],
    "parent": [{}, [], 5, ""],
    "variant": [None, 5, {}],
    "verifier": [
        [],
        {},
        "x",
        {"encoder": "x"},
        {"encoder": 5, "weight": 0.5, "lower": 0.1},
        {"encoder": "x", "weight": 2, "lower": 0.1},
        {"encoder": "x", "weight": 0.5, "lower": None},
        {"encoder": "x", "weight": 0.5, "lower": 0.1, "surprise": 1},
    ],
    "stain": [None, 5, []],
    "surprise": [1],
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_no_field_of_a_card_may_be_anything_else(name: str) -> None:
    for value in BAD_VALUES[name]:
        with pytest.raises(UnusableModel, match=r"^The model card cannot be understood: .{5,150}\.$"):
            ModelCard.from_json(json.dumps({**json.loads(CARD), name: value}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "null",
        "{}",
        "{" * 5,
        "[" * 100_000,
        '{"data":' * 100_000,
        "\0",
        b"\xff\xfe\x00",
        b"\x89PNG\r\n",
        CARD[: len(CARD) // 2],
        CARD.replace('"stride": 4,', '"stride": 1e999,'),
        CARD.replace('"stride": 4,', f'"stride": {"9" * 6000},'),
        CARD.replace('"stride": 4,', '"stride": NaN,'),
        CARD.replace('"stride": 4,', '"stride": -Infinity,'),
    ],
)
def test_what_is_no_card_is_refused_in_one_sentence(text: str | bytes) -> None:
    with pytest.raises(UnusableModel, match=r"^The model card cannot be understood: .{5,150}\.$"):
        ModelCard.from_json(text)


def test_the_shipped_cards_and_those_of_many_retrainings_are_good() -> None:
    for name in list_versions():
        assert load_model(name).card.method
    values = json.loads(CARD)
    for _ in range(100):
        values["data"] = {"fields": 3, "before": values["data"]}
    card = ModelCard.from_json(json.dumps(values))
    assert ModelCard.from_json(card.to_json()) == card


def test_a_card_that_could_not_be_read_is_not_written(random_version: Model, tmp_path: Path) -> None:
    card = dataclasses.replace(random_version.card, scores={"f1": math.nan})
    with pytest.raises(UnusableModel, match="NaN"):
        save_model(random_version.net(), card, tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists() and not (tmp_path / "new.json").exists()


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


def test_scores_by_false_alarms_are_on_the_scale_of_the_threshold(random_version: Model) -> None:
    """Odds of 9 at a threshold of odds 3 are odds of 3, by hand."""

    def version(alarms: object) -> Model:
        scores = {"validation": {"raw_threshold_by_false_alarms_per_mm2": alarms}}
        card = dataclasses.replace(random_version.card, raw_threshold=0.75, scores=scores)
        return Model(ModelCard.from_json(card.to_json()), random_version.weights)

    known = version({"10": 0.75, "2": 0.9}).score_by_false_alarms
    assert list(known) == [2.0, 10.0] and list(known.values()) == pytest.approx([0.75, 0.5])
    assert version({}).score_by_false_alarms == {}
    for wrong in ({"many": 0.9}, {"2": 1.5}, {"2": "0.9"}, [0.9]):
        with pytest.raises(UnusableModel):
            version(wrong)


def test_the_schema_knows_every_field_of_a_card() -> None:
    known = SCHEMA["properties"]
    assert set(known) == {one.name for one in dataclasses.fields(ModelCard)}
    assert set(known["blobs"]["properties"]) == {one.name for one in dataclasses.fields(BlobSettings)}
    assert set(known["calibration"]["properties"]) == {one.name for one in dataclasses.fields(Calibration)}
