"""Versions of any methods on the same reviewed fields: how good, what they cost, where they disagree. No Streamlit.

Everything comes from what is stored of their detections, by the present labels; the network is not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from db import runs, versions
from db.engine import Store
from db.fields import StoredField, list_fields, load_field
from db.labels import ReviewedField, reviewed_fields
from db.predictions import StoredDetections, candidates_by_field, versions_by_field
from db.splits import case_of, held_out_by_field
from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model, list_versions
from mitosis_core.progress import ShareDone, no_share
from mitosis_core.scoring import cost
from mitosis_core.scoring.comparison import CurvePoints, OperatingPoint, assessable
from mitosis_core.scoring.evaluation import Evaluation, ScoredField, evaluate
from mitosis_core.scoring.matching import match
from mitosis_core.types import Detections
from mitosis_core.vocabulary import HIT_RADIUS_UM, LENIENT_RADIUS_UM

READERS = ""  # instead of the name of a version
FEWEST, MOST = 2, 4


@dataclass(frozen=True, eq=False)
class EvaluatedVersion:
    """One version on the fields. judged: field id -> its candidates where the readers vouch. seconds: of a field."""

    model: Model
    judged: Mapping[int, Detections]
    evaluation: Evaluation
    seconds: float

    def detections(self, field_id: int) -> Detections:
        """Those from the version's own threshold on."""
        return self.judged[field_id].above(self.evaluation.threshold)


@dataclass(frozen=True, eq=False)
class VersionComparison:
    """fields: those that every version has looked at. waiting: (field, version) still to be looked at."""

    fields: Sequence[ReviewedField]
    sides: Mapping[str, EvaluatedVersion]
    waiting: Sequence[tuple[StoredField, str]]


@dataclass(frozen=True)
class Mark:
    """A place in pixels of the field. score: None for a reader's."""

    x: float
    y: float
    score: float | None = None


@dataclass(frozen=True)
class Cell:
    """What is marked at one place, by version or READERS. agreed: by the readers and every version."""

    marks: Mapping[str, Mark]
    agreed: bool


@dataclass(frozen=True)
class Dispute:
    """The cells of one field, and how many of them not all have marked."""

    reviewed: ReviewedField
    cells: Sequence[Cell]

    @property
    def disagreements(self) -> int:
        """How many of the versions differ from the reader."""
        return sum(not cell.agreed for cell in self.cells)


def fields_of(store: Store, source: str, *, every: bool) -> list[ReviewedField]:
    """The finished fields that are held out, or every finished one. source: whose labels, as in `db.labels`."""
    known = reviewed_fields(store, source)
    held_out = held_out_by_field(store, [one.field for one in known])
    return [one for one in known if every or held_out[one.field.id]]


def overlap_warnings(store: Store, names: Iterable[str], fields: Sequence[ReviewedField]) -> list[str]:
    """Sentences on what versions may have learnt from these fields, so that their figures flatter them."""
    stored = {one.name: one for one in versions.list_stored(store, deleted=True)}
    of_run = {run.id: run.split.get("train", []) for run in runs.list_runs(store)}
    case = {one.id: case_of(one) for one in list_fields(store)}
    said, outside = [], []
    for name in names:
        line = versions.lineage(name, stored)
        taught = {
            case.get(number) for one in line if one in stored for number in of_run.get(stored[one].run_id or 0, [])
        }
        if both := sum(case_of(one.field) in taught for one in fields):
            said.append(
                f"{name} was trained on the cases of {both} of these {len(fields)} fields, so its figures are too good."
            )
        elif any(_from_outside(one, stored) for one in line):
            outside.append(name)
    if outside:
        said.append(
            f"It is not known whether {', '.join(outside)}, imported from elsewhere, used these fields for training."
        )
    return said


def _from_outside(name: str, stored: Mapping[str, Any]) -> bool:
    return stored[name].run_id is None if name in stored else name not in list_versions()


def compare(store: Store, models: Sequence[Model], fields: Sequence[ReviewedField]) -> VersionComparison:
    """Score these versions on those of the fields that all of them have looked at."""
    seen, names = versions_by_field(store), [model.version for model in models]
    waiting = [(one.field, name) for name in names for one in fields if name not in seen.get(one.field.id, set())]
    late = {one.id for one, _ in waiting}
    ready = [one for one in fields if one.field.id not in late]
    sides = (
        {model.version: _side(model, ready, candidates_by_field(store, model.version)) for model in models}
        if ready
        else {}
    )
    return VersionComparison(ready, sides, waiting)


def _side(model: Model, fields: Sequence[ReviewedField], found: Mapping[int, StoredDetections]) -> EvaluatedVersion:
    judged = {one.field.id: assessable(one, found[one.field.id].detections) for one in fields}
    scored = [
        ScoredField(
            one.field.digest,
            case_of(one.field),
            judged[one.field.id],
            one.mitoses_xy_px,
            one.field.um_per_px,
            one.area_mm2,
        )
        for one in fields
    ]
    # The middle one: the first field of a process also waits for the engine.
    seconds = median(found[one.field.id].seconds for one in fields)
    return EvaluatedVersion(model, judged, evaluate(scored, HIT_RADIUS_UM, threshold=model.threshold), seconds)


