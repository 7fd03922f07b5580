"""Maps with known blobs give them back; maps with none give none."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mitosis_core.errors import UnusableModel
from mitosis_core.inference.blobs import BlobSettings, find_blobs
from mitosis_core.types import Float32, ProbabilityMap

SETTINGS = [
    BlobSettings(),
    BlobSettings(binarize="otsu-patchwise", patch_um=40.0),
    BlobSettings(binarize="fixed", threshold=0.3, score="peak"),
    BlobSettings(finder="peaks", binarize="fixed", threshold=0.1, score="peak"),
]


def _map(values: Float32, cell_px: float = 4.0, um_per_px: float = 0.25) -> ProbabilityMap:
    return ProbabilityMap(np.ascontiguousarray(values, np.float32), (cell_px, cell_px), um_per_px)


def _render(points: list[tuple[float, float]], shape: tuple[int, int] = (90, 120), height: float = 0.95) -> Float32:
    """One bump with a sigma of 2.5 cells (2.5 µm) at each point, in cells."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    values = np.full(shape, 0.01)
    for px, py in points:
        values = np.maximum(values, height * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 2.5**2)))
    return values.astype(np.float32)


@st.composite
def _points(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Points in cells, one anywhere in each chosen square of a 30-cell grid, clear of its edges."""
    squares = [(x, y) for x in range(4) for y in range(3)]
    chosen = draw(st.lists(st.sampled_from(squares), unique=True, min_size=1, max_size=8))
    inside = st.floats(10, 20)
    return [(30 * x + draw(inside), 30 * y + draw(inside)) for x, y in chosen]


def _nearest(found: Float32, wanted: Float32) -> Float32:
    """The distance from every wanted point to the nearest found one."""
    return np.linalg.norm(found[None] - wanted[:, None], axis=2).min(axis=1)


@settings(max_examples=40, deadline=None)
@given(_points(), st.sampled_from(SETTINGS))
def test_blobs_of_rendered_points_are_the_points(points, chosen) -> None:
    map = _map(_render(points))
    found = find_blobs(map, chosen)
    assert len(found) == len(points)
    assert _nearest(found.xy_px, map.to_px(np.array(points, np.float32))).max() <= 2.0  # half a cell
    assert ((found.score > 0) & (found.score <= 1)).all()
    assert (np.diff(found.score) <= 0).all()


@settings(max_examples=25, deadline=None)
@given(_points(), st.sampled_from(SETTINGS))
@example([(10.5, 10.125)], next(one for one in SETTINGS if one.finder == "peaks"))
def test_turning_the_map_turns_the_detections(points, chosen) -> None:
    values = _render(points)
    found, turned = find_blobs(_map(values), chosen), find_blobs(_map(np.rot90(values)), chosen)
    # A quarter turn to the left takes (x, y) to (y, width - 1 - x).
    expected = np.stack([found.xy_px[:, 1], 4 * values.shape[1] - 1 - found.xy_px[:, 0]], axis=1)
    # A point half way between two cells has two equal peaks: which one leads may turn too, within half a cell.
    tie = chosen.finder == "peaks" and any(abs(value % 1 - 0.5) < 0.05 for point in points for value in point)
    assert len(turned) == len(found) and _nearest(turned.xy_px, expected).max() < (2.0 if tie else 0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from(SETTINGS))
def test_raising_the_lowest_score_only_removes(seed, one, two, chosen) -> None:
    values = np.random.default_rng(seed).random((40, 50), np.float32) ** 2
    low, high = (
        find_blobs(_map(values), BlobSettings(**{**chosen.to_dict(), "min_score": s, "smooth_um": 1.5}))
        for s in sorted((one, two))
    )
    kept = low.above(max(one, two))
    assert (kept.xy_px == high.xy_px).all() and (kept.score == high.score).all()


def test_the_scale_does_not_move_the_detections() -> None:
    values = _render([(20, 30), (70, 60)])
    fine, coarse = find_blobs(_map(values), BlobSettings()), find_blobs(_map(values, 2.0, 0.5), BlobSettings())
    assert np.allclose((fine.xy_px + 0.5) / 2 - 0.5, coarse.xy_px, atol=1e-3)
    assert np.allclose(fine.area_um2, coarse.area_um2) and np.allclose(fine.score, coarse.score)


def test_oblong_cells_are_carried_to_pixels_by_side() -> None:
    values = np.zeros((20, 20), np.float32)
    values[9:12, 4:7] = 1
    map = ProbabilityMap(values, (4.0, 2.0), 0.25)
    found = find_blobs(map, BlobSettings(smooth_um=0, binarize="fixed", min_area_um2=0))
    assert found.xy_px.tolist() == [[5.5 * 4 - 0.5, 10.5 * 2 - 0.5]]
    assert found.area_um2.tolist() == [9 * 4 * 2 * 0.25**2]


def test_score_and_centroid_by_hand() -> None:
    values = np.zeros((5, 7), np.float32)
    values[2, 2:4] = 0.6, 0.9
    found = {
        score: find_blobs(_map(values), BlobSettings(smooth_um=0, binarize="fixed", min_area_um2=0, score=score))
        for score in ("mean", "peak")
    }
    # Column (2 * 0.6 + 3 * 0.9) / 1.5 = 2.6, in px (2.6 + 0.5) * 4 - 0.5.
    assert found["mean"].xy_px[0] == pytest.approx([11.9, 9.5])
    assert found["mean"].score[0] == pytest.approx(0.75) and found["peak"].score[0] == pytest.approx(0.9)
    assert found["mean"].area_um2[0] == 2


def test_corners_that_touch_are_one_blob_and_areas_are_filtered() -> None:
    values = np.zeros((12, 12), np.float32)
    values[1, 1] = values[2, 2] = 0.9
    values[6:10, 6:10] = 0.8
    base = {"smooth_um": 0.0, "binarize": "fixed"}
    assert find_blobs(_map(values), BlobSettings(**base, min_area_um2=0)).area_um2.tolist() == [2, 16]
    assert find_blobs(_map(values), BlobSettings(**base, min_area_um2=3)).area_um2.tolist() == [16]
    assert find_blobs(_map(values), BlobSettings(**base, min_area_um2=0, max_area_um2=15)).area_um2.tolist() == [2]


def test_peaks_tell_touching_figures_apart() -> None:
    values = _render([(40, 40), (48, 40)])
    assert len(find_blobs(_map(values), BlobSettings(binarize="fixed", threshold=0.3))) == 1
    peaks = BlobSettings(finder="peaks", binarize="fixed", threshold=0.3, score="peak")
    found = find_blobs(_map(values), peaks)
    expected = _map(values).to_px(np.array([[40, 40], [48, 40]], np.float32))
    assert len(found) == 2 and _nearest(found.xy_px, expected).max() < 4
    apart = BlobSettings(finder="peaks", binarize="fixed", threshold=0.3, score="peak", peak_distance_um=9.0)
    assert len(find_blobs(_map(values), apart)) == 1


def test_a_peak_owns_nothing_beyond_its_distance() -> None:
    values = np.zeros((40, 40), np.float32)
    values[20, :] = np.linspace(1, 0.3, 40)
    chosen = BlobSettings(finder="peaks", smooth_um=0, binarize="fixed", threshold=0.2, min_area_um2=0)
    found = find_blobs(_map(values), chosen)  # the peak is at (0, 20); 5 µm are 5 cells
    assert found.area_um2.tolist() == [6]


def test_a_plateau_is_one_peak() -> None:
    values = np.zeros((40, 40), np.float32)
    values[10:20, 10:20] = 1
    found = find_blobs(_map(values), BlobSettings(finder="peaks", smooth_um=0, peak_distance_um=3))
    assert len(found) == 1 and found.xy_px[0] == pytest.approx([59.5, 59.5])


@pytest.mark.parametrize("chosen", SETTINGS)
@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (64, 80)])
def test_an_empty_map_gives_nothing(shape, chosen) -> None:
    assert len(find_blobs(_map(np.zeros(shape, np.float32)), chosen)) == 0


@pytest.mark.parametrize("chosen", [SETTINGS[0], SETTINGS[1], SETTINGS[3]])
def test_faint_noise_gives_nothing_although_otsu_alone_would_halve_it(chosen) -> None:
    noise = 0.06 * np.random.default_rng(1).random((300, 300), np.float32)
    assert len(find_blobs(_map(noise), chosen)) == 0


def test_one_faint_mitosis_in_a_noisy_field_is_the_only_one() -> None:
    noise = 0.06 * np.random.default_rng(1).random((90, 120), np.float32)
    assert len(find_blobs(_map(np.maximum(noise, _render([(50, 40)], height=0.7))), BlobSettings())) == 1


def test_otsu_moves_between_its_bounds() -> None:
    # Half the field at 0.1, half at 0.5: Otsu parts them at 0.1, which the guard lifts or leaves.
    values = np.full((40, 40), 0.1, np.float32)
    values[:, 20:] = 0.5
    base = {"smooth_um": 0.0, "threshold_high": 0.9}
    assert find_blobs(_map(values), BlobSettings(**base, threshold_low=0.05)).area_um2.tolist() == [800]
    assert len(find_blobs(_map(values), BlobSettings(**base, threshold_low=0.6))) == 0


def test_one_threshold_for_the_field_is_not_one_per_patch() -> None:
    # A faint figure far from strong tissue: the field's threshold drops it, its own patch's keeps it.
    values = np.full((40, 80), 0.01, np.float32)
    values[:, :30] = 0.9
    values[18:24, 60:66] = 0.2
    base = {"smooth_um": 0.0, "threshold_low": 0.02, "threshold_high": 0.9, "patch_um": 40.0}
    whole = find_blobs(_map(values), BlobSettings(**base))
    patches = find_blobs(_map(values), BlobSettings(**base, binarize="otsu-patchwise"))
    assert len(whole) == 1 and 36 in patches.area_um2.tolist()


def test_values_that_are_not_numbers_are_never_no_mitosis() -> None:
    values = np.zeros((20, 20), np.float32)
    values[3, 3] = np.nan
    with pytest.raises(UnusableModel):
        find_blobs(_map(values), BlobSettings())


@pytest.mark.parametrize("chosen", SETTINGS)
def test_settings_survive_json(chosen) -> None:
    assert BlobSettings.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen


@pytest.mark.parametrize(
    "wrong",
    [
        {"finder": "x"},
        {"binarize": "x"},
        {"score": "x"},
        {"threshold": 0},
        {"threshold_low": 0.7},
        {"min_score": 2},
        {"smooth_um": -1},
        {"min_area_um2": float("nan")},
        {"patch_um": 0},
        {"max_area_um2": 1},
        {"colour": 1},
    ],
)
def test_settings_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(ValueError):
        BlobSettings.from_dict(wrong)
