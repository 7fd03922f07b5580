"""From examples to a version: split by slide, chosen on held-out fields, written with its card."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mitosis_core import load_model, predict
from mitosis_core.errors import UnusableData
from mitosis_core.model import Model
from train.__main__ import main
from train.config import TrainConfig
from train.examples import Example, digest, read_examples
from train.fit import Job, fit, folds_by_slide, snapshots


def test_folds_never_split_a_slide(drawn: list[Example]) -> None:
    assert folds_by_slide(drawn) == [["slide0"], ["slide1"]]
    many = [dataclasses.replace(drawn[0], slide=f"s{i:02d}") for i in range(12)]
    folds = folds_by_slide(many)
    assert len(folds) == 5 and sorted(s for fold in folds for s in fold) == sorted(e.slide for e in many)


def test_one_slide_is_refused(drawn: list[Example]) -> None:
    with pytest.raises(UnusableData, match="one slide"):
        folds_by_slide([e for e in drawn if e.slide == "slide0"])


def test_the_digest_knows_pixels_labels_and_scale_but_no_order(drawn: list[Example]) -> None:
    assert digest(drawn) == digest(drawn[::-1])
    moved = dataclasses.replace(drawn[0], mitoses_xy_px=drawn[0].mitoses_xy_px + 1)
    assert digest([moved, *drawn[1:]]) != digest(drawn)


@pytest.mark.usefixtures("pretrained_is_random")
def test_fit_writes_a_version_that_detects(drawn: list[Example], quick: TrainConfig, tmp_path: Path) -> None:
    # Long enough that something is found in every fold: a threshold cannot be chosen on nothing.
    config = dataclasses.replace(
        quick, steps=24, batch=6, lr=1e-3, lr_head=3e-3, mine_every=0, validate_every=24, ema=0.5, members=2
    )
    out = tmp_path / "mine.safetensors"
    model = fit(drawn, [], config, out, work=tmp_path / "work")
    loaded = load_model(out)
    assert isinstance(loaded, Model) and loaded.card == model.card
    card = loaded.card
    assert card.version == "mine" and card.data["mitoses"] == 12 and card.data["sha256"] == digest(drawn)
    assert card.split["held out in turn"] == [["slide0"], ["slide1"]]
    assert 0 < card.raw_threshold < 1 and card.training["step kept"] == 24
    assert predict(drawn[0].field, loaded, device="cpu").version == "mine"
    single = dataclasses.replace(config, members=1)
    # A second call trains nothing anew.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("*.pt")}
    fit(drawn, [], config, out, work=tmp_path / "work")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("*.pt")} == before
    assert snapshots(Job("x", tuple(drawn), (), single, tmp_path / "work")).keys() == {24}


def write_set(folder: Path, examples: list[Example]) -> Path:
    table = folder / "annotations.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "slide", "x_px", "y_px", "label", "um_per_px"])
        for e in examples:
            Image.fromarray(e.field.pixels).save(folder / f"{e.field.digest[:8]}.png")
            for label, points in (("mitosis", e.mitoses_xy_px), ("lookalike", e.lookalikes_xy_px)):
                rows.writerows([[f"{e.field.digest[:8]}.png", e.slide, x, y, label, 0.25] for x, y in points])
    return table


def test_reading_a_set_gives_it_back(drawn: list[Example], tmp_path: Path) -> None:
    read = read_examples(write_set(tmp_path, drawn), tmp_path)
    assert digest(read) == digest(drawn)
    assert sum(len(e.lookalikes_xy_px) for e in read) == 12


def test_the_command_line_answers_bad_input_with_a_sentence(
    drawn: list[Example], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_set(tmp_path, drawn[:1])
    common = ["fit", "--images", str(tmp_path), "--out", str(tmp_path / "o.safetensors")]
    assert main([*common, "--annotations", str(table)]) == 2
    assert "one slide" in capsys.readouterr().err
    assert main([*common, "--annotations", str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
    assert main([*common, "--annotations", str(table), "--steps", "0"]) == 2
    assert "steps must lie between" in capsys.readouterr().err
    empty = tmp_path / "empty.csv"
    empty.write_text(
        "image,slide,x_px,y_px,label,um_per_px\n" + f"{drawn[0].field.digest[:8]}.png,a,5,5,lookalike,0.25\n"
    )
    assert main([*common, "--annotations", str(empty)]) == 2
    assert "no mitosis" in capsys.readouterr().err


def test_masks_are_read_beside_images(drawn: list[Example], tmp_path: Path) -> None:
    table = write_set(tmp_path, drawn[:1])
    (tmp_path / "masks").mkdir()
    mask = np.zeros(drawn[0].field.pixels.shape[:2], np.uint8)
    mask[10:20, 10:20] = 1
    Image.fromarray(mask).save(tmp_path / "masks" / f"{drawn[0].field.digest[:8]}.png")
    (example,) = read_examples(table, tmp_path, tmp_path / "masks")
    assert example.mask is not None and (example.mask == mask).all()
