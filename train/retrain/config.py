"""Every choice of a retraining from corrected fields, with its help and its bounds beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from mitosis_core.model import ModelCard
from train.config import TrainConfig, check_options, option

Way = Literal[
    "heads", "finetune"
]  # train/retrain/head_training.py or train/retrain/finetune.py; cards call it "recipe"

# These act where heads are trained and nowhere else: fine-tuning takes batch, crops and loss from its method, and does
# all its steps. All other options act for both ways.
HEADS_ONLY = frozenset(
    {
        "batch",
        "crops_per_field",
        "most_crops",
        "crop_px",
        "lr_encoder",
        "mitosis_weight",
        "boundary",
        "distil",
        "validate_every",
        "patience",
    }
)


@dataclass(frozen=True)
class RetrainConfig:
    """Settings of one retraining. Raises ValueError on a value outside its bounds."""

    steps: int = option(100, "optimiser steps at most, for each network of the version", 1, 100_000)
    batch: int = option(32, "crops per step", 1, 1024)
    crops_per_field: int = option(240, "crops drawn from each field", 1, 10_000)
    most_crops: int = option(1500, "crops kept in memory at most; many fields share them", 1, 100_000)
    crop_px: int = option(96, "side of a crop at the network's scale, a multiple of 32", 64, 2048, multiple=32)
    lr: float = option(1e-3, "learning rate at its peak (AdamW, one cycle)", 1e-7, 1.0)
    lr_encoder: float = option(3e-4, "the same of the last stage of the encoder; 0: it stays as it is", 0.0, 1.0)
    mitosis_weight: float = option(
        TrainConfig.mitosis_weight, "weight of a disc pixel against a background pixel", 0.1, 100.0
    )
    boundary: float = option(0.5, "even odds of the loss, between the logit 0 and the old threshold (1)", 0.0, 2.0)
    distil: float = option(1.0, "how much background shall keep the answer of the version it starts from", 0.0, 100.0)
    blend: float = option(0.75, "share of the learned weights in the result; the rest is the old version", 0.0, 1.0)
    average: float = option(0.98, "decay of the running average of the weights that is kept", 0.0, 0.9999)
    share_mitosis: float = option(0.3, "share of crops round a mitosis; the shares are put in proportion", 0.0, 1.0)
    share_lookalike: float = option(0.2, "share of crops round a look-alike", 0.0, 1.0)
    share_hard: float = option(0.4, "share of crops round a false detection of the old version", 0.0, 1.0)
    share_anywhere: float = option(0.3, "share of crops from any place of a field", 0.01, 1.0)
    folds: int = option(3, "parts the fields are held out in, in turn, to choose step and threshold", 2, 10)
    validate_every: int = option(50, "steps between validations", 1, 100_000)
    patience: int = option(2, "validations in turn that are worse than the best before, after which it stops", 1, 1000)
    trust: float = option(
        20.0, "mitoses with which the best threshold here counts as much as that of the old version", 0.0, 10_000.0
    )
    false_alarms: float = option(
        0.0,
        "false detections per mm² that are acceptable, counted on the corrected fields held out in turn; the threshold "
        "follows from it. 0: it follows from trust",
        0.0,
        1000.0,
    )
    seed: int = option(0, "seed of everything random", 0, 2**31)

    def __post_init__(self) -> None:
        check_options(self)

    def acting(self, way: Way) -> dict[str, Any]:
        """The values of the options that act for a way of retraining: what runs and cards record."""
        return {one.name: getattr(self, one.name) for one in options_of(way)}

    def for_crops(self, um_per_px: float) -> TrainConfig:
        """The same choices as train.data.patches reads them."""
        return TrainConfig(
            um_per_px=um_per_px,
            crop_px=self.crop_px,
            share_mitosis=self.share_mitosis,
            share_patch=0.0,
            share_lookalike=self.share_lookalike,
            share_hard=self.share_hard,
            share_anywhere=self.share_anywhere,
            seed=self.seed,
        )


def way_of(card: ModelCard) -> Way:
    """The way in which a version learns corrected fields.

    Heads, with the last stage of the encoder, are trained where nothing follows them: SegMitos on a small encoder,
    without a second stage. Every other version is fine-tuned with the loss of its method.
    """
    from mitosis_core.methods.segmitos import PUBLISHED  # brings torch along

    heads = card.method == "segmitos" and card.encoder not in PUBLISHED and card.verifier is None
    return "heads" if heads else "finetune"


def options_of(way: Way) -> list[dataclasses.Field[Any]]:
    """The options of RetrainConfig that act for a way of retraining."""
    return [one for one in dataclasses.fields(RetrainConfig) if way == "heads" or one.name not in HEADS_ONLY]
