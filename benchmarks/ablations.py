"""The papers' ablation tables again, on our fields: what does each part of a method bring, and does it here as there?

    python -m benchmarks.ablations --annotations CSV --images DIR [--masks DIR] [--patches CSV] [--tables NAME...]

Each slide is held out in turn; a setting is one network (three for the screening) trained on the other slides with the
recipe of its method, everything else alike. Trainings found in --work are not repeated, also those of
benchmarks.accuracy; the figures of tables that are not named stay as they were. With --quick two settings, one field
per slide and a few steps. Without --masks the settings that need masks are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.accuracy import QUICK, few, report
from benchmarks.record import RESULTS, Figures, cpu_name, write_result
from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.scoring.evaluation import ScoredField, best_threshold, evaluate, threshold_curve
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.config import TrainConfig
from train.data.examples import Example, read_examples, read_patches
from train.fit import TrainingJob, last_snapshot, member_jobs, train_all
from train.methods import default_config
from train.methods.deepmitosis import estimated_masks
from train.selection.evaluation import Fold, cached_outputs, choose_settings, detections

AREAS_UM2 = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 25.0, 30.0, 40.0)  # the paper: 200 to 500 px of 0.25 µm are all well
SAMPLES = 400  # of the bootstrap

PROTOCOL = (
    f"leave one slide out, one-to-one within {HIT_RADIUS_UM:g} µm, one network of one seed for each slide and setting, "
    "its last step. Average precision is the mean over the slides. F1: at the one threshold that is best over "
    "all slides, chosen on these very fields, which flatters every setting alike. Interval: of the difference in "
    "average precision to the first row, bootstrap over the same fields of both within slides; how much another seed "
    "would change is not in it"
)
SCREENING = (
    f"leave one slide out, one-to-one within {HIT_RADIUS_UM:g} µm, the three networks of the shipped recipe; smallest "
    "area and lowest score of each slide are those with the best F1 on the other two. Interval: of the difference in "
    "F1 to the first row, bootstrap over the same fields of both within slides"
)


@dataclass(frozen=True)
class Setting:
    """A row: options of the recipe, the masks it trains with, and the paper's F1 (None where it gives none)."""

    name: str
    paper: float | None
    options: dict[str, Any] = field(default_factory=dict)
    masks: Literal["", "given", "estimated"] = ""


# The first row of a table is what the others are compared with.
TABLES: dict[str, list[Setting]] = {
    "segmitos labels": [
        Setting("random concentric", 0.603, {"labels": "random"}),
        Setting("circle, r 12", 0.576, {"labels": "circle12"}),
        Setting("circle, r 15", 0.541, {"labels": "circle15"}),
        Setting("concentric, r 12, R 24", 0.588, {"labels": "fixed12"}),
        Setting("concentric, r 15, R 30", 0.607, {"labels": "fixed15"}),
        Setting("masks", None, {"labels": "mask"}, masks="given"),
    ],
    "deepmitosis": [
        Setting("fixed boxes", 0.489),
        Setting("boxes by DeepSeg", 0.505, masks="estimated"),
        Setting("boxes of masks", None, masks="given"),
        Setting("proposal network alone", None, {"variant": "rpn"}),
    ],
    "rdlm": [
        Setting("FPN", 0.589, {"variant": "fpn"}),
        Setting("FPN, focal loss", 0.629, {"variant": "fpn-fl"}),
        Setting("global bank FPN", 0.643, {"variant": "glb-fpn"}),
        Setting("RDLM: global bank FPN, focal loss", 0.692),
        Setting("the same, gamma 0", 0.638, {"variant": "gamma 0"}),
        Setting("the same, gamma 1", 0.614, {"variant": "gamma 1"}),
        Setting("the same, gamma 2", 0.602, {"variant": "gamma 2"}),
    ],
    "instance_max": [
        Setting("instance, maximum", 0.729),
        Setting("instance, mean", 0.004, {"variant": "instance-mean"}),
        Setting("embedding, maximum", 0.234, {"variant": "embedding-max"}),
        Setting("embedding, mean", 0.134, {"variant": "embedding-mean"}),
        Setting("attention", 0.014, {"variant": "attention"}),
        Setting("2 stages", None, {"variant": "2 stages"}),
        Setting("1 stage", None, {"variant": "1 stage"}),
        Setting("instance, maximum, Macenko's stain", None, {"stain": "macenko"}),
    ],
}
METHOD_OF = {"segmitos labels": "segmitos"}  # where a table is not called as its method

