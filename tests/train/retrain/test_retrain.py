"""A retraining learns what was marked and nothing else, is seeded, and can be stopped and taken up."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mitosis_core.errors import ConcentricError, UnusableData
from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import Ensemble
from mitosis_core.model import Model, ModelCard, save_model
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Detections, Region
from train.data.examples import Example
from train.data.labels import BACKGROUND, IGNORED, MITOSIS
from train.data.patches import Crops
from train.retrain import estimate
from train.retrain.config import RetrainConfig
from train.retrain.corrected import CorrectedField, reviewed_tissues, split_in_halves
from train.retrain.estimate import MeasuredSpeed, measured_seconds
from train.retrain.retrain import Progress, retrain
from train.retrain.session import Cancelled, RetrainSession
from train.retrain.threshold import threshold_between

QUICK = RetrainConfig(
    steps=4, batch=4, crops_per_field=8, crop_px=64, validate_every=2, average=0.5, blend=1.0, share_lookalike=0.0
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Two untrained networks."""
    torch.manual_seed(0)
    net = Ensemble([METHODS["segmitos"].build("thin_resnet50", False) for _ in range(2)])
    blobs = BlobSettings(finder="peaks", score="peak", binarize="fixed", threshold=0.005, min_score=0.0)
    card = ModelCard("base", "segmitos", "thin_resnet50", 0.5, 4, 2, 0.02, blobs, None, "", "2026-01-01")
    return save_model(net, card, tmp_path_factory.mktemp("base") / "base.safetensors")


def weights(model: Model) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.net().parameters()])


def marked(example: Example, **marks: object) -> CorrectedField:
    return CorrectedField(example.field, example.slide, example.mitoses_xy_px, example.lookalikes_xy_px, **marks)  # type: ignore[arg-type]


def labels_of(example: CorrectedField, count: int = 40) -> list[np.ndarray]:
    config = dataclasses.replace(QUICK, share_anywhere=1.0, share_mitosis=0.0, share_hard=0.0).for_crops(0.5)
    crops = Crops(reviewed_tissues([example], 0.5), config, 4, count)
    return [crops[i][1].numpy() for i in range(count)]


def test_nothing_is_said_outside_the_reviewed_area(drawn: list[Example]) -> None:
    everywhere = np.concatenate(labels_of(marked(drawn[0])))
    assert (everywhere == BACKGROUND).any() and (everywhere == MITOSIS).any()
    nowhere = np.concatenate(labels_of(marked(drawn[0], region=Region(0, 0, 0, 0))))
    assert (nowhere == IGNORED).all()
    (tissue,) = reviewed_tissues([marked(drawn[0], region=Region(0, 0, 128, 256))], 0.5)
    assert tissue.ignored is not None and not tissue.ignored[:, :64].any() and tissue.ignored[:, 64:].all()
    assert (tissue.mitoses_xy_px[:, 0] < 64).all()
    assert len(tissue.mitoses_xy_px) == (drawn[0].mitoses_xy_px[:, 0] < 127).sum()


def test_what_a_version_never_says_has_no_part_in_its_threshold(drawn: list[Example], base: Model) -> None:
    """Two peaks, one of them 2 µm from the edge, where a version with a border of 3 µm says nothing."""
    blobs = dataclasses.replace(base.card.blobs, border_um=3.0)
    silent = dataclasses.replace(base, card=dataclasses.replace(base.card, blobs=blobs))
    session = RetrainSession(silent, [drawn[0]], QUICK, lambda: False)
    values = np.full((32, 32), 0.001, np.float32)  # 2 µm a cell
    values[16, 0] = values[16, 16] = 0.9
    (scored,) = session.scored_fields({0: session.probability_map(0, values)})
    assert len(scored.detections) == 1 and scored.detections.xy_px[0, 0] > 100


def test_the_threshold_can_follow_from_false_detections(drawn: list[Example], base: Model) -> None:
    """On 2 mm² one mitosis (0.6) and four false detections: one per mm² lets the best two of these through."""
    session = RetrainSession(base, drawn, dataclasses.replace(QUICK, false_alarms=1.0), lambda: False)
    at = np.array([[0, 0], [100, 0], [200, 0]], np.float32)
    found = [Detections(at, [0.9, 0.6, 0.3], np.ones(3)), Detections(at[:2], [0.7, 0.2], np.ones(2))]
    scored = [ScoredField("a", "s", found[0], at[1:2], 0.25, 1.0), ScoredField("b", "s", found[1], at[:0], 0.25, 1.0)]
    assert 0.3 < threshold_between(session, scored, scored).raw < 0.31
    session.config = QUICK
    assert threshold_between(session, scored, scored).raw < 0.3


