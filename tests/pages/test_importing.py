"""Files come in one by one: the case from the name, the scale from file or scanner, else a sentence."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from db import detection_queue as queue
from db.engine import Store, open_store
from db.fields import NEEDS_SCALE, get_field, list_fields, list_unscaled, set_case
from mitosis_core.errors import MissingScale
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.image.whole_slide import whole_slide_advice
from pages.shared.service import detection_worker, importing
from pages.shared.service.importing import ImportedFile, guess_case, import_files
from tests.db.queued import list_detections


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(detection_worker, "start_worker", lambda store: None)
    monkeypatch.setattr(importing, "start_worker", lambda store: None)
    return open_store(tmp_path / "data")


def png(seed: int = 0, um_per_px: float | None = None) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (80, 80, 3), np.uint8)
    out = io.BytesIO()
    dpi = {"dpi": (25400 / um_per_px,) * 2} if um_per_px else {}
    Image.fromarray(pixels).save(out, "TIFF" if um_per_px else "PNG", **dpi)
    return out.getvalue()


def bring(store: Store, *files: tuple[str, bytes], **options: object) -> list[ImportedFile]:
    return import_files(store, files, version="v1", by="Ann", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("A00_01.tif", "A00"),
        ("A00-01.png", "A00"),
        ("A00 1.png", "A00"),
        ("A00.tif", "A00"),
        ("A00_v2.tif", "A00_v2"),
        ("H03_00Aa.tiff", "H03"),
        ("A03_00A.bmp", "A03"),
        ("A00_10.ome.tif", "A00"),
        ("breast_A_2.png", "breast_A"),
        ("12-3456_HPF01.png", "12-3456"),
        ("S21-01234_3.jpg", "S21-01234"),
        ("S21-01234.png", "S21-01234"),
        ("S21-01234 A2 field 3.jpg", "S21-01234 A2"),
        ("B1234-22_HPF_3.png", "B1234-22"),
        ("2021-123456_f2.tif", "2021-123456"),
        ("H2023-001234-2.tif", "H2023-001234"),
        ("patient5-3.tif", "patient5"),
        ("case12_roi3_05.png", "case12"),
        ("Slide 7 (3).png", "Slide 7"),
        ("Müller 3.tif", "Müller"),
        # A name that says nothing of the case takes the folder.
        ("Case 7/field 2.png", "Case 7"),
        ("AMIDA/01/05.tif", "01"),
        ("C:\\scans\\K12\\hpf 4.bmp", "K12"),
        ("001.tif", ""),
        ("IMG_0012.jpg", ""),
        ("DSC00123.JPG", ""),
        ("field 3.png", ""),
        ("HPF3.png", ""),
        ("Screenshot 2024-05-01.png", ""),
        ("Untitled.png", ""),
        ("", ""),
    ],
)
def test_the_case_is_guessed_from_the_name(name: str, case: str) -> None:
    assert guess_case(name) == case


def test_files_are_stored_in_their_cases_and_wait_for_detection(store: Store) -> None:
    answers = bring(store, ("A00_01.tif", png(1, 0.25)), ("A00_02.tif", png(2, 0.25)), ("A02_01.tif", png(3, 0.5)))
    assert [(one.case, one.problem, one.needs_scale) for one in answers] == [
        ("A00", "", False),
        ("A00", "", False),
        ("A02", "", False),
    ]
    stored = list_fields(store)
    assert [one.field_id for one in answers] == [one.id for one in stored]
    assert [one.um_per_px for one in stored] == pytest.approx([0.25, 0.25, 0.5], rel=1e-3)
    assert {case: one.counts["waiting"] for case, one in queue.progress_by_case(store).items()} == {"A00": 2, "A02": 1}
    assert {one.version for one in list_detections(store)} == {"v1"}


def test_one_case_for_all_and_numbers_for_names(store: Store) -> None:
    bring(store, ("A00_01.tif", png(1, 0.25)), ("Smith.tif", png(2, 0.25)), case="S21-7", keep_names=False)
    assert [(one.case, one.name) for one in list_fields(store)] == [("S21-7", "Field 1"), ("S21-7", "Field 2")]


def test_the_scanner_counts_where_the_file_does_not_say(store: Store) -> None:
    bring(store, ("a.png", png(1)), ("b.tif", png(2, 0.5)), um_per_px=0.2456)
    assert [(round(one.um_per_px, 4), one.scale_source) for one in list_fields(store)] == [
        (0.2456, "scanner remembered"),
        (0.5, "TIFF resolution"),
    ]
    with pytest.raises(MissingScale):
        bring(store, ("c.png", png(3)), um_per_px=25.0)


def test_a_field_without_a_scale_waits_and_is_not_lost(store: Store) -> None:
    (one,) = bring(store, ("A00_01.png", png()))
    assert one.needs_scale and one.problem == NEEDS_SCALE and one.field_id is not None
    assert [waiting.id for waiting in list_unscaled(store)] == [one.field_id] and list_fields(store) == []
    assert queue.progress(store).counts["needs_scale"] == 1
    importing.give_scale(store, [one.field_id], 0.25)
    assert get_field(store, one.field_id).um_per_px == 0.25 and queue.progress(store).counts["waiting"] == 1


def test_what_cannot_be_read_stays_in_the_answer_with_its_sentence(store: Store) -> None:
    sample = io.BytesIO()
    Image.fromarray(draw_sample_field().field.pixels).save(sample, "PNG")
    files = [
        ("bad.png", b"nonsense"),
        ("S21.svs", png()),
        ("empty.tif", b""),
        ("sample.png", sample.getvalue()),
        ("A00_01.tif", png(1, 0.25)),
    ]
    answers = bring(store, *files)
    assert [one.name for one in answers] == [name for name, _ in files]
    assert all(one.problem.endswith(".") and one.field_id is None for one in answers[:4])
    assert "whole slide" in answers[1].problem and "QuPath" in answers[1].problem
    assert "drawn by the program" in answers[3].problem
    assert answers[4].field_id and [one.name for one in list_fields(store)] == ["A00_01.tif"]


def test_a_fault_nobody_foresaw_is_a_sentence_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*given: object, **named: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(importing, "read_field", break_down)
    (one,) = bring(store, ("a.png", png()))
    assert "details are in the log" in one.problem and one.field_id is None


def test_without_room_each_file_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_RESERVE_MB", "1e12")
    answers = bring(store, ("a.tif", png(1, 0.25)), ("b.tif", png(2, 0.25)))
    assert all("no new fields" in one.problem for one in answers) and list_fields(store) == []


def test_the_same_field_again_stays_in_its_case(store: Store) -> None:
    (first,) = bring(store, ("A00_01.tif", png(1, 0.25)))
    set_case(store, first.field_id or 0, "renamed")
    (again,) = bring(store, ("B00_01.tif", png(1, 0.25)))
    assert again.was_there and (again.field_id, again.case) == (first.field_id, "renamed")
    assert len(list_detections(store)) == 1


def test_fields_come_one_by_one_and_it_is_told_how_far(store: Store) -> None:
    told, seen = list[tuple[float, str]](), list[int]()

    def files() -> object:
        for number in range(3):
            seen.append(len(list_fields(store)))  # the ones before are stored when the next is asked for
            yield f"A_{number}.tif", png(number, 0.25)

    import_files(
        store,
        files(),
        version="v1",
        by="Ann",
        number=3,  # type: ignore[arg-type]
        progress=lambda share, name: told.append((share, name)),
    )
    assert seen == [0, 1, 2] and told == [(0.0, "A_0.tif"), (1 / 3, "A_1.tif"), (2 / 3, "A_2.tif")]


@pytest.mark.parametrize("name", ["a.svs", "b.NDPI", "c/d.mrxs", "e.scn", "f.czi"])
def test_a_whole_slide_is_told_what_to_do_with(name: str) -> None:
    assert "export" in whole_slide_advice(name) and Path(name).name in whole_slide_advice(name)


def test_fields_are_no_whole_slides() -> None:
    assert [whole_slide_advice(name) for name in ("a.tif", "b.png", "svs", "c.svs.png")] == [""] * 4
