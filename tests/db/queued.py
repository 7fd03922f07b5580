"""The detection queue as it stands, for tests to look at."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from db.detection_queue import Detection, _detection, _shown
from db.engine import Store
from db.schema import DetectionRow, FieldRow


def list_detections(store: Store, case: str | None = None) -> list[Detection]:
    """The queue in the order of its work, of all cases or one."""
    wanted = select(DetectionRow, FieldRow.um_per_px.is_not(None)).join(FieldRow).order_by(DetectionRow.id)
    if case is not None:
        wanted = wanted.where(FieldRow.case == case)
    with store.reading() as session:
        found = session.execute(wanted)
        return [replace(_detection(row), state=_shown(row.state, has_scale)) for row, has_scale in found]
