"""What a training says of itself on fields it has not seen, and the settings chosen there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mitosis_core import ranks
from mitosis_core.atomic_write import atomic_write
from mitosis_core.errors import UnusableData
from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.inference.calibration import (
    Calibration,
    calibration_shift,
    logit,
    measure_background,
    sigmoid,
)
from mitosis_core.inference.fusion import fuse
from mitosis_core.inference.runtime import torch_engine
from mitosis_core.methods import METHODS
from mitosis_core.methods.method import DetectorNet
from mitosis_core.prediction import NetworkOutput, find_candidates, infer
from mitosis_core.scoring.evaluation import Curve, ScoredField, best_threshold, threshold_curve
from mitosis_core.types import Detections, ProbabilityMap
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.config import TrainConfig
from train.data.examples import Example, not_ignored
from train.optimise import training_device
from train.selection.image_level import area_under_roc, image_scores, image_threshold

_TRANSFER_LOGITS = 1.0  # how far the best threshold of one slide lies from that of another
_GRID_LOGITS = 0.25

BACKGROUND_SHARE = 0.99  # of mitosis_core.inference.calibration; 60 mitoses would cover about 1 % of a field

# The post-processing: peaks of the map, which need no second threshold and keep touching figures apart. SegMitos' own
# (Otsu's threshold, blobs, mean score; section 3.3) is BlobSettings(). It is not chosen on the held-out fields, because
# a handful of slides cannot choose among many: 36 settings were tried, and what they gained was chance.
# Nearer than 3 µm to an edge nothing is said: a nucleus that is cut there looks like a plate.
POSTPROCESSING = BlobSettings(finder="peaks", score="peak", binarize="fixed", threshold=0.05, border_um=3.0)

# For these the card says the threshold, where there is tissue to measure it.
FALSE_ALARMS_PER_MM2 = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class ThresholdScores:
    """A threshold, and how good the detections of the validation fields are there."""

    threshold: float
    f1: float
    precision: float
    recall: float
    f1_by_slide: dict[str, float]


@dataclass(frozen=True)
class Choice:
    """What the validation fields say is best: the snapshot, the post-processing, the threshold, and how good it was."""

    step: int
    blobs: BlobSettings
    calibration: Calibration | None
    validation: ThresholdScores
    false_alarms: dict[str, float] = dataclasses.field(default_factory=dict)  # per mm² -> threshold


def network_outputs(net: DetectorNet, fields: Sequence[Example], config: TrainConfig) -> list[NetworkOutput]:
    """The network's output for each field."""
    run = torch_engine(net, training_device())
    return [infer(e.field, run, config.um_per_px, net.stride, config.stain) for e in fields]


def scored_fields(
    outputs: Sequence[NetworkOutput], fields: Sequence[Example], blobs: BlobSettings, calibration: Calibration | None
) -> list[ScoredField]:
    """Detections of each field beside its truth, both without what is to be ignored; slide and scanner as one group."""
    return [
        ScoredField(
            e.field.name,
            e.group,
            drop_ignored(find_candidates(one, e.field, blobs, calibration_shift(one.map, calibration))[0], e),
            e.mitoses_xy_px,
            e.um_per_px,
            e.counted_mm2,
        )
        for one, e in zip(outputs, fields, strict=True)
    ]


def drop_ignored(found: Detections, example: Example) -> Detections:
    """The detections that do not lie where the example is to be ignored."""
    return found.select(not_ignored(found.xy_px, example.ignored))


def fully_annotated(example: Example) -> bool:
    """Whether all of a field counts. Where only a part does (tissue without mitoses), it serves false alarms."""
    return example.ignored is None


def false_alarm_threshold(scored: Sequence[ScoredField], per_mm2: float) -> float:
    """The lowest score at which these fields, which hold no mitosis, have no more than so many detections per mm².

    Raises UnusableData without a field.
    """
    if not scored:
        raise UnusableData("There is no tissue without mitoses, so false alarms cannot be counted.")
    scores = np.sort(np.concatenate([one.detections.score for one in scored]))[::-1]
    allowed = int(per_mm2 * sum(one.area_mm2 or 0.0 for one in scored))
    return float(np.nextafter(scores[allowed], np.float32(1))) if allowed < len(scores) else 0.0


def false_alarm_thresholds(scored: Sequence[ScoredField]) -> dict[str, float]:
    """For the card, `false_alarm_threshold` by the number per mm²; empty without a field."""
    exact = {n: false_alarm_threshold(scored, n) for n in FALSE_ALARMS_PER_MM2 if scored}
    return {f"{n:g}": math.ceil(1e6 * threshold) / 1e6 for n, threshold in exact.items()}  # rounded down: one too many


