"""Every choice of a training run, with its help and its bounds beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

FROM_MASKS = ("mask", "ellipse")  # labels drawn from instance masks: as they are, or ellipses of their height and width
LABELS = ("circle12", "circle15", "fixed12", "fixed15", "random", *FROM_MASKS)  # see train/data/labels.py

# What carried over best to other slides and scanners (docs/methods.md), for the methods that it was measured for.
# Negatives come from anywhere and none are mined: what a network wrongly finds in the fields it learns from is too
# often a mitosis that nobody marked.
ACROSS_SCANNERS: dict[str, Any] = {
    "um_per_px": 0.25,
    "crop_px": 128,
    "share_mitosis": 0.3,
    "share_patch": 0.3,
    "share_whole": 0.3,
    "share_anywhere": 0.4,
    "share_lookalike": 0.0,
    "share_hard": 0.0,
    "mine_every": 0,
    "stain_jitter": 0.12,
    "stain_share": 0.8,
}


def option(
    default: Any,
    text: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    multiple: int = 1,
) -> Any:
    """A field of TrainConfig: its default, what it does, and the values it may take; no choices: checked where used.

    multiple: whole numbers must be one of it.
    """
    known = {"help": text, "low": low, "high": high, "choices": choices, "multiple": multiple}
    return field(default=default, metadata=known)


def check_options(config: Any) -> None:
    """Raises ValueError when an option of a settings dataclass lies outside its bounds."""
    for spec in dataclasses.fields(config):
        value, low, high = getattr(config, spec.name), spec.metadata["low"], spec.metadata["high"]
        if low is not None and not low <= value <= high:
            raise ValueError(f"{spec.name} must lie between {low:g} and {high:g}, not {value}")
        choices = spec.metadata["choices"]
        if choices and value not in choices:
            named = ", ".join(choice or "empty" for choice in choices)
            raise ValueError(f"{spec.name} must be one of {named}, not {value}")
        if isinstance(value, int) and value % spec.metadata["multiple"]:
            raise ValueError(f"{spec.name} must be a multiple of {spec.metadata['multiple']}, not {value}")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run. Raises ValueError on a value outside its bounds."""

    method: str = option("segmitos", "which of the published systems")
    variant: str = option("", "what of the method; empty is what its paper recommends, see docs/methods.md")
    verifier: str = option("", "encoder of a second stage that looks again at every detection; empty is none")
    encoder: str = option("efficientnet_lite0", "backbone; see mitosis_core.encoders")
    labels: str = option("random", f"label variant: {', '.join(LABELS)}; the last two need masks", choices=LABELS)
    stain: str = option(
        "",
        "what fields are brought to: empty is the product's reference stain, macenko, or none",
        choices=("", "macenko", "none"),
    )
    threshold: str = option(
        "",
        "where the threshold comes from: empty is the steady best F1 of centroids, image the "
        "operating point of image-level labels",
        choices=("", "image"),
    )
    um_per_px: float = option(0.333, "scale at which the network sees tissue", 0.1, 2.0)
    steps: int = option(500, "optimiser steps", 1, 1_000_000)
    batch: int = option(32, "crops per step", 1, 1024)
    crop_px: int = option(96, "side of a crop at the network's scale, a multiple of 32", 64, 2048, multiple=32)
    lr: float = option(6e-4, "learning rate of the encoder at its peak (AdamW, one cycle)", 0.0, 1.0)
    lr_head: float = option(1e-3, "learning rate of everything after the encoder", 0.0, 1.0)
    weight_decay: float = option(1e-2, "decoupled L2 of the weights", 0.0, 1.0)
    ema: float = option(0.998, "decay of the running average of the weights that is kept", 0.0, 0.9999)
    frozen_stages: int = option(2, "parts of the encoder, from the image on, that keep their pretrained weights", 0, 4)
    stain_jitter: float = option(0.08, "spread of the random change of each stain", 0.0, 1.0)
    stain_share: float = option(0.5, "how far at most a crop goes towards the stain of another image", 0.0, 1.0)
    mitosis_weight: float = option(4.0, "weight of a disc pixel against a background pixel", 0.1, 100.0)
    share_mitosis: float = option(0.25, "share of crops round a mitosis of a field", 0.0, 1.0)
    share_patch: float = option(0.3, "share of crops that show an extra patch", 0.0, 1.0)
    share_whole: float = option(
        0.0, "of those, share that shows it whole, its rim as background; else a piece is set into a field", 0.0, 1.0
    )
    share_lookalike: float = option(0.1, "share of crops round a given look-alike", 0.0, 1.0)
    share_hard: float = option(0.15, "share of crops round a false detection found while training", 0.0, 1.0)
    share_anywhere: float = option(0.2, "share of crops from any place of a field", 0.0, 1.0)
    mine_every: int = option(150, "steps between searches for false detections on the training fields", 0, 100_000)
    validate_every: int = option(250, "steps between validations", 1, 1_000_000)
    members: int = option(3, "networks trained from different seeds that answer together", 1, 10)
    averaged: int = option(
        1, "networks trained from the same first weights, on other crops, that are averaged into each of these", 1, 10
    )
    second_steps: int = option(
        0,
        "steps of a second round: as many networks go on from the averaged one, on other crops, and are averaged; "
        "0, or where none are averaged: no second round",
        0,
        1_000_000,
    )
    seed: int = option(0, "seed of everything random", 0, 2**31)

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def rounds(self) -> tuple[int, ...]:
        """The steps of each round: a second one is for networks that are averaged."""
        second = self.averaged > 1 and self.second_steps > 0
        return (self.steps, self.second_steps) if second else (self.steps,)
