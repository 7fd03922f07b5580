"""The command `convert`."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mitosis_core.__main__ import main
from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS
from mitosis_core.interchange.exchange import read_marks

TABLE = """image,x_px,y_px,label,um_per_px,score,reader
a.png,10,20,mitosis,0.25,0.9,Ann
a.png,30,40,lookalike,0.25,,Ann
b.png,5,6,unsure,0.25,,
c.png,,,,0.25,,
"""


def _fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with exit code 2; what it said."""
    try:
        code = main(["convert", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2 and "Traceback" not in said
    return said


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(TABLE)
    return tmp_path / "in.csv"


def test_a_table_becomes_files_for_qupath_and_a_table_again(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = table.parent
    assert main(["convert", str(table), str(folder / "out"), "--to", "qupath"]) == 0
    assert capsys.readouterr().out.startswith("in.csv (Plain CSV) → out (QuPath GeoJSON)\n3 images, 3 marks (1 mitosis")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.geojson", "b.geojson", "c.geojson"]
    assert main(["convert", str(folder / "out"), str(folder / "back.csv")]) == 0
    said = capsys.readouterr().out
    assert (
        said == "out (QuPath GeoJSON) → back.csv (Plain CSV)\n3 images, 3 marks (1 mitosis, 1 lookalike, 1 unsure).\n"
    )
    for one, other in zip(read_marks(table), read_marks(folder / "back.csv"), strict=True):
        assert (one.name, one.um_per_px, one.marks) == (other.name, other.um_per_px, other.marks)


def test_json_lines_are_a_list_with_an_image_to_a_line(table: Path) -> None:
    lines, back = table.parent / "out.jsonl", table.parent / "back.json"
    assert main(["convert", str(table), str(lines)]) == main(["convert", str(lines), str(back)]) == 0
    assert [json.loads(line) for line in lines.read_text().splitlines()] == json.loads(back.read_text())
    assert [image.marks for image in read_marks(lines)] == [image.marks for image in read_marks(back)]


def test_what_detect_writes_line_by_line_can_be_converted(tmp_path: Path) -> None:
    found = {"image": "a.png", "model": "m-1", "um_per_px": 0.25, "detections": [{"x_px": 4, "y_px": 5, "score": 0.9}]}
    (tmp_path / "found.jsonl").write_text(json.dumps(found) + "\n")
    (image,) = read_marks(tmp_path / "found.jsonl")
    (mark,) = image.marks
    assert (image.name, mark.x_px, mark.y_px, mark.label, mark.reader) == ("a.png", 4, 5, MITOSIS, "m-1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"image": "a.png", "marks": []}\n{"image": }\n', "in.jsonl, line 2: this is no JSON."),
        ('{"image": "a.png", "marks": []}\n{"image": "b.p', "in.jsonl, line 2: the file ends here; it was cut short."),
        ('{"image": "a.png", "marks": [{"x_px": NaN}]}\n', "in.jsonl, line 1: this is no JSON."),
        ("[" * 100_000 + "\n", "in.jsonl, line 1: this is no JSON."),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str) -> None:
    (tmp_path / "in.jsonl").write_text(text)
    assert says in _fails(capsys, tmp_path / "in.jsonl", tmp_path / "out.csv")


def test_what_a_format_cannot_hold_is_said(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(table), str(table.parent / "out.zip"), "--to", "tupac16"]) == 0
    said = capsys.readouterr().out
    assert "3 images, 2 marks (1 mitosis, 1 lookalike)." in said
    assert "Left out, as AMIDA13 and TUPAC16 CSV cannot hold it: 1 mark of unsure, readers, µm/px." in said


def test_sizes_and_whole_names_come_from_the_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "A00_00_mitosis.csv").write_text("10,20,0.5\n")
    (tmp_path / "images" / "A00").mkdir(parents=True)
    Image.new("RGB", (60, 40)).save(tmp_path / "images" / "A00" / "A00_00.jpg")
    given = [str(tmp_path / "in"), str(tmp_path / "out.json"), "--to", "coco", "--images", str(tmp_path / "images")]
    assert main(["convert", *given, "--um-per-px", "0.25"]) == 0
    (image,) = json.loads((tmp_path / "out.json").read_text())["images"]
    assert image == {"id": 1, "file_name": "A00_00.jpg", "width": 60, "height": 40, "um_per_px": 0.25}


def test_marks_outside_the_images_are_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (60, 30)).save(table.parent / "a.png")
    said = _fails(capsys, table, table.parent / "out.json", "--images", table.parent)
    assert said.endswith("Error: in.csv, row 3: this mark lies outside the image a.png (60 × 30 px).\n")
    assert not (table.parent / "out.json").exists()


def test_marks_on_the_image_at_another_magnification_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("image,x_px,y_px,label,width_px,height_px\na.png,1,2,mitosis,120,60\n")
    Image.new("RGB", (60, 30)).save(tmp_path / "a.png")
    said = _fails(capsys, tmp_path / "in.csv", tmp_path / "out.json", "--images", tmp_path)
    assert "in.csv: the image a.png is said to have 120 × 60 px, but it has 60 × 30 px." in said


def test_classes_can_be_named(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(TABLE.replace("lookalike", "pyknotic").replace("unsure", "dust"))
    out = table.parent / "out.json"
    assert "the class “pyknotic” is not known" in _fails(capsys, table, out)
    assert main(["convert", str(table), str(out), "--class", "pyknotic=lookalike", "--class", "dust=skip"]) == 0
    assert capsys.readouterr().out.endswith("3 images, 2 marks (1 mitosis, 1 lookalike).\nSkipped: 1 mark of dust.\n")
    assert [[mark.label for mark in image.marks] for image in read_marks(out)] == [[MITOSIS, LOOKALIKE], [], []]
    assert "is not NAME=LABEL" in _fails(capsys, table, out, "--class", "dust=dirt")


def test_nothing_is_overwritten_without_being_asked(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "out.json"
    out.write_text("mine")
    assert "There is a file" in _fails(capsys, table, out) and out.read_text() == "mine"
    assert main(["convert", str(table), str(out), "--overwrite"]) == 0 and out.read_text() != "mine"


def test_arguments_that_make_no_sense_are_a_sentence(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "out.json"
    for arguments, sentence in (
        ((table.parent / "none.csv", out), "There is no file or folder"),
        ((table, table.parent / "out.doc"), "does not tell the format"),
        ((table, out, "--to", "xls"), "There is no format “xls”; there are csv, json"),
        ((table, out, "--from", "xls"), "There is no format “xls”"),
        ((table, table.parent / "none" / "out.json"), "There is no folder"),
        ((table, out, "--images", table.parent / "none"), "There is no folder"),
        ((table, out, "--um-per-px", "25"), "25 µm per pixel is not plausible"),
        ((table, table.parent / "out.geojson"), "name a folder or a .zip"),
    ):
        assert sentence in _fails(capsys, *arguments)
    assert not out.exists()
