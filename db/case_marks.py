"""The marks of a counted case as a table: each cell with all that is needed to find it again and to know who said so.

The columns `image`, `x_px`, `y_px`, `label`, `um_per_px`, `case`, `reader`, `time`, `score` and `digest` are those of
the plain CSV (mitosis_core/interchange/centroid_csv.py), which so reads it. A field that counts without any cell has a
row with blank places.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime

from db.case_counts import CaseCounts, CaseField, CountedCell
from db.engine import Store
from db.reviews import mark_times, reading_times
from mitosis_core.interchange.safe_csv import SafeTable

COLUMNS = (
    "case",
    "image",
    "digest",
    "um_per_px",
    "um_per_px_source",
    "x_px",
    "y_px",
    "x_um",
    "y_um",
    "label",
    "counted",
    "verdicts_of",
    "reader",
    "time",
    "score",
    "version",
    "threshold",
    "comment",
)
CONSENSUS = "consensus"


def marks_csv(store: Store, counts: CaseCounts) -> bytes:
    """All cells of the fields that count, UTF-8.

    counted: 1 for a mitosis inside what was reviewed, else 0. verdicts_of: a reader, "consensus" or "detections of
    <version>, not reviewed". time: of the verdict, by the consensus the last change of its readers; ISO 8601, UTC.
    Places are those of pixel centres, the top-left one at (0, 0), in µm the same times µm/px.
    """
    out = io.StringIO(newline="")
    table = SafeTable(out)
    table.write_row(COLUMNS)
    for field in counts.fields:
        if field.counted is not None:
            for row in _rows(store, counts, field):
                table.write_row(row)
    return out.getvalue().encode()


def verdicts_of(counts: CaseCounts) -> str:
    """Whose verdicts are counted, in a few words."""
    by = counts.by
    if by.kind == "detections":
        return f"detections of {by.name}, not reviewed"
    return CONSENSUS if by.kind == "consensus" else by.name


def _rows(store: Store, counts: CaseCounts, field: CaseField) -> Iterator[tuple[object, ...]]:
    stored, source = field.field, verdicts_of(counts)
    known = (counts.case, stored.name, stored.digest, stored.um_per_px, stored.scale_source)
    times = _times(store, field, counts)
    counted = set(field.mitoses)
    for cell in sorted(field.cells, key=lambda one: (one.y_px, one.x_px)):
        places = (cell.x_px, cell.y_px, cell.x_px * stored.um_per_px, cell.y_px * stored.um_per_px)
        said = (cell.verdict, int(cell in counted), source, "; ".join(cell.readers) or cell.version)
        yield (
            *known,
            *(round(one, 3) for one in places),
            *said,
            _time(times, cell),
            _score(cell),
            cell.version,
            field.threshold,
            cell.comment,
        )
    if not field.cells:
        yield (
            *known,
            "",
            "",
            "",
            "",
            "",
            "",
            source,
            "; ".join(field.readers) or field.version,
            times.get(""),
            "",
            "",
            field.threshold,
            "",
        )


def _times(store: Store, field: CaseField, counts: CaseCounts) -> dict[str, str]:
    """mark id -> time of its verdict; "" -> the last change of the readers of this field."""
    last = [at for (_, reader), (_, at) in reading_times(store, [field.field.id]).items() if reader in field.readers]
    whole = {"": _iso(max(last))} if last else {}
    if counts.by.kind != "reader":
        return whole
    return whole | {mark: _iso(at) for mark, at in mark_times(store, field.field.id, counts.by.name).items()}


def _time(times: dict[str, str], cell: CountedCell) -> str | None:
    return times.get(cell.mark, times.get(""))


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _score(cell: CountedCell) -> float | None:
    return None if cell.score is None else round(cell.score, 4)
