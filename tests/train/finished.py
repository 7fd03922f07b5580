"""Stores with drawn fields that a reader has finished, and a run over them that has ended, without any training."""

from __future__ import annotations

import dataclasses
import uuid
from functools import cache
from pathlib import Path

import numpy as np

from db import runs, versions
from db.engine import Store, open_store
from db.fields import StoredField, add_field, list_fields
from db.labels import last_event
from db.reviews import apply_ops, parse_op
from db.runs import Run
from mitosis_core.image.sample_field import SampleField, draw_sample_field
from mitosis_core.model import DEFAULT_VERSION, load_model
from mitosis_core.scoring.comparison import compare
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Detections


@cache
def drawn(number: int) -> SampleField:
    """With three mitoses and two look-alikes."""
    return draw_sample_field(seed=number, size_px=320, mitoses=3, lookalikes=2)


def review(store: Store, stored: StoredField, sample: SampleField) -> None:
    """Anna marks everything that was drawn and finishes the field."""
    places = [("mitosis", xy) for xy in sample.mitoses_xy_px] + [("lookalike", xy) for xy in sample.lookalikes_xy_px]
    common = {"client": "c", "t": 0, "field": str(stored.id), "base": 0}
    ops = [
        {
            "op_id": uuid.uuid4().hex,
            "seq": n,
            "kind": "add",
            "id": f"m{n}",
            "x": float(x),
            "y": float(y),
            "cls": cls,
            **common,
        }
        for n, (cls, (x, y)) in enumerate(places)
    ]
    ops.append({"op_id": uuid.uuid4().hex, "seq": 99, "kind": "state", "state": "complete", **common})
    apply_ops(store, stored.id, "Anna", [parse_op(op) for op in ops])


def finished_fields(folder: Path, fields: int = 4) -> Store:
    """Drawn fields of two cases, each finished by one reader; the second case is held out."""
    store = open_store(folder)
    for number in range(fields):
        sample = drawn(number)
        stored, _ = add_field(store, sample.field, case=f"case {number % 2}")
        review(store, stored, sample)
    return store


def ended_run(store: Store) -> Run:
    """A run that is done: the shipped weights under its own name, which found one figure more than the champion."""
    fields = [one for one in list_fields(store) if one.case == "case 1"]
    run = runs.queue_run(
        store,
        by="Anna",
        base_version=DEFAULT_VERSION,
        source="",
        last_event=last_event(store),
        settings={},
        split={"train": [], "held_out": [one.id for one in fields]},
        code="abc",
    )
    runs.start(store, run.id)
    name, shipped = f"{DEFAULT_VERSION}-r{run.id}", load_model()
    true = np.array([[50, 50], [150, 150]], np.float32)
    sides = [
        [
            ScoredField(
                one.digest,
                one.case,
                Detections(true[:hits], np.full(hits, 0.9), np.full(hits, 60)),
                true,
                one.um_per_px,
                0.0064,
            )
            for one in fields
        ]
        for hits in (1, 2)
    ]
    card = dataclasses.replace(shipped.card, version=name, parent=DEFAULT_VERSION)
    versions.store_version(
        store,
        name,
        shipped.weights.read_bytes(),
        card.to_json(),
        by="Anna",
        parent=DEFAULT_VERSION,
        run_id=run.id,
        comparison=compare(sides[0], sides[1], (0.5, 0.5)),
    )
    runs.end(store, run.id, "done", version=name)
    return runs.get_run(store, run.id)
