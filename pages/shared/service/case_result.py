"""What the Results page does, without Streamlit: whose verdicts may be counted, the figures, and what is taken away."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial

from db.case_counts import CaseCounts, CountBy, case_names, count_case, fields_of, readers_of, ways_to_count
from db.case_report import WRITERS, case_report
from db.engine import Store
from db.fields import StoredField, load_field
from db.reviews import Review, reviews_of
from mitosis_core.image.encoding import encode_png
from mitosis_core.image.tissue import Tissue
from mitosis_core.plurals import count_noun
from mitosis_core.progress import ShareDone, no_share
from mitosis_core.reporting.figures import CaseFigures, case_figures
from mitosis_core.reporting.pictures import draw_field
from mitosis_core.scoring.mitotic_score import MitoticScore
from pages.shared.person import Person
from pages.shared.service.reviewing import may_see_others
from pages.shared.service.tissue_cache import TISSUES


def may_see_all(store: Store, case: str, who: Person) -> bool:
    """Whether somebody may see what others said of every field of a case; where all who saw one excluded it, there is
    nothing to see."""
    reviews = [reviews_of(store, one.id) for one in fields_of(store, case)]
    return all(
        may_see_others(who, known.get(who.name, Review()).state)
        or {one.state for one in known.values()} == {"excluded"}
        for known in reviews
    )


def choices(store: Store, case: str, who: Person, active: str) -> list[CountBy]:
    """Whose mitoses of a case somebody may count, the one to begin with first. active: the version in use."""
    offered = ways_to_count(store, case, active)
    if may_see_all(store, case, who):
        return offered
    return [one for one in offered if one.kind == "detections" or (one.kind == "reader" and one.name == who.name)]


def others_are_hidden(store: Store, case: str, who: Person) -> bool:
    """Whether others have finished fields of a case whose verdicts somebody may not see yet."""
    return not may_see_all(store, case, who) and bool(readers_of(store, case).keys() - {who.name})


def choice_label(by: CountBy) -> str:
    """How a page names it."""
    if by.kind == "consensus":
        return "Consensus of the readers"
    return by.name if by.kind == "reader" else f"Not reviewed: detections of {by.name}"


def details(counts: CaseCounts) -> list[dict[str, str | float | int | None]]:
    """One row per field: what its count rests on."""
    return [
        {
            "field": one.field.name,
            "mitoses": one.counted.count.mitoses if one.counted else None,
            "tissue (mm²)": one.counted.count.area_mm2 if one.counted else None,
            "not counted": one.why_not,
            "µm/px": one.field.um_per_px,
            "µm/px from": one.field.scale_source,
            "readers": ", ".join(one.readers),
            "last event": one.event or None,
            "version": one.version,
            "threshold": one.threshold,
            "digest": one.field.digest,
        }
        for one in counts.fields
    ]


def count(store: Store, case: str, by: CountBy, progress: ShareDone = no_share) -> CaseCounts:
    """Count a case; tissue that is not known yet is measured, field by field, and told to `progress`."""
    number, done = max(1, len(fields_of(store, case))), itertools.count()

    def tissue_of(field: StoredField) -> Tissue:
        progress(min(1.0, next(done) / number), field.name)
        return TISSUES.of(store, field)

    return count_case(store, case, by, tissue_of)


def count_again(store: Store, counts: CaseCounts) -> CaseCounts:
    """The case as it is now; as it was where it has another name meanwhile."""
    return count(store, counts.case, counts.by) if counts.case in case_names(store) else counts


def figures_of(counts: CaseCounts, field_diameter_mm: float) -> CaseFigures:
    """The figures of a counted case."""
    return case_figures(counts.counted, field_diameter_mm)


def case_line(store: Store, case: str, reader: str, field_diameter_mm: float) -> str:
    """A reader's result of a case so far, in a line; "" before the first finished field.

    It never waits: while the tissue of a field is measured the line has no density.
    """
    counts = count_case(store, case, CountBy("reader", reader), partial(TISSUES.soon, store))
    if not counts.counted:
        return ""
    figures = figures_of(counts, field_diameter_mm)
    said = [
        f"{count_noun(figures.count.mitoses, 'mitosis')} in {len(counts.counted)} of "
        f"{count_noun(len(counts.fields) + counts.unscaled, 'field')}"
    ]
    if figures.per_10_hpf is not None:
        said.append(f"{figures.count.per_mm2:.1f} per mm²")
        said.append(f"{figures.per_10_hpf:.1f} per 10 HPF")
    if isinstance(figures.by_table, MitoticScore):
        said.append(f"mitotic score {figures.by_table.score} (research use only)")
    return " · ".join(said)


def report(store: Store, counts: CaseCounts, field_diameter_mm: float, kind: str) -> bytes:
    """The report of a case, counted again now, so that all of it is of one moment. kind: "pdf" or "html"."""
    counts = count_again(store, counts)
    name = case_names(store).get(counts.case, counts.case)
    return WRITERS[kind](case_report(store, counts, name, field_diameter_mm, datetime.now(UTC)))


def annotated_pictures(store: Store, counts: CaseCounts) -> bytes:
    """A zip with a PNG of every counted field in its full size, the mitoses ringed and the tissue outlined."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        named = _file_names(one.field for one in counts.fields)
        for one in counts.fields:
            if one.counted is not None:
                pixels = load_field(store, one.field).pixels
                picture = encode_png(draw_field(pixels, one.counted, pixels.shape[1]))
                archive.writestr(zipfile.ZipInfo(named[one.field.id], _ZIP_TIME), picture)
    return out.getvalue()


_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same pictures give the same file


def _file_names(fields: Iterable[StoredField]) -> dict[int, str]:
    """field id -> a name that every system takes, with the id, so that no two are alike."""
    return {one.id: f"{safe_file_name(one.name.rpartition('.')[0] or one.name)}_{one.id}.png" for one in fields}


def safe_file_name(name: str) -> str:
    """A name for a file: letters and digits of any script, dashes and dots, at most 60 characters."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return kept.strip("._")[:60] or "case"