# Table 1 of SegMitos: (post-processing, is small area sorted out, is low score, the paper's F1).
OTSU = BlobSettings(min_area_um2=0.0, min_score=0.0)
POSTPROCESSINGS: dict[str, tuple[BlobSettings, bool, bool, float | None]] = {
    "smooth, holistic, area, score": (OTSU, True, True, 0.792),
    "not smoothed": (dataclasses.replace(OTSU, smooth_um=0.0), True, True, 0.788),
    "binarised patch by patch": (dataclasses.replace(OTSU, binarize="otsu-patchwise"), True, True, 0.776),
    "no area": (OTSU, False, True, 0.752),
    "no score": (OTSU, True, False, 0.784),
    "neither area nor score": (OTSU, False, False, 0.662),
}
SCREENING_TABLE = "segmitos screening"


@dataclass(frozen=True)
class Data:
    """What every setting learns from. fields and masked: the same, without and with their masks."""

    fields: list[Example]
    masked: list[Example]
    patches: list[Example]
    work: Path
    options: dict[str, Any]  # of a quick run, which takes the first two settings only

    @property
    def slides(self) -> list[str]:
        """The slides, sorted: each is held out once."""
        return sorted({e.slide for e in self.fields})

    def config(self, method: str, **options: Any) -> TrainConfig:
        """The options of one setting."""
        return default_config(method, **{**self.options, "members": 1, "averaged": 1, **options})


def main() -> None:
    """Measure what is named and write the results."""
    given = _parser().parse_args()
    name = "ablations-quick" if given.quick else "ablations"
    data = _data(given)
    kept = RESULTS / f"{name}.json"
    figures = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() and not given.quick else {}
    for table in given.tables or (["rdlm"] if given.quick else [*TABLES, SCREENING_TABLE]):
        rows = _screening(data, given.jobs) if table == SCREENING_TABLE else _trained(table, data, given.jobs)
        figures[table] = {
            "rows": rows,
            "protocol": SCREENING if table == SCREENING_TABLE else PROTOCOL,
            "machine": f"{cpu_name()}, {platform.system()}",
        }
        write_result(name, figures)


def _trained(table: str, data: Data, jobs: int) -> list[Figures]:
    """The rows of a table whose settings are trained."""
    rows: list[Figures] = []
    first: list[ScoredField] = []
    for setting in TABLES[table][: 2 if data.options else None]:
        if setting.masks and not data.masked:
            continue
        config = data.config(METHOD_OF.get(table, table), **setting.options)
        todo = [_job(slide, setting, config, data) for slide in data.slides]
        train_all(todo, jobs, report)
        last = _last([[job] for job in todo])
        choice = choose_settings(last, config)
        scored = [one for fold in detections(last, choice, config) for one in fold]
        first = first or scored
        rows.append(
            {
                "setting": setting.name,
                "paper_f1": setting.paper,
                "f1": _mean(choice.validation.f1_by_slide.values()),
                "average_precision": _average_precision(scored),
                "average_precision_by_slide": {
                    slide: _average_precision(some) for slide, some in _by_slide(scored).items()
                },
                "difference": _difference(first, scored, _average_precision),
                "budget": f"{config.steps} steps of {config.batch} crops of {config.crop_px} px on {config.encoder}",
            }
        )
        print(rows[-1], flush=True)
    return rows


def _job(slide: str, setting: Setting, config: TrainConfig, data: Data) -> TrainingJob:
    """The network of a setting that sees nothing of a slide."""
    given = data.masked if setting.masks else data.fields
    fields = _estimated(slide, data) if setting.masks == "estimated" else given
    return member_jobs(f"{setting.name}, without {slide}", fields, data.patches, {slide}, config, data.work)[0]


def _estimated(held: str, data: Data) -> list[Example]:
    """The fields with DeepSeg's masks, each by a network on true masks that saw neither its slide nor the held one."""
    config = data.config("segmitos", labels="mask")
    fields = [e for e in data.fields if e.slide == held]
    for slide in (s for s in data.slides if s != held):
        (job,) = member_jobs(
            f"DeepSeg without {held}, {slide}", data.masked, data.patches, {held, slide}, config, data.work
        )
        train_all([job], 1, report)
        mine = [e for e in data.fields if e.slide == slide]
        for example, seen in zip(mine, cached_outputs(last_snapshot(job), mine, config), strict=True):
            mask = estimated_masks(seen.map, example.mitoses_xy_px, example.field.pixels.shape[:2])
            fields.append(dataclasses.replace(example, mask=mask))
    return fields


