"""Cut a large field into tiles that overlap when read, while every pixel has exactly one owner."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A rectangle: rows top..bottom, columns left..right, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """To index an image: `pixels[window.slices]`."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def at(self, stride: int) -> Window:
        """The same rectangle on a map with one cell per stride x stride pixels."""
        return Window(self.top // stride, -(-self.bottom // stride), self.left // stride, -(-self.right // stride))


@dataclass(frozen=True)
class Tile:
    """read: what the network gets to see; owned: the part of the field whose answer comes from this tile."""

    read: Window
    owned: Window

    @property
    def owned_in_read(self) -> Window:
        """The owned part in coordinates of the read window."""
        top, left = self.read.top, self.read.left
        return Window(self.owned.top - top, self.owned.bottom - top, self.owned.left - left, self.owned.right - left)


def cover(height: int, width: int, tile_px: int, halo_px: int, multiple: int = 1) -> list[Tile]:
    """Cover a field of height x width pixels with tiles, row by row.

    A read window is at most tile_px long on a side and reaches halo_px (rounded up to the multiple) beyond what the
    tile owns, save at the border of the field. All windows begin at a multiple of `multiple` and end at one or at the
    border, so that a network's strides line up across tiles; in a field of whole multiples they are of one size, for
    which a network is prepared once. Raises ValueError when tile_px leaves nothing to own.
    """
    if min(height, width, multiple) < 1 or halo_px < 0:
        raise ValueError(f"cannot cover {height} x {width} px with a halo of {halo_px} px in steps of {multiple} px")
    halo = -(-halo_px // multiple) * multiple
    rows, columns = (_spans(length, tile_px, halo, multiple) for length in (height, width))
    return [
        Tile(Window(*read_rows, *read_columns), Window(*own_rows, *own_columns))
        for read_rows, own_rows in rows
        for read_columns, own_columns in columns
    ]


def _spans(length: int, tile_px: int, halo: int, multiple: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(read, owned) spans along one side: as few as can be, and read as little as so many can."""
    if length <= tile_px:
        return [((0, length), (0, length))]
    most = (tile_px - 2 * halo) // multiple * multiple
    if most < 1:
        raise ValueError(f"a tile of {tile_px} px has no room for a halo of {halo} px on both sides")
    count = -(-(length - 2 * halo) // most)
    read = -(-(length + 2 * halo * (count - 1)) // (count * multiple)) * multiple
    starts = [nth * (read - 2 * halo) for nth in range(count - 1)]
    starts.append(-(-(length - read) // multiple) * multiple)
    edges = [0, *(start + halo for start in starts[1:]), length]
    return [
        ((start, min(length, start + read)), owned)
        for start, owned in zip(starts, itertools.pairwise(edges), strict=True)
    ]
