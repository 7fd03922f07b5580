"""`detect` over folders: what is done stays done, whatever stops it; one row stream, and a summary."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mitosis_core.model
import mitosis_core.prediction
from mitosis_core.__main__ import main
from mitosis_core.detection_stream import COLUMNS, DetectionStream
from mitosis_core.interchange.annotation_csv import read_detections
from mitosis_core.interchange.exchange import read_marks
from mitosis_core.types import Detections, Field, Prediction

NAMES = ["a.png", "b.png", "sub/a.png"]
COUNTS = {"a.png": 2, "b.png": 0, "sub/a.png": 1}
looked_at: list[str] = []


def _fake_predict(field: Field, model: object, *, device: str = "auto", progress: object = None) -> Prediction:
    looked_at.append(field.name)
    count = COUNTS[field.name]
    xy, score, area = (np.full(n, value, np.float32) for n, value in (((count, 2), 20.5), (count, 0.9), (count, 30)))
    found = Detections(xy, score, area)
    assert field.area_mm2 is not None
    return Prediction(found, 0.5, "fake-1", 0.1, field.area_mm2)


@pytest.fixture(autouse=True)
def _network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mitosis_core.model, "load_model", lambda name: SimpleNamespace(version="fake-1", threshold=0.5))
    monkeypatch.setattr(mitosis_core.prediction, "predict", _fake_predict)
    looked_at.clear()
    yield
    looked_at.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, purple all over."""
    for seed, name in enumerate(NAMES):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(90, 140, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "in"


def detect(folder: Path, out: Path, *more: str) -> int:
    return main(["detect", str(folder), "--um-per-px", "0.5", "--out", str(out), *more])


def test_a_folder_is_searched_all_the_way_down_and_summed_up(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.png").write_bytes(b"no image")
    (folder / "sub" / "._a.png").write_bytes(b"what a Mac leaves on a stick")
    out = tmp_path / "found.csv"
    assert detect(folder, out) == 2
    said = capsys.readouterr().err
    # 100 x 80 px at 0.5 µm/px = 2000 µm², three times.
    assert "3 fields: 3 mitoses in 0.006 mm² of tissue (500.00 per mm²); 1 file failed." in said
    assert "Error: bad.png:" in said and looked_at == NAMES
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["x_px"]) for row in rows] == [
        ("a.png", "20.5"),
        ("a.png", "20.5"),
        ("b.png", ""),
        ("sub/a.png", "20.5"),
    ]
    assert tuple(rows[0]) == COLUMNS


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_stopped_at_any_byte_it_goes_on_and_ends_the_same(suffix: str, folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / f"whole{suffix}"
    assert detect(folder, whole) == 0
    content = whole.read_bytes()
    stream = DetectionStream(whole)
    assert [key[0] for key in stream.done] == NAMES
    for cut in range(0, len(content) + 1, 7):
        part = tmp_path / f"part{suffix}"
        part.write_bytes(content[:cut])
        before = DetectionStream(part)
        done = [key[0] for key in before.done]
        assert done == NAMES[: len(done)] and content.startswith(part.read_bytes())
        looked_at.clear()
        assert detect(folder, part) == 0
        assert looked_at == NAMES[len(done) :]
        if suffix == ".csv":  # a line of JSON also says how long it took
            assert part.read_bytes() == content
        assert [key[0] for key in DetectionStream(part).done] == NAMES


def test_done_fields_are_skipped_and_counted(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.csv"
    detect(folder / "sub", out)
    shutil.move(folder / "sub" / "a.png", folder / "c.png")
    COUNTS["c.png"] = 4
    looked_at.clear()
    capsys.readouterr()
    assert detect(folder, out) == 2  # a.png in the file is another image than a.png in the folder
    said = capsys.readouterr().err
    assert looked_at == ["b.png", "c.png"]
    assert "a.png: the results have an image of this name with other pixels" in said
    looked_at.clear()
    detect(folder, out)
    assert looked_at == [] and "2 fields, 2 of them done before: 4 mitoses" in capsys.readouterr().err


def test_a_file_of_something_else_or_of_another_threshold_is_left_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix, content in ((".csv", "name,x\na,1\n"), (".jsonl", '{"a": 1}\n'), (".jsonl", "text\n")):
        out = tmp_path / f"other{suffix}"
        out.write_text(content)
        assert detect(folder, out) == 2 and out.read_text() == content
        assert "name another file" in capsys.readouterr().err
    out = tmp_path / "found.csv"
    detect(folder, out)
    assert detect(folder, out, "--threshold", "0.7") == 2
    assert "from a score of 0.5 on, not 0.7" in capsys.readouterr().err and looked_at == NAMES


def test_a_table_that_somebody_changed_is_left_as_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.csv"
    detect(folder, out)
    head, first, second, *others = out.read_bytes().splitlines(keepends=True)
    for rows in ([first], [first, second, second], [b"a.png,by hand\r\n", second]):
        out.write_bytes(changed := b"".join([head, *rows, *others]))
        capsys.readouterr()
        assert detect(folder, out) == 2 and out.read_bytes() == changed
        assert "found.csv was changed since it was written" in capsys.readouterr().err


def test_what_is_written_is_read_by_evaluate_and_convert(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.csv"
    detect(folder, out)
    assert [(one.image, len(one.detections)) for one in read_detections(out)] == list(COUNTS.items())[:3]
    images = list(read_marks(out, "csv"))
    assert [(image.name, len(image.marks), image.um_per_px) for image in images] == [
        (name, COUNTS[name], 0.5) for name in NAMES
    ]
    assert {mark.reader for image in images for mark in image.marks} == {"fake-1"}


@pytest.mark.parametrize("name", ["found.geojson", "found.sqlite", "found.zip", "found.jsonl"])
def test_other_formats_are_written_at_the_end(name: str, folder: Path, tmp_path: Path) -> None:
    out, more = tmp_path / name, {"zip": ["--to", "voc"], "onl": ["--to", "csv"]}.get(name[-3:], [])
    source = folder / "sub" if name.endswith("geojson") else folder
    COUNTS["a.png"] = 2
    assert main(["detect", str(source), "--um-per-px", "0.5", "--out", str(out), *more]) == 0
    form = more[1] if more else None
    assert {image.name: len(image.marks) for image in read_marks(out, form)} == {
        one: COUNTS[one] for one in (["a.png"] if source.name == "sub" else NAMES)
    }
    assert main(["detect", str(source), "--um-per-px", "0.5", "--out", str(out), *more]) == 2  # it is there already


def test_json_lines_hold_one_field_each(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.jsonl"
    detect(folder, out)
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["image"], one["count"], len(one["digest"])) for one in records] == [
        (name, COUNTS[name], 64) for name in NAMES
    ]


def test_what_it_drew_itself_is_no_image_to_analyse(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        looked_at.clear()
        assert detect(folder, tmp_path / f"{name}.csv", "--overlay", str(folder / "pictures")) == 0
        assert looked_at == NAMES
    assert len(list((folder / "pictures").rglob("*.overlay.jpg"))) == 3


def test_one_name_that_fits_in_no_table_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "Screenshot 1.00\u202fPM.png"  # no-break space, as macOS writes it: nothing is wrong with it
    monkeypatch.setitem(COUNTS, odd, 1)
    shutil.copy(folder / "a.png", folder / odd)
    shutil.copy(folder / "a.png", folder / "c\nd.png")
    assert detect(folder, tmp_path / "out.csv") == 2
    assert sorted(looked_at) == sorted([*NAMES, odd])
    assert "cannot stand in a table" in capsys.readouterr().err
