"""Carrying over: how good is the detector on the next slide, the next scanner, the next laboratory?

    python -m benchmarks.transfer --fields DIR=SCANNER... --painted DIR --patches CSV... [--crops CSV] [--tissue CSV]
        [--method METHOD] [--averaged N] [--one-round] [--verifier ENCODER]

--fields: folders with annotations.csv and images/, each of one scanner; a slide is held out on all of them together.
--painted: folder with fields.csv, images/ and masks/, without mitoses where the mask is 0. --patches: one mitosis at
the centre each; of those with cases, some cases are held out. --crops, --tissue: of other laboratories, measured and
never learned from; crops hold one mitosis at the centre, tissue hardly any.

For each slide in turn networks are trained without it, on any scanner (train.fit's own folds). Step, calibration and
threshold come from the other slides, each judged by the networks that have not seen it. --networks: how many, by seeds
from 0, for each slide; --members: how many of them answer together: with --networks 2 --members 1 2, each alone and
then both. --averaged: how many networks are averaged into each of these, where the recipe says otherwise; --one-round:
they are averaged once, where the recipe has a second round; --verifier: the encoder of a second stage, "none" for none,
likewise. With --alone SCANNER as many as --members says first learn from that scanner only, with patches of its maker,
and are tested on the others.
--snapshots scores networks that are there already, as "DIR/{slide}-{seed}/0000500.pt", without any training.
--quick: the same path on a few images and steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from benchmarks.accuracy import QUICK
from benchmarks.held_out import Detector, Measured, add_data_options, detectors, read_data, train_folds
from benchmarks.record import Figures, cpu_name, write_result
from mitosis_core.scoring.evaluation import ScoredField, threshold_curve
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.config import TrainConfig
from train.data.examples import Example
from train.methods import RECIPES, default_config
from train.selection.evaluation import false_alarm_threshold, fully_annotated

ALARMS_PER_MM2 = 2.0  # where the recall of crops is measured
TWINS_UM = (HIT_RADIUS_UM, 15.0)  # how far the plates of one telophase may lie apart
PROTOCOL = (
    f"each slide held out in turn on both scanners together, one-to-one within {HIT_RADIUS_UM:g} µm; step, calibration "
    "and threshold from the other slides, each judged by the networks that had not seen it (but had seen this one: its "
    "scores have no part in the choice); crops: a fifth of the cases held out, other laboratories never trained on, "
    f"found at {ALARMS_PER_MM2:g} detections per mm² of tissue without mitoses (painted fields of the held-out slide "
    "and other laboratories together)"
)


def main() -> None:
    """Measure and write the results."""
    given = _parser().parse_args()
    fields, patches, measured = read_data(given)
    work = given.work or Path(tempfile.mkdtemp())
    options: dict[str, Any] = (
        {**QUICK, "steps": 12} if given.quick else {"steps": given.steps, "validate_every": given.steps}
    )
    if given.averaged:
        options["averaged"] = given.averaged
    if given.one_round:
        options["second_steps"] = 0
    if given.verifier:
        options["verifier"] = "" if given.verifier == "none" else given.verifier
    sizes = []
    for members in given.members:
        runs = []
        for seed in range(0, given.networks - members + 1, members):
            config = default_config(given.method, **{**options, "members": members, "seed": seed})
            runs.append(_run(fields, patches, config, work, measured, given))
        sizes.append({"members": members, "ensembles": runs, **_summary(runs)})
    figures = {"by_members": sizes, "protocol": PROTOCOL, "config": dataclasses.asdict(config)}
    if given.alone:
        first = dataclasses.replace(config, members=given.members[0], seed=0)
        figures["alone"] = _alone(given.alone, fields, patches, first, work, given.jobs)
    figures["machine"] = f"{cpu_name()}, {platform.system()}"
    variant = given.method + (f"-{given.averaged}" if given.averaged else "") + given.one_round * "-one-round"
    if given.verifier:
        variant += "-one-stage" if given.verifier == "none" else "-two-stages"
    name = "transfer" if variant == "segmitos" else f"transfer_{variant}"
    write_result(f"{name}-quick" if given.quick else name, figures)


def _run(
    fields: Sequence[Example],
    patches: Sequence[Example],
    config: TrainConfig,
    work: Path,
    measured: Measured,
    given: argparse.Namespace,
) -> list[Figures]:
    """One row for each slide held out."""
    folds = train_folds(fields, patches, config, work, given.jobs, given.snapshots)
    rows = []
    for detector in detectors(folds, config, work):
        rows.append(_row(detector, measured))
        print(rows[-1], flush=True)
    return rows


def _row(detector: Detector, measured: Measured) -> Figures:
    held, own, detect = detector.held, detector.choice.validation.threshold, detector.detect
    marked = detect([e for e in held if fully_annotated(e)])
    painted, tissue = detect([e for e in held if not fully_annotated(e)]), detect(measured.tissue)
    crops = {group: detect(some) for group, some in measured.crops.items()}
    at = false_alarm_threshold([*painted, *tissue], ALARMS_PER_MM2)
    return {
        "slide": held[0].slide,
        "step": detector.choice.step,
        "threshold": own,
        "scanners": {
            group.split(", ")[-1]: _scores(marked, group, own, at) for group in sorted({f.slide for f in marked})
        },
        "pairs_5_to_15_um_apart": sum(pairs_apart(one, own, *TWINS_UM) for one in marked),
        "false_alarms_per_mm2": {
            "painted": detections_per_mm2(painted, own),
            "other laboratories": detections_per_mm2(tissue, own),
            "by laboratory": _by_laboratory(tissue, own),
        },
        "threshold_at_alarms": at,
        "recall_of_crops": {group: recall(some, at) for group, some in crops.items()},
        "recall_of_crops_at_own_threshold": {group: recall(some, own) for group, some in crops.items()},
    }


def _scores(scored: Sequence[ScoredField], group: str, threshold: float, at: float) -> Figures:
    fields = [f for f in scored if f.slide == group]
    curve = threshold_curve(fields, HIT_RADIUS_UM)
    own = curve.at(threshold)
    return {
        "fields": len(fields),
        "mitoses": curve.true,
        "precision": own.precision,
        "recall": own.recall,
        "f1": own.f1,
        "ap": curve.average_precision,
        "f1_at_best_threshold": float(curve.f1.max(initial=0.0)),
        "f1_at_alarms": curve.at(at).f1,
    }


def detections_per_mm2(scored: Sequence[ScoredField], threshold: float) -> float | None:
    """How many lie at or above a threshold; None without any area."""
    area_mm2 = sum(f.area_mm2 or 0.0 for f in scored)
    return sum(len(f.detections.above(threshold)) for f in scored) / area_mm2 if area_mm2 else None


def pairs_apart(one: ScoredField, threshold: float, least_um: float, most_um: float) -> int:
    """How many pairs of its detections at or above a threshold lie so far from each other, as two plates may."""
    xy_um = one.detections.above(threshold).xy_px * one.um_per_px
    return int(np.count_nonzero(pdist(xy_um) > least_um) - np.count_nonzero(pdist(xy_um) > most_um))


def _by_laboratory(scored: Sequence[ScoredField], threshold: float) -> dict[str, float | None]:
    """By the second part of the image's name, which is the hospital in TCGA."""
    laboratories: dict[str, list[ScoredField]] = {}
    for field in scored:
        laboratories.setdefault([*field.image.split("-"), ""][1], []).append(field)
    return {name: detections_per_mm2(some, threshold) for name, some in sorted(laboratories.items())}


