"""What a worker of a Dask cluster does for `detect` and for the detection queue: one field, if it may.

Before the work every worker is asked: has it this program, and the version with weights of the same sha256, and does it
see the images? Where all see them, an image goes by its path; otherwise the images are sent. A worker that comes later
and is not like the others refuses its first task, and the work stops with its sentence.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from mitosis_core.cluster import Cluster, WorkerRefused, WorkersKilled
from mitosis_core.detection import FieldFacts, Image, Options, Result, analyse
from mitosis_core.errors import UnreadableField, UnusableModel
from mitosis_core.image.appearance import Appearance, measure_appearance
from mitosis_core.image.reading import load_bytes, read_field
from mitosis_core.model import Model, list_versions, load_model
from mitosis_core.program import program_id

if TYPE_CHECKING:
    from distributed import Future

    from mitosis_core.types import Field, Prediction

_ASKED = 20  # images, from all over the list, that every worker is asked for


@dataclass(frozen=True)
class Needed:
    """What a worker must have, so that its answer is that of this computer: the program, and a version's weights."""

    program: str
    version: str
    weights: Path
    sha256: str

    @classmethod
    def by(cls, model: Model) -> Needed:
        """To answer with this version as it is answered here."""
        return cls(program_id(), model.version, model.weights.absolute(), model.card.weights_sha256)


@dataclass(frozen=True)
class ImageFile:
    """An image file: where it lies, what tells whether it is the same one, and its bytes where it is sent."""

    path: Path
    size: int
    changed: int  # whole seconds: file systems round the rest
    content: bytes | None = None

    @classmethod
    def at(cls, path: Path, *, send: bool) -> ImageFile:
        """Raises OSError, and UnreadableField for one that is too large."""
        found = path.stat()
        return cls(path, found.st_size, int(found.st_mtime), load_bytes(path) if send else None)

    def is_here(self) -> bool:
        """Whether this computer has the same file at this path."""
        try:
            return ImageFile.at(self.path, send=False) == self
        except OSError:
            return False

    def source(self) -> Path | bytes:
        """What to read on a worker. Raises WorkerRefused where it does not see the file."""
        if self.content is not None:
            return self.content
        if not self.is_here():
            raise WorkerRefused(f"{_this_worker()} does not see {self.path} as it is here, unlike the others.")
        return self.path


def look_over(cluster: Cluster, needed: Needed, images: Sequence[Path]) -> bool:
    """Whether the images have to be sent. Raises ClusterUnusable when a worker may not be used."""
    cluster.ask(partial(check_worker, needed))
    some = [ImageFile.at(path, send=False) for path in images[:: len(images) // _ASKED + 1] if path.exists()]
    return not all(cluster.ask(partial(_sees_all, some)))


def detect_in_order(
    cluster: Cluster,
    needed: Needed,
    images: Iterable[Image],
    options: Options,
    known: Callable[[str], bool],
    send: bool,
) -> Iterator[tuple[Image, Callable[[], FieldFacts | Result]]]:
    """Each image with what gives its answer, in order, whichever worker is done first.

    known: whether the results have an image of this name; it is read, and only what it is comes back.
    """

    def submit(image: Image) -> Future | Exception:
        try:
            file = ImageFile.at(image.path, send=send)
        except (OSError, UnreadableField) as error:
            return error
        return cluster.submit(_detect, needed, image.name, file, options, known(image.name))

    def answer(image: Image, coming: Future | Exception) -> FieldFacts | Result:
        found: FieldFacts | Result
        try:
            found = cluster.result(coming)
        except WorkersKilled:  # perhaps by the field beside it
            found = cluster.result(submit(image))
        return found

    for image, coming in cluster.in_order(submit, images):
        yield image, partial(answer, image, coming)


# ---- on the worker


def _this_worker() -> str:
    return f"A worker on {platform.node()}"


@lru_cache(maxsize=8)
def check_worker(needed: Needed) -> Model:
    """The version, on a worker. Raises WorkerRefused unless program and weights are those that are needed."""
    if program_id() != needed.program:
        raise WorkerRefused(
            f"{_this_worker()} has Concentric {program_id()}, and {needed.program} is needed; please start it from "
            "the same program."
        )
    try:
        load_model.cache_clear()
        name = needed.version if needed.version in list_versions() else needed.weights
        model = load_model(name)
    except UnusableModel as error:
        raise WorkerRefused(f"{_this_worker()} cannot use the version {needed.version}: {error}") from error
    if model.card.weights_sha256 != needed.sha256:
        raise WorkerRefused(
            f"{_this_worker()} has other weights of {needed.version} (sha256 {model.card.weights_sha256[:12]}…, and "
            f"{needed.sha256[:12]}… is needed); please copy the version to it."
        )
    return model


def _detect(needed: Needed, name: str, file: ImageFile, options: Options, known: bool) -> FieldFacts | Result:
    model = check_worker(needed)
    field = read_field(file.source(), name=name, um_per_px=options.um_per_px)
    if known and field.um_per_px is not None:
        return FieldFacts.of(field)
    return analyse(field, model, options)


def analyse_stored(
    needed: Needed, file: ImageFile, name: str, um_per_px: float, digest: str
) -> tuple[Prediction, Appearance] | None:
    """What the detection queue stores of a field; None unless the file is the image with this digest. The map stays
    behind."""
    model = check_worker(needed)
    try:
        field = read_field(file.source(), name=name, um_per_px=um_per_px)
    except UnreadableField:
        return None
    if field.digest != digest:
        return None
    return dataclasses.replace(predict(field, model), map=None), measure_appearance(field)


def predict(field: Field, model: Model) -> Prediction:
    """`mitosis_core.prediction.predict`, imported when there is something to detect."""
    from mitosis_core import prediction

    return prediction.predict(field, model)


def _sees_all(files: Sequence[ImageFile]) -> bool:
    return all(file.is_here() for file in files)
