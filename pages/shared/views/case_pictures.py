"""The pictures of a counted case on a page: what was counted, and each field with its tissue and its mitoses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from db.case_counts import CaseCounts, CaseField
from db.engine import Store
from db.errors import ImageDamaged
from db.fields import load_field
from mitosis_core.image.encoding import encode_jpeg
from mitosis_core.progress import ShareDone
from mitosis_core.reporting.figures import CaseFigures
from mitosis_core.reporting.pictures import FieldDrawing, crop, density_max, draw_field
from mitosis_core.scoring.hotspot import Hotspot
from mitosis_core.types import UInt8
from pages.shared.viewer.images import IMAGES
from pages.shared.viewer.routes import image_url
from pages.shared.views.picture_grid import GridPicture, Shot

_FIELD_PX = 640  # width of a drawn field: twice what is shown, for sharp screens
_MOST_CELLS = 400  # of one page; a report has all


@dataclass(frozen=True)
class CasePictures:
    """fields: every field of the case, drawn, those that do not count faint. cells: what was counted."""

    fields: list[GridPicture]
    cells: list[GridPicture]


def case_pictures(
    store: Store, counts: CaseCounts, figures: CaseFigures, user: str, *, density: bool, progress: ShareDone
) -> CasePictures:
    """The pictures of a case; each image is read once, and only when one of its pictures is not kept.

    density: the fields show the density of mitoses in the place of these. Cells: field by field, from top to bottom.
    """
    most = density_max(counts.counted) if density else None
    window = figures.densest if isinstance(figures.densest, Hotspot) else None
    fields: list[GridPicture] = []
    cells: list[GridPicture] = []
    place = 0
    for number, one in enumerate(counts.fields):
        pixels = _Pixels(store, one, partial(progress, number / len(counts.fields), one.field.name))
        marked = window.window if window and one.counted is not None and window.first == place else None
        drawing = FieldDrawing(rings=not density, density_max=most, window=marked)
        fields.append(_field_picture(one, drawing, pixels, user))
        cells += _cell_pictures(one, pixels, user)[: _MOST_CELLS - len(cells)]
        place += one.counted is not None
    return CasePictures(fields, cells)


def _cell_pictures(one: CaseField, pixels: _Pixels, user: str) -> list[GridPicture]:
    found = []
    for cell in one.mitoses if one.counted is not None else ():
        x, y, um_per_px = cell.x_px, cell.y_px, one.field.um_per_px
        key = f"cell-{one.field.digest}-{x:.1f}-{y:.1f}-{um_per_px:g}"
        url = _publish(key, user, partial(_crop, pixels, x, y, um_per_px))
        score = "" if cell.score is None else f" · {cell.score:.2f}"
        title = f"{one.field.name}, {x:.0f}, {y:.0f} px"
        found.append(GridPicture((Shot(url),), one.field.id, title, f"{one.field.name}{score}", (x, y)))
    return found


def _field_picture(one: CaseField, drawing: FieldDrawing, pixels: _Pixels, user: str) -> GridPicture:
    cells = [(cell.x_px, cell.y_px) for cell in one.mitoses]
    key = repr((one.field.digest, one.field.um_per_px, one.region, one.counted is None, cells, drawing))
    try:
        url = _publish(f"field-{key}", user, lambda: draw_field(pixels(), one.counted, _FIELD_PX, drawing))
    except ImageDamaged:
        url = ""
    if one.counted is None:
        label = f"{one.field.name} · {one.why_not}"
        return GridPicture((Shot(url),), one.field.id, one.field.name, label, faint=True)
    count = one.counted.count
    area = f"{count.area_mm2:.2f} mm²" if count.area_mm2 is not None else ""
    said = f"{one.field.name}: {count.mitoses} in {area} of tissue"
    return GridPicture((Shot(url),), one.field.id, said, f"{count.mitoses} · {area} · {one.field.name}")


def _crop(pixels: Callable[[], UInt8], x_px: float, y_px: float, um_per_px: float) -> UInt8:
    return crop(pixels(), x_px, y_px, um_per_px)


class _Pixels:
    """The image of a field, read when it is first needed. reads: called then."""

    def __init__(self, store: Store, one: CaseField, reads: Callable[[], None]) -> None:
        self._store, self._field, self._reads = store, one.field, reads
        self._read: UInt8 | None = None

    def __call__(self) -> UInt8:
        if self._read is None:
            self._reads()
            self._read = load_field(self._store, self._field).pixels
        return self._read


def _publish(what: str, user: str, draw: Callable[[], UInt8]) -> str:
    """The address of a picture that is drawn unless it is kept; the same `what` is the same picture."""
    name = f"{sha256(what.encode()).hexdigest()}.jpg"
    return image_url(IMAGES.publish(name, lambda: encode_jpeg(draw())), user)
