"""The report of a case: its figures, its pictures, who read it, and all that is needed to count it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from db.case_counts import CaseCounts, CaseField
from db.engine import Store
from db.fields import load_field
from db.predictions import proposals, versions
from db.reader_agreement import compare, over_all
from db.readings import Reading, readings
from db.versions import get_version, load_version
from mitosis_core import __version__
from mitosis_core.errors import ConcentricError
from mitosis_core.image.encoding import encode_jpeg
from mitosis_core.plurals import count_noun, duration
from mitosis_core.progress import ShareDone, no_share
from mitosis_core.reporting.figures import (
    CaseFigures,
    Figure,
    average_figures,
    case_figures,
    densest_figures,
    score_figures,
)
from mitosis_core.reporting.html import html_report
from mitosis_core.reporting.pictures import (
    CROP_UM,
    DENSITY_SIGMA_UM,
    FieldDrawing,
    crop,
    density_legend,
    density_max,
    draw_field,
)
from mitosis_core.reporting.report import Picture, PictureGroup, Report, Table
from mitosis_core.scoring.hotspot import AREA_MM2, Hotspot
from mitosis_core.scoring.mitotic_score import CAP, RESEARCH_ONLY, WHO
from mitosis_core.types import UInt8
from mitosis_core.vocabulary import SAME_CELL_UM


def _pdf(report: Report) -> bytes:
    from mitosis_core.reporting.pdf import pdf_report  # its libraries are needed for a PDF alone

    return pdf_report(report)


WRITERS: dict[str, Callable[[Report], bytes]] = {"pdf": _pdf, "html": html_report}  # by the suffix of the file

_FIELD_PX = 720  # width of a drawn field: about 300 dots an inch on paper
_FIELD_MM, _CELL_MM = 58.0, 23.0


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The pictures of one counted field."""

    marked: Picture
    dense: Picture
    cells: tuple[Picture, ...]


def case_report(
    store: Store,
    counts: CaseCounts,
    name: str,
    field_diameter_mm: float,
    made_at: datetime,
    progress: ShareDone = no_share,
) -> Report:
    """The report of a counted case. name: what to call it (`case_counts.case_names`); made_at: UTC.

    The same store and arguments give the same report. Raises ImageDamaged.
    """
    figures = case_figures(counts.counted, field_diameter_mm)
    drawn = list(_drawn(store, counts, figures, progress))
    read = readings(store, counts)
    return Report(
        title=f"Case {name}",
        subtitle=f"Mitotic count by {_by_words(counts, read)}",
        warnings=tuple(_warnings(counts)),
        figures=_figures(counts, figures),
        sections=(
            *_reader_tables(store, counts, read),
            *_picture_groups(counts, figures, drawn),
            *_repeat_tables(store, counts),
        ),
        foot=_foot(counts, field_diameter_mm),
        made_at=made_at,
    )


def _figures(counts: CaseCounts, figures: CaseFigures) -> tuple[Figure, ...]:
    """None where no field is counted: "0 mitoses" would read as a result."""
    if not counts.counted:
        return ()
    names = [one.name for one in counts.counted]
    return (*average_figures(figures), *score_figures(figures), *densest_figures(figures, names))


def _by_words(counts: CaseCounts, read: list[Reading]) -> str:
    if counts.by.kind == "detections":
        return f"the detections of {counts.by.name}, not reviewed"
    if counts.by.kind == "reader":
        return counts.by.name
    counted = {name for one in counts.fields for name in one.readers}
    names = [one.reader for one in read if one.reader in counted]
    return f"the consensus of {', '.join(names)}" if names else "the consensus of the readers"


def _warnings(counts: CaseCounts) -> Iterator[str]:
    yield RESEARCH_ONLY
    if not counts.by.reviewed:
        yield f"Not reviewed: these are detections of {counts.by.name}; no reader has confirmed them."
    if counts.state:
        yield counts.state


def _drawn(store: Store, counts: CaseCounts, figures: CaseFigures, progress: ShareDone) -> Iterator[_Drawn]:
    counted = [one for one in counts.fields if one.counted is not None]
    most = density_max(counts.counted)
    hotspot = figures.densest if isinstance(figures.densest, Hotspot) else None
    for place, one in enumerate(counted):
        progress(place / len(counted), one.field.name)
        pixels = load_field(store, one.field).pixels
        window = hotspot.window if hotspot and hotspot.first == place else None
        label = _field_label(one)
        yield _Drawn(
            _field_picture(pixels, one, FieldDrawing(window=window), label),
            _field_picture(pixels, one, FieldDrawing(rings=False, density_max=most), label),
            tuple(_cell_pictures(pixels, one)),
        )


def _field_label(one: CaseField) -> str:
    assert one.counted is not None, "only counted fields are drawn"
    count = one.counted.count
    return f"{one.field.name}: {count_noun(count.mitoses, 'mitosis')} in {count.area_mm2:.3f} mm²"


def _field_picture(pixels: UInt8, one: CaseField, drawing: FieldDrawing, label: str) -> Picture:
    return _picture(draw_field(pixels, one.counted, _FIELD_PX, drawing), label)


def _cell_pictures(pixels: UInt8, one: CaseField) -> Iterator[Picture]:
    for cell in one.mitoses:
        score = "" if cell.score is None else f" ({cell.score:.2f})"
        label = f"{one.field.name} {cell.x_px:.0f}, {cell.y_px:.0f}{score}"
        yield _picture(crop(pixels, cell.x_px, cell.y_px, one.field.um_per_px), label)


def _picture(pixels: UInt8, label: str) -> Picture:
    return Picture(encode_jpeg(pixels, 85), pixels.shape[0] / pixels.shape[1], label)


