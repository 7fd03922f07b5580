"""From examples to a version: folds by slide choose step, calibration and threshold; then all slides train."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from mitosis_core import ranks
from mitosis_core.atomic_write import atomic_write
from mitosis_core.errors import UnusableData
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import make_ensemble
from mitosis_core.methods.method import DetectorNet
from mitosis_core.model import Model, ModelCard, save_model
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.config import FROM_MASKS, TrainConfig
from train.data.examples import Example, digest
from train.loop import Step, fit_net
from train.optimise import mean_weights
from train.parallel import check_same, lost_as_sentence
from train.selection.cascade import SecondStage, second_stage
from train.selection.evaluation import Choice, Fold, choose_settings, load_snapshot, make_outputs

MAX_FOLDS = 5
_SEEDS_APART = 1000  # of networks that are averaged; their members are 1 apart
_SECOND_ROUND = 500  # added to the seeds of those that go on from the average
Report = Callable[[str, Step], None]


@dataclass(frozen=True)
class Provenance:
    """What the card says beside what a training knows: of the data, under which licence the weights are, and when to
    choose them."""

    data: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    purpose: str = ""


@dataclass(frozen=True)
class TrainingJob:
    """One network to train: on what, and which fields it is held out from (they have no part in the training).

    start_seed: of its first weights, where they are another network's too; None: the seed of its config. start: the
    network it goes on from, in a second round.
    """

    title: str
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    config: TrainConfig
    work: Path
    start_seed: int | None = None
    start: TrainingJob | None = None

    @cached_property
    def folder(self) -> Path:
        """Where its snapshots are; the same training data and settings are never trained twice."""
        settings = {name: value for name, value in dataclasses.asdict(self.config).items() if value != ""}
        if self.config.averaged == 1:
            del settings["averaged"]  # a network by itself is found where it was before there was a choice
        if len(self.config.rounds) == 1:
            del settings["second_steps"]
        start: list[Any] = [one.folder.name for one in (self.start, self.coarser) if one]
        if self.first_seed != self.config.seed:
            start.append(self.first_seed)
        scanners = sorted({f"{e.field.digest} {e.scanner}" for e in self.train})  # crops are drawn scanner by scanner
        identity = json.dumps([digest(list(self.train)), scanners, settings, *start])
        return self.work / hashlib.sha256(identity.encode()).hexdigest()[:16]

    @property
    def first_seed(self) -> int:
        """The seed of its first weights."""
        return self.config.seed if self.start_seed is None else self.start_seed

    @cached_property
    def averaged(self) -> tuple[TrainingJob, ...]:
        """The networks whose weights are averaged into this one; none when it is trained itself."""
        config, count = self.config, self.config.averaged
        if count == 1:
            return ()
        alone, start, title = dataclasses.replace(config, averaged=1, second_steps=0), None, self.title
        if len(config.rounds) > 1:
            start = dataclasses.replace(self, held_out=(), config=dataclasses.replace(config, second_steps=0))
            alone = dataclasses.replace(alone, steps=config.second_steps, seed=config.seed + _SECOND_ROUND)
            title = f"{title}, second round"
        configs = [dataclasses.replace(alone, seed=alone.seed + _SEEDS_APART * i) for i in range(count)]
        return tuple(
            TrainingJob(f"{title}, {i + 1} of {count}", self.train, (), one, self.work, self.first_seed, start)
            for i, one in enumerate(configs)
        )

    @property
    def needed(self) -> tuple[TrainingJob, ...]:
        """What must be trained before it."""
        return self.averaged or tuple(one for one in (self.start, self.coarser) if one)

    @cached_property
    def coarser(self) -> TrainingJob | None:
        """The coarser network it starts from, on the same data (SegMitos, section 4.1); most have none."""
        encoder = METHODS[self.config.method].coarser.get(self.config.encoder)
        if encoder is None or self.start:
            return None
        config = dataclasses.replace(self.config, encoder=encoder, seed=self.first_seed)
        return TrainingJob(f"{self.title}: {encoder}", self.train, (), config, self.work)


def folds_by_slide(examples: Sequence[Example], most: int = MAX_FOLDS) -> list[list[str]]:
    """Groups of slides to hold out in turn: one slide each, or `most` groups of like size when there are more.

    Raises UnusableData for a single slide: nothing could then be said about the next one.
    """
    slides = sorted({e.slide for e in examples})
    if len(slides) < 2:
        raise UnusableData(
            "All fields come from one slide, so a threshold cannot be checked on another; please add a second slide."
        )
    count = min(most, len(slides))
    return [slides[i::count] for i in range(count)]


def fit(
    fields: Sequence[Example],
    patches: Sequence[Example],
    config: TrainConfig,
    out: Path,
    *,
    work: Path,
    jobs: int = 1,
    report: Report = lambda title, step: None,
    provenance: Provenance | None = None,
) -> Model:
    """Train a version and write weights and card to `out` (.safetensors).

    fields are split by slide; patches (extra positives) always train. work: folder of the snapshots, which a
    second call takes up where the first was cut. jobs: networks trained at the same time, one thread each. Under
    torchrun (train/parallel.py) every process calls this with the same data; the first one alone reads and writes
    `work` and `out`.
    Raises UnusableData when there is no mitosis, all are on one slide, there is a single slide, or no mask for labels
    that are drawn from masks; ValueError for jobs under torchrun.
    """
    if ranks.size() > 1 and jobs > 1:
        raise ValueError("Several networks at a time (--jobs) are trained without torchrun; please leave one out.")
    with lost_as_sentence():
        folds, final = ranks.in_all(lambda: plan_jobs(fields, patches, config, work))
        todo = [job for members in (*folds, final) for job in members]
        check_same([job.folder.name for job in todo], "annotations, images and options")
        train_all(todo, jobs, report)
        by_fold = ranks.from_first(
            lambda: [(members[0].held_out, [snapshots(job) for job in members]) for members in folds]
        )
        if ranks.size() > 1:
            make_outputs(by_fold, config)
        return ranks.from_first(
            lambda: _finish(by_fold, final, fields, patches, config, out, work, provenance or Provenance())
        )


def _finish(
    by_fold: Sequence[Fold],
    final: Sequence[TrainingJob],
    fields: Sequence[Example],
    patches: Sequence[Example],
    config: TrainConfig,
    out: Path,
    work: Path,
    provenance: Provenance,
) -> Model:
    """From the trained networks to the version."""
    choice = choose_settings(by_fold, config)
    net = make_ensemble([load_snapshot(snapshots(job)[choice.step], config) for job in final])
    second = None
    if config.verifier:
        second = second_stage(by_fold, choice, config, work)
        choice = second.choice
    card = make_card(out.stem, net.stride, fields, patches, config, choice, second, provenance)
    return save_model(net, card, out, second.net if second else None)


def plan_jobs(
    fields: Sequence[Example], patches: Sequence[Example], config: TrainConfig, work: Path
) -> tuple[list[list[TrainingJob]], list[TrainingJob]]:
    """The networks a version needs: the members of every fold, and those that are kept, on all slides.

    Raises UnusableData when one of them would have nothing to learn from.
    """
    if config.labels in FROM_MASKS and all(e.mask is None for e in fields):
        raise UnusableData(
            f"The labels “{config.labels}” are drawn from masks, but no field has a mask or objects of known size."
        )
    cases = held_out_cases(patches)
    folds = [
        member_jobs(f"without {'+'.join(g)}", fields, patches, set(g) | cases, config, work)
        for g in folds_by_slide(fields)
    ]
    for job, *_ in folds:
        if not any(len(e.mitoses_xy_px) for e in job.train):
            slides = " and ".join(sorted({e.slide for e in job.held_out}))
            raise UnusableData(
                f"There is no mitosis to learn from while {slides} is held out; please add some of another slide."
            )
    return folds, member_jobs("all slides", fields, patches, set(), config, work)


def held_out_cases(patches: Sequence[Example]) -> set[str]:
    """About a fifth of the cases of the patches, the same in every run: no fold learns from them."""
    return {p.slide for p in patches if p.slide and int(hashlib.sha256(p.slide.encode()).hexdigest(), 16) % 5 == 0}


def member_jobs(
    title: str, fields: Sequence[Example], patches: Sequence[Example], held: set[str], config: TrainConfig, work: Path
) -> list[TrainingJob]:
    """The jobs of one version that sees nothing of the slides `held`: one per member, the same data, another seed."""
    train = (*(e for e in fields if e.slide not in held), *(p for p in patches if p.slide not in held))
    held_out = tuple(e for e in fields if e.slide in held)
    # What is chosen after the training leaves its snapshots as they are.
    alone = dataclasses.replace(config, members=1, verifier="", threshold="")
    configs = [dataclasses.replace(alone, seed=config.seed + i) for i in range(config.members)]
    return [TrainingJob(f"{title}, member {i + 1}", train, held_out, c, work) for i, c in enumerate(configs)]


def train_all(todo: Sequence[TrainingJob], jobs: int, report: Report) -> None:
    """Train every job that is not done yet, each once; first what others need, which several may."""
    needed = [one for job in _unfinished(todo) for one in job.needed]
    if needed:
        train_all(needed, jobs, report)
    todo = list({job.folder: job for job in _unfinished(todo)}.values())
    if jobs == 1:
        for job in todo:
            train_one(job, report)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for future in [pool.submit(train_one, job) for job in todo]:
            future.result()


def train_one(job: TrainingJob, report: Report | None = None) -> None:
    """Train one network, leaving a snapshot of its EMA at every `validate_every` steps.

    Where the method has a coarser network it begins as the last snapshot of that, which must be there; so must the one
    it goes on from, and those that are averaged into one.
    """
    if job.averaged:
        _average(job)
        return
    started = time.perf_counter() - _seconds(job)  # a training that was cut goes on
    torch.manual_seed(job.first_seed)
    pretrained = job.coarser is None and job.start is None
    net = METHODS[job.config.method].build(job.config.encoder, pretrained, job.config.variant)
    if ranks.is_first():  # the others have its weights from there
        if job.coarser:
            net.start_from(load_snapshot(last_snapshot(job.coarser), job.coarser.config))
        if job.start:
            net.load_state_dict(torch.load(last_snapshot(job.start), map_location="cpu", weights_only=True))

    def save_snapshot(ema: DetectorNet, step: int) -> float | None:
        _note_seconds(job, time.perf_counter() - started)  # first, as the last snapshot says that all is done
        with atomic_write(job.folder / f"{step:07d}.pt") as file:
            torch.save(ema.state_dict(), file)
        return None

    def report_step(step: Step) -> None:
        if report:
            report(job.title, step)
        elif step.step % 100 == 0:
            print(f"{job.title}: step {step.step} of {job.config.steps}, loss {step.loss:.4f}", flush=True)

    fit_net(
        net,
        job.train,
        job.config,
        checkpoint=job.folder / "checkpoint.pt",
        at_validation=save_snapshot,
        report=report_step,
    )


def _average(job: TrainingJob) -> None:
    """Write the snapshots of a network that is the mean of others."""
    if not ranks.is_first():
        return
    start = job.averaged[0].start
    _note_seconds(job, sum(map(_seconds, (*job.averaged, start) if start else job.averaged)))
    for step in snapshots(job.averaged[0]):
        states = [torch.load(snapshots(one)[step], map_location="cpu", weights_only=True) for one in job.averaged]
        with atomic_write(job.folder / f"{step:07d}.pt") as file:
            torch.save(mean_weights(states), file)


def _seconds(job: TrainingJob) -> float:
    """How long a network has trained so far, for the benchmarks."""
    file = job.folder / "seconds"
    return float(file.read_text()) if file.exists() else 0.0


def _note_seconds(job: TrainingJob, seconds: float) -> None:
    with atomic_write(job.folder / "seconds") as file:
        file.write_text(f"{seconds:.0f}\n")


def _unfinished(jobs: Sequence[TrainingJob]) -> list[TrainingJob]:
    return [
        jobs[i] for i in ranks.from_first(lambda: [i for i, job in enumerate(jobs) if not last_snapshot(job).exists()])
    ]


def last_snapshot(job: TrainingJob) -> Path:
    """Its file, which exists once the job is done."""
    return job.folder / f"{job.config.rounds[-1]:07d}.pt"


def snapshots(job: TrainingJob) -> dict[int, Path]:
    """step -> file of every snapshot of a trained job."""
    return {int(path.stem): path for path in sorted(job.folder.glob("[0-9]*.pt"))}


def _data(fields: Sequence[Example], patches: Sequence[Example]) -> dict[str, Any]:
    """What a version learnt from, for its card."""
    return {
        "sha256": digest([*fields, *patches]),
        "fields": len(fields),
        "scanners": sorted({e.scanner for e in fields if e.scanner}),
        "slides": sorted({e.slide for e in fields}),
        "mitoses": sum(len(e.mitoses_xy_px) for e in fields),
        "patches": len(patches),
    }


def make_card(
    version: str,
    stride: int,
    fields: Sequence[Example],
    patches: Sequence[Example],
    config: TrainConfig,
    choice: Choice,
    second: SecondStage | None,
    provenance: Provenance,
) -> ModelCard:
    """What is said of a version: its data, its settings, and how good it was where these were chosen."""
    scores = choice.validation
    validation = {
        "f1": scores.f1,
        "precision": scores.precision,
        "recall": scores.recall,
        "f1_by_slide": scores.f1_by_slide,
        "radius_um": HIT_RADIUS_UM,
        "raw_threshold_by_false_alarms_per_mm2": choice.false_alarms,
        "note": "threshold and settings were chosen on these held-out slides, so this flatters",
    }
    return ModelCard(
        version=version,
        method=config.method,
        encoder=config.encoder,
        um_per_px=config.um_per_px,
        stride=stride,
        members=config.members,
        raw_threshold=round(scores.threshold, 6),
        blobs=choice.blobs,
        calibration=choice.calibration,
        weights_sha256="",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data={**_data(fields, patches), **provenance.data},
        split={"held out in turn": folds_by_slide(fields), "unit": "slide"},
        training={**dataclasses.asdict(config), "step kept": choice.step},
        scores={"validation": validation},
        licence=provenance.licence,
        purpose=provenance.purpose,
        variant=config.variant,
        verifier=second.settings if second else None,
        stain=config.stain,
    )