Fold = tuple[Sequence[Example], list[dict[int, Path]]]  # held-out fields; for each member its snapshots by step


def choose_settings(folds: Sequence[Fold], config: TrainConfig) -> Choice:
    """Choose on held-out fields only.

    folds: for each, its held-out fields and the snapshots of the networks trained without them.
    The step has the highest average precision pooled over all folds, the threshold is the robust one, so that one
    setting serves every slide; or both come from image-level labels alone (config.threshold). Raises UnusableData when
    nothing is found, or when image-level labels are all alike.
    """
    fields = [example for held, _ in folds for example in held]
    whole = [fully_annotated(example) for example in fields]
    judged = [example for example, one in zip(fields, whole, strict=True) if one]
    steps = sorted(set.intersection(*(set(files) for _, members in folds for files in members)))
    outputs = {
        step: [one for held, members in folds for one in ensemble_outputs([f[step] for f in members], held, config)]
        for step in steps
    }
    scored = {
        step: scored_fields(outputs[step], fields, POSTPROCESSING, _median_calibration(outputs[step])) for step in steps
    }
    marked = {step: [f for f, one in zip(scored[step], whole, strict=True) if one] for step in steps}
    step = max(steps, key=lambda s: _selection_score(marked[s], judged, config))
    free = [f for f, one in zip(scored[step], whole, strict=True) if not one]
    scores = scores_at_threshold(marked[step], judged, config)
    return Choice(step, POSTPROCESSING, _median_calibration(outputs[step]), scores, false_alarm_thresholds(free))


def scores_at_threshold(
    scored: Sequence[ScoredField], fields: Sequence[Example], config: TrainConfig
) -> ThresholdScores:
    """The threshold the config asks for, and how good the detections are there."""
    at = image_threshold(scored, fields) if config.threshold == "image" else robust_threshold(scored)
    scores = threshold_curve(scored, HIT_RADIUS_UM).at(at)
    by_slide = {slide: curve.at(at).f1 for slide, curve in _by_slide(scored).items()}
    return ThresholdScores(at, scores.f1, scores.precision, scores.recall, by_slide)


def detections(
    folds: Sequence[Fold], choice: Choice, config: TrainConfig, *, annotated: bool = True
) -> list[list[ScoredField]]:
    """What the chosen snapshots find on the held-out fields of each fold, beside the truth; or on those that are not
    fully annotated."""
    wanted = [[e for e in held if fully_annotated(e) == annotated] for held, _ in folds]
    return [detected(members, held, choice, config) for held, (_, members) in zip(wanted, folds, strict=True)]


def detected(
    members: Sequence[dict[int, Path]], examples: Sequence[Example], choice: Choice, config: TrainConfig
) -> list[ScoredField]:
    """What networks, each with its snapshots by step, find together in the examples by what was chosen."""
    outputs = ensemble_outputs([steps[choice.step] for steps in members], examples, config)
    return scored_fields(outputs, examples, choice.blobs, choice.calibration)


def _median_calibration(outputs: Sequence[NetworkOutput]) -> Calibration:
    """The calibration that leaves the middle one of these fields as it is, and bounds none of them."""
    levels, gaps = zip(*(measure_background(one.map, BACKGROUND_SHARE) for one in outputs), strict=True)
    return Calibration(BACKGROUND_SHARE, round(float(np.median(levels)), 3), round(max(gaps) + 0.0005, 3))


def robust_threshold(scored: Sequence[ScoredField]) -> float:
    """The threshold with the best F1 in the mean over slides when the scores of the next slide lie a little off.

    Networks are about one logit more or less sure on a slide they have not seen, so F1 over the threshold is blurred
    by as much: a high narrow peak on one slide must not win. Raises UnusableData when no detection hits a mitosis.
    """
    best_threshold(scored, HIT_RADIUS_UM)  # raises
    grid = np.arange(-12.0, 12.0, _GRID_LOGITS, dtype=np.float32)
    blur = np.exp(-0.5 * (np.arange(-12, 13) * _GRID_LOGITS / _TRANSFER_LOGITS) ** 2)
    thresholds = sigmoid(grid)
    curves = [[curve.at(float(t)).f1 for t in thresholds] for curve in _by_slide(scored).values()]
    blurred = [np.convolve(np.pad(f1, 12, mode="edge"), blur / blur.sum(), "valid") for f1 in curves]
    return float(thresholds[int(np.mean(blurred, axis=0).argmax())])


