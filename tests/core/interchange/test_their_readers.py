"""What is exported opens in the programs and libraries it is for, and theirs opens here; places to the pixel."""

import json
import sqlite3
import zipfile
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import geojson
import jsonschema
import numpy as np
import pytest
import roifile
import shapely.geometry
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mitosis_core.interchange.annotation_csv import read_annotations
from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS, UNSURE
from mitosis_core.interchange.exchange import read_marks, write_marks
from mitosis_core.interchange.marks import Mark, MarkedImage

WIDTH, HEIGHT = 120, 80
MARKS = (
    Mark(5, 7, MITOSIS, 0.9, (8, 6), "Ann", "2026-01-02T03:04:05+00:00"),
    Mark(50.25, 60.5, LOOKALIKE, 0.4),
    Mark(119, 0, UNSURE),
)
IMAGE = MarkedImage("A01_02.png", MARKS, "ab" * 32, WIDTH, HEIGHT, 0.2456, "A01")


def _only(path: Path, name: str | None = None, **more: object) -> MarkedImage:
    (image,) = read_marks(path, name, **more)  # type: ignore[arg-type]
    return image


def _places(image: MarkedImage) -> list[tuple[float, float, str]]:
    return [(mark.x_px, mark.y_px, mark.label) for mark in image.marks]


# ---- COCO


def _coco(path: Path) -> COCO:
    with redirect_stdout(StringIO()):
        return COCO(str(path))


def test_pycocotools_loads_the_export_and_finds_each_box_round_its_mark(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.json", [IMAGE, replace(IMAGE, name="empty.png", marks=())], "coco")
    coco = _coco(tmp_path / "x.json")
    assert [one["file_name"] for one in coco.loadImgs(coco.getImgIds())] == ["A01_02.png", "empty.png"]
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == ["mitotic figure", "hard negative", "unsure"]
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [one["category_id"] for one in found] == [1, 2, 3]
    # The cell of 8 x 6 px round the pixel in column 5, row 7: from the corner (1.5, 4.5).
    assert found[0]["bbox"] == [1.5, 4.5, 8, 6] and found[0]["area"] == 48
    assert coco.getAnnIds(imgIds=[2]) == []


def test_pycocotools_scores_the_export_against_itself_as_perfect(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.json", [IMAGE], "coco")
    truth = _coco(tmp_path / "x.json")
    found = [{**one, "score": one.get("score", 1.0)} for one in truth.dataset["annotations"]]
    with redirect_stdout(StringIO()):
        judge = COCOeval(truth, truth.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(1)


@pytest.mark.parametrize(("column", "row"), [(0, 0), (5, 7), (119, 79)])
def test_the_box_that_pycocotools_gives_one_pixel_is_read_as_that_pixel(column: int, row: int, tmp_path: Path) -> None:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[row, column] = 1
    box = coco_mask.toBbox(coco_mask.encode(pixels)).tolist()
    document = {
        "images": [{"id": 3, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 7, "name": "mitosis"}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 7, "bbox": box}],
    }
    (tmp_path / "x.json").write_text(json.dumps(document))
    assert _places(_only(tmp_path / "x.json")) == [(column, row, MITOSIS)]


# ---- MIDOG


def test_a_piece_of_the_midog_file_is_read_as_published(tmp_path: Path) -> None:
    """First image and annotations of MIDOG.json as the challenge published it; categories have had two names."""
    document = {
        "images": [{"license": 1, "file_name": "001.tiff", "id": 1, "width": 7215, "height": 5412}],
        "categories": [{"id": 1, "name": "mitotic figure"}, {"id": 2, "name": "not mitotic figure"}],
        "annotations": [
            {"bbox": [4336, 346, 4386, 396], "category_id": 2, "image_id": 1, "id": 1},
            {"bbox": [6672.5, 706.5, 6722.5, 756.5], "category_id": 1, "image_id": 1, "id": 4},
        ],
    }
    (tmp_path / "MIDOG.json").write_text(json.dumps(document))
    image = _only(tmp_path / "MIDOG.json")
    assert _places(image) == [(4361, 371, LOOKALIKE), (6697.5, 731.5, MITOSIS)]
    assert (image.width_px, image.height_px, image.marks[0].size_px) == (7215, 5412, None)


def test_the_midog_export_has_boxes_of_50_px_between_two_corners(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.json", [IMAGE], "midog")
    document = json.loads((tmp_path / "x.json").read_text())
    assert [one["bbox"] for one in document["annotations"]] == [[-20, -18, 30, 32], [25.25, 35.5, 75.25, 85.5]]
    assert {one["id"]: one["name"] for one in document["categories"]} == {1: "mitotic figure", 2: "hard negative"}


# ---- QuPath

# What QuPath's reader (QuPathTypeAdapters, PathObjectTypeAdapter.parseObject, 0.6) takes of a feature.
QUPATH = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "geometry", "properties"],
                "properties": {
                    "type": {"const": "Feature"},
                    "geometry": {
                        "type": "object",
                        "properties": {
                            "type": {"const": "Point"},
                            "coordinates": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                        },
                    },
                    "properties": {
                        "type": "object",
                        "required": ["objectType", "classification"],
                        "properties": {
                            "objectType": {"enum": ["annotation", "detection"]},
                            "name": {"type": "string"},
                            "classification": {
                                "type": "object",
                                "required": ["name", "color"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "color": {
                                        "type": "array",
                                        "items": {"type": "integer", "minimum": 0, "maximum": 255},
                                        "minItems": 3,
                                        "maxItems": 3,
                                    },
                                },
                            },
                            "measurements": {"type": "object", "additionalProperties": {"type": "number"}},
                            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                        },
                        "additionalProperties": False,
                    },
                },
                "additionalProperties": False,
            },
        },
    },
}