def table(found: VersionComparison, peaks_gb: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row per version. peaks_gb: memory by version, where it was measured."""
    return [_row(name, side, peaks_gb.get(name)) for name, side in found.sides.items()]


def _row(name: str, side: EvaluatedVersion, peak_gb: float | None) -> dict[str, Any]:
    from mitosis_core.methods import METHODS  # brings torch along

    card, evaluation = side.model.card, side.evaluation
    interval, scores = evaluation.f1_interval, evaluation.scores
    return {
        "version": name,
        "method": METHODS[card.method].title if card.method in METHODS else card.method,
        "encoder": card.encoder + (f" × {card.members}" if card.members > 1 else ""),
        "F1": scores.f1,
        "95 %": f"{interval.low:.2f} to {interval.high:.2f}" if interval else None,
        "precision": scores.precision,
        "recall": scores.recall,
        "FP/mm²": evaluation.fp_per_mm2,
        "average precision": evaluation.average_precision,
        "parameters (M)": cost.count_parameters(side.model) / 1e6,
        "MB": cost.weights_mb(side.model),
        "s per field": side.seconds,
        "memory (GB)": peak_gb,
    }


def curves(found: VersionComparison) -> dict[str, OperatingPoint]:
    """The sides that `charts.precision_recall` and `charts.froc` draw, by version."""
    area_mm2 = sum(one.area_mm2 for one in found.fields)
    return {name: _curves(side.evaluation, area_mm2) for name, side in found.sides.items()}


def _curves(evaluation: Evaluation, area_mm2: float) -> OperatingPoint:
    curve = evaluation.curve
    return OperatingPoint(
        recall=evaluation.scores.recall,
        precision=evaluation.scores.precision,
        fp_per_mm2=evaluation.fp_per_mm2,
        curve=CurvePoints(
            recall=curve.recall.tolist(),
            precision=curve.precision.tolist(),
            fp_per_mm2=((curve.found - curve.tp) / area_mm2).tolist(),
        ),
    )


def disputes(found: VersionComparison) -> list[Dispute]:
    """The fields, those with the most disagreements first."""
    every = [Dispute(one, _cells(one, found.sides)) for one in found.fields]
    return sorted(every, key=lambda one: -one.disagreements)


def _cells(one: ReviewedField, sides: Mapping[str, EvaluatedVersion]) -> list[Cell]:
    """A mitosis of the readers and what hits it, by the rule that the table counts by, is one cell; of the rest,
    detections of different versions within LENIENT_RADIUS_UM are one."""
    true = [{READERS: Mark(x, y)} for x, y in one.mitoses_xy_px.tolist()]
    false: list[dict[str, Mark]] = []
    for name, side in sides.items():
        detections = side.detections(one.field.id)
        rest = _join(true, name, detections, HIT_RADIUS_UM / one.field.um_per_px)
        extra = _join(false, name, rest, LENIENT_RADIUS_UM / one.field.um_per_px)
        false += [{name: mark} for mark in _marks(extra)]
    return [Cell(marks, len(marks) == len(sides) + 1) for marks in [*true, *false]]


def _join(cells: list[dict[str, Mark]], name: str, found: Detections, radius_px: float) -> Detections:
    """Lay detections to the cells they belong to, one to one; returns those that belong to none."""
    firsts = [next(iter(marks.values())) for marks in cells]
    places = np.array([(mark.x, mark.y) for mark in firsts], np.float32).reshape(-1, 2)
    matched = match(found.xy_px, places, radius_px)
    marks = _marks(found)
    for detection, cell in matched.pairs.tolist():
        cells[cell][name] = marks[detection]
    return found.select(matched.extra)


def _marks(found: Detections) -> list[Mark]:
    return [Mark(x, y, score) for (x, y), score in zip(found.xy_px.tolist(), found.score.tolist(), strict=True)]


def largest(fields: Sequence[ReviewedField]) -> StoredField:
    """The field with the most pixels, where detecting takes the most memory."""
    return max((one.field for one in fields), key=lambda one: one.width_px * one.height_px)


def measure_memory(
    store: Store,
    models: Sequence[Model],
    stored: StoredField,
    keep: Callable[[str, float], None],
    progress: ShareDone = no_share,
) -> list[str]:
    """Let each version detect in one field in a process of its own; keep: given its name and peak in GB, one by one.

    Returns a sentence for each that could not be measured. Raises StoreFailed for a damaged image.
    """
    pixels, problems = load_field(store, stored), []
    for number, model in enumerate(models):
        progress(number / len(models), model.version)
        try:
            keep(model.version, cost.peak_rss_gb(pixels, model))
        except ConcentricError as error:
            problems.append(str(error))
    return problems