def _scores(counts: CaseCounts) -> str:
    """What the labels of cells say besides, where some cell came from a detection."""
    scored = any(cell.score is not None for one in counts.fields for cell in one.mitoses)
    return ", and the score of the detection it came from" if scored else ""


def _picture_groups(counts: CaseCounts, figures: CaseFigures, drawn: list[_Drawn]) -> Iterator[PictureGroup]:
    shown = isinstance(figures.densest, Hotspot) and figures.densest.window is not None
    window = f" White: the densest {AREA_MM2:g} mm²." if shown else ""
    cells = tuple(cell for one in drawn for cell in one.cells)
    if not drawn:
        return
    yield PictureGroup(
        f"Counted: {count_noun(counts.count.mitoses, 'mitosis')}",
        cells,
        _CELL_MM,
        f"Each {CROP_UM:g} µm wide; field, place in pixels{_scores(counts)}.",
    )
    yield PictureGroup(
        "Fields",
        tuple(one.marked for one in drawn),
        _FIELD_MM,
        f"Rings: what was counted. Yellow: outline of the tissue.{window} Bar: 100 µm.",
    )
    if not cells:
        return
    legend = _picture(density_legend(600, 24), f"0 to {density_max(counts.counted):.0f} mitoses per mm²")
    yield PictureGroup(
        "Density of mitoses",
        (*(one.dense for one in drawn), legend),
        _FIELD_MM,
        f"Mitoses per mm² of tissue, averaged with a Gaussian of {DENSITY_SIGMA_UM:g} µm; one scale for all fields.",
    )


def _reader_tables(store: Store, counts: CaseCounts, read: list[Reading]) -> Iterator[Table]:
    if read:
        yield Table(
            "Read by",
            ("Reader", "Fields finished", "Mitoses", "First change (UTC)", "Last change (UTC)", "Time spent"),
            tuple(
                (
                    one.reader,
                    str(one.fields),
                    str(one.mitoses),
                    _time(one.first),
                    _time(one.last),
                    duration(one.seconds),
                )
                for one in read
            ),
            (3, 2, 1.5, 2.5, 2.5, 1.5),
        )
    pairs = over_all(compare(store, [one.field for one in counts.fields])) if len(read) > 1 else {}
    if pairs:
        yield Table(
            "Agreement of the readers",
            ("Reader A", "Reader B", "F1", "Kappa", "Both", "Only A", "Only B"),
            tuple(
                (a, b, _number(said.f1), _number(said.kappa), str(said.both), str(said.only_a), str(said.only_b))
                for (a, b), said in pairs.items()
            ),
            (3, 3, 1, 1, 1, 1, 1),
            "Over the fields that both have completed, by what each said before disputes were settled. "
            f"F1: mitoses that both marked, within {SAME_CELL_UM:g} µm. "
            "Kappa (Cohen): over the cells that at least one of the two marked, so it is low by construction.",
        )


def _repeat_tables(store: Store, counts: CaseCounts) -> Iterator[Table]:
    """What is needed to count the case again."""
    yield Table(
        "Fields and their sources",
        ("Field", "Mitoses", "Tissue (mm²)", "µm/px", "µm/px from", "Event", "Digest of the pixels (sha256)"),
        tuple(_source_row(one) for one in counts.fields),
        (2.4, 1.1, 1.3, 1.1, 1.5, 1, 3.6),
        "Event: number of the last change of a label behind the count. Digest: over shape and pixels of the image.",
    )
    used = _versions(store, counts)
    if used:
        yield Table(
            "Versions that analysed the fields",
            ("Version", "Threshold", "sha256 of the weights"),
            tuple(used),
            (2.5, 1, 5),
        )


def _source_row(one: CaseField) -> tuple[str, ...]:
    field, count = one.field, one.counted.count if one.counted else None
    name = field.name if one.region is None else f"{field.name}, part {_edges(one)} px"
    return (
        name,
        str(count.mitoses) if count else one.why_not,
        f"{count.area_mm2:.4f}" if count and count.area_mm2 is not None else "",
        f"{field.um_per_px:g}",
        field.scale_source,
        str(one.event or ""),
        field.digest,
    )


def _edges(one: CaseField) -> str:
    return "" if one.region is None else " ".join(f"{edge:.0f}" for edge in one.region.edges)


def _versions(store: Store, counts: CaseCounts) -> list[tuple[str, str, str]]:
    """Name, threshold and sha256 of the versions behind the counted fields: the one that is counted, or all that made
    proposals there."""
    found: dict[str, float] = {}
    for one in counts.fields:
        if one.counted is None:
            continue
        names = [one.version] if one.version else versions(store, one.field.id)
        for name in names:
            there = proposals(store, one.field.id, name)
            if there is not None:
                found.setdefault(name, there.threshold if one.threshold is None else one.threshold)
    return [(name, f"{found[name]:.4g}", _sha256(store, name)) for name in sorted(found)]


def _sha256(store: Store, version: str) -> str:
    """Of the weights; a version of the store that was deleted is still known by it."""
    try:
        return get_version(store, version).sha256
    except ConcentricError:
        try:
            return load_version(store, version).card.weights_sha256
        except ConcentricError:
            return "not known here"


def _foot(counts: CaseCounts, field_diameter_mm: float) -> str:
    return (
        f"Field of the microscope: {field_diameter_mm:.3g} mm. Last label event of this case: "
        f"{counts.last_event or 'none'}. Limits by field diameter: {CAP}. Limits per mm²: {WHO}. Intervals: exact, for "
        f"a Poisson count (Garwood 1936), 95 %. Program: Concentric {__version__}."
    )


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
