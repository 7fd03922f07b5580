"""Every pixel has one owner, and the owner sees enough around it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.inference.tiling import Window, cover

_SIZES = st.integers(1, 400)


@st.composite
def _covers(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    multiple = draw(st.sampled_from([1, 4, 16, 32]))
    halo = draw(st.integers(0, 40))
    tile = draw(st.integers(2 * (halo + multiple) + multiple, 250))
    return draw(_SIZES), draw(_SIZES), tile, halo, multiple


@given(_covers())
def test_owners_partition_the_field(case: tuple[int, int, int, int, int]) -> None:
    height, width, *_ = case
    owners = np.zeros((height, width), int)
    for tile in cover(*case):
        owners[tile.owned.slices] += 1
    assert (owners == 1).all()


@given(_covers())
def test_read_windows_are_aligned_in_bounds_and_reach_the_halo(case: tuple[int, int, int, int, int]) -> None:
    height, width, tile_px, halo, multiple = case
    for tile in cover(*case):
        read, owned = tile.read, tile.owned
        for window in (read, owned):
            assert window.top % multiple == window.left % multiple == 0
            assert window.bottom % multiple == 0 or window.bottom == height
            assert window.right % multiple == 0 or window.right == width
        assert 0 <= read.top < read.bottom <= height and 0 <= read.left < read.right <= width
        assert max(read.bottom - read.top, read.right - read.left) <= tile_px
        assert owned.top - read.top >= halo or read.top == 0
        assert owned.left - read.left >= halo or read.left == 0
        assert read.bottom - owned.bottom >= halo or read.bottom == height
        assert read.right - owned.right >= halo or read.right == width


@given(_covers())
def test_stitching_what_was_read_gives_the_field_back(case: tuple[int, int, int, int, int]) -> None:
    height, width, *_, multiple = case
    field = np.arange(height * width).reshape(height, width)
    stitched = np.full_like(field, -1)
    cells = np.full((-(-height // multiple), -(-width // multiple)), -1)
    for tile in cover(*case):
        seen = field[tile.read.slices]
        stitched[tile.owned.slices] = seen[tile.owned_in_read.slices]
        cells[tile.owned.at(multiple).slices] = seen[::multiple, ::multiple][tile.owned_in_read.at(multiple).slices]
    assert (stitched == field).all()
    assert (cells == field[::multiple, ::multiple]).all()


def test_a_field_no_larger_than_a_tile_is_one_tile() -> None:
    (tile,) = cover(100, 80, tile_px=128, halo_px=60, multiple=16)
    assert tile.read == tile.owned == Window(0, 100, 0, 80)


def test_tiles_by_hand() -> None:
    # 100 px in tiles of at most 64 with a halo of 8: two of 58 px would do, and the next multiple of 4 is 60.
    rows = [(t.read.top, t.owned.top, t.owned.bottom, t.read.bottom) for t in cover(100, 10, 64, 8, 4)]
    assert rows == [(0, 0, 48, 60), (40, 48, 100, 100)]
    # 200 px: two would need 108, three need (200 + 2 * 16) / 3 = 77.3, four 62.
    rows = [(t.read.top, t.owned.top, t.owned.bottom, t.read.bottom) for t in cover(200, 10, 64, 8, 4)]
    assert rows == [(0, 0, 56, 64), (48, 56, 104, 112), (96, 104, 144, 160), (136, 144, 200, 200)]


@given(_covers())
def test_tiles_of_a_field_of_whole_multiples_are_of_one_size(case: tuple[int, int, int, int, int]) -> None:
    height, width, tile_px, halo, multiple = case
    tiles = cover(height * multiple, width * multiple, tile_px, halo, multiple)
    assert len({(t.read.bottom - t.read.top, t.read.right - t.read.left) for t in tiles}) == 1


@pytest.mark.parametrize(("tile", "halo", "multiple"), [(64, 32, 1), (64, 20, 32), (10, -1, 1), (10, 1, 0)])
def test_no_room_for_the_halo_is_refused(tile: int, halo: int, multiple: int) -> None:
    with pytest.raises(ValueError):
        cover(1000, 1000, tile, halo, multiple)
