"""Pictures for the browser: encoded once, named by their content, kept in memory while there is room."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np

from db.fields import find_field, load_field
from db.thumbnails import read_thumbnail
from mitosis_core.image.encoding import encode_jpeg, encode_png
from mitosis_core.types import Field, ProbabilityMap, UInt8
from pages.shared.store import the_store

_SMALL = "-small.jpg"
MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png"}

# Probability -> red, green, blue, opacity: from blue over green to yellow, which is told apart with any colour vision.
_HEAT_STOPS = (0.0, 0.08, 0.3, 0.6, 1.0)
_HEAT_RGBA = ((38, 84, 160, 0), (38, 84, 160, 60), (33, 145, 140, 170), (122, 209, 81, 225), (253, 231, 37, 255))


class ImageStore:
    """Bytes by name, the longest unused dropped first; a page publishes again what it shows."""

    def __init__(self, max_bytes: int = 1_000_000_000) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, name: str) -> bytes | None:
        """The encoded picture, if it is still kept."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def publish(self, name: str, encode: Callable[[], bytes]) -> str:
        """Keep what encode() gives under a name, unless it is there already; returns the name."""
        if self.get(name) is None:
            data = encode()
            with self._lock:
                self._kept[name] = data
                while sum(map(len, self._kept.values())) > self._max_bytes and len(self._kept) > 1:
                    self._kept.popitem(last=False)
        return name


IMAGES = ImageStore()


def publish_field(field: Field, images: ImageStore = IMAGES) -> str:
    """Name of the picture of a field: a JPEG that keeps full colour resolution, so that chromatin stays crisp."""
    return images.publish(field_picture(field.digest), lambda: encode_jpeg(field.pixels, 95))


def field_picture(digest: str) -> str:
    """Name of the picture of the field with this digest."""
    return f"{digest}.jpg"


def thumbnail_picture(digest: str) -> str:
    """Name of the small picture of the field with this digest."""
    return f"{digest}{_SMALL}"


def publish_stored(name: str, images: ImageStore = IMAGES) -> bytes | None:
    """The picture of a field of the store, encoded now, or its small one; None when there is no such field.

    Raises ImageDamaged; another StoreFailed while the store cannot be used.
    """
    if name.endswith(_SMALL):
        return read_thumbnail(the_store(), name.removesuffix(_SMALL))
    stored = find_field(the_store(), name.removesuffix(".jpg"))
    if stored is None:
        return None
    publish_field(load_field(the_store(), stored), images)
    return images.get(name)


def publish_heat(probability: ProbabilityMap, images: ImageStore = IMAGES) -> str:
    """Name of the picture of a probability map: a PNG, one pixel per cell, transparent where nothing was found."""
    digest = hashlib.sha256(repr(probability.values.shape).encode() + probability.values.tobytes()).hexdigest()
    return images.publish(f"{digest}.png", lambda: encode_png(heat_rgba(probability), 3))


def heat_rgba(probability: ProbabilityMap) -> UInt8:
    """UInt8[h, w, 4]: the colours of a probability map."""
    grid = np.linspace(0, 1, 256)
    channels = [np.interp(grid, _HEAT_STOPS, stops) for stops in np.array(_HEAT_RGBA).T]
    colours = np.rint(np.stack(channels, 1)).astype(np.uint8)
    shown: UInt8 = colours[np.rint(np.clip(probability.values, 0, 1) * 255).astype(np.uint8)]
    return shown
