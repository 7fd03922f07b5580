"""Where the stored fields are tissue, measured once each: files that may be deleted at any time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from db.disk import FOLDER_MODE, write_durably
from db.engine import Store
from mitosis_core.image.tissue import METHOD, Tissue
from mitosis_core.types import Region

if TYPE_CHECKING:
    from db.fields import StoredField


def read_tissue(store: Store, stored: StoredField) -> Tissue | None:
    """What is kept of a field; None while nothing is."""
    import cv2

    with suppress(OSError):
        packed = np.frombuffer(_place(store, stored).read_bytes(), np.uint8)
        grid = cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE) if packed.size else None
        if grid is not None:
            rows, columns = grid.shape
            cell_px = (stored.width_px / columns, stored.height_px / rows)
            return Tissue(grid > 0, cell_px, stored.um_per_px, Region(0, 0, stored.width_px, stored.height_px))
    return None


def write_tissue(store: Store, stored: StoredField, tissue: Tissue) -> None:
    """Keep the tissue of a whole field where there is room."""
    import cv2

    place = _place(store, stored)
    data = bytes(cv2.imencode(".png", tissue.mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])[1])
    with suppress(OSError):  # it is measured again when it is asked for
        place.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        write_durably(place, data)


def delete_tissues(store: Store, digest: str) -> None:
    """With its field."""
    with suppress(OSError):
        for one in _folder(store).glob(f"{digest}-*.png"):
            one.unlink(missing_ok=True)


def _place(store: Store, stored: StoredField) -> Path:
    # Of another scale, or by another method, it is another tissue.
    return _folder(store) / f"{stored.digest}-{stored.um_per_px!r}-{METHOD}.png"


def _folder(store: Store) -> Path:
    return store.folder / "tissues"
