"""What the corrected fields have brought so far, and what ten more would bring. No Streamlit here.

Every version of one lineage is scored on the fields that are held out now, by their present labels, from what is stored
of its detections; so the points of the curve can be compared, which the figures in their cards cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from db import runs, versions
from db.engine import Store
from db.fields import StoredField, list_fields
from db.labels import ReviewedField, reviewed_fields
from db.predictions import detections_by_field, versions_by_field
from db.splits import case_of
from mitosis_core.model import DEFAULT_VERSION, list_versions
from mitosis_core.scoring.comparison import assessable
from mitosis_core.scoring.matching import match
from mitosis_core.types import Detections
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.selection.forecast import FIELDS_AHEAD, MIN_COUNTS, Forecast, Point, forecast, resampled_f1, version_points

_FEWEST_CASES = 5  # as the comparison of two versions does
_HARDLY = 0.005  # F1 that nobody would notice


@dataclass(frozen=True)
class LearningCurve:
    """Where the versions of a lineage stand. waiting: (field, version) not looked at yet; such a version has no point.

    left_out: sentences. over: what was drawn again for the intervals, "cases" or "fields".
    """

    points: Mapping[str, Point]
    forecast: Forecast | None
    waiting: Sequence[tuple[StoredField, str]]
    left_out: Sequence[str]
    fields: int
    mitoses: int
    over: str


def learning_curve(store: Store, source: str, held_out: Sequence[int]) -> LearningCurve:
    """The versions that came from the same shipped one as the active one, on these held-out fields (ids).

    source: whose labels, as in `db.labels`.
    """
    ids = set(held_out)
    held = [one for one in reviewed_fields(store, source) if one.field.id in ids]
    learnt, left_out = _lineage(store, held)
    seen = versions_by_field(store)
    waiting = [(one.field, name) for name in learnt for one in held if name not in seen.get(one.field.id, set())]
    ready = {name: n for name, n in learnt.items() if name not in {version for _, version in waiting}}
    over = "cases" if len({case_of(one.field) for one in held}) >= _FEWEST_CASES else "fields"
    shown, ahead = _curve(store, ready, held, over) if held and ready else ({}, None)
    mitoses = sum(len(one.mitoses_xy_px) for one in held)
    return LearningCurve(shown, ahead, waiting, left_out, len(held), mitoses, over)


def forecast_sentence(found: LearningCurve) -> str:
    """The forecast in one honest sentence, or why there is none."""
    if found.forecast is None:
        if found.fields < 2:
            return "No forecast yet: at least two finished fields must be held out."
        counts = len({point.fields for point in found.points.values()})
        return (
            f"No forecast yet: it needs versions trained on {MIN_COUNTS} different numbers of "
            f"fields, and there {'is' if counts == 1 else 'are'} {counts} (a shipped version counts as 0). "
            "Correct more fields and retrain."
        )
    ahead = found.forecast
    return (
        f"{FIELDS_AHEAD} fields more than the {ahead.fields} used so far **{_verdict(ahead)}**: a change of F1 between "
        f"{_change(ahead.low)} and {_change(ahead.high)}, most likely {_change(ahead.gain)}. "
        f"Based on only {len(found.points)} versions and {found.fields} held-out fields."
    )


def _verdict(ahead: Forecast) -> str:
    if ahead.low > 0:
        return "should help"
    return "would hardly help" if ahead.high < _HARDLY else "may help or not"


def _change(f1: float) -> str:
    """+0.04, −0.01, 0.00"""
    rounded = round(f1, 2)
    return f"{rounded:+.2f}".replace("-", "−") if rounded else "0.00"


def _lineage(store: Store, held: Sequence[ReviewedField]) -> tuple[dict[str, int], list[str]]:
    """Versions that may be compared -> how many fields they learnt from; and which others may not, and why."""
    stored = {one.name: one for one in versions.list_stored(store, deleted=True)}
    root = versions.lineage(versions.champion(store, DEFAULT_VERSION), stored)[-1]
    cases = {one.id: case_of(one) for one in list_fields(store)}
    held_cases = {case_of(one.field) for one in held}
    of_run = {run.id: run.split["train"] for run in runs.list_runs(store)}
    learnt, reasons = {root: 0} if root in list_versions() else {}, dict[str, list[str]]()
    for one in sorted(stored.values(), key=lambda one: one.created_at):
        if one.deleted_at is not None:
            continue
        line = versions.lineage(one.name, stored)
        from_runs = [stored[name].run_id for name in line if name in stored]
        taught = {field for run in from_runs if run is not None for field in of_run[run]}
        if None in from_runs:
            reasons.setdefault("imported, so their training fields are not known", []).append(one.name)
        elif line[-1] != root:
            reasons.setdefault(f"not retrained from {root}", []).append(one.name)
        elif {cases.get(field) for field in taught} & held_cases:
            reasons.setdefault("trained on fields that are held out now", []).append(one.name)
        else:
            learnt[one.name] = len(taught)
    return learnt, [f"Left out: {', '.join(names)} ({why})." for why, names in reasons.items()]


def _curve(
    store: Store, learnt: Mapping[str, int], held: Sequence[ReviewedField], over: str
) -> tuple[dict[str, Point], Forecast | None]:
    groups = sorted({_group(one, over) for one in held})
    counts = np.zeros((len(learnt), len(groups), 3), np.int64)
    for row, name in enumerate(learnt):
        found = detections_by_field(store, name)
        for one in held:
            counts[row, groups.index(_group(one, over))] += _counts(one, found[one.field.id])
    draws = resampled_f1(counts)
    shown = version_points(counts, list(learnt.values()), draws)
    ahead = forecast(list(learnt.values()), draws) if len(groups) > 1 else None
    return dict(zip(learnt, shown, strict=True)), ahead


def _group(one: ReviewedField, over: str) -> str:
    return case_of(one.field) if over == "cases" else one.field.digest


def _counts(one: ReviewedField, found: Detections) -> tuple[int, int, int]:
    """True positives, false positives and misses, by the rule of the comparison of two versions."""
    judged = assessable(one, found)
    scores = match(judged.xy_px, one.mitoses_xy_px, HIT_RADIUS_UM / one.field.um_per_px).scores
    return scores.tp, scores.fp, scores.fn