def recall(scored: Sequence[ScoredField], threshold: float) -> float:
    """The share of their mitoses that is found at or above a threshold."""
    return threshold_curve(scored, HIT_RADIUS_UM).at(threshold).recall


def _alone(
    scanner: str, fields: Sequence[Example], patches: Sequence[Example], config: TrainConfig, work: Path, jobs: int
) -> Figures:
    """Trained on one scanner and patches of its maker, tested on the other scanners' fields of the slide held out."""
    own = [e for e in fields if e.scanner == scanner]
    others = [e for e in fields if e.scanner != scanner and fully_annotated(e)]
    maker = [p for p in patches if p.scanner.partition(" ")[0] == scanner.partition(" ")[0]]
    folds = train_folds(own, maker, config, work, jobs)
    rows = {}
    for detector in detectors(folds, config, work):
        slide, at = detector.held[0].slide, detector.choice.validation.threshold
        scored = detector.detect([e for e in others if e.slide == slide])
        rows[slide] = {g: _scores(scored, g, at, 1.0) for g in sorted({f.slide for f in scored})}
    every = [one for row in rows.values() for one in row.values()]
    f1, ap = (float(np.mean([one[key] for one in every])) for key in ("f1", "ap"))
    said = {"scanner": scanner, "members": config.members, "patches": len(maker)}
    return {**said, "slides": rows, "f1": f1, "ap": ap}


def _summary(runs: Sequence[Sequence[Figures]]) -> Figures:
    """Means over the slides, and their lowest and highest value over seeds."""
    scanners = runs[0][0]["scanners"]
    groups = runs[0][0]["recall_of_crops"]
    return {
        "by_scanner": {
            name: {
                key: _spread(runs, lambda row, n=name, k=key: row["scanners"].get(n, {}).get(k))  # type: ignore[misc]
                for key in ("f1", "ap", "f1_at_best_threshold", "precision", "recall", "f1_at_alarms")
            }
            for name in scanners
        },
        "recall_of_crops": {g: _spread(runs, lambda row, g=g: row["recall_of_crops"][g]) for g in groups},  # type: ignore[misc]
        "false_alarms_per_mm2": {
            g: _spread(runs, lambda row, g=g: row["false_alarms_per_mm2"][g])  # type: ignore[misc]
            for g in ("painted", "other laboratories")
        },
    }


def _spread(runs: Sequence[Sequence[Figures]], value: Callable[[Figures], Any]) -> dict[str, float]:
    means = [float(np.mean([v for row in rows if (v := value(row)) is not None])) for rows in runs]
    return {"mean": float(np.mean(means)), "low": min(means), "high": max(means)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser)
    parser.add_argument("--method", choices=RECIPES, default="segmitos")
    parser.add_argument("--averaged", type=int, metavar="N")
    parser.add_argument("--one-round", action="store_true")
    parser.add_argument("--verifier", default="", metavar="ENCODER")
    parser.add_argument("--alone", default="", metavar="SCANNER")
    parser.add_argument("--snapshots", default="", metavar="PATTERN")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--networks", type=int, default=1)
    parser.add_argument("--members", type=int, nargs="+", default=[1])
    parser.add_argument("--quick", action="store_true")
    return parser


if __name__ == "__main__":
    main()
