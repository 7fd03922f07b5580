"""A field of H&E that the program draws itself, so that the truth is known: for a first try, and for the tests.

Everything is laid down in micrometres as amounts of the two stains (haematoxylin, eosin), in natural optical
density, and becomes colour only at the end, as light through a slide does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mitosis_core.types import Field, Float32, UInt8

SAMPLE_PX = 1024
BORDER_UM = 12.0
APART_UM = 12.0
_CELL_UM = 13.5  # between the centres of neighbours

# Optical density of red, green and blue per unit of stain, as in scans of breast cancer.
_HAEMATOXYLIN = np.array([0.53, 0.74, 0.41], np.float32)
_EOSIN = np.array([0.14, 0.80, 0.47], np.float32)

_Slices = tuple[slice, slice]
_Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class SampleField:
    """A drawn field and its truth: Float32[N, 2] centres of mitoses and of look-alikes, in pixels."""

    field: Field
    mitoses_xy_px: Float32
    lookalikes_xy_px: Float32


def draw_sample_field(
    seed: int = 0, size_px: int = SAMPLE_PX, um_per_px: float = 0.25, mitoses: int = 6, lookalikes: int = 8
) -> SampleField:
    """Draw a square field; the same arguments give the same pixels.

    Figures lie at least 12 µm from the border and from each other. Raises ValueError when they do not fit.
    """
    rng = np.random.default_rng(seed)
    figures_um = _scatter_figures(rng, size_px * um_per_px, mitoses + lookalikes)
    slide = _Slide.blank(rng, size_px, um_per_px)
    stroma = slide.noise(42.0) + 0.15 * slide.noise(12.0)
    cells_um = _scatter_cells(rng, size_px * um_per_px, figures_um)
    fibres = rng.uniform(0, np.pi)
    _draw_tissue(slide, stroma, fibres, np.concatenate([figures_um, cells_um]))
    for xy in cells_um:
        _draw_cell(slide, xy, in_stroma=slide.at(stroma, xy) > _STROMA_FROM, along=fibres)
    for i, xy in enumerate(figures_um[:mitoses]):
        _draw_mitosis(slide, xy, kind=i)
    for i, xy in enumerate(figures_um[mitoses:]):
        _draw_lookalike(slide, xy, kind=i)
    field = Field(_scan(slide), um_per_px, f"Sample field {seed}", "given", ("Drawn by the program, not tissue.",))
    xy_px = (figures_um / um_per_px - 0.5).astype(np.float32)
    return SampleField(field, xy_px[:mitoses], xy_px[mitoses:])


def is_sample(digest: str, width_px: int, height_px: int) -> bool:
    """Whether this digest is that of `the_sample`, whatever the field is called.

    The size spares drawing it (about half a second, once) for fields of any other size.
    """
    return (width_px, height_px) == (SAMPLE_PX, SAMPLE_PX) and digest == the_sample().field.digest


@cache
def the_sample() -> SampleField:
    """The one that is shown for a first try, drawn once in a process."""
    return draw_sample_field()


# ---------------------------------------------------------------- the slide

_STROMA_FROM = 0.75  # in standard deviations of the noise that lays out nests and stroma


@dataclass(frozen=True, eq=False)
class _Slide:
    """Amounts of stain, Float32[H, W]. fine, medium: noise of 0.4 and 1.0 µm, from which every texture is taken."""

    rng: np.random.Generator
    um_per_px: float
    haem: Float32
    eosin: Float32
    fine: Float32
    medium: Float32

    @classmethod
    def blank(cls, rng: np.random.Generator, size_px: int, um_per_px: float) -> _Slide:
        haem, eosin = np.zeros((2, size_px, size_px), np.float32)
        fine, medium = (_noise(rng, haem.shape, grain_um / um_per_px) for grain_um in (0.4, 1.0))
        return cls(rng, um_per_px, haem, eosin, fine, medium)

    def noise(self, grain_um: float) -> Float32:
        return _noise(self.rng, self.haem.shape, grain_um / self.um_per_px)

    def at(self, image: Float32, xy_um: Float32) -> float:
        x, y = (xy_um / self.um_per_px).astype(int)
        return float(image[y, x])

    def window(self, xy_um: Float32, reach_um: float, angle: float = 0.0) -> tuple[_Slices, Float32, Float32]:
        """The pixels within reach of a point, and their coordinates in µm along and across an axis through it."""
        size = self.haem.shape[0]
        x, y = xy_um / self.um_per_px - 0.5
        reach = reach_um / self.um_per_px
        rows = slice(*np.clip((int(y - reach), int(y + reach) + 2), 0, size).tolist())
        columns = slice(*np.clip((int(x - reach), int(x + reach) + 2), 0, size).tolist())
        dy = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(y)) * np.float32(self.um_per_px)
        dx = (np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x)) * np.float32(self.um_per_px)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return (rows, columns), dx * cos + dy * sin, dy * cos - dx * sin

    def lay(self, where: _Slices, cover: Float32, haem: _Floats | float, eosin: _Floats | float) -> None:
        """Replace the stain in a window by other amounts, as far as cover in [0, 1] says."""
        self.haem[where] += cover * (haem - self.haem[where])
        self.eosin[where] += cover * (eosin - self.eosin[where])


def _noise(rng: np.random.Generator, shape: tuple[int, ...], grain_px: float) -> Float32:
    """Smooth noise of mean 0 and standard deviation 1 whose features have the size of a grain."""
    import cv2

    grain = max(1.0, grain_px / 2)
    rows, columns = (int(np.ceil(n / grain)) + 3 for n in shape)
    # Blurred at two samples per grain: the enlarged grid does not show.
    coarse = cv2.GaussianBlur(rng.standard_normal((rows, columns), dtype=np.float32), (0, 0), 1.0)
    # Enlarge beyond the image and cut, so that a grain has its size whatever the image's.
    full: Float32 = cv2.resize(coarse, None, fx=grain, fy=grain, interpolation=cv2.INTER_CUBIC)
    cut = full[: shape[0], : shape[1]]
    even: Float32 = (cut - cut.mean()) / (cut.std() + np.float32(1e-6))
    return even


def _step(distance_um: _Floats, blur_um: float = 0.5) -> Float32:
    """0 outside, 1 inside, over an edge of blur_um."""
    step: Float32 = np.clip(distance_um / blur_um + 0.5, 0, 1).astype(np.float32, copy=False)
    return step


# ---------------------------------------------------------------- where things are


def _scatter_figures(rng: np.random.Generator, size_um: float, count: int) -> Float32:
    """Float32[count, 2] in µm: nodes of a square grid, shaken only so far that APART_UM is kept."""
    inner = size_um - 2 * BORDER_UM
    per_side = int(np.ceil(np.sqrt(count)))
    # A grid with more nodes than figures looks less like a grid, where there is room.
    roomy = min(per_side * 2, int(inner // (2 * APART_UM)) + 1)
    per_side = max(per_side, roomy)
    pitch = inner / max(1, per_side - 1)
    if count and (inner < 0 or (per_side > 1 and pitch < APART_UM)):
        raise ValueError(f"{count} figures do not fit on a field of {size_um:.0f} µm")
    nodes = rng.permutation(per_side**2)[:count]
    shake = max(0.0, (pitch - APART_UM) / 2) if per_side > 1 else inner / 2
    xy = np.stack([nodes % per_side, nodes // per_side], 1) * pitch if per_side > 1 else np.full((count, 2), inner / 2)
    xy = np.clip(xy + rng.uniform(-shake, shake, (count, 2)), 0, inner)
    return (xy + BORDER_UM).astype(np.float32)


def _scatter_cells(rng: np.random.Generator, size_um: float, figures_um: Float32) -> Float32:
    """Float32[N, 2] in µm: the ordinary cells, on a shaken hexagonal grid, leaving room for the figures."""
    rows = np.arange(0, size_um + _CELL_UM, _CELL_UM * 0.87)
    columns = np.arange(0, size_um + _CELL_UM, _CELL_UM)
    x, y = np.meshgrid(columns, rows)
    x[1::2] += _CELL_UM / 2
    xy = np.stack([x.ravel(), y.ravel()], 1) + rng.uniform(-3.2, 3.2, (x.size, 2))
    xy = xy[((xy > 0) & (xy < size_um)).all(1)]
    if len(figures_um):
        nearest = np.linalg.norm(xy[:, None] - figures_um[None], axis=2).min(1)
        xy = xy[nearest > 10.5]
    return xy.astype(np.float32)


# ---------------------------------------------------------------- tissue


def _draw_tissue(slide: _Slide, stroma: Float32, along: float, cells_um: Float32) -> None:
    """Cytoplasm of the nests with the cells' borders, collagen between the nests, and clefts where they part."""
    border, tone = _cell_mosaic(slide, cells_um)
    # Ridges of noise make a net about small bubbles, as cytoplasm has it.
    net = 0.7 - np.abs(slide.noise(1.4))
    froth = 0.55 * net + 0.45 * slide.noise(2.8) + 0.35 * slide.medium + 0.25 * slide.fine
    in_stroma = _step(stroma - np.float32(_STROMA_FROM), 0.25)
    cytoplasm = 0.66 + 0.18 * tone + 0.20 * froth + 0.20 * border
    collagen = 0.80 + 0.20 * _fibres(slide, along) + 0.06 * slide.medium
    slide.eosin[:] = cytoplasm + in_stroma * (collagen - cytoplasm)
    slide.haem[:] = (0.12 + 0.06 * tone + 0.07 * froth) * (1 - 0.75 * in_stroma)
    # Fixation shrinks nests away from the stroma: clear clefts along the border, and some vacuoles.
    cleft = _step(0.10 - np.abs(stroma - np.float32(_STROMA_FROM - 0.12)), 0.1) * _step(slide.noise(11.0) - 0.5, 0.5)
    vacuole = _step(slide.noise(4.0) - np.float32(2.25), 0.2)
    glass = np.maximum(cleft, vacuole) * np.float32(0.93)
    slide.eosin[:] = np.clip(slide.eosin, 0.1, None) * (1 - glass)
    slide.haem[:] = np.clip(slide.haem, 0.0, None) * (1 - glass)


