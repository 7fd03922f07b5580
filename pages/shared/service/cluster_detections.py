"""Fields of the detection queue that are under way on a Dask cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.detection_queue import Detection
from db.engine import Store
from db.fields import StoredField, get_field, load_field, load_image
from db.images import image_path
from db.versions import load_version
from mitosis_core.cluster import Cluster
from mitosis_core.cluster_detection import ImageFile, Needed, analyse_stored, look_over
from mitosis_core.errors import ClusterUnusable, ConcentricError, UnreadableField
from mitosis_core.image.appearance import Appearance
from mitosis_core.types import Prediction

if TYPE_CHECKING:
    from distributed import Future


@dataclass(eq=False)
class UnderWay:
    """One of the queue that was given to the cluster. coming: its answer, or why it could not be given."""

    one: Detection
    began: float
    stored: StoredField | None = None
    coming: Future | Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether the answer is there."""
        return self.coming is not None and (isinstance(self.coming, Exception) or bool(self.coming.done()))


class ClusterDetections:
    """What is under way. The rows of the queue are another's to write."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self.under_way: list[UnderWay] = []
        self._store, self._cluster = store, cluster
        self._sent: dict[Needed, bool] = {}  # whether the images are sent for a version, once the workers were asked
        self._last = float("-inf")

    def numbers(self) -> list[int]:
        """Of the rows in the queue."""
        return [each.one.id for each in self.under_way]

    def has_room(self) -> bool:
        """Whether another one may be begun. Raises ClusterUnusable."""
        return len(self.under_way) < self._cluster.room()

    def begin(self, one: Detection) -> None:
        """Give one to the cluster. Raises ClusterUnusable; what else goes wrong is its answer."""
        each = UnderWay(one, time.perf_counter())
        self.under_way.append(each)
        try:
            each.stored = get_field(self._store, one.field_id)
            each.coming = self._submit(each.stored, one.version)
        except ClusterUnusable:
            raise
        except ConcentricError as error:
            each.coming = error

    def done(self) -> list[UnderWay]:
        """Those whose answer is there."""
        return [each for each in self.under_way if each.is_done]

    def answer(self, each: UnderWay) -> tuple[StoredField, Prediction, Appearance]:
        """What is stored of a field that is done. Raises what kept it from being analysed."""
        assert each.coming is not None and each.is_done
        found = self._cluster.result(each.coming)
        assert each.stored is not None, "without it there was an error"
        if found is None:
            load_field(self._store, each.stored)  # says it when the image is damaged here
            raise UnreadableField(f"A worker of the cluster could not read the stored image of {each.stored.name}.")
        return each.stored, *found

    def end(self, each: UnderWay) -> float:
        """Take one out; returns its seconds: since the last one ended, for several are under way at the same time."""
        now = time.perf_counter()
        seconds, self._last = now - max(each.began, self._last), now
        self.under_way.remove(each)
        return seconds

    def _submit(self, stored: StoredField, version: str) -> Future:
        needed = Needed.by(load_version(self._store, version))  # each time: it may have been deleted
        path = image_path(self._store, stored.digest)
        if needed not in self._sent:
            self._sent[needed] = look_over(self._cluster, needed, [path])
        if path.is_file():
            file = ImageFile.at(path, send=self._sent[needed])
        else:
            file = ImageFile(path, 0, 0, load_image(self._store, stored))
        return self._cluster.submit(analyse_stored, needed, file, stored.name, stored.um_per_px, stored.digest)
