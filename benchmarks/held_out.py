"""The slides that transfer.py and label_efficiency.py measure on, and the networks trained without each of them.

A slide is held out on all its scanners together; step, calibration and threshold for it come from the other slides,
each judged by the networks that have not seen it (train.fit's own folds).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.accuracy import report
from mitosis_core.errors import UnusableData
from mitosis_core.scoring.evaluation import ScoredField
from train.config import TrainConfig
from train.data.examples import Example, read_examples, read_patches, read_tissue
from train.fit import TrainingJob, held_out_cases, plan_jobs, snapshots, train_all
from train.selection.cascade import SecondStage, second_stage, verified_fields
from train.selection.evaluation import (
    Choice,
    Fold,
    choose_settings,
    detected,
    fully_annotated,
)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What nothing is learned from: crops with one mitosis each by group, and tissue with hardly any."""

    crops: dict[str, list[Example]]
    tissue: list[Example]


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """The options that `read_data` reads, and --work and --jobs."""
    parser.add_argument("--fields", nargs="+", default=[], metavar="DIR=SCANNER")
    parser.add_argument("--painted", type=Path)
    parser.add_argument("--patches", type=Path, nargs="*", default=[])
    parser.add_argument("--crops", type=Path)
    parser.add_argument("--tissue", type=Path)
    parser.add_argument("--work", type=Path, help="folder of the trainings (default: a new temporary one)")
    parser.add_argument("--jobs", type=int, default=1)


def read_data(given: argparse.Namespace) -> tuple[list[Example], list[Example], Measured]:
    """Fields (those without mitoses too), patches, and what is only measured on.

    Raises UnusableData or UnreadableField.
    """
    if not given.fields:
        raise UnusableData("Please name the folders of fields: --fields DIR=SCANNER.")
    fields: list[Example] = []
    for pair in given.fields:
        folder, _, scanner = pair.partition("=")
        fields += read_examples(Path(folder) / "annotations.csv", Path(folder) / "images", scanner=scanner)
    if given.painted:
        fields += read_tissue(given.painted / "fields.csv", given.painted / "images", given.painted / "masks")
    patches = [e for table in given.patches for e in read_patches(table, table.parent / "images")]
    held = held_out_cases(patches)
    crops: dict[str, list[Example]] = {}
    for patch in (p for p in patches if p.slide in held):
        crops.setdefault(patch.scanner or "held-out cases", []).append(patch)
    if given.crops:
        crops["other laboratories"] = read_patches(given.crops, given.crops.parent / "crops")
    tissue = read_tissue(given.tissue, given.tissue.parent / "tissue") if given.tissue else []
    if given.quick:
        fields = list({(e.group, fully_annotated(e), i % 2): e for i, e in enumerate(fields)}.values())
        patches = patches[::60]
        crops, tissue = {group: some[:8] for group, some in crops.items()}, tissue[:2]
    return fields, patches, Measured(crops, tissue)


def train_folds(
    fields: Sequence[Example], patches: Sequence[Example], config: TrainConfig, work: Path, jobs: int, pattern: str = ""
) -> list[Fold]:
    """For each slide its fields and the networks trained without it; those found in `work` are not trained again.

    pattern: where the snapshots are, as "DIR/{slide}-{seed}/0000500.pt", instead of any training; a slide without is
    left out.
    """
    planned, _ = plan_jobs(fields, patches, config, work)
    if not pattern:
        train_all([job for members in planned for job in members], jobs, report)
    found = [(members[0].held_out, [_files(job, pattern) for job in members]) for members in planned]
    return [(held, members) for held, members in found if all(members)]


@dataclasses.dataclass(frozen=True)
class Detector:
    """What is measured on a slide held out: networks trained without it, and what the other slides chose for them.

    members: of each network its snapshots by step. second: where the recipe has a second stage, which learned from
    the other slides too.
    """

    held: Sequence[Example]
    members: list[dict[int, Path]]
    config: TrainConfig
    choice: Choice
    second: SecondStage | None

    def detect(self, examples: Sequence[Example]) -> list[ScoredField]:
        """What it finds in the examples, beside the truth."""
        scored = detected(self.members, examples, self.choice, self.config)
        return verified_fields(scored, examples, self.second) if self.second else scored


def detectors(folds: Sequence[Fold], config: TrainConfig, work: Path) -> Iterator[Detector]:
    """That of each fold, with what the others choose for it. work: where second stages are kept."""
    for out, (held, members) in enumerate(folds):
        others = [other for i, other in enumerate(folds) if i != out]
        choice = choose_settings(others, config)
        second = second_stage(others, choice, config, work) if config.verifier else None
        yield Detector(held, members, config, second.choice if second else choice, second)


def _files(job: TrainingJob, pattern: str) -> dict[int, Path]:
    """step -> snapshot of a job."""
    if not pattern:
        return snapshots(job)
    path = Path(pattern.format(slide=job.held_out[0].slide, seed=job.config.seed))
    return {int(path.stem): path} if path.exists() else {}