def test_the_geojson_is_what_qupath_reads_and_geojson_and_shapely_open_it(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.geojson", [IMAGE])
    text = (tmp_path / "x.geojson").read_text()
    jsonschema.validate(json.loads(text), QUPATH)
    collection = geojson.loads(text)
    assert isinstance(collection, geojson.FeatureCollection) and collection.is_valid
    points = [shapely.geometry.shape(feature.geometry) for feature in collection.features]
    # QuPath counts from the corner of the first pixel: the middle of the pixel (5, 7) is (5.5, 7.5).
    assert [(point.geom_type, point.x, point.y) for point in points] == [
        ("Point", 5.5, 7.5),
        ("Point", 50.75, 61),
        ("Point", 119.5, 0.5),
    ]
    field = shapely.geometry.box(0, 0, WIDTH, HEIGHT)
    assert all(field.contains(point) for point in points)
    first = collection.features[0].properties
    assert first["classification"]["name"] == "Mitosis" and first["measurements"]["score"] == 0.9
    assert first["metadata"] == {"reader": "Ann", "time": "2026-01-02T03:04:05+00:00"}


def test_what_qupath_exports_is_read_points_together_outlines_and_numbers_it_does_not_have(tmp_path: Path) -> None:
    """As QuPath 0.4 to 0.6 write it: a plain list, ids, points drawn with the points tool, cells, NaN."""
    (tmp_path / "field.json").write_text(
        """[{"type": "Feature", "id": "a", "geometry": {"type": "MultiPoint", "coordinates": [[1.5, 2.5], [3.5, 4.5]]},
            "properties": {"objectType": "annotation", "classification": {"name": "Mitosis", "color": [1, 2, 3]}}},
           {"type": "Feature", "id": "b", "geometry": {"type": "Polygon",
            "coordinates": [[[10, 20], [14, 20], [14, 28], [10, 28], [10, 20]]]},
            "properties": {"objectType": "detection", "classification": {"name": "Tumor"},
            "measurements": {"Nucleus: Area": NaN, "score": 0.25}}}]"""
    )
    image = _only(tmp_path / "field.json", classes={"Tumor": LOOKALIKE})
    assert image.name == "field"
    assert _places(image) == [(1, 2, MITOSIS), (3, 4, MITOSIS), (11.5, 23.5, LOOKALIKE)]
    assert [mark.score for mark in image.marks] == [None, None, 0.25]


# ---- Pascal VOC


def test_the_voc_file_has_the_elements_of_the_development_kit(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.xml", [IMAGE])
    root = ElementTree.parse(tmp_path / "x.xml").getroot()
    assert root.tag == "annotation" and root.findtext("filename") == "A01_02.png"
    assert [int(root.findtext(f"size/{side}") or 0) for side in ("width", "height", "depth")] == [WIDTH, HEIGHT, 3]
    cells = root.findall("object")
    assert [cell.findtext("name") for cell in cells] == [MITOSIS, LOOKALIKE, UNSURE]
    # 8 x 6 px round the pixel in column 5, row 7, which is 6, 8 in VOC: whole pixels, to half a pixel.
    boxes = [[int(cell.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax")] for cell in cells]
    assert boxes[0] == [3, 6, 10, 11]
    assert boxes[2] == [95, 1, 120, 26]  # 51 x 51 px round 120, 1, cut at the edges of the image
    assert (cells[0].findtext("point/x"), cells[0].findtext("point/y")) == ("6", "8")


def test_a_voc_file_of_others_is_read_by_its_boxes(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        "<annotation><folder>x</folder><filename>a.png</filename><size><width>500</width><height>281</height>"
        "<depth>3</depth></size><object><name>mitotic figure</name><pose>Unspecified</pose><bndbox><xmin>1</xmin>"
        "<ymin>11</ymin><xmax>5</xmax><ymax>20</ymax></bndbox></object></annotation>"
    )
    image = _only(tmp_path / "a.xml")
    # Pixels 1 to 5 of VOC are 0 to 4 here, their middle 2; 11 to 20 are 10 to 19, their middle 14.5.
    assert _places(image) == [(2, 14.5, MITOSIS)] and image.marks[0].size_px == (5, 10)
    assert (image.width_px, image.height_px) == (500, 281)


# ---- ImageJ


def test_roifile_opens_the_rois_as_points_with_name_colour_and_properties(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.zip", [IMAGE], "imagej")
    rois = roifile.roiread(tmp_path / "x.zip")
    assert [roi.roitype for roi in rois] == [roifile.ROI_TYPE.POINT] * 3
    assert [roi.coordinates().tolist() for roi in rois] == [[[5, 7]], [[50.25, 60.5]], [[119, 0]]]
    assert [roi.name for roi in rois] == [MITOSIS, LOOKALIKE, UNSURE]
    assert len({roi.stroke_color for roi in rois}) == 3
    assert rois[0].properties["score"] == 0.9 and rois[0].properties["reader"] == "Ann"


def test_rois_that_others_made_are_read_points_together_and_areas(tmp_path: Path) -> None:
    points = roifile.ImagejRoi.frompoints(np.array([[1, 2], [3.5, 4]], np.float32), name="mitosis")
    points.roitype = roifile.ROI_TYPE.POINT
    area = roifile.ImagejRoi.frompoints(
        np.array([[10, 20], [14, 20], [14, 28], [10, 28]], np.float32), name="0007-0012"
    )
    area.roitype = roifile.ROI_TYPE.POLYGON
    roifile.roiwrite(tmp_path / "RoiSet.zip", [points, area])
    image = _only(tmp_path / "RoiSet.zip", classes={"": UNSURE})
    assert image.name == "RoiSet"
    # An area counts from the corner of a pixel: from 10 to 14 are the pixels 10 to 13.
    assert _places(image) == [(1, 2, MITOSIS), (3.5, 4, MITOSIS), (11.5, 23.5, UNSURE)]


# ---- SlideRunner


def test_the_database_answers_what_sliderunner_asks(tmp_path: Path) -> None:
    """The queries of SlideRunner's own dataAccess/database.py."""
    write_marks(tmp_path / "x.sqlite", [IMAGE, replace(IMAGE, name="b.png")])
    database = sqlite3.connect(tmp_path / "x.sqlite")
    assert database.execute("SELECT uid,filename from Slides").fetchall() == [(1, "A01_02.png"), (2, "b.png")]
    assert [name for name, *_ in database.execute("SELECT name,uid,color FROM Classes ORDER BY uid")] == [
        "mitotic figure",
        "hard negative",
        "unsure",
    ]
    query = "SELECT uid, type,agreedClass,guid,lastModified,deleted,description FROM Annotations WHERE slide == 1"
    rows = database.execute(query).fetchall()
    assert [row[:3] for row in rows] == [(1, 1, 1), (2, 1, 2), (3, 1, 3)] and len({row[3] for row in rows}) == 3
    query = """SELECT coordinateX, coordinateY, coordinateZ, annoid FROM Annotations_coordinates where annoId IN
               (SELECT uid FROM Annotations WHERE slide == 1) ORDER BY orderIdx"""
    assert database.execute(query).fetchall() == [(5, 7, 0, 1), (50, 60, 0, 2), (119, 0, 0, 3)]
    query = """SELECT annoid, person, class,uid, exact_id FROM Annotations_label WHERE annoID in
               (SELECT uid FROM Annotations WHERE slide == 2)"""
    assert [row[:3] for row in database.execute(query)] == [(4, 1, 1), (5, 0, 2), (6, 0, 3)]
    assert database.execute("SELECT name, uid FROM Persons ORDER BY uid").fetchall() == [("Ann", 1)]
    assert database.execute("SELECT COUNT(*) FROM Annotations where deleted==0").fetchone() == (6,)


def test_a_database_of_others_is_read_areas_deleted_disagreed_and_with_the_columns_of_an_old_version(
    tmp_path: Path,
) -> None:
    database = sqlite3.connect(tmp_path / "old.sqlite")
    database.executescript(
        """CREATE TABLE Slides (uid INTEGER PRIMARY KEY, filename TEXT, directory TEXT);
           CREATE TABLE Classes (uid INTEGER PRIMARY KEY, name TEXT);
           CREATE TABLE Persons (uid INTEGER PRIMARY KEY, name TEXT);
           CREATE TABLE Annotations (uid INTEGER PRIMARY KEY, slide INTEGER, type INTEGER, agreedClass INTEGER,
                                     deleted INTEGER DEFAULT 0);
           CREATE TABLE Annotations_coordinates (uid INTEGER PRIMARY KEY, coordinateX INTEGER, coordinateY INTEGER,
                                                 slide INTEGER, annoId INTEGER, orderIdx INTEGER);
           CREATE TABLE Annotations_label (uid INTEGER PRIMARY KEY, person INTEGER, class INTEGER, annoId INTEGER);
           INSERT INTO Slides VALUES (1, 'a.svs', '');
           INSERT INTO Classes VALUES (1, 'Mitosis'), (2, 'Nonmitotic');
           INSERT INTO Persons VALUES (1, 'Ann'), (2, 'Bob');
           INSERT INTO Annotations VALUES (1, 1, 1, 1, 0), (2, 1, 5, 0, 0), (3, 1, 1, 1, 1);
           INSERT INTO Annotations_coordinates VALUES (1, 10, 20, 1, 1, 1), (2, 30, 40, 1, 2, 1), (3, 40, 60, 1, 2, 2),
                                                      (4, 1, 1, 1, 3, 1);
           INSERT INTO Annotations_label VALUES (1, 1, 1, 1), (2, 1, 1, 2), (3, 2, 2, 2);"""
    )
    database.commit()
    image = _only(tmp_path / "old.sqlite")
    assert (image.name, image.width_px) == ("a.svs", None)
    assert _places(image) == [(10, 20, MITOSIS), (35, 50, UNSURE)]
    assert [mark.reader for mark in image.marks] == ["Ann", ""]


# ---- the contests


def test_mitos12_lists_the_pixels_of_each_mitosis(tmp_path: Path) -> None:
    (tmp_path / "A00_00.csv").write_text("10,20,11,20,12,20,10,21,11,21,12,21\n5,5\n")
    image = _only(tmp_path / "A00_00.csv")
    assert image.name == "A00_00" and _places(image) == [(11, 20.5, MITOSIS), (5, 5, MITOSIS)]
    assert image.marks[0].size_px == (3, 2)
    write_marks(tmp_path / "out", [replace(image, width_px=100, height_px=100)], "mitos12")
    first, second = (tmp_path / "out" / "A00_00.csv").read_text().splitlines()
    assert second == "5,5"
    pixels = np.reshape([int(n) for n in first.split(",")], (-1, 2))
    assert pixels.mean(axis=0).tolist() == [11, 20.5] and len(set(map(tuple, pixels.tolist()))) == len(pixels)


def test_mitos14_has_x_before_y_and_a_file_for_each_label(tmp_path: Path) -> None:
    folder = tmp_path / "A03" / "mitosis"
    folder.mkdir(parents=True)
    (folder / "A03_00Aa_mitosis.csv").write_text("375,784,0.952342\n878,13,0.899445\n")
    (folder / "A03_00Aa_not_mitosis.csv").write_text("1,2,0.2\n")
    (folder / "A03_00Ab_mitosis.csv").write_text("")
    first, second = read_marks(tmp_path)
    assert (first.name, second.name, second.marks) == ("A03_00Aa", "A03_00Ab", ())
    assert _places(first) == [(375, 784, MITOSIS), (878, 13, MITOSIS), (1, 2, LOOKALIKE)]
    assert first.marks[0].score == 0.952342
    write_marks(tmp_path / "out", [first], "mitos14")
    assert (tmp_path / "out" / "A03_00Aa_mitosis.csv").read_text() == "375,784,0.952342\n878,13,0.899445\n"


def test_tupac16_has_the_row_first_and_a_folder_for_each_case(tmp_path: Path) -> None:
    """First file of the alternative labels: row 839, column 2; row 778, column 1586."""
    for part, rows in (("mitoses_ground_truth", "839,2\n778,1586\n"), ("nonmitoses_ground_truth", "7,9\n")):
        (tmp_path / part / "01").mkdir(parents=True)
        (tmp_path / part / "01" / "01.csv").write_text(rows)
    image = _only(tmp_path)
    assert image.name == "01/01"
    assert _places(image) == [(2, 839, MITOSIS), (1586, 778, MITOSIS), (9, 7, LOOKALIKE)]
    write_marks(tmp_path / "out", [replace(image, name="01/01.tif")], "tupac16")
    assert (tmp_path / "out" / "mitoses_ground_truth" / "01" / "01.csv").read_text() == "839,2\n778,1586\n"
    assert (tmp_path / "out" / "nonmitoses_ground_truth" / "01" / "01.csv").read_text() == "7,9\n"


# ---- this program's own


def test_the_plain_table_is_what_training_and_evaluation_read(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.csv", [IMAGE, replace(IMAGE, name="empty.png", marks=())])
    read = read_annotations(tmp_path / "x.csv")
    assert list(read) == ["A01_02.png", "empty.png"]
    one = read["A01_02.png"]
    assert (one.slide, one.um_per_px) == ("A01", 0.2456)
    assert one.mitoses_xy_px.tolist() == [[5, 7]] and one.lookalikes_xy_px.tolist() == [[50.25, 60.5]]
    assert one.sizes_px is not None and one.sizes_px.tolist() == [[8, 6]]


def test_detections_of_the_command_line_are_mitoses_of_their_version(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("image,x_px,y_px,score,area_um2,model\na.png,1.5,2,0.75,30,v1\n")
    (tmp_path / "x.json").write_text(
        '[{"image": "a.png", "model": "v1", "um_per_px": 0.25, "count": 1, "notes": [],'
        ' "detections": [{"x_px": 1.5, "y_px": 2, "score": 0.75, "area_um2": 30}]}]'
    )
    for path in (tmp_path / "x.csv", tmp_path / "x.json"):
        (mark,) = _only(path).marks
        assert replace(mark, place=0) == Mark(1.5, 2, MITOSIS, 0.75, None, "v1")


def test_a_zip_of_one_file_an_image_is_read_like_the_folder(tmp_path: Path) -> None:
    write_marks(tmp_path / "x.zip", [IMAGE, replace(IMAGE, name="b/c.png")], "qupath")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == ["A01_02.geojson", "b/c.geojson"]
    assert [image.name for image in read_marks(tmp_path / "x.zip")] == ["A01_02.png", "b/c.png"]
