"""Fields of which a part says nothing, patches shown whole, cases held out, and thresholds by false alarms."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mitosis_core.errors import UnusableData
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Detections, Field
from train.config import TrainConfig
from train.data.examples import Example, digest, read_examples, read_patches, read_tissue
from train.data.patches import Crops, prepare
from train.fit import held_out_cases, plan_jobs
from train.selection.evaluation import drop_ignored, false_alarm_threshold

NONE = np.zeros((0, 2), np.float32)


def _write(folder: Path, name: str, pixels: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


def test_tissue_without_mitoses_is_read_with_what_to_ignore(drawn: list[Example], tmp_path: Path) -> None:
    pixels = drawn[0].field.pixels
    ignored = np.zeros(pixels.shape[:2], np.uint8)
    ignored[:, :64] = 255
    _write(tmp_path / "images", "a.png", pixels)
    _write(tmp_path / "images", "b.png", pixels)
    _write(tmp_path / "masks", "a.png", ignored)
    (tmp_path / "t.csv").write_text("image,slide,scanner,um_per_px\na.png,S1,XT,0.25\nb.png,,,0.25\n")
    one, other = read_tissue(tmp_path / "t.csv", tmp_path / "images", tmp_path / "masks")
    assert (one.slide, one.scanner, one.group, len(one.mitoses_xy_px)) == ("S1", "XT", "S1, XT", 0)
    assert one.ignored is not None and (one.ignored == ignored).all() and other.ignored is None
    assert (other.slide, other.group) == ("b", "b")
    assert other.field.area_mm2 is not None and one.counted_mm2 == pytest.approx(other.field.area_mm2 * 0.75)
    assert digest([one]) != digest([dataclasses.replace(one, ignored=None)])
    _write(tmp_path / "masks", "b.png", ignored[:10])
    with pytest.raises(UnusableData, match="both must be of one size"):
        read_tissue(tmp_path / "t.csv", tmp_path / "images", tmp_path / "masks")


def test_cells_that_a_program_mined_are_used_for_nothing(drawn: list[Example], tmp_path: Path) -> None:
    _write(tmp_path, "a.png", drawn[0].field.pixels)
    rows = "image,x_px,y_px,label,um_per_px,scanner\na.png,5,6,mitosis,0.25,XT\na.png,50,60,mined_lookalike,0.25,XT\n"
    (tmp_path / "a.csv").write_text(rows + "a.png,70,80,lookalike,0.25,XT\n")
    (example,) = read_examples(tmp_path / "a.csv", tmp_path, scanner="not this")
    assert example.lookalikes_xy_px.tolist() == [[70, 80]] and example.scanner == "XT"


def test_nothing_is_learned_or_counted_where_a_field_is_to_be_ignored(drawn: list[Example], quick: TrainConfig) -> None:
    ignored = np.full(drawn[0].field.pixels.shape[:2], 255, np.uint8)
    ignored[:, 128:] = 0
    example = dataclasses.replace(drawn[0], mitoses_xy_px=NONE, ignored=ignored)
    (tissue,) = prepare([example], 0.5)
    assert tissue.ignored is not None and tissue.ignored.shape == tissue.pixels.shape[:2]
    assert (tissue.ignored[:, :64] > 0).all() and not tissue.ignored[:, 64:].any()
    config = dataclasses.replace(quick, share_anywhere=1.0, share_mitosis=0, share_lookalike=0, share_hard=0)
    said = [(crop.labels != 255).float().mean() for crop in (Crops([tissue], config, 4, 40)[i] for i in range(40))]
    assert min(said) == 0 and 0.15 < float(torch.stack(said).mean()) < 0.45  # of a square, half; the rest lies beyond
    found = Detections(np.array([[127, 9], [128, 9], [300, 9]], np.float32), [0.9, 0.8, 0.7], np.ones(3))
    assert drop_ignored(found, example).xy_px[:, 0].tolist() == [128, 300]


def test_a_patch_shown_whole_has_its_figure_in_its_own_tissue(drawn: list[Example], quick: TrainConfig) -> None:
    """The patch is blue, the field is not: whole crops are blue all over, with a disc and its rim as background."""
    blue = np.full((256, 256, 3), (60, 60, 200), np.uint8)
    centre = np.array([[128, 128]], np.float32)
    patch = Example(Field(blue, 0.25, "p"), "", centre, NONE, whole_field=False)
    shares = {"share_patch": 1, "share_mitosis": 0, "share_anywhere": 0, "share_lookalike": 0, "share_hard": 0}
    for share_whole in (0.0, 1.0):
        config = dataclasses.replace(
            quick, um_per_px=0.25, crop_px=96, share_whole=share_whole, stain_share=0.0, **shares
        )
        crops = [Crops(prepare([drawn[0], patch], 0.25), config, 4, 8)[i] for i in range(8)]
        spread = [float(one.image.float().flatten(1).std(1).mean()) for one in crops]
        assert (max(spread) < 8) == (share_whole == 1)
        if share_whole:
            assert all((one.labels == 1).any() and (one.labels == 0).any() for one in crops)


def test_patches_of_some_cases_are_seen_by_no_fold_but_by_the_version(
    drawn: list[Example], quick: TrainConfig, tmp_path: Path
) -> None:
    patches = [dataclasses.replace(drawn[0], slide=f"case {i}" if i < 30 else "", whole_field=False) for i in range(32)]
    held = held_out_cases(patches)
    assert 1 <= len(held) <= 15 and "" not in held
    folds, final = plan_jobs(drawn, patches, quick, tmp_path)
    for members in folds:
        seen = [e.slide for e in members[0].train if not e.whole_field]
        assert not held & set(seen) and len(seen) == 32 - len(held) and seen.count("") == 2
        assert all(e.whole_field for e in members[0].held_out)
    assert sum(not e.whole_field for e in final[0].train) == 32


def test_patches_of_an_unknown_case_have_no_slide(drawn: list[Example], tmp_path: Path) -> None:
    _write(tmp_path, "p.png", drawn[0].field.pixels)
    (tmp_path / "p.csv").write_text("image,um_per_px,case,scanner\np.png,0.25,c1,S360\np.png,0.25,,\n")
    one, other = read_patches(tmp_path / "p.csv", tmp_path)
    assert (one.slide, one.scanner, other.slide, other.scanner) == ("c1", "S360", "", "")


def test_a_threshold_by_false_alarms_counts_them_per_area() -> None:
    """By hand: 5 detections on 2 mm²; one per mm² leaves the best two."""
    at = np.zeros((5, 2), np.float32)
    fields = [
        ScoredField("a", "s", Detections(at[:3], [0.9, 0.5, 0.3], np.ones(3)), NONE, 0.25, 1.0),
        ScoredField("b", "s", Detections(at[:2], [0.7, 0.6], np.ones(2)), NONE, 0.25, 1.0),
    ]
    threshold = false_alarm_threshold(fields, 1.0)
    assert 0.6 < threshold < 0.7 and sum(len(f.detections.above(threshold)) for f in fields) == 2
    assert false_alarm_threshold(fields, 10.0) == 0.0
    with pytest.raises(UnusableData, match="no tissue"):
        false_alarm_threshold([], 1.0)
