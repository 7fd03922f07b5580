"""Leave-one-slide-out: how good is each method on a slide it has never seen?

    python -m benchmarks.accuracy --annotations CSV --images DIR [--patches CSV] [--systems NAME...] [--work DIR]

For each slide in turn a version is trained on the others with `train.fit` as shipped: the step and the
threshold are chosen by an inner leave-one-slide-out over the training slides. The held-out
slide is then scored once, with the product's own `predict`. Trainings found in --work are not repeated; the figures of
systems that are not named stay as they were. With --quick two systems, one field per slide and a few steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, Figures, cpu_name, write_result
from mitosis_core import predict
from mitosis_core.methods import METHODS
from mitosis_core.model import Model
from mitosis_core.scoring.evaluation import ScoredField, evaluate
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.config import TrainConfig
from train.data.examples import Example, read_examples, read_patches
from train.fit import fit, plan_jobs, train_all
from train.loop import Step
from train.methods import default_config

# Beside the published systems in our recipe: what the second stage adds, to other detectors too, and instance-max with
# the stain and the threshold of its paper, which knows image-level labels only.
SYSTEMS: dict[str, dict[str, Any]] = {
    **{method: {"method": method} for method in METHODS},
    "deepmitosis without verification": {"method": "deepmitosis", "verifier": ""},
    "segmitos with verification": {"method": "segmitos", "verifier": "efficientnet_lite0"},
    "rdlm with verification": {"method": "rdlm", "verifier": "efficientnet_lite0"},
    "instance_max as published": {"method": "instance_max", "stain": "macenko", "threshold": "image"},
}
QUICK: dict[str, Any] = {
    "steps": 20,
    "batch": 8,
    "crop_px": 96,
    "validate_every": 20,
    "mine_every": 0,
    "members": 1,
    "averaged": 2,
    "second_steps": 2,
    "ema": 0.9,
    "lr_head": 5e-3,
    "frozen_stages": 4,
}
QUICK_SYSTEMS = ["segmitos", "rdlm"]  # one that answers with a map, one with boxes
PROTOCOL = (
    f"leave one slide out, one-to-one within {HIT_RADIUS_UM:g} µm; step and threshold by an inner leave-one-slide-out "
    "over the training slides; interval: bootstrap over fields within slides"
)


def main() -> None:
    """Measure the systems that are named and write the results."""
    given = _parser().parse_args()
    name = "accuracy-quick" if given.quick else "accuracy"
    fields = read_examples(given.annotations, given.images)
    patches = read_patches(given.patches, given.patches.parent / "images") if given.patches else []
    if given.quick:
        fields, patches = few(fields), patches[:10]
    work = given.work or Path(tempfile.mkdtemp())
    kept = RESULTS / f"{name}.json"
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() and not given.quick else {}
    figures = {system: before[system] for system in SYSTEMS if system in before}
    for system in given.systems or (QUICK_SYSTEMS if given.quick else SYSTEMS):
        config = default_config(**{**(QUICK if given.quick else {}), **SYSTEMS[system], "seed": given.seed})
        figures[system] = _system(system, config, fields, patches, work, given.jobs)
        write_result(name, figures)


def _system(
    system: str, config: TrainConfig, fields: list[Example], patches: list[Example], work: Path, jobs: int
) -> Figures:
    slides = sorted({e.slide for e in fields})
    plans = [plan_jobs([e for e in fields if e.slide != slide], patches, config, work) for slide in slides]
    todo = [job for folds, final in plans for ms in (*folds, final) for job in ms]
    train_all(todo, jobs, report)
    folds = [
        _fold(slide, fields, patches, config, work, work / f"{system}-without-{slide}.safetensors") for slide in slides
    ]
    scored = [field for fold in folds for field in fold[1]]
    low, high = _interval(folds)
    folders = {job.folder for job in todo}
    minutes = sum(float((folder / "seconds").read_text()) for folder in folders) / 60
    second = f", a verifier on {config.verifier} for each of them" if config.verifier else ""
    return {
        "f1": sum(row["f1"] for row, _ in folds) / len(folds),
        "low": low,
        "high": high,
        "average_precision": sum(row["ap"] for row, _ in folds) / len(folds),
        "f1_at_best_threshold": sum(row["f1_at_best_threshold"] for row, _ in folds) / len(folds),
        "pooled_f1": evaluate(scored, HIT_RADIUS_UM).scores.f1,
        "budget": f"{len(folders)} networks ({config.members} a version), {config.steps} steps of {config.batch} crops "
        f"of {config.crop_px} px on {config.encoder}: {minutes:.0f} CPU minutes, one thread each{second}",
        "minutes": minutes,
        "folds": [row for row, _ in folds],
        "protocol": PROTOCOL,
        "config": dataclasses.asdict(config),
        "patches": len(patches),
        "machine": f"{cpu_name()}, {platform.system()}",
    }


def _fold(
    slide: str, fields: list[Example], patches: list[Example], config: TrainConfig, work: Path, out: Path
) -> tuple[Figures, list[ScoredField]]:
    """Train without `slide`, score on it: its row of the table, and its fields with the accepted detections."""
    training = [e for e in fields if e.slide != slide]
    model = fit(training, patches, config, out, work=work)
    held_out = [_score(e, model) for e in fields if e.slide == slide]
    result = evaluate(held_out, HIT_RADIUS_UM, threshold=model.threshold)
    row = {
        "slide": slide,
        "fields": len(held_out),
        "mitoses": sum(len(f.true_xy_px) for f in held_out),
        "precision": result.scores.precision,
        "recall": result.scores.recall,
        "f1": result.scores.f1,
        "fp_per_mm2": result.fp_per_mm2,
        "ap": result.average_precision,
        "raw_threshold": model.card.raw_threshold,
        "f1_at_best_threshold": float(result.curve.f1.max()) if len(result.curve.f1) else 0.0,
        "step": model.card.training["step kept"],
        "f1_inner": model.card.scores["validation"]["f1_by_slide"],
    }
    print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    accepted = [dataclasses.replace(f, detections=f.detections.above(model.threshold)) for f in held_out]
    return row, accepted


def _score(example: Example, model: Model) -> ScoredField:
    found = predict(example.field, model, device="cpu").candidates
    return ScoredField(
        example.field.name, example.slide, found, example.mitoses_xy_px, example.um_per_px, example.field.area_mm2
    )


def _interval(folds: list[tuple[Figures, list[ScoredField]]]) -> tuple[float, float]:
    """95 % bootstrap of the mean F1: fields drawn again within each slide (three slides are too few to draw)."""
    rng = np.random.default_rng(0)
    means = np.zeros(2000)
    for _, fields in folds:
        rows = evaluate(fields, HIT_RADIUS_UM).fields
        counts = np.array([[r.scores.tp, r.scores.fp, r.scores.fn] for r in rows])
        tp, fp, fn = counts[rng.integers(len(counts), size=(2000, len(counts)))].sum(axis=1).T
        means += 2 * tp / np.maximum(2 * tp + fp + fn, 1) / len(folds)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def few(fields: list[Example]) -> list[Example]:
    """One field per slide."""
    return list({e.slide: e for e in fields}.values())


def report(title: str, step: Step) -> None:
    """Progress on the terminal."""
    if step.step % 100 == 0:
        print(f"{title}: step {step.step}, loss {step.loss:.4f}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--patches", type=Path)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), help="default: all")
    parser.add_argument("--work", type=Path, help="folder of the trainings (default: a new temporary one)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="the same path on one field per slide and a few steps")
    return parser


if __name__ == "__main__":
    main()