def _screening(data: Data, jobs: int) -> list[Figures]:
    """Table 1 of SegMitos: the same maps, other ways to screen what is in them."""
    config = default_config("segmitos", **data.options)
    folds = [
        member_jobs(f"without {slide}", data.fields, data.patches, {slide}, config, data.work) for slide in data.slides
    ]
    train_all([job for fold in folds for job in fold], jobs, report)
    last = _last(folds)
    choice = choose_settings(last, config)
    rows: list[Figures] = []
    first: list[ScoredField] = []
    for name, (blobs, by_area, by_score, paper) in POSTPROCESSINGS.items():
        found = [one for fold in detections(last, dataclasses.replace(choice, blobs=blobs), config) for one in fold]
        kept = [one for slide in data.slides for one in _screened(found, slide, by_area, by_score)]
        first = first or kept
        rows.append(
            {
                "setting": name,
                "paper_f1": paper,
                "f1": _mean_f1(kept),
                "f1_by_slide": {slide: _mean_f1(some) for slide, some in _by_slide(kept).items()},
                "difference": _difference(first, kept, _mean_f1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def _last(folds: Sequence[Sequence[TrainingJob]]) -> list[Fold]:
    """The held-out fields of each fold, and the last snapshot alone of each of its networks."""
    return [(jobs[0].held_out, [{job.config.steps: last_snapshot(job)} for job in jobs]) for jobs in folds]


def _screened(found: Sequence[ScoredField], slide: str, by_area: bool, by_score: bool) -> list[ScoredField]:
    """The blobs of a slide that pass the area and score that are best on the other slides."""
    others = [f for f in found if f.slide != slide]
    best_area, best_score, best_f1 = 0.0, 0.0, -1.0
    for area in AREAS_UM2 if by_area else (0.0,):
        large = [_of_size(f, area) for f in others]
        score = best_threshold(large, HIT_RADIUS_UM) if by_score else 0.0
        f1 = evaluate(large, HIT_RADIUS_UM, threshold=score, samples=1).scores.f1
        if f1 > best_f1:
            best_area, best_score, best_f1 = area, score, f1
    mine = [_of_size(f, best_area) for f in found if f.slide == slide]
    return [dataclasses.replace(f, detections=f.detections.above(best_score)) for f in mine]


def _of_size(one: ScoredField, area_um2: float) -> ScoredField:
    return dataclasses.replace(one, detections=one.detections.select(one.detections.area_um2 >= area_um2))


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _mean_f1(scored: Sequence[ScoredField]) -> float:
    """Of all detections, the mean over slides."""
    return _mean(evaluate(fields, HIT_RADIUS_UM, samples=1).scores.f1 for fields in _by_slide(scored).values())


def _average_precision(scored: Sequence[ScoredField]) -> float:
    """The mean over slides."""
    return _mean(threshold_curve(fields, HIT_RADIUS_UM).average_precision for fields in _by_slide(scored).values())


def _by_slide(scored: Sequence[ScoredField]) -> dict[str, list[ScoredField]]:
    return {slide: [f for f in scored if f.slide == slide] for slide in sorted({f.slide for f in scored})}


def _difference(first: Sequence[ScoredField], other: Sequence[ScoredField], figure: Any) -> dict[str, float]:
    """By how much a figure of the same fields differs, with its 95 % bootstrap over fields within slides."""
    rng = np.random.default_rng(0)
    by_slide = [[i for i, f in enumerate(first) if f.slide == s] for s in sorted({f.slide for f in first})]
    assert [f.image for f in first] == [f.image for f in other], "both are scored on the same fields"
    drawn = []
    for _ in range(SAMPLES if first is not other else 0):
        again = [int(i) for group in by_slide for i in rng.choice(group, len(group))]
        drawn.append(figure([other[i] for i in again]) - figure([first[i] for i in again]))
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (0.0, 0.0)
    return {"mean": figure(other) - figure(first), "low": float(low), "high": float(high)}


def _data(given: argparse.Namespace) -> Data:
    fields = read_examples(given.annotations, given.images)
    masked = read_examples(given.annotations, given.images, given.masks) if given.masks else []
    patches = read_patches(given.patches, given.patches.parent / "images") if given.patches else []
    options: dict[str, Any] = {}
    if given.quick:
        fields, masked = few(fields), few(masked)
        patches, options = patches[:10], QUICK
    return Data(fields, masked, patches, given.work or Path(tempfile.mkdtemp()), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--masks", type=Path, help="folder of instance masks (PNG)")
    parser.add_argument("--patches", type=Path)
    parser.add_argument("--tables", nargs="+", choices=[*TABLES, SCREENING_TABLE], help="default: all")
    parser.add_argument("--work", type=Path, help="folder of the trainings (default: a new temporary one)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the same path on one field per slide and a few steps")
    return parser


if __name__ == "__main__":
    main()
