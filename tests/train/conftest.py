"""Small drawn fields from two slides, and settings that train in seconds."""

import dataclasses

import pytest

from mitosis_core.image.sample_field import draw_sample_field
from train.config import TrainConfig
from train.data.examples import Example


@pytest.fixture(scope="session")
def drawn() -> list[Example]:
    examples = []
    for seed in range(4):
        sample = draw_sample_field(seed=seed, size_px=256, mitoses=3, lookalikes=3)
        examples.append(Example(sample.field, f"slide{seed % 2}", sample.mitoses_xy_px, sample.lookalikes_xy_px))
    return examples


@pytest.fixture
def quick() -> TrainConfig:
    return TrainConfig(
        encoder="thin_resnet50",
        um_per_px=0.5,
        crop_px=64,
        batch=2,
        steps=4,
        mine_every=2,
        validate_every=2,
        share_patch=0.0,
        members=1,
    )


@pytest.fixture
def pretrained_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws here do not depend on the weights a training starts from."""
    import mitosis_core.encoders as encoders

    plain = {k: dataclasses.replace(e, pretrain=lambda net: None) for k, e in encoders.ENCODERS.items()}
    monkeypatch.setattr(encoders, "ENCODERS", plain)