def test_an_unsure_figure_is_ignored_but_not_the_mitosis_beside_it(drawn: list[Example]) -> None:
    x, y = drawn[0].mitoses_xy_px[0]
    unsure = np.array([[x + 24, y]], np.float32)  # 6 µm beside it
    (tissue,) = reviewed_tissues([marked(drawn[0], unsure_xy_px=unsure)], 0.5)
    assert tissue.ignored is not None
    at = [round(float((v + 0.5) / 2 - 0.5)) for v in (x, y)]
    assert tissue.ignored[at[1], at[0]] == 0 and tissue.ignored[at[1], at[0] + 12] == 1
    assert tissue.ignored.sum() == pytest.approx(np.pi * (7 / 0.5) ** 2, rel=0.35)


def test_a_single_field_is_learned_from_in_halves(drawn: list[Example]) -> None:
    """Together the halves say what the field says, and neither says anything of the other's part."""
    tissues = reviewed_tissues(split_in_halves(marked(drawn[0])), 0.5)
    vouched = [tissue.ignored == 0 for tissue in tissues if tissue.ignored is not None]
    assert (vouched[0] ^ vouched[1]).all() and vouched[0].mean() == 0.5
    assert sum(len(tissue.mitoses_xy_px) for tissue in tissues) == len(drawn[0].mitoses_xy_px)
    first, second = split_in_halves(marked(drawn[0], region=Region(0, 0, 100, 200)))
    assert (first.region, second.region) == (Region(0, 0, 100, 100), Region(0, 100, 100, 200))


def test_only_the_last_stage_and_the_head_change_and_the_card_says_from_what(
    drawn: list[Example], base: Model, tmp_path: Path
) -> None:
    steps: list[Progress] = []
    base = dataclasses.replace(base, card=dataclasses.replace(base.card, purpose="Fast: for new slides."))
    new = retrain(base, drawn[:3], QUICK, tmp_path / "new.safetensors", progress=steps.append)
    assert new.purpose == "", "it was said of the version that comes with the program"
    after = new.net().state_dict()
    for name, value in base.net().state_dict().items():
        frozen = ".encoder." in name and ".encoder.stages.2." not in name
        assert torch.equal(value, after[name]) == frozen or "classify" in name, name
    assert new.card.parent == "base" and new.version == "new" and new.card.data["fields"] == 3
    assert [s.step for s in steps] == list(range(1, 9)) and {s.steps for s in steps} == {8}
    assert [s.f1 is not None for s in steps] == [False, True] * 4 and steps[-1].seconds_left == 0


@pytest.mark.slow
def test_the_same_run_twice_gives_the_same_weights(drawn: list[Example], base: Model, tmp_path: Path) -> None:
    first, second = (retrain(base, drawn[:2], QUICK, tmp_path / f"{i}.safetensors") for i in range(2))
    assert first.card.weights_sha256 == second.card.weights_sha256 != base.card.weights_sha256
    assert first.card.raw_threshold == second.card.raw_threshold
    other = retrain(base, drawn[:2], dataclasses.replace(QUICK, seed=1), tmp_path / "other.safetensors")
    assert other.card.weights_sha256 != first.card.weights_sha256


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 3, 4, 5, 7, 8])
def test_a_run_that_was_cut_ends_where_it_would_have(
    drawn: list[Example], base: Model, tmp_path: Path, cut: int
) -> None:
    whole = retrain(base, drawn[:2], QUICK, tmp_path / "whole.safetensors")

    def stop(state: Progress) -> None:
        if state.step == cut:
            raise KeyboardInterrupt

    kept = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        retrain(base, drawn[:2], QUICK, tmp_path / "new.safetensors", checkpoint=kept, progress=stop)
    assert not (tmp_path / "new.safetensors").exists()
    steps: list[int] = []
    retrain(
        base, drawn[:2], QUICK, tmp_path / "new.safetensors", checkpoint=kept, progress=lambda s: steps.append(s.step)
    )
    assert steps == list(range(cut + 1 if cut % 2 == 0 else cut, 9))
    again = retrain(base, drawn[:2], QUICK, tmp_path / "new.safetensors", checkpoint=kept)
    assert again.card.weights_sha256 == whole.card.weights_sha256
    assert again.card.raw_threshold == whole.card.raw_threshold


