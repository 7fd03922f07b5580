"""The tissue of the fields that were counted last, shared by all browser sessions. It is measured when a field is
detected, and kept with the store; measuring it later needs the image, whose reading takes a sixth of a second."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from db.engine import Store
from db.fields import StoredField, load_field
from db.tissues import read_tissue, write_tissue
from mitosis_core.errors import ConcentricError
from mitosis_core.image.tissue import Tissue, find_tissue


class TissueCache:
    """By digest and µm/px, the longest unused dropped first; safe for several threads."""

    def __init__(self, size: int = 4000) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, float], Tissue] = OrderedDict()
        self._lock = Lock()
        self._coming: set[tuple[str, float]] = set()
        self._worker = ThreadPoolExecutor(1, "tissue")

    def of(self, store: Store, field: StoredField) -> Tissue:
        """The tissue of a field, measured now when it is not kept. Raises ImageDamaged."""
        known = self._known(store, field)
        if known is None:
            known = find_tissue(load_field(store, field))
            write_tissue(store, field, known)
            self._keep(field, known)
        return known

    def soon(self, store: Store, field: StoredField) -> Tissue | None:
        """The tissue of a field when it is kept; else None, and it is measured meanwhile for who asks again."""
        known = self._known(store, field)
        with self._lock:
            if known is None and (field.digest, field.um_per_px) not in self._coming:
                self._coming.add((field.digest, field.um_per_px))
                self._worker.submit(self._measure, store, field)
        return known

    def _known(self, store: Store, field: StoredField) -> Tissue | None:
        """From memory, else from the store."""
        key = (field.digest, field.um_per_px)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        if (known := read_tissue(store, field)) is not None:
            self._keep(field, known)
        return known

    def _keep(self, field: StoredField, found: Tissue) -> None:
        with self._lock:
            self._kept[field.digest, field.um_per_px] = found
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def _measure(self, store: Store, field: StoredField) -> None:
        try:
            with suppress(ConcentricError):  # whoever opens the field is told
                self.of(store, field)
        finally:
            with self._lock:
                self._coming.discard((field.digest, field.um_per_px))


TISSUES = TissueCache()
