from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mitosis_core.errors import MissingScale
from mitosis_core.interchange.csv_rows import read_rows
from mitosis_core.interchange.exchange import read_marks
from mitosis_core.types import Detections, Field, Prediction
from pages.shared.service import detecting
from pages.shared.service.detecting import Analysis, PredictionCache
from tests.pages.fakes import SAMPLE_LOOKALIKES, SAMPLE_MITOSES, FakeDetector, FakeModel

MODEL = FakeModel()


def png(seed: int = 0, side: int = 96) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def analyse(files: list[Analysis], known: PredictionCache | None = None, **more: object) -> list[Analysis]:
    return detecting.analyse(files, MODEL, known or PredictionCache(), **more)  # type: ignore[arg-type]


def test_a_bad_file_is_one_sentence_and_the_others_run(detector: FakeDetector) -> None:
    files = [detecting.open_file("a.png", png(1)), detecting.open_file("bad.png", b"nonsense"), detecting.open_sample()]
    first, bad, sample = analyse(detecting.give_scale(files, 0.25))
    assert bad.prediction is None and bad.problem is not None and "\n" not in bad.problem
    assert len(first.found()) == 1 and len(sample.found()) == SAMPLE_MITOSES


def test_an_unforeseen_fault_is_a_sentence_and_the_others_run(detector: FakeDetector) -> None:
    detector.breaks_on = "a.png"
    files = detecting.give_scale([detecting.open_file("a.png", png(1)), detecting.open_file("b.png", png(2))], 0.25)
    broken, fine = analyse(files)
    assert broken.problem == detecting.UNEXPECTED and broken.prediction is None
    assert fine.prediction is not None


def test_a_field_without_scale_waits(detector: FakeDetector) -> None:
    file = detecting.open_file("a.png", png())
    assert file.waits_for_scale
    assert analyse([file])[0].prediction is None and detector.asked == []
    assert detecting.tally([file], 0.55) is None


def test_giving_a_scale_leaves_those_that_have_one_alone(detector: FakeDetector) -> None:
    silent, sample = detecting.give_scale([detecting.open_file("a.png", png()), detecting.open_sample()], 0.5)
    assert silent.field is not None and silent.field.um_per_px == 0.5
    assert sample.field is not None and sample.field.um_per_px == 0.25
    with pytest.raises(MissingScale):
        detecting.give_scale([silent], 25.0)


def test_a_field_is_analysed_once_for_each_scale(detector: FakeDetector) -> None:
    known, file = PredictionCache(), detecting.open_file("a.png", png())
    for um_per_px in (0.25, 0.25, 0.5, 0.25):
        analyse(detecting.give_scale([file], um_per_px), known)
    assert detector.asked == ["a.png", "a.png"]


def test_progress_counts_only_fields_that_are_new(detector: FakeDetector) -> None:
    known, told = PredictionCache(), []
    files = detecting.give_scale([detecting.open_file(f"{i}.png", png(i)) for i in range(3)], 0.25)
    analyse(files[:1], known)
    analyse(files, known, progress=lambda *said: told.append(said))
    assert told == [(0, 2, "1.png", 0.5), (1, 2, "2.png", 0.5)]


def test_the_cache_drops_the_longest_unused() -> None:
    fields = [Field(np.full((64, 64, 3), i, np.uint8), 0.25, str(i)) for i in range(3)]
    known = PredictionCache(size=2)
    answer = Prediction(Detections(), 0.5, MODEL.version, 0.1, 1.0)
    known.put(fields[0], MODEL, "cpu", answer)  # type: ignore[arg-type]
    known.put(fields[1], MODEL, "cpu", answer)  # type: ignore[arg-type]
    known.get(fields[0], MODEL, "cpu")  # type: ignore[arg-type]
    known.put(fields[2], MODEL, "cpu", answer)  # type: ignore[arg-type]
    kept = [known.get(field, MODEL, "cpu") is not None for field in fields]  # type: ignore[arg-type]
    assert kept == [True, False, True]


@given(st.lists(st.sampled_from(["a.png", "a (2).png", "b.png", "c"]), max_size=8))
def test_names_told_apart_are_unique_and_the_first_keeps_its_own(names: list[str]) -> None:
    apart = [one.name for one in detecting.number_duplicate_names([Analysis(name) for name in names])]
    assert len(set(apart)) == len(names)
    if names:
        assert apart[0] == names[0]


def test_the_tally_of_two_fields_is_their_sum(detector: FakeDetector) -> None:
    files = analyse(detecting.give_scale([detecting.open_file(f"{i}.png", png(i, 200)) for i in range(2)], 0.5))
    both = detecting.tally(files, 0.55)
    assert both is not None
    assert both.count.mitoses == 2 and both.count.area_mm2 == pytest.approx(0.02)  # twice 100 µm x 100 µm
    assert both.per_mm2 == pytest.approx(100)
    assert both.per_10_hpf == pytest.approx(100 * 10 * 0.23758, rel=1e-4)


def test_a_lower_score_counts_more_without_the_network(detector: FakeDetector) -> None:
    (sample,) = analyse([detecting.open_sample()])
    assert len(sample.found(0.0)) == SAMPLE_MITOSES + SAMPLE_LOOKALIKES
    assert len(sample.found(0.93)) == 1
    assert detector.asked == [sample.name]


def test_the_csv_reads_back_as_the_same_detections(detector: FakeDetector, tmp_path: Path) -> None:
    files = analyse([detecting.open_file("bad.png", b""), detecting.open_sample()])
    (tmp_path / "detections.csv").write_bytes(detecting.detections_csv(files, 0.41))
    (image,) = read_marks(tmp_path / "detections.csv")
    found = files[1].found(0.41)
    assert (image.name, image.um_per_px, len(image.marks)) == (files[1].name, 0.25, SAMPLE_MITOSES + 1)
    assert files[1].field is not None and image.digest == files[1].field.digest
    np.testing.assert_allclose([(one.x_px, one.y_px) for one in image.marks], found.xy_px, atol=1e-3)
    assert {one.reader for one in image.marks} == {MODEL.version} and {one.label for one in image.marks} == {"mitosis"}
    _, row = next(read_rows(detecting.detections_csv(files, 0.41), ("x_um", "y_um", "threshold")))
    assert float(row["x_um"]) == pytest.approx(float(row["x_px"]) * 0.25, abs=1e-3) and row["threshold"] == "0.41"


def test_the_table_has_a_row_for_every_file(detector: FakeDetector) -> None:
    rows = detecting.table(analyse([detecting.open_file("bad.png", b""), detecting.open_sample()]), 0.55)
    assert [row["mitoses"] for row in rows] == [None, SAMPLE_MITOSES]
    assert "empty" in str(rows[0]["notes"])