def _cell_mosaic(slide: _Slide, cells_um: Float32) -> tuple[Float32, Float32]:
    """Borders between cells (0 to 1) and each cell's own tone (about -1 to 1), from the nearest cell centre."""
    import cv2
    from scipy.spatial import cKDTree

    size = slide.haem.shape[0]
    small = max(2, int(size * slide.um_per_px / 0.8))  # a grid of 0.8 µm is fine enough for soft borders
    axis = (np.arange(small, dtype=np.float32) + 0.5) * (size * slide.um_per_px / small)
    x, y = np.meshgrid(axis, axis)
    wobble = [_noise(slide.rng, x.shape, 4 / 0.8) for _ in range(2)]
    points = np.stack([x + wobble[0], y + wobble[1]], -1)
    if len(cells_um) < 2:
        return np.zeros_like(slide.haem), np.zeros_like(slide.haem)
    distance, nearest = cKDTree(cells_um).query(points, k=2)
    border = np.exp(-(((distance[..., 1] - distance[..., 0]) / 1.1) ** 2)).astype(np.float32)
    tone = slide.rng.uniform(-1, 1, len(cells_um)).astype(np.float32)[nearest[..., 0]]
    enlarged = [cv2.resize(one, (size, size), interpolation=cv2.INTER_LINEAR) for one in (border, tone)]
    return enlarged[0], enlarged[1]


