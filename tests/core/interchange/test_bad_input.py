"""What people send by mistake, or on purpose: one sentence with the file and the place, and never a traceback."""

import json
import sqlite3
import zipfile
from pathlib import Path

import pytest

from mitosis_core.errors import UnusableData
from mitosis_core.interchange import files
from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS
from mitosis_core.interchange.exchange import format_of, read_marks, write_marks
from mitosis_core.interchange.marks import Mark, MarkedImage

HEADER = "image,x_px,y_px,label\n"
SIZED = "image,x_px,y_px,label,width_px,height_px\n"


def _refused(path: Path, content: str | bytes, name: str | None = None, **more: object) -> str:
    """What is said of a file with this content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UnusableData) as said:
        list(read_marks(path, name, **more))  # type: ignore[arg-type]
    sentence = str(said.value)
    assert path.name in sentence and "\n" not in sentence and len(sentence) < 400
    return sentence


def _coco(**changes: object) -> dict[str, object]:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10]}
    document: dict[str, object] = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 80}],
        "categories": [{"id": 1, "name": "mitosis"}],
        "annotations": [annotation],
    }
    return {**document, **changes}


# ---- tables


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (HEADER.replace(",", ";") + "a.png;1;2;mitosis\n", "separated by semicolons"),
        (HEADER.replace(",", "\t") + "a.png\t1\t2\tmitosis\n", "separated by tabs"),
        (HEADER + 'a.png,"1,5",2,mitosis\n', "Row 2: x_px must be a number with a decimal point, not “1,5”"),
        (HEADER + "a.png,1,5,2,5,mitosis\n", "Row 2 has more cells than the header has columns"),
        (HEADER + "a.png,1,2,mitosis\na.png,nan,2,mitosis\n", "Row 3: x_px must be a number, not “nan”"),
        (HEADER + "a.png,inf,2,mitosis\n", "Row 2: x_px must be a number"),
        (HEADER + "a.png,1,2,mitosis\na.png,-7,2,mitosis\n", "row 3: this mark lies outside the image a.png"),
        (HEADER + "a.png,1,2,\n", "row 2: the mark has no class; say whether it is mitosis, lookalike or unsure"),
        (HEADER + "a.png,1,2,Tumor\n", "row 2: the class “Tumor” is not known"),
        ("image,x_px,y_px\na.png,1,2\n", "no column label"),
        (HEADER, ""),
        (SIZED + "a.png,1,2,mitosis,0,9\n", "width_px must be a whole number above 0"),
        (SIZED + "a.png,1,2,mitosis,9,9\na.png,1,2,mitosis,8,9\n", "Row 3: a.png has another slide, size"),
        (HEADER.replace("\n", ",score\n") + "a.png,1,2,mitosis,1.5\n", "Row 2: the score must lie between 0 and 1"),
        (HEADER.replace("\n", ",um_per_px\n") + "a.png,1,2,mitosis,25\n", "25 µm per pixel is not plausible"),
        ("image,x\na.png,1\n", "no column x_px, y_px"),
        ("a.png,1,2\n", "no column"),
        ("", "empty"),
        (b"image,x_px,y_px\n\xff\xfe\xfd", "not a text file"),
        (b"\x89PNG\r\n\0\0", "not a text file"),
        (HEADER + '"' + "a" * 2_000_000, "longer than any row"),
    ],
)
def test_a_table(content: str | bytes, sentence: str, tmp_path: Path) -> None:
    if not sentence:
        (tmp_path / "x.csv").write_bytes(content.encode() if isinstance(content, str) else content)
        assert list(read_marks(tmp_path / "x.csv")) == []
    else:
        assert sentence in _refused(tmp_path / "x.csv", content, "csv")


def test_a_byte_order_mark_windows_line_ends_and_old_line_ends_do_no_harm(tmp_path: Path) -> None:
    for ends in ("\n", "\r\n", "\r"):
        text = "\ufeff" + (HEADER + "a.png,1,2,mitosis\n").replace("\n", ends)
        (tmp_path / "x.csv").write_bytes(text.encode())
        (image,) = read_marks(tmp_path / "x.csv")
        assert (image.marks[0].x_px, image.marks[0].y_px) == (1, 2)
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(_coco()).encode())
    assert next(read_marks(tmp_path / "x.json")).name == "a.png"


def test_swapped_x_and_y_are_detected_when_most_marks_lie_outside_and_would_not(tmp_path: Path) -> None:
    rows = "".join(f"a.png,{y},{x},mitosis,100,2000\n" for x, y in ((5, 1500), (50, 900), (99, 40)))
    said = _refused(tmp_path / "x.csv", SIZED + rows, "csv")
    assert "rows 2 and 3: 2 of 3 marks lie outside the image a.png (100 × 2000 px), and inside it with x and y" in said
    assert "swapped" in said
    few = "".join(f"a.png,{x},{x},mitosis,100,2000\n" for x in range(5)) + "a.png,1500,5,mitosis,100,2000\n"
    assert "swapped" not in _refused(tmp_path / "x.csv", SIZED + few, "csv")


def test_marks_outside_are_named_with_their_rows(tmp_path: Path) -> None:
    rows = "".join(f"a.png,{x},1,mitosis,10,10\n" for x in [0, 9.5, 10, *range(11, 26)])
    said = _refused(tmp_path / "x.csv", SIZED + rows, "csv")
    # Ten pixels reach from -0.5 to 9.5, and half a pixel more is let pass: rows 2 to 4 are well.
    assert "rows 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 and 5 more: 15 marks lie outside" in said


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("mitos14", "1;2;0.5\n", "row 1: the numbers are not separated by commas; x and y"),
        ("mitos14", "1,2,0.5\n1,5,2,5\n", "row 2: x and y, and perhaps a confidence, are expected"),
        ("mitos14", "1\n", "row 1: x and y"),
        ("mitos14", "1,x\n", "row 1: the 2. number must be a number, not “x”"),
        ("mitos14", "x,y\n1,2\n", "row 1: the 1. number must be a number, not “x”"),
        ("mitos14", "1,nan\n", "row 1: the 2. number must be a number"),
        ("mitos14", "1,2,7\n", "row 1: the score must lie between 0 and 1"),
        ("mitos14", "1,2\n-9,2\n", "row 2: this mark lies outside"),
        ("tupac16", "1,2,3,4\n", "row 1: row and column, and perhaps a confidence, are expected"),
        ("mitos12", "1,2,3\n", "row 1: pixels are expected as whole numbers"),
        ("mitos12", "1.5,2\n", "row 1: pixels are expected as whole numbers"),
        ("mitos12", "1;2;3;4\n", "row 1: the numbers are not separated by commas"),
    ],
)
def test_a_contest_file(name: str, content: str, sentence: str, tmp_path: Path) -> None:
    assert sentence in _refused(tmp_path / "x.csv", content, name)


def test_a_contest_file_is_not_guessed_between_x_first_and_row_first(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("10,20\n30,40\n")
    with pytest.raises(UnusableData, match=r"x.csv can be read as .*mitos14 or tupac16; please say which"):
        format_of(tmp_path / "x.csv")


# ---- JSON


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "x.json is empty"),
        ("{", "line 1: the file ends here; it was cut short"),
        ('{"images": [\n{"id": 1,\n', "line 3: the file ends here; it was cut short"),
        ('{"images": [\n{"id": 1, "file_name": "a"}},\n', "line 2: this is no JSON"),
        ('{"images": [],\n"annotations": [{"bbox": [NaN, 1]}]}', "line 2: NaN and Infinity are no numbers"),
        ("[]", "no list of images, as “images”"),
        ('"images"', "no list of images"),
        ("{}", "no list of images"),
        (b"\x80\x81", "x.json is no "),
        (json.dumps(_coco(images=3)), "no list of images"),
        (json.dumps(_coco(images=[3])), "1. of “images”: it must have an id and a file_name"),
        (json.dumps(_coco(images=[{"id": 1}])), "it must have an id and a file_name"),
        (json.dumps(_coco(images=[{"id": 1, "file_name": 3}])), "“file_name” must be text"),
        (json.dumps(_coco(images=[{"id": 1, "file_name": "a"}] * 2)), "2. of “images”: the id 1 is there already"),
        (json.dumps(_coco(images=[{"id": n, "file_name": "a"} for n in (1, 2)])), "two images are called a"),
        (json.dumps(_coco(images=[{"id": 1, "file_name": "a", "width": 0.5}])), "width must be a whole number above 0"),
        (json.dumps(_coco(categories=[{"id": 1}])), "1. of “categories”: it must have an id and a name"),
        (json.dumps(_coco(annotations=["x"])), "annotation 1: an annotation must be an object"),
        (json.dumps(_coco(annotations=[{"image_id": 9}])), "annotation 1: there is no image with the id 9"),
        (json.dumps(_coco(annotations=[{"image_id": None}])), "annotation 1: image_id must be a number"),
        (
            json.dumps(_coco(annotations=[{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}] * 2)),
            "annotation 2: there is an annotation with the id 5 already",
        ),
    ],
)
def test_a_coco_document(content: str | bytes, sentence: str, tmp_path: Path) -> None:
    assert sentence in _refused(tmp_path / "x.json", content, "coco")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bbox": [1, 2, 3]}, "bbox must be a list of four numbers"),
        ({"bbox": "1,2,3,4"}, "bbox must be a list of four numbers"),
        ({"bbox": [1, 2, 3, "4"]}, "each number of bbox must be a number, but is “4”"),
        ({"bbox": [1, 2, 3, None]}, "each number of bbox must be a number, but is missing"),
        ({"bbox": [1, 2, 3, True]}, "each number of bbox must be a number"),
        ({"bbox": [1, 2, 3, 10**400]}, ""),
        ({"bbox": [1, 2, 0, 5]}, "the width and height of bbox must be above 0"),
        ({"category_id": 9}, "there is no category with the id 9"),
        ({"bbox": [1, 2, 3, 4], "score": 2}, "the score must lie between 0 and 1, not 2"),
        ({"bbox": [-90, 2, 3, 4]}, "this mark lies outside the image a.png (100 × 80 px)"),
    ],
)
def test_an_annotation_of_a_coco_document(change: dict[str, object], sentence: str, tmp_path: Path) -> None:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], **change}
    content = json.dumps(_coco(annotations=[annotation]))
    said = _refused(tmp_path / "x.json", content, "coco")
    assert sentence in said and ("annotation 1" in said or not sentence)


def test_coco_and_midog_are_told_by_their_boxes(tmp_path: Path) -> None:
    def written(box: list[float]) -> Path:
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box}
        (tmp_path / "x.json").write_text(json.dumps(_coco(annotations=[annotation])))
        return tmp_path / "x.json"

    assert format_of(written([10, 20, 60, 70])).name == "midog"
    assert format_of(written([10, 20, 50, 50])).name == "coco"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", "is no list of images"),
        ("[3]", "image 1: an image must have a name"),
        ('[{"marks": []}]', "image 1: an image must have a name"),
        ('[{"image": "a", "marks": 3}]', "image 1: “marks” must be a list"),
        ('[{"image": "a", "marks": [3]}]', "mark 1: a mark must have x_px, y_px and a label"),
        ('[{"image": "a", "marks": [{"x_px": 1}]}]', "mark 1: y_px must be a number, but is missing"),
        ('[{"image": "a", "um_per_px": 30, "marks": []}]', "30 µm per pixel is not plausible"),
        ('[{"image": "a", "marks": []}, {"image": "a", "marks": []}]', "the image a comes twice"),
    ],
)
def test_a_list_of_images(content: str, sentence: str, tmp_path: Path) -> None:
    assert sentence in _refused(tmp_path / "x.json", content, "json")


@pytest.mark.parametrize(
    ("feature", "sentence"),
    [
        ("3", "feature 1: a feature must be an object with a geometry"),
        ('{"geometry": null}', "feature 1: a feature must be an object with a geometry"),
        ('{"geometry": {"type": "Circle"}}', "feature 1: a Circle is neither points nor an outline"),
        ('{"geometry": {"type": "Point", "coordinates": [1]}}', "feature 1: a point must be a list of two numbers"),
        ('{"geometry": {"type": "Point", "coordinates": [NaN, 2]}}', "a coordinate must be a number, but is missing"),
        ('{"geometry": {"type": "Polygon", "coordinates": []}}', "feature 1: the outline has no points"),
        ('{"geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": 3}', "the properties must be an object"),
    ],
)
def test_a_feature(feature: str, sentence: str, tmp_path: Path) -> None:
    assert sentence in _refused(tmp_path / "x.geojson", f'{{"type": "FeatureCollection", "features": [{feature}]}}')


def test_features_with_the_same_id(tmp_path: Path) -> None:
    feature = '{"id": "u", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}'
    said = _refused(tmp_path / "x.geojson", f'{{"type": "FeatureCollection", "features": [{feature}, {feature}]}}')
    assert "feature 2: there is a feature with the id u already" in said


def test_json_that_is_nested_without_end_or_has_one_endless_word(tmp_path: Path) -> None:
    for content in ("[" * 200_000, '{"features": ' * 100_000, '["' + "a" * 3_000_000):
        for name in ("json", "coco", "qupath"):
            _refused(tmp_path / "x.json", content, name)


# ---- XML


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "it was cut short"),
        ("<annotation>\n<object>", "line 2: it was cut short"),
        ("<annotation>\n</object>", "line 2: this is no XML"),
        ("<svg></svg>", "it does not begin with <annotation>"),
        ("<annotation>\n<object><name>mitosis</name></object></annotation>", "line 2: the object has no bndbox"),
        (
            "<annotation><object><name>mitosis</name><bndbox><xmin>5</xmin><ymin>1</ymin><xmax>2</xmax><ymax>9</ymax>"
            "</bndbox></object></annotation>",
            "line 1: xmax and ymax of a box must not lie before xmin and ymin",
        ),
        (
            "<annotation><object><name>mitosis</name><bndbox><xmin>1,5</xmin></bndbox></object></annotation>",
            "line 1: bndbox/xmin must be a number with a decimal point, not “1,5”",
        ),
        ("<annotation>" + "<a>" * 50, "nested too deeply"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "this is no XML"),
    ],
)
def test_an_xml_file(content: str, sentence: str, tmp_path: Path) -> None:
    assert sentence in _refused(tmp_path / "x.xml", content)


def test_entities_are_never_expanded_and_no_other_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    laughs = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    for inside in (f'<!ENTITY e0 "ha">{laughs}', f'<!ENTITY e9 SYSTEM "file://{tmp_path}/secret">'):
        content = f"<!DOCTYPE annotation [{inside}]>\n<annotation><filename>&e9;</filename></annotation>"
        assert "document type" in _refused(tmp_path / "x.xml", content)


# ---- archives and databases


def _zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize(
    "name", ["../x.geojson", "/etc/x.geojson", "a/../../x.geojson", "C:\\x.geojson", "..\\x.geojson"]
)
def test_an_archive_with_paths_that_climb_out(name: str, tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {"a.geojson": b"{}", name: b"{}"})
    with pytest.raises(UnusableData, match="leads out of the archive"):
        list(read_marks(path, "qupath"))
    assert sorted(tmp_path.iterdir()) == [path]


def test_an_archive_that_is_cut_short_damaged_empty_or_of_something_else(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.zip", [MarkedImage("a.png", (Mark(1, 2, MITOSIS),))], "qupath")
    whole = (tmp_path / "x.zip").read_bytes()
    assert "cut short" in _refused(tmp_path / "x.zip", whole[:-30], "qupath")
    damaged = bytearray(whole)
    damaged[60] ^= 255
    assert "a.geojson is damaged or was cut short" in _refused(tmp_path / "x.zip", bytes(damaged), "qupath")
    assert "holds no .xml file" in _refused(tmp_path / "x.zip", whole, "voc")
    assert "is no zip" in _refused(tmp_path / "x.zip", b"")
    with pytest.raises(UnusableData, match="There is no file or folder"):
        list(read_marks(tmp_path / "none.zip"))


def test_a_bomb_is_counted_while_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 100_000)
    path = _zip(tmp_path / "x.zip", {"a.geojson": b"[" + b" " * 3_000_000})
    with pytest.raises(UnusableData, match=r"a\.geojson is larger than 0 MB when unpacked"):
        list(read_marks(path, "qupath"))
    monkeypatch.setattr(files, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(files, "MOST_BYTES_ALL", 1 << 20)
    feature = b'{"type": "FeatureCollection", "features": []' + b" " * 600_000 + b"}"
    with pytest.raises(UnusableData, match="larger than"):  # each of them fits, all together do not
        list(read_marks(_zip(tmp_path / "y.zip", {f"{n}.geojson": feature for n in range(3)}), "qupath"))


def test_a_zip_in_which_a_file_stands_twice_or_that_is_encrypted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.geojson", "{}")
        archive.writestr("a.geojson", "{}")
    with pytest.raises(UnusableData, match=r"holds the file “a.geojson” twice"):
        list(read_marks(tmp_path / "x.zip", "qupath"))
    content = bytearray(_zip(tmp_path / "y.zip", {"a.geojson": b"{}"}).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    assert "encrypted" in _refused(tmp_path / "y.zip", bytes(content), "qupath")


def test_rois_that_are_none(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", {"a.roi": b"Iout" + b"\xff" * 60, "b.roi": b""})
    with pytest.raises(UnusableData, match=r"x\.zip, ROI 1"):
        list(read_marks(path))
    assert "x.roi, ROI 1 is damaged, or is no ROI of ImageJ" in _refused(tmp_path / "x.roi", b"none")


def test_a_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE VIEW Slides AS SELECT 1 AS uid, 'a' AS filename")
    with pytest.raises(UnusableData, match=r"x.sqlite is no database of SlideRunner: it has no table Slides"):
        list(read_marks(path))
    assert "no SQLite database" in _refused(tmp_path / "y.sqlite", b"SQLite format 3\0" + b"\1" * 5000)


def test_reading_a_database_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    write_marks(path, [MarkedImage("a.png", (Mark(1, 2, LOOKALIKE),))])
    before = path.read_bytes()
    assert len(list(read_marks(path))) == 1
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# ---- writing


def test_names_of_images_that_cannot_be_names_of_files(tmp_path: Path) -> None:
    for name in ("../a.png", "a/../../b.png", "/etc/passwd"):
        with pytest.raises(UnusableData, match="cannot be the name of a file"):
            write_marks(tmp_path / "out", [MarkedImage(name)], "qupath")
    with pytest.raises(UnusableData, match=r"a\.png and A\.jpg would both be written to A\.geojson"):
        write_marks(tmp_path / "out", [MarkedImage("a.png"), MarkedImage("A.jpg")], "qupath")
    assert list(tmp_path.iterdir()) == []
    write_marks(tmp_path / "out", [MarkedImage('a:b\\"c"?.png')], "qupath")
    assert [path.name for path in (tmp_path / "out").rglob("*.geojson")] == ["_c__.geojson"]


def test_several_images_do_not_fit_in_the_file_of_one(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"a file for each image, and there are 2 images; name a folder or a \.zip"):
        write_marks(tmp_path / "x.geojson", [MarkedImage("a.png"), MarkedImage("b.png")])
    with pytest.raises(UnusableData, match=r"image a\.png comes twice"):
        write_marks(tmp_path / "x.csv", [MarkedImage("a.png"), MarkedImage("a.png")])


@pytest.mark.parametrize("name", ["coco", "midog", "voc"])
def test_a_size_that_a_format_needs_is_not_made_up(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match=r"needs the width and height of a.png, which are not known"):
        write_marks(tmp_path / "out", [MarkedImage("a.png", (Mark(1, 2, MITOSIS),))], name)


def test_text_that_a_spreadsheet_would_compute_leaves_with_an_apostrophe_and_comes_back(tmp_path: Path) -> None:
    image = MarkedImage("=1+1.png", (Mark(1, 2, MITOSIS, reader="@SUM(A1)"),), slide="+7")
    write_marks(tmp_path / "x.csv", [image])
    assert "'=1+1.png" in (tmp_path / "x.csv").read_text() and "'@SUM(A1)" in (tmp_path / "x.csv").read_text()
    (back,) = read_marks(tmp_path / "x.csv")
    assert (back.name, back.slide, back.marks[0].reader) == ("=1+1.png", "+7", "@SUM(A1)")