def _by_slide(scored: Sequence[ScoredField]) -> dict[str, Curve]:
    slides = sorted({field.slide for field in scored})
    return {slide: threshold_curve([f for f in scored if f.slide == slide], HIT_RADIUS_UM) for slide in slides}


def _selection_score(scored: Sequence[ScoredField], fields: Sequence[Example], config: TrainConfig) -> float:
    """How well the scores tell mitoses, or images with a mitosis, from the rest."""
    if config.threshold == "image":
        return area_under_roc(*image_scores(scored, fields))
    return threshold_curve(scored, HIT_RADIUS_UM).average_precision or 0.0


def ensemble_outputs(files: Sequence[Path], fields: Sequence[Example], config: TrainConfig) -> list[NetworkOutput]:
    """The output of several snapshots as one network, as mitosis_core.methods.ensemble has it: the mean of the logits
    of their maps, their boxes fused."""
    by_member = [cached_outputs(file, fields, config) for file in files]
    return [_ensemble(same_field) for same_field in zip(*by_member, strict=True)]


def _ensemble(outputs: Sequence[NetworkOutput]) -> NetworkOutput:
    mean = np.mean([logit(one.map.values) for one in outputs], axis=0)
    found_map = dataclasses.replace(outputs[0].map, values=sigmoid(mean))
    boxes = [one.boxes for one in outputs if one.boxes is not None]
    distance_px = POSTPROCESSING.peak_distance_um / found_map.um_per_px
    return NetworkOutput(found_map, fuse(boxes, distance_px) if boxes else None)


def cached_outputs(snapshot: Path, fields: Sequence[Example], config: TrainConfig) -> list[NetworkOutput]:
    """The outputs of one snapshot, each computed once and kept beside it."""
    net: DetectorNet | None = None
    outputs = []
    for example in fields:
        kept = _kept(snapshot, example)
        if not kept.exists():
            net = net or load_snapshot(snapshot, config)
            _save_output(network_outputs(net, [example], config)[0], kept)
        with np.load(kept) as parts:
            cell_px = (float(parts["cell_px"][0]), float(parts["cell_px"][1]))
            values = sigmoid(parts["logits"].astype(np.float32))
            found_map = ProbabilityMap(values, cell_px, example.um_per_px, example.tissue_share)
            boxes = Detections(parts["xy_px"], parts["score"], parts["area_um2"]) if "score" in parts else None
        outputs.append(NetworkOutput(found_map, boxes))
    return outputs


def make_outputs(folds: Sequence[Fold], config: TrainConfig) -> None:
    """Under torchrun: what `choose_settings` will ask `cached_outputs` for, computed by all processes, each its share
    of the fields. The first alone reads the snapshots and keeps the outputs."""
    for held, members in folds:
        for snapshot in (file for files in members for file in files.values()):
            _make_outputs(snapshot, held, config)


def _make_outputs(snapshot: Path, fields: Sequence[Example], config: TrainConfig) -> None:
    missing = ranks.from_first(lambda: [i for i, e in enumerate(fields) if not _kept(snapshot, e).exists()])
    if not missing:
        return
    net = ranks.from_first(lambda: load_snapshot(snapshot, config))
    outputs = ranks.each_a_share(lambda i: network_outputs(net, [fields[i]], config)[0], missing)
    if ranks.is_first():
        for i, output in zip(missing, outputs, strict=True):
            _save_output(output, _kept(snapshot, fields[i]))


def _kept(snapshot: Path, example: Example) -> Path:
    return snapshot.with_name(f"{snapshot.stem}-{example.field.digest[:16]}-{example.um_per_px:g}.npz")


def _save_output(output: NetworkOutput, path: Path) -> None:
    # Logits: networks are sure of nearly everything, and half precision cannot tell 0.999 from 0.9994.
    parts = {"logits": logit(output.map.values).astype(np.float16), "cell_px": np.array(output.map.cell_px)}
    if output.boxes is not None:
        parts |= {"xy_px": output.boxes.xy_px, "score": output.boxes.score, "area_um2": output.boxes.area_um2}
    with atomic_write(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **parts)  # type: ignore[arg-type]


def load_snapshot(snapshot: Path, config: TrainConfig) -> DetectorNet:
    """The network whose weights train/fit.py left in `snapshot`."""
    net = METHODS[config.method].build(config.encoder, False, config.variant)
    net.load_state_dict(torch.load(snapshot, map_location="cpu", weights_only=True))
    return net.eval()
