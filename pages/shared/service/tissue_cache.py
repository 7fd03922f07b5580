"""The tissue of the fields that were counted last, shared by all browser sessions: measuring it needs the image,
whose reading takes a sixth of a second for 4 megapixels."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from db.engine import Store
from db.fields import StoredField, load_field
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
        """The tissue of a field, found now when it is not kept. Raises ImageDamaged."""
        key = (field.digest, field.um_per_px)
        with self._lock:
            if (known := self._known(key)) is not None:
                return known
        found = find_tissue(load_field(store, field))
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return found

    def soon(self, store: Store, field: StoredField) -> Tissue | None:
        """The tissue of a field when it is kept; else None, and it is measured meanwhile for who asks again."""
        key = (field.digest, field.um_per_px)
        with self._lock:
            if (known := self._known(key)) is not None:
                return known
            if key not in self._coming:
                self._coming.add(key)
                self._worker.submit(self._measure, store, field)
            return None

    def _known(self, key: tuple[str, float]) -> Tissue | None:
        """Called with the lock held."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _measure(self, store: Store, field: StoredField) -> None:
        try:
            with suppress(ConcentricError):  # whoever opens the field is told
                self.of(store, field)
        finally:
            with self._lock:
                self._coming.discard((field.digest, field.um_per_px))


TISSUES = TissueCache()
