"""The tissue of the fields that were counted last, shared by all browser sessions: measuring it needs the image."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from db.engine import Store
from db.fields import StoredField, load_field
from mitosis_core.image.tissue import Tissue, find_tissue


class TissueCache:
    """By digest and µm/px, the longest unused dropped first; safe for several threads."""

    def __init__(self, size: int = 4000) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[str, float], Tissue] = OrderedDict()
        self._lock = Lock()

    def of(self, store: Store, field: StoredField) -> Tissue:
        """The tissue of a field, found now when it is not kept. Raises ImageDamaged."""
        key = (field.digest, field.um_per_px)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = find_tissue(load_field(store, field))
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return found


TISSUES = TissueCache()
