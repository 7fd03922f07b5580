"""A version sees the same stain when it learns, when it is judged, when it detects and when it is retrained."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.inference.runtime import MULTIPLE_PX, EngineOutput
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import make_ensemble
from mitosis_core.model import ModelCard, load_model, save_model
from mitosis_core.prediction import infer
from mitosis_core.types import UInt8
from train.config import TrainConfig
from train.data.examples import Example
from train.data.patches import Tissue, prepare
from train.fit import fit, member_jobs, plan_jobs, snapshots
from train.loop import fit_net
from train.retrain.config import RetrainConfig
from train.retrain.session import RetrainSession
from train.selection import evaluation

STAINS = TrainConfig.__dataclass_fields__["stain"].metadata["choices"]


@pytest.mark.parametrize("stain", STAINS)
def test_what_was_learned_from_is_what_will_be_seen(
    stain: str, drawn: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def run(pixels: UInt8) -> EngineOutput:
        seen.append(pixels[MULTIPLE_PX : MULTIPLE_PX + 128, MULTIPLE_PX : MULTIPLE_PX + 128])
        return EngineOutput(np.zeros((pixels.shape[0] // 4, pixels.shape[1] // 4), np.float32))

    infer(drawn[0].field, run, 0.5, 4, stain)
    expected = seen[0]
    assert (prepare(drawn[:1], 0.5, stain)[0].pixels == expected).all()
    monkeypatch.setattr(evaluation, "torch_engine", lambda net, device: run)
    config = TrainConfig(um_per_px=0.5, stain=stain)
    evaluation.network_outputs(METHODS["segmitos"].build("thin_resnet50", False), drawn[:1], config)
    assert (seen[1] == expected).all()
    net = make_ensemble([METHODS["segmitos"].build("thin_resnet50", False)])
    card = ModelCard(
        "base", "segmitos", "thin_resnet50", 0.5, 4, 1, 0.5, BlobSettings(), None, "", "2026-01-01", stain=stain
    )
    base = save_model(net, card, tmp_path / "base.safetensors")
    task = RetrainSession(base, drawn[:1], RetrainConfig(), lambda: False)
    assert (task.tissues[0].pixels == expected).all()


def test_a_training_brings_its_fields_to_their_stain(drawn: list[Example], quick: TrainConfig) -> None:
    config = dataclasses.replace(quick, steps=2, stain="macenko")

    def learned(examples: list[Example], tissues: list[Tissue] | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        net = METHODS["segmitos"].build("thin_resnet50", False)
        return torch.cat(
            [
                p.detach().flatten()
                for p in fit_net(net, examples, config, tissues=tissues, device=torch.device("cpu")).parameters()
            ]
        )

    weights = learned(drawn)
    assert torch.equal(weights, learned([], prepare(drawn, 0.5, "macenko")))
    assert not torch.equal(weights, learned([], prepare(drawn, 0.5)))


def test_a_patch_with_hardly_any_tissue_keeps_its_stain(drawn: list[Example]) -> None:
    field = dataclasses.replace(drawn[0].field, pixels=drawn[0].field.pixels[:32, :32])  # 64 pixels are measured
    patch = dataclasses.replace(drawn[0], field=field, whole_field=False)
    assert (prepare([patch], 0.25, "macenko")[0].pixels == field.pixels).all()


def test_an_unknown_choice_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="stain must be one of empty, macenko, none, not tea"):
        TrainConfig(stain="tea")
    with pytest.raises(ValueError, match="threshold must be one of empty, image, not steady"):
        TrainConfig(threshold="steady")


def test_only_what_the_training_sees_makes_another_network(drawn: list[Example], tmp_path: Path) -> None:
    def folder(**options: str) -> str:
        (job,) = member_jobs("", drawn, [], set(), TrainConfig(members=1, **options), tmp_path)  # type: ignore[arg-type]
        return job.folder.name

    assert folder(threshold="image") == folder()
    assert len({folder(stain=stain) for stain in STAINS}) == len(STAINS)


@pytest.mark.slow
@pytest.mark.usefixtures("pretrained_is_random")
def test_a_version_as_instance_max_has_it(drawn: list[Example], quick: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        quick,
        steps=24,
        batch=6,
        lr=1e-3,
        lr_head=3e-3,
        mine_every=0,
        validate_every=24,
        ema=0.5,
        stain="macenko",
        threshold="image",
    )
    none = np.zeros((0, 2), np.float32)
    without = [draw_sample_field(seed=10 + i, size_px=256, mitoses=0, lookalikes=3).field for i in range(2)]
    fields = [*drawn, *(Example(field, f"slide{i}", none, none) for i, field in enumerate(without))]
    out = tmp_path / "mine.safetensors"
    model = fit(fields, [], config, out, work=tmp_path / "work")
    card = load_model(out).card
    assert card == model.card and card.stain == "macenko" and card.training["threshold"] == "image"
    folds, _ = plan_jobs(fields, [], config, tmp_path / "work")
    by_fold = [(jobs[0].held_out, [snapshots(job) for job in jobs]) for jobs in folds]
    at_image, steady = (
        evaluation.choose_settings(by_fold, dataclasses.replace(config, threshold=said)) for said in ("image", "")
    )
    assert card.raw_threshold == round(at_image.validation.threshold, 6) != round(steady.validation.threshold, 6)
