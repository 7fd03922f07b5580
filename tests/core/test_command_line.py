"""The commands end to end, with a stand-in for the network: what they write, and what they say when they cannot."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mitosis_core.model
import mitosis_core.prediction
from mitosis_core.__main__ import main
from mitosis_core.errors import MissingScale, UnusableModel
from mitosis_core.interchange.annotation_csv import read_detections
from mitosis_core.types import Detections, Field, Prediction

CANDIDATES = Detections(np.array([[40, 50], [20, 30], [70, 80]]), [0.9, 0.6, 0.2], [30, 20, 10])


def _fake_predict(field: Field, model: object, *, device: str = "auto", progress: object = None) -> Prediction:
    if field.um_per_px is None:
        raise MissingScale(f"The µm/px of {field.name} is not known.")
    assert field.area_mm2 is not None
    area_mm2 = 0.0 if "glass" in field.name else 100 * field.area_mm2
    return Prediction(CANDIDATES, 0.5, "fake-1", 0.1, area_mm2, notes=("Hardly any tissue.",))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mitosis_core.model, "load_model", lambda name: SimpleNamespace(version="fake-1", threshold=0.5))
    monkeypatch.setattr(mitosis_core.prediction, "predict", _fake_predict)


def _image(path: Path, size: tuple[int, int] = (100, 120)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with exit code 2; what it said."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2 and "Traceback" not in said
    return said


def test_detect_writes_a_table_of_detections(network: None, tmp_path: Path) -> None:
    image, out = _image(tmp_path / "a.png"), tmp_path / "found.csv"
    assert main(["detect", str(image), "--um-per-px", "0.25", "--out", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["image", "x_px", "y_px", "score", "model"]
    assert [(row["image"], float(row["x_px"]), row["model"]) for row in rows] == [
        ("a.png", 40, "fake-1"),
        ("a.png", 20, "fake-1"),
    ]
    assert len(read_detections(out)[0].detections) == 2


def test_detect_writes_json_and_the_threshold_can_be_moved(network: None, tmp_path: Path) -> None:
    _image(tmp_path / "in" / "b.png")
    _image(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    out = tmp_path / "found.json"
    given = ["detect", str(tmp_path / "in"), "--um-per-px", "0.25", "--out", str(out), "--threshold", "0.1"]
    assert main(given) == 0
    first, second = json.loads(out.read_text())
    assert (first["image"], second["image"], first["count"], first["threshold"]) == ("a.jpg", "b.png", 3, 0.1)
    # 100 x 120 px at 0.25 µm/px = 25 x 30 µm = 0.00075 mm²; the fake finds a hundred times as much tissue.
    assert first["tissue_mm2"] == pytest.approx(0.075) and first["density_per_mm2"] == pytest.approx(40)
    assert first["detections"][0] == {"x_px": 40, "y_px": 50, "score": 0.9}


def test_detect_prints_a_table(network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [_image(tmp_path / "a.png"), _image(tmp_path / "b.png")]
    assert main(["detect", *map(str, images), "--um-per-px", "0.25"]) == 0
    header, first, *_, total = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["image", "mitoses"]
    assert first.split() == ["a.png", "2", "0.075", "26.67"]
    assert total.split() == ["all", "4", "0.150", "26.67"]


def test_a_field_without_tissue_has_no_density(
    network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = _image(tmp_path / "glass.png")
    assert main(["detect", str(image), "--um-per-px", "0.25"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["glass.png", "2", "0.000"]
    assert main(["detect", str(image), "--um-per-px", "0.25", "--out", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())[0]["density_per_mm2"] is None


def test_detect_draws_rings_around_the_detections_only(network: None, tmp_path: Path) -> None:
    image = tmp_path / "white.png"
    Image.new("RGB", (300, 300), (245, 230, 240)).save(image)
    drawn = tmp_path / "drawn"
    assert main(["detect", str(image), "--um-per-px", "0.25", "--overlay", str(drawn)]) == 0
    before, after = np.asarray(Image.open(image), int), np.asarray(Image.open(drawn / "white.png.overlay.jpg"), int)
    changed = np.abs(after - before).max(axis=2) > 60
    assert before.shape == after.shape
    assert changed[50, 2:7].any()  # the left end of a ring of 9 µm = 36 px around (40, 50)
    assert not changed[48:53, 38:43].any()  # the cell itself stays visible
    assert not changed[200:, 200:].any()


def test_an_unusable_input_gets_a_sentence_and_the_others_are_done(
    network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, out = _image(tmp_path / "good.png"), tmp_path / "bad.png", tmp_path / "found.json"
    bad.write_bytes(b"not an image")
    empty = tmp_path / "empty"
    empty.mkdir()
    given = [bad, tmp_path / "gone.png", empty, good]
    said = _fails(capsys, "detect", *given, "--um-per-px", "0.25", "--out", out)
    assert "bad.png" in said and "gone.png" in said and "empty" in said
    assert [field["image"] for field in json.loads(out.read_text())] == ["good.png"]


def test_a_missing_scale_is_never_guessed(network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "µm/px of a.png is not known" in _fails(capsys, "detect", _image(tmp_path / "a.png"))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--threshold", "1.5"],
        ["--threshold", "nan"],
        ["--um-per-px", "zero"],
        ["--um-per-px", "25"],
        ["--out", "found.xlsx"],
        ["--out", "/no/such/folder/found.csv"],
        ["--device", "abacus"],
    ],
)
def test_wrong_arguments_are_refused_before_the_work(
    network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    assert _fails(capsys, "detect", _image(tmp_path / "a.png"), *wrong)


def test_two_images_of_one_name_are_refused(network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [_image(tmp_path / folder / "a.png") for folder in ("one", "two")]
    assert "Several images are called a.png" in _fails(capsys, "detect", *images, "--um-per-px", "0.25")


def test_an_unknown_model_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str | None) -> None:
        raise UnusableModel(f"There is no version “{name}”.")

    monkeypatch.setattr(mitosis_core.model, "load_model", refuse)
    assert "no version “best”" in _fails(capsys, "detect", _image(tmp_path / "a.png"), "--model", "best")


# ---------------------------------------------------------------- evaluate

ANNOTATIONS = """image,x_px,y_px,label,um_per_px,slide,width_px,height_px
a.png,100,100,mitosis,0.5,S1,1000,2000
a.png,300,300,lookalike,0.5,S1,1000,2000
b.png,50,50,mitosis,0.5,S2,1000,2000
b.png,90,50,mitosis,0.5,S2,1000,2000
c.png,,,,0.5,S3,1000,2000
"""
# a: one hit (8 px = 4 µm off) and one on the look-alike; b: nothing; c, empty: one wrong; d: not annotated.
DETECTIONS = """image,x_px,y_px,score,area_um2,model
a.png,108,100,0.9,30,m
a.png,300,300,0.7,30,m
c.png,10,10,0.4,30,m
d.png,10,10,0.8,30,m
"""


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    (tmp_path / "a.csv").write_text(ANNOTATIONS)
    (tmp_path / "d.csv").write_text(DETECTIONS)
    return ["evaluate", "--annotations", str(tmp_path / "a.csv"), "--detections", str(tmp_path / "d.csv")]


def test_evaluate_by_hand(tables: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tables, "--radius-um", "5", "--json"]) == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert (result["tp"], result["fp"], result["fn"]) == (1, 2, 2)
    # Three fields of 1000 x 2000 px at 0.5 µm/px: 0.5 mm² each.
    assert result["fp_per_mm2"] == pytest.approx(2 / 1.5)
    assert [row["slide"] for row in result["fields"]] == ["S1", "S2", "S3"]
    assert result["f1_interval_95"]["over"] == "slides"
    assert result["left_out"] == ["d.png"] and "for want of annotations: d.png." in output.err
    assert result["without_detections"] == ["b.png"] and "Without detections, " in output.err


def test_evaluate_above_a_threshold_and_within_a_radius(tables: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tables, "--radius-um", "3.9", "--threshold", "0.5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["tp"], result["fp"], result["fn"]) == (0, 2, 3)


def test_evaluate_prints_a_report(tables: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tables, "--radius-um", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["a.png", "1", "1", "0", "0.50", "1.00", "0.67"]
    assert lines[4].split() == ["all", "1", "2", "2", "0.33", "0.33", "0.33"]


def test_the_area_comes_from_the_images_then_from_the_argument(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("image,x_px,y_px,label,um_per_px\na.png,50,50,mitosis,0.5\nb.png,,,,0.5\n")
    (tmp_path / "d.csv").write_text("image,x_px,y_px,score,area_um2,model\nb.png,10,10,0.9,9,m\n")
    command = ["evaluate", "--annotations", str(tmp_path / "a.csv"), "--detections", str(tmp_path / "d.csv"), "--json"]
    _image(tmp_path / "images" / "a.png", (400, 200))
    with_images = [*command, "--images", str(tmp_path / "images")]

    def fp_per_mm2(arguments: list[str]) -> tuple[float | None, list[str]]:
        assert main(arguments) == 0
        result = json.loads(capsys.readouterr().out)
        return result["fp_per_mm2"], result["notes"]

    value, notes = fp_per_mm2(with_images)  # b.png is not there
    assert value is None and any("area" in note for note in notes)
    # a.png: 400 x 200 px at 0.5 µm/px = 0.02 mm²; b.png: 0.08 as given.
    assert fp_per_mm2([*with_images, "--field-mm2", "0.08"])[0] == pytest.approx(1 / 0.1)
    assert fp_per_mm2([*command, "--field-mm2", "0.25"])[0] == pytest.approx(1 / 0.5)


def test_images_of_one_name_in_two_folders_have_their_own_area(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("image,x_px,y_px,label,um_per_px\n05/1.png,50,50,mitosis,0.5\n06/1.png,,,,0.5\n")
    (tmp_path / "d.csv").write_text("image,x_px,y_px,score,area_um2,model\n06/1.png,10,10,0.9,9,m\n")
    _image(tmp_path / "images" / "05" / "1.png", (400, 200))
    _image(tmp_path / "images" / "06" / "1.png", (400, 400))
    tables = ["--annotations", str(tmp_path / "a.csv"), "--detections", str(tmp_path / "d.csv")]
    assert main(["evaluate", *tables, "--images", str(tmp_path / "images"), "--json"]) == 0
    # 400 x 200 and 400 x 400 px at 0.5 µm/px: 0.02 and 0.04 mm².
    assert json.loads(capsys.readouterr().out)["fp_per_mm2"] == pytest.approx(1 / 0.06)


def test_several_models_are_told_apart(tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.csv").write_text(DETECTIONS + "a.png,100,100,0.9,30,other\n")
    assert "m and other" in _fails(capsys, *tables)
    assert "nobody" in _fails(capsys, *tables, "--model", "nobody")
    assert main([*tables, "--model", "other", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["tp"], result["fp"], result["fn"]) == (1, 0, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--radius-um", "0"],
        ["--radius-um", "nan"],
        ["--field-mm2", "-1"],
        ["--images", "/no/such/folder"],
        ["--detections", "/no/such.csv"],
    ],
)
def test_evaluate_refuses_wrong_arguments(
    tables: list[str], capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    assert _fails(capsys, *tables, *wrong)


def test_a_table_without_its_columns_is_a_sentence(
    tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("image,x\na.png,3\n")
    assert "column" in _fails(capsys, *tables)


def test_no_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert _fails(capsys)
