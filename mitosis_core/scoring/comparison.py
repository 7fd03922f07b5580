"""Champion against challenger on the same fields: scores, curves, and which figures changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from mitosis_core.errors import UnusableData
from mitosis_core.scoring.evaluation import Evaluation, ScoredField, evaluate
from mitosis_core.scoring.matching import match
from mitosis_core.types import Detections, Float32, Region
from mitosis_core.vocabulary import HIT_RADIUS_UM, SAME_CELL_UM

_SAMPLES = 2000

ChangeKind = Literal["newly lost", "newly found", "newly false", "no longer false"]  # the first two are mitoses
CHANGE_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)


class Reviewed(Protocol):
    """What was reviewed of a field: a region, less the cells that readers were unsure of."""

    @property
    def um_per_px(self) -> float:
        """µm per pixel of the field."""

    @property
    def region(self) -> Region | None:
        """What was reviewed; None: the whole field."""

    @property
    def unsure_xy_px(self) -> Float32:
        """Float32[N, 2], cells that the reader left undecided."""


@dataclass(frozen=True)
class Change:
    """A figure that the two call differently, at x, y in pixels of the field."""

    image: str
    kind: ChangeKind
    x: float
    y: float


@dataclass(frozen=True)
class Difference:
    """F1 of the challenger less that of the champion, with a paired 95 % bootstrap interval over fields or cases."""

    f1: float
    low: float
    high: float
    over: str


@dataclass(frozen=True)
class CurvePoints:
    """Values at every threshold, strictest first; no false positives per mm² where an area is not known."""

    recall: Sequence[float]
    precision: Sequence[float]
    fp_per_mm2: Sequence[float] | None


@dataclass(frozen=True)
class OperatingPoint:
    """One version at its threshold, and its curve over all thresholds."""

    recall: float
    precision: float
    fp_per_mm2: float | None
    curve: CurvePoints


@dataclass(frozen=True)
class VersionScores(OperatingPoint):
    """The numbers of one version at its threshold."""

    f1: float
    tp: int
    fp: int
    fn: int
    average_precision: float | None
    threshold: float


@dataclass(frozen=True)
class CaseScores:
    """F1 of both on one case."""

    case: str
    mitoses: int
    champion: float
    challenger: float
    difference: float


@dataclass(frozen=True)
class Comparison:
    """Everything a person needs to promote or reject. fields, cases, mitoses: how many were compared on.

    against: the name of the champion, where it is known.
    """

    fields: int
    cases: int
    mitoses: int
    champion: VersionScores
    challenger: VersionScores
    difference: Difference
    by_case: Sequence[CaseScores]
    changes: Sequence[Change]
    against: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the store keeps it: JSON-able."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Comparison:
        """What `to_dict` gave. Raises KeyError or TypeError for anything else."""
        sides = {
            side: VersionScores(**{**stored[side], "curve": CurvePoints(**stored[side]["curve"])})
            for side in ("champion", "challenger")
        }
        return cls(
            **{
                **stored,
                **sides,
                "difference": Difference(**stored["difference"]),
                "by_case": [CaseScores(**one) for one in stored["by_case"]],
                "changes": [Change(**one) for one in stored["changes"]],
            }
        )


def assessable(labels: Reviewed, found: Detections) -> Detections:
    """Detections that can be judged: inside the reviewed region and not on a cell the readers were unsure of."""
    keep = np.ones(len(found), bool) if labels.region is None else labels.region.contains(found.xy_px)
    for place in labels.unsure_xy_px:
        keep &= np.hypot(*(found.xy_px - place).T) > SAME_CELL_UM / labels.um_per_px
    return found.select(keep)


def compare(
    champion: Sequence[ScoredField],
    challenger: Sequence[ScoredField],
    thresholds: tuple[float, float],
    against: str = "",
) -> Comparison:
    """Compare two versions; each counts from its own threshold. The two list the same fields in the same order.

    against: the name of the champion. Raises UnusableData without fields, ValueError when the fields differ.
    """
    if not champion:
        raise UnusableData("There is no field held out to compare the two versions on.")
    if [f.image for f in champion] != [f.image for f in challenger]:
        raise ValueError("the versions were scored on different fields")
    sides = [
        evaluate(fields, HIT_RADIUS_UM, threshold=at)
        for fields, at in zip((champion, challenger), thresholds, strict=True)
    ]
    return Comparison(
        fields=len(champion),
        cases=len({field.slide for field in champion}),
        mitoses=sum(len(field.true_xy_px) for field in champion),
        champion=_version_scores(sides[0], champion),
        challenger=_version_scores(sides[1], challenger),
        difference=difference(sides[0], sides[1]),
        by_case=_by_case(*sides),
        changes=changes(champion, challenger, thresholds),
        against=against,
    )


def difference(champion: Evaluation, challenger: Evaluation, *, seed: int = 0) -> Difference:
    """Drawn in pairs, so that hard fields count for both alike; over cases where there are at least five."""
    slides = sorted({row.slide for row in champion.fields})
    over = "cases" if len(slides) >= 5 else "fields"
    names = slides if over == "cases" else [row.image for row in champion.fields]
    counts = np.array([[_counts(side, name, over) for name in names] for side in (champion, challenger)])
    drawn = np.random.default_rng(seed).integers(len(names), size=(_SAMPLES, len(names)))
    tp, fp, fn = np.moveaxis(counts[:, drawn].sum(axis=2), -1, 0)
    f1 = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    low, high = np.quantile(f1[1] - f1[0], [0.025, 0.975])
    return Difference(challenger.scores.f1 - champion.scores.f1, float(low), float(high), over)


def _counts(side: Evaluation, name: str, over: str) -> tuple[int, int, int]:
    rows = [row.scores for row in side.fields if (row.slide if over == "cases" else row.image) == name]
    return sum(s.tp for s in rows), sum(s.fp for s in rows), sum(s.fn for s in rows)


def _version_scores(side: Evaluation, fields: Sequence[ScoredField]) -> VersionScores:
    curve, area_mm2 = side.curve, sum(field.area_mm2 or 0.0 for field in fields)
    false = (curve.found - curve.tp) / area_mm2 if area_mm2 else None
    return VersionScores(
        precision=side.scores.precision,
        recall=side.scores.recall,
        f1=side.scores.f1,
        tp=side.scores.tp,
        fp=side.scores.fp,
        fn=side.scores.fn,
        fp_per_mm2=side.fp_per_mm2,
        average_precision=side.average_precision,
        threshold=side.threshold,
        curve=CurvePoints(
            recall=np.round(curve.recall, 4).tolist(),
            precision=np.round(curve.precision, 4).tolist(),
            fp_per_mm2=None if false is None else np.round(false, 3).tolist(),
        ),
    )


def _by_case(champion: Evaluation, challenger: Evaluation) -> list[CaseScores]:
    rows = []
    for case in sorted({row.slide for row in champion.fields}):
        (a_tp, a_fp, a_fn), (b_tp, b_fp, b_fn) = (_counts(side, case, "cases") for side in (champion, challenger))
        a, b = (2 * tp / max(2 * tp + fp + fn, 1) for tp, fp, fn in ((a_tp, a_fp, a_fn), (b_tp, b_fp, b_fn)))
        rows.append(CaseScores(case, a_tp + a_fn, champion=a, challenger=b, difference=b - a))
    return rows


def changes(
    champion: Sequence[ScoredField], challenger: Sequence[ScoredField], thresholds: tuple[float, float]
) -> list[Change]:
    """The figures that the challenger calls differently, mitoses first."""
    found: list[Change] = []
    for before, after in zip(champion, challenger, strict=True):
        radius_px = HIT_RADIUS_UM / before.um_per_px
        (old_hit, old_false), (new_hit, new_false) = (
            _called(field, at, radius_px) for field, at in zip((before, after), thresholds, strict=True)
        )
        same = match(new_false, old_false, radius_px)
        places: dict[ChangeKind, Float32] = {
            "newly lost": before.true_xy_px[sorted(old_hit - new_hit)],
            "newly found": before.true_xy_px[sorted(new_hit - old_hit)],
            "newly false": new_false[same.extra],
            "no longer false": old_false[same.missed],
        }
        found += [Change(before.image, kind, *xy) for kind in CHANGE_KINDS for xy in places[kind].tolist()]
    return sorted(found, key=lambda one: CHANGE_KINDS.index(one.kind))


def _called(field: ScoredField, threshold: float, radius_px: float) -> tuple[set[int], Float32]:
    """Indices of the mitoses found, and the places (Float32[N, 2]) of the false detections."""
    above = field.detections.above(threshold)
    found = match(above.xy_px, field.true_xy_px, radius_px, above.score)
    return set(found.pairs[:, 1].tolist()), above.xy_px[found.extra]
