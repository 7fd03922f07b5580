"""What a version costs: counted from its file, and measured in a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from mitosis_core import prediction
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.model import Model, load_model
from mitosis_core.scoring import cost


def test_parameters_are_those_of_the_network() -> None:
    model = load_model()
    assert cost.count_parameters(model) == sum(one.numel() for one in model.net().parameters())
    assert cost.weights_mb(model) == model.weights.stat().st_size / 1e6


def test_the_process_of_its_own_detects_and_prints_its_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, asked = draw_sample_field(size_px=256).field.pixels, []
    np.save(tmp_path / "field.npy", pixels)
    monkeypatch.setattr(prediction, "predict", lambda field, model, device: asked.append((field.um_per_px, device)))
    cost.print_peak(str(tmp_path / "field.npy"), "0.25", str(load_model().weights))
    assert asked == [(0.25, "cpu")] * 2 and 0.05 < float(capsys.readouterr().out) < 50


def test_what_the_process_prints_last_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "a word of a library\n1.25\n")

    monkeypatch.setattr(cost.subprocess, "run", run)
    assert cost.peak_rss_gb(draw_sample_field(size_px=256).field, load_model()) == 1.25
    assert commands[0][1:3] == ["-m", "mitosis_core.scoring.cost"]
    assert commands[0][-1] == str(load_model().weights.resolve())


def test_a_process_that_fails_is_a_sentence() -> None:
    model = Model(load_model().card, Path("nowhere.safetensors"))
    with pytest.raises(cost.NotMeasured, match="could not be measured"):
        cost.peak_rss_gb(draw_sample_field(size_px=256).field, model)
