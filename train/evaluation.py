"""What a training says of itself on fields it has not seen, and the settings chosen there."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mitosis_core.blobs import BlobSettings, find_blobs
from mitosis_core.evaluation import ScoredField, best_threshold, threshold_curve
from mitosis_core.methods import METHODS
from mitosis_core.prediction import inside, probability_map
from mitosis_core.runtime import torch_engine
from mitosis_core.types import ProbabilityMap
from train.config import TrainConfig
from train.examples import Example

RADIUS_UM = 5.0  # within which a detection hits (MITOS12 protocol)

# What the post-processing may be; one is chosen on validation fields. SegMitos, section 3.3, and its peaks variant.
CANDIDATES: tuple[BlobSettings, ...] = tuple(
    dataclasses.replace(BlobSettings(), finder=finder, smooth_um=smooth, min_area_um2=area, score=score)
    for finder, smooth, area, score in itertools.product(("blobs", "peaks"), (0.5, 1.0, 1.5), (4.0, 8.0, 12.0), ("mean", "peak"))
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """What the validation fields say is best: the snapshot, the post-processing, the threshold, and how good it was."""

    step: int
    blobs: BlobSettings
    threshold: float
    average_precision: dict[int, float]
    f1: float
    precision: float
    recall: float
    f1_by_slide: dict[str, float]


def probability_maps(net: nn.Module, fields: Sequence[Example], config: TrainConfig) -> list[ProbabilityMap]:
    """The network's answer on each field."""
    run = torch_engine(net, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return [probability_map(e.field, run, config.um_per_px, int(net.stride)) for e in fields]  # type: ignore[arg-type]


def scored_fields(
    maps: Sequence[ProbabilityMap], fields: Sequence[Example], blobs: BlobSettings
) -> list[ScoredField]:
    """Detections of each field beside its truth."""
    return [
        ScoredField(e.field.name, e.slide, inside(find_blobs(m, blobs), e.field), e.mitoses_xy_px, e.um_per_px,
                    e.field.area_mm2)
        for m, e in zip(maps, fields, strict=True)
    ]  # fmt: skip


def choose(folds: Sequence[tuple[Sequence[Example], dict[int, Path]]], config: TrainConfig) -> Choice:
    """Choose on held-out fields only.

    folds: for each, its held-out fields and the snapshots (step -> file) of the network trained without them.
    The step has the highest average precision, then post-processing and threshold the highest F1, each pooled
    over all folds, so that one setting serves every slide.
    """
    steps = sorted(set.intersection(*(set(files) for _, files in folds)))
    maps = {step: [held_out_maps(files[step], fields, config) for fields, files in folds] for step in steps}
    fields = [held for held, _ in folds]

    def score(step: int, blobs: BlobSettings) -> list[ScoredField]:
        return [s for m, f in zip(maps[step], fields, strict=True) for s in scored_fields(m, f, blobs)]

    precision = {s: threshold_curve(score(s, _RANKING), RADIUS_UM).average_precision or 0.0 for s in steps}
    step = max(steps, key=lambda s: precision[s])
    best: tuple[float, BlobSettings, float, list[ScoredField]] | None = None
    for candidate in CANDIDATES:
        scored = score(step, candidate)
        at = best_threshold(scored, RADIUS_UM)
        f1 = threshold_curve(scored, RADIUS_UM).at(at).f1
        if best is None or f1 > best[0]:
            best = f1, candidate, at, scored
    assert best is not None, "there is at least one candidate"
    _, blobs, at, scored = best
    pooled = threshold_curve(scored, RADIUS_UM).at(at)
    by_slide = {
        slide: threshold_curve([f for f in scored if f.slide == slide], RADIUS_UM).at(at).f1
        for slide in sorted({f.slide for f in scored})
    }
    return Choice(step, blobs, at, precision, pooled.f1, pooled.precision, pooled.recall, by_slide)


_RANKING = BlobSettings(finder="peaks", score="peak", binarize="fixed", threshold=0.05, min_area_um2=0.0)


def held_out_maps(snapshot: Path, fields: Sequence[Example], config: TrainConfig) -> list[ProbabilityMap]:
    """The answers of one snapshot, each computed once and kept beside it."""
    net: nn.Module | None = None
    maps = []
    for example in fields:
        kept = snapshot.with_name(f"{snapshot.stem}-{example.field.digest[:16]}.npz")
        if not kept.exists():
            net = net or load_snapshot(snapshot, config)
            made = probability_maps(net, [example], config)[0]
            np.savez_compressed(kept, values=made.values.astype(np.float16), cell_px=made.cell_px)
        with np.load(kept) as parts:
            cell_px = (float(parts["cell_px"][0]), float(parts["cell_px"][1]))
            maps.append(ProbabilityMap(parts["values"].astype(np.float32), cell_px, example.um_per_px))
    return maps


def load_snapshot(snapshot: Path, config: TrainConfig) -> nn.Module:
    """The network whose weights train/fit.py left in `snapshot`."""
    net = METHODS[config.method].build(config.encoder, False)
    net.load_state_dict(torch.load(snapshot, weights_only=True))
    return net.eval()
