"""The order of the queue of reviews: what ordering many fields takes, in each of its orders.

    python -m benchmarks.review_queue [--quick]

Two versions have looked at every field and found forty cells in each; the first field is finished.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from benchmarks.faults import make_op
from benchmarks.record import Figures, cpu_name, write_result
from db.engine import Store, open_store
from db.fields import save_appearances
from db.reviews import apply_ops, parse_op
from db.schema import FieldRow, PredictionRow, ProposalRow
from pages.shared.service import reviewing

ORDERS = ("added", "uncertainty", "disagreement", "novelty")
CELLS = 40


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path with fewer fields")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(fill(Path(folder), 50 if quick else 500))
    write_result("review_queue-quick" if quick else "review_queue", figures)


def measure(store: Store) -> Figures:
    """ORDER_ms: the median of five."""
    figures: Figures = {}
    for order in ORDERS:
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            entries = reviewing.queue(store, "Reader", "v0", order=order)
            taken.append(1000 * (time.perf_counter() - began))
        figures |= {"fields": len(entries), f"{order}_ms": round(statistics.median(taken), 1)}
    return figures | {"machine": cpu_name()}


def fill(folder: Path, fields: int) -> Store:
    """The rows alone: nobody opens the images."""
    store, now = open_store(folder), datetime.now(UTC)
    predictions = [
        {
            "id": 2 * n + v + 1,
            "field_id": n + 1,
            "version": f"v{v}",
            "um_per_px": 0.25,
            "threshold": 0.5,
            "uncertainty": n / fields,
            "seconds": 1.0,
            "notes": "",
            "created_at": now,
        }
        for n in range(fields)
        for v in range(2)
    ]
    proposals = [
        {"prediction_id": one["id"], "place": k, "x": 9.0 * k, "y": 5.0, "score": 1 - k / 60, "area_um2": 20.0}
        for one in predictions
        for k in range(CELLS)
    ]
    with store.writing() as writing:
        writing.execute(
            insert(FieldRow),
            [
                {
                    "digest": f"{n:064d}",
                    "name": f"f{n}",
                    "case": "",
                    "um_per_px": 0.25,
                    "scale_source": "given",
                    "width_px": 100,
                    "height_px": 100,
                    "file_size": 1,
                    "created_at": now,
                }
                for n in range(fields)
            ],
        )
        writing.execute(insert(PredictionRow), predictions)
        writing.execute(insert(ProposalRow), proposals)
    save_appearances(store, {n + 1: (n / fields, 0.0) for n in range(fields)})
    state = make_op(1, 0, kind="state", state="complete")
    apply_ops(store, 1, "Reader", [parse_op({k: v for k, v in state.items() if k not in ("id", "x", "y", "cls")})])
    return store


if __name__ == "__main__":
    main()
