"""Cases whose figures can be worked out by hand: fields of 800 x 400 µm, their left half tissue, the rest glass."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from db.engine import Store
from db.fields import StoredField, add_field
from db.predictions import save_prediction
from db.reviews import apply_ops, parse_op
from mitosis_core.types import Detections, Field, Prediction

UM_PER_PX, WIDTH_PX, HEIGHT_PX = 1.0, 800, 400
TISSUE_MM2 = 0.16  # of one field
PINK, GLASS = (205, 140, 175), (244, 243, 245)
VERSION, THRESHOLD = "drawn-1", 0.5


def half_tissue(seed: int) -> Field:
    noise = np.random.default_rng(seed).integers(-2, 3, (HEIGHT_PX, WIDTH_PX, 3))
    columns = np.arange(WIDTH_PX)[None, :, None] < WIDTH_PX // 2
    pixels = (np.where(columns, PINK, GLASS) + noise).astype(np.uint8)
    return Field(pixels, UM_PER_PX, f"{seed}.png")


def glass(seed: int) -> Field:
    pixels = np.full((HEIGHT_PX, WIDTH_PX, 3), 244, np.uint8)
    pixels[0, 0] = seed
    return Field(pixels, UM_PER_PX, f"glass {seed}.png")


def add_case(store: Store, case: str, fields: int) -> list[StoredField]:
    return [add_field(store, half_tissue(number), case=case)[0] for number in range(fields)]


def detect(store: Store, field: StoredField, places: list[tuple[float, float]], scores: list[float]) -> None:
    found = Detections(np.array(places, np.float32), np.array(scores, np.float32), np.full(len(scores), 50, np.float32))
    save_prediction(store, field.id, Prediction(found, THRESHOLD, VERSION, 0.1, TISSUE_MM2))


def change(store: Store, field: StoredField, reader: str, kind: str, seq: int, **own: Any) -> None:
    client = f"page{sum(map(ord, reader))}"
    sent = {"op_id": uuid.uuid4().hex, "client": client, "seq": seq, "t": 0, "field": str(field.id), "base": 0}
    answer = apply_ops(store, field.id, reader, [parse_op(sent | {"kind": kind} | own)])
    assert answer.done


def read(
    store: Store,
    field: StoredField,
    reader: str,
    mitoses: list[tuple[float, float]],
    *,
    lookalikes: int = 0,
    state: str = "complete",
) -> None:
    """A reader marks mitoses, and look-alikes at the bottom, and finishes the field; state "" leaves it open."""
    for number, (x, y) in enumerate(mitoses, 1):
        change(store, field, reader, "add", number, id=f"m{number}", x=x, y=y, cls="mitosis")
    for number in range(lookalikes):
        change(store, field, reader, "add", 50 + number, id=f"l{number}", x=20.0 * number, y=390.0, cls="lookalike")
    if state:
        change(store, field, reader, "state", 99, state=state)