def _fibres(slide: _Slide, angle: float) -> Float32:
    """Wavy collagen: noise stretched along one direction and bent."""
    import cv2

    size = slide.haem.shape[0]
    bend = slide.noise(25.0) * np.float32(5.0 / slide.um_per_px)
    strands = _noise(slide.rng, (2 * size, max(8, size // 12)), 1.6 / slide.um_per_px)
    y, x = np.mgrid[:size, :size].astype(np.float32) - np.float32(size / 2)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = (x * cos + y * sin + size) / (2 * size) * strands.shape[1]
    across = y * cos - x * sin + bend + size
    return np.asarray(cv2.remap(strands, along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)


# ---------------------------------------------------------------- cells


def _draw_cell(slide: _Slide, xy: Float32, in_stroma: bool, along: float) -> None:
    rng = slide.rng
    if not in_stroma:
        long_um = rng.triangular(4.0, 5.0, 6.8)
        _draw_nucleus(slide, xy, long_um, long_um * rng.uniform(0.62, 0.95), darkness=rng.beta(0.9, 2.8))
    elif rng.random() < 0.55:  # fibroblast
        _draw_nucleus(
            slide, xy, rng.uniform(5.0, 7.5), rng.uniform(1.2, 2.1), 0.6, nucleoli=0, angle=along + rng.normal(0, 0.3)
        )
    else:  # lymphocytes come in small groups
        for _ in range(rng.integers(1, 4)):
            near = xy + rng.normal(0, 4.0, 2).astype(np.float32)
            _draw_nucleus(slide, near, rng.uniform(2.9, 3.5), rng.uniform(2.6, 3.2), darkness=1.0, nucleoli=0)


def _draw_nucleus(
    slide: _Slide,
    xy: Float32,
    long_um: float,
    short_um: float,
    darkness: float,
    nucleoli: int | None = None,
    angle: float | None = None,
) -> None:
    """An interphase nucleus of half axes long_um and short_um: membrane, clumped chromatin, nucleoli.

    darkness: 0 vesicular (pale inside, sharp membrane) to 1 (dense, even).
    """
    rng = slide.rng
    where, u, v = slide.window(xy, long_um + 1.5, rng.uniform(0, np.pi) if angle is None else angle)
    fine, medium = slide.fine[where], slide.medium[where]
    radius = np.hypot(u / np.float32(long_um), v / np.float32(short_um)) + np.float32(0.05) * medium
    depth = (1 - radius) * np.float32(short_um)
    membrane = np.exp(-(((depth - 0.3) / 0.38) ** 2))
    clumps = np.clip(medium + 0.4 * fine - 0.15, 0, 2)
    haem = 0.16 + 0.95 * darkness + (0.55 - 0.2 * darkness) * clumps + 0.10 * fine
    haem += (0.95 - 0.5 * darkness) * membrane
    eosin = 0.24 + 0.35 * darkness + 0.16 * clumps
    for _ in range(int(rng.integers(1, 3)) if nucleoli is None else nucleoli):
        offset = (rng.uniform(-0.4, 0.4, 2) * (long_um, short_um)).astype(np.float32)
        spot = np.exp(-((((u - offset[0]) ** 2 + (v - offset[1]) ** 2) / rng.uniform(0.5, 1.1) ** 2) ** 2))
        haem, eosin = haem + 0.7 * spot, eosin + 0.45 * spot
    slide.lay(where, _step(depth), np.clip(haem, 0.1, None), eosin)


# ---------------------------------------------------------------- figures

_Blobs = list[tuple[float, float, float]]  # x, y, radius in µm about the figure's centre


def _draw_mitosis(slide: _Slide, xy: Float32, kind: int) -> None:
    """A rounded cell with a cleared zone and, without any membrane, its chromosomes."""
    rng = slide.rng
    radius_um = rng.uniform(6.6, 7.8)
    where, u, v = slide.window(xy, radius_um + 2, rng.uniform(0, np.pi))
    fine, medium = slide.fine[where], slide.medium[where]
    depth = radius_um - np.hypot(u, v * np.float32(rng.uniform(1.0, 1.25))) + np.float32(0.4) * medium
    rim = np.exp(-((depth / 0.5) ** 2))
    slide.lay(where, 0.9 * _step(depth, 2.2), 0.10 + 0.05 * medium, 0.42 + 0.08 * fine + 0.12 * medium)
    slide.eosin[where] += 0.18 * rim
    figure = (_metaphase, _prometaphase, _anaphase, _metaphase, _ring)[kind % 5]
    _draw_chromosomes(slide, xy, figure(rng), ragged_um=0.28)


def _draw_chromosomes(slide: _Slide, xy: Float32, blobs: _Blobs, ragged_um: float) -> None:
    where, u, v = slide.window(xy, 7.0, slide.rng.uniform(0, 2 * np.pi))
    depth = np.full(u.shape, -9, np.float32)
    for x, y, radius in blobs:
        np.maximum(depth, np.float32(radius) - np.hypot(u - np.float32(x), v - np.float32(y)), out=depth)
    depth += np.float32(ragged_um) * (0.45 * slide.fine[where] + 0.8 * slide.medium[where])
    haem = 2.5 + 0.22 * slide.medium[where]
    slide.lay(where, _step(depth, 0.7), haem, 0.35)


def _plate(rng: np.random.Generator, length_um: float, radius_um: float) -> _Blobs:
    """A row of chromosomes seen from the side."""
    return [
        (x + rng.normal(0, 0.15), rng.normal(0, 0.28), radius_um * rng.uniform(0.8, 1.15))
        for x in np.linspace(-length_um / 2, length_um / 2, 8)
    ]


def _metaphase(rng: np.random.Generator) -> _Blobs:
    stray = [
        (rng.uniform(-3, 3), rng.choice((-1, 1)) * rng.uniform(1.5, 2.2), rng.uniform(0.35, 0.6))
        for _ in range(rng.integers(1, 5))
    ]
    return _plate(rng, rng.uniform(5.4, 7.0), rng.uniform(1.0, 1.3)) + stray


def _anaphase(rng: np.random.Generator) -> _Blobs:
    half_um = rng.uniform(2.3, 3.3)
    # The outer chromosomes lag behind: the ends of both plates bend towards each other.
    return [
        (x, side * (half_um - 0.06 * x * x) + y, radius)
        for side in (-1, 1)
        for x, y, radius in _plate(rng, rng.uniform(4.2, 5.6), rng.uniform(0.8, 1.0))
    ]


def _prometaphase(rng: np.random.Generator) -> _Blobs:
    clump = [(*rng.normal(0, (1.5, 1.1)), rng.uniform(0.6, 1.0)) for _ in range(14)]
    return clump + _rays(rng, 2.4, 3.7, 11)


def _ring(rng: np.random.Generator) -> _Blobs:
    radius_um = rng.uniform(2.4, 2.9)
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = [
        (
            radius_um * np.cos(t) + rng.normal(0, 0.25),
            radius_um * np.sin(t) + rng.normal(0, 0.25),
            rng.uniform(0.8, 1.1),
        )
        for t in around
    ]
    return ring + _rays(rng, 3.4, 4.2, 7)


def _rays(rng: np.random.Generator, from_um: float, to_um: float, count: int) -> _Blobs:
    """Arms of single chromosomes that stick out: what makes a figure look hairy."""
    angles, reach = rng.uniform(0, 2 * np.pi, count), rng.uniform(from_um, to_um, count)
    return [(r * np.cos(t), r * np.sin(t), rng.uniform(0.35, 0.6)) for t, r in zip(angles, reach, strict=True)]


def _draw_lookalike(slide: _Slide, xy: Float32, kind: int) -> None:
    (_draw_pyknotic, _draw_hyperchromatic, _draw_lymphocyte)[kind % 3](slide, xy)


def _draw_pyknotic(slide: _Slide, xy: Float32) -> None:
    """An apoptotic cell: a shrunken, strongly eosinophilic body with smooth, round, very dark balls, in a halo."""
    rng = slide.rng
    body_um = rng.uniform(3.8, 4.8)
    where, u, v = slide.window(xy, body_um + 3, rng.uniform(0, np.pi))
    depth = body_um - np.hypot(u, v * np.float32(rng.uniform(1.0, 1.4))) + np.float32(0.4) * slide.medium[where]
    halo = _step(depth + np.float32(1.1) + np.float32(0.3) * slide.fine[where], 0.9)
    slide.lay(where, np.float32(0.75) * halo, 0.02, 0.10)
    slide.lay(where, _step(depth), 0.28, 1.2 + 0.12 * slide.medium[where])
    ball_um = rng.uniform(1.7, 2.3)
    fragments = [
        (rng.uniform(-2.4, 2.4), rng.uniform(-2.4, 2.4), rng.uniform(0.4, 0.8)) for _ in range(rng.integers(0, 3))
    ]
    _draw_chromosomes(slide, xy, [(0.0, 0.0, ball_um), *fragments], ragged_um=0.0)


def _draw_hyperchromatic(slide: _Slide, xy: Float32) -> None:
    """A smudged, dense, elongated nucleus with a smooth outline, in ordinary cytoplasm."""
    where, u, v = slide.window(xy, 7.0, slide.rng.uniform(0, np.pi))
    long_um, short_um = slide.rng.uniform(4.2, 5.4), slide.rng.uniform(1.7, 2.4)
    depth = (1 - np.hypot(u / np.float32(long_um), v / np.float32(short_um))) * np.float32(short_um)
    slide.lay(where, _step(depth, 0.9), 1.8 + 0.2 * slide.medium[where], 0.6)


def _draw_lymphocyte(slide: _Slide, xy: Float32) -> None:
    """A small round nucleus, dense but with a clock-face of chromatin, and hardly any cytoplasm."""
    where, u, v = slide.window(xy, 6.0)
    slide.lay(where, 0.7 * _step(4.2 - np.hypot(u, v), 1.0), 0.05, 0.25)
    _draw_nucleus(slide, xy, slide.rng.uniform(3.0, 3.5), slide.rng.uniform(2.8, 3.2), darkness=1.35, nucleoli=0)


# ---------------------------------------------------------------- the scanner


def _scan(slide: _Slide) -> UInt8:
    """Light through the stains, the blur of the optics and the noise of the sensor: UInt8[H, W, 3]."""
    import cv2

    density: Float32 = slide.haem[..., None] * _HAEMATOXYLIN + slide.eosin[..., None] * _EOSIN
    light = np.exp(-density) * np.array([246, 244, 247], np.float32)
    light = cv2.GaussianBlur(light, (0, 0), max(0.3, 0.17 / slide.um_per_px))
    light += 2.2 * slide.rng.standard_normal(light.shape, dtype=np.float32)
    scanned: UInt8 = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return scanned
