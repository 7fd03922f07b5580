"""The figures of a case as pathologists report them, and the words for them, the same on the page and in a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mitosis_core.plurals import count_noun, plural
from mitosis_core.scoring.counting import Count, FieldCount, NoResult, PoissonInterval, hpf_area_mm2, total
from mitosis_core.scoring.hotspot import AREA_MM2, RUN_FIELDS, Hotspot, densest_area, densest_run
from mitosis_core.scoring.mitotic_score import MitoticScore, mitotic_score, mitotic_score_per_mm2


@dataclass(frozen=True)
class CaseFigures:
    """A case in numbers: its average, and its densest part. field_diameter_mm: of the user's microscope."""

    count: Count
    field_diameter_mm: float
    by_table: MitoticScore | NoResult
    by_mm2: MitoticScore | NoResult
    densest: Hotspot | NoResult
    run: Hotspot | NoResult

    @property
    def per_10_hpf(self) -> float | None:
        """Of the average, in 10 fields of the microscope."""
        return self.count.per_10_hpf(self.field_diameter_mm)

    @property
    def per_10_hpf_interval(self) -> PoissonInterval | None:
        """95 % interval of it."""
        per_mm2 = self.count.interval_per_mm2()
        return per_mm2.times(10 * hpf_area_mm2(self.field_diameter_mm)) if per_mm2 else None


@dataclass(frozen=True)
class Figure:
    """One figure in words. note: what has to be known with it, "" for nothing."""

    label: str
    value: str
    note: str = ""


def case_figures(fields: Sequence[FieldCount], field_diameter_mm: float) -> CaseFigures:
    """The figures of a case from its counted fields, in the order of the case. Formulas: docs/counting.md."""
    count = total(fields)
    return CaseFigures(
        count,
        field_diameter_mm,
        mitotic_score(count, field_diameter_mm),
        mitotic_score_per_mm2(count),
        densest_area(fields),
        densest_run(fields),
    )


def average_figures(figures: CaseFigures) -> list[Figure]:
    """The figures of the whole case."""
    count, diameter = figures.count, figures.field_diameter_mm
    per_mm2, per_10 = count.interval_per_mm2(), figures.per_10_hpf_interval
    rows = [
        Figure("Mitoses", str(count.mitoses), f"95 % interval {interval_words(count.interval())}"),
        Figure("Tissue", "" if count.area_mm2 is None else f"{count.area_mm2:.2f} mm²", "glass left out"),
    ]
    if count.problem or per_mm2 is None or per_10 is None:
        return [*rows, Figure("Density", "none", count.problem.reason if count.problem else "")]
    return [
        *rows,
        Figure("Per mm²", f"{count.per_mm2:.1f}", f"95 % interval {interval_words(per_mm2)}"),
        Figure(
            "Per 10 HPF",
            f"{figures.per_10_hpf:.1f}",
            f"Field of {diameter:.2f} mm. 95 % interval {interval_words(per_10)}",
        ),
    ]


def score_figures(figures: CaseFigures) -> list[Figure]:
    """The mitotic score in its two ways; one row that says why where there is none."""
    by_table, by_mm2 = figures.by_table, figures.by_mm2
    if isinstance(by_table, NoResult) and by_table == by_mm2:
        return [Figure("Mitotic score", "none", by_table.reason)]
    return [
        _score(f"Mitotic score, {figures.field_diameter_mm:.2f} mm", by_table),
        _score("Mitotic score per mm²", by_mm2),
    ]


def densest_figures(figures: CaseFigures, names: Sequence[str]) -> list[Figure]:
    """The densest parts; nothing where the case has no density. names: of the counted fields, in order."""
    area, run = f"Densest {AREA_MM2:g} mm²", f"Densest {RUN_FIELDS} fields"
    if all(isinstance(one, Hotspot) and one.note for one in (figures.densest, figures.run)):
        return [Figure(f"{area} or {RUN_FIELDS} fields", "All of it", "The case has less than that.")]
    return [*_hotspot(area, figures.densest, figures, names), *_hotspot(run, figures.run, figures, names)]


def interval_words(interval: PoissonInterval) -> str:
    """ "3.0 to 10.9"."""
    return f"{interval.low:.1f} to {interval.high:.1f}"


def _score(label: str, score: MitoticScore | NoResult) -> Figure:
    if isinstance(score, NoResult):
        return Figure(label, "none", score.reason)
    more = " Less tissue than 10 such fields: carried over." if score.extrapolated else ""
    return Figure(label, str(score.score), f"{score.counted} {score.unit}. {score.margin}{more}")


def _hotspot(label: str, found: Hotspot | NoResult, figures: CaseFigures, names: Sequence[str]) -> Iterator[Figure]:
    if isinstance(found, NoResult) or found.count.per_mm2 is None:
        return
    count = found.count
    value = f"{count.mitoses} {plural(count.mitoses, 'mitosis')}, {count.per_mm2:.1f} per mm²"
    yield Figure(label, value, " ".join(_about_hotspot(found, figures, names)))


def _about_hotspot(found: Hotspot, figures: CaseFigures, names: Sequence[str]) -> Iterator[str]:
    if found.note:
        yield found.note
        return
    first, last = names[found.first], names[found.last]
    if found.window is not None:
        yield f"A window in {first}."
    elif found.first == found.last:
        yield f"{first}."
    else:
        yield f"{first} to {last}, {count_noun(found.last - found.first + 1, 'field')}."
    yield f"{found.count.area_mm2:.2f} mm² of tissue."
    score = mitotic_score(found.count, figures.field_diameter_mm)
    by_mm2 = mitotic_score_per_mm2(found.count)
    if isinstance(score, MitoticScore) and isinstance(by_mm2, MitoticScore):
        yield f"Score {score.score} by the table, {by_mm2.score} per mm²."
    yield "Chosen because it is dense: its density is higher than that of a part chosen beforehand."