@pytest.mark.slow
def test_the_checkpoint_of_another_run_is_not_taken_up(drawn: list[Example], base: Model, tmp_path: Path) -> None:
    kept = tmp_path / "checkpoint"
    retrain(base, drawn[:2], QUICK, tmp_path / "a.safetensors", checkpoint=kept)
    alone = retrain(base, drawn[2:], QUICK, tmp_path / "b.safetensors")
    after = retrain(base, drawn[2:], QUICK, tmp_path / "c.safetensors", checkpoint=kept)
    assert alone.card.weights_sha256 == after.card.weights_sha256


def test_a_score_is_told_after_every_validation(drawn: list[Example], base: Model, tmp_path: Path) -> None:
    scores: list[float | None] = []
    retrain(base, drawn[:2], QUICK, tmp_path / "new.safetensors", progress=lambda s: scores.append(s.f1))
    assert scores[0] is None and scores[1] is not None


def test_it_can_be_cancelled_and_leaves_nothing(drawn: list[Example], base: Model, tmp_path: Path) -> None:
    with pytest.raises(Cancelled, match="cancelled"):
        retrain(base, drawn[:2], QUICK, tmp_path / "new.safetensors", cancelled=lambda: True)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_stops_with_a_sentence(
    drawn: list[Example], base: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = "train.retrain.head_training.concentric_loss"
    monkeypatch.setattr(loss, lambda logits, *rest: logits.sum() * float("nan"))
    with pytest.raises(ConcentricError, match="stopped being a number at step 1"):
        retrain(base, drawn[:1], QUICK, tmp_path / "new.safetensors")
    assert not list(tmp_path.iterdir())


def test_fields_that_teach_nothing_are_refused(drawn: list[Example], base: Model, tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="no corrected field"):
        retrain(base, [], QUICK, tmp_path / "new.safetensors")
    empty = dataclasses.replace(drawn[0], mitoses_xy_px=np.zeros((0, 2), np.float32))
    with pytest.raises(UnusableData, match="no mitosis"):
        retrain(base, [empty], QUICK, tmp_path / "new.safetensors")


def test_a_field_without_mitosis_counts_beside_others(drawn: list[Example], base: Model, tmp_path: Path) -> None:
    empty = dataclasses.replace(drawn[0], mitoses_xy_px=np.zeros((0, 2), np.float32))
    one = retrain(base, [drawn[1]], QUICK, tmp_path / "one.safetensors")
    two = retrain(base, [drawn[1], empty], QUICK, tmp_path / "two.safetensors")
    assert one.card.weights_sha256 != two.card.weights_sha256


def test_the_estimate_adds_up(base: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks, a field in halves: 2 x 8 crops seen, 2 heads x 4 steps x 4 crops, the field itself, two checks."""
    assert estimate.measure_speed(base.net(), QUICK).encode_s > 0
    monkeypatch.setattr(estimate, "measure_speed", lambda net, config: MeasuredSpeed(encode_s=1.0, train_s=2.0))
    monkeypatch.setattr(estimate, "_AREA_MM2", 2 * (64 * 0.5) ** 2 / 1e6)  # of two crops
    seconds = measured_seconds(base, 1, 0, QUICK)
    assert seconds["preparing"] == pytest.approx(2 * (16 * 1.008 + 4))
    assert seconds["learning"] == pytest.approx(2 * (32 * 2 + 2 * 4))
    assert measured_seconds(base, 9, 0, QUICK)["learning"] > measured_seconds(base, 3, 0, QUICK)["learning"]


def test_options_have_bounds() -> None:
    with pytest.raises(ValueError, match="blend must lie between 0 and 1"):
        RetrainConfig(blend=2.0)
    with pytest.raises(ValueError, match="multiple of 32"):
        RetrainConfig(crop_px=100)


@pytest.mark.slow
def test_a_damaged_checkpoint_counts_for_nothing(drawn: list[Example], base: Model, tmp_path: Path) -> None:
    whole = retrain(base, drawn[:2], QUICK, tmp_path / "whole.safetensors")
    kept = tmp_path / "checkpoint"
    for content in (b"", b"no checkpoint", pickle.dumps({"identity": "x"}, protocol=2)):
        kept.write_bytes(content)
        after = retrain(base, drawn[:2], QUICK, tmp_path / "after.safetensors", checkpoint=kept)
        assert after.card.weights_sha256 == whole.card.weights_sha256


def test_a_disk_that_is_full_is_a_sentence_and_leaves_no_half_files(
    drawn: list[Example], base: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, place: Path) -> None:
        Path(place).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(ConcentricError, match="disk is full"):
        retrain(base, drawn[:1], QUICK, tmp_path / "new.safetensors", checkpoint=tmp_path / "checkpoint")
    assert not list(tmp_path.iterdir())
