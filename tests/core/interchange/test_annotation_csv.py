from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.annotation_csv import ImageDetections, read_annotations, read_detections
from mitosis_core.types import Detections
from tests.core.interchange.detections_file import write_detections

HEADER = "image,x_px,y_px,label,um_per_px\n"


def test_each_label_goes_where_it_belongs() -> None:
    rows = "a.png,1.5,2,mitosis,0.25\na.png,3,4,Mitosis,0.25\na.png,5,6,pyknotic,0.25\na.png,7,8,unsure,0.25\n"
    rows += "a.png,9,1,mitotic figure,0.25\na.png,9,2,Non-mitosis,0.25\na.png,9,3,mined_lookalike,0.25\n"
    read = read_annotations((HEADER + rows).encode())["a.png"]
    assert read.mitoses_xy_px.tolist() == [[1.5, 2], [3, 4], [9, 1]]
    assert read.lookalikes_xy_px.tolist() == [[5, 6], [9, 2]]
    assert (read.slide, read.um_per_px) == ("a", 0.25)


@pytest.mark.parametrize("column", ["slide", "case"])
def test_slide_comes_from_slide_or_case(column: str) -> None:
    text = f"image,{column},x_px,y_px,label,um_per_px\na.png,S7,1,2,mitosis,0.25\n"
    assert read_annotations(text.encode())["a.png"].slide == "S7"


def test_a_row_without_coordinates_is_an_image_without_cells() -> None:
    read = read_annotations((HEADER + "a.png,,,,0.25\n").encode())["a.png"]
    assert read.mitoses_xy_px.shape == read.lookalikes_xy_px.shape == (0, 2)


def test_a_spreadsheets_byte_order_mark_and_line_ends_do_no_harm() -> None:
    text = "\ufeff" + (HEADER + "a.png, 1 ,2,mitosis,0.25\n").replace("\n", "\r\n")
    assert read_annotations(text.encode())["a.png"].mitoses_xy_px.tolist() == [[1, 2]]


def test_objects_may_have_a_size() -> None:
    header = HEADER.replace("\n", ",object_width_px,object_height_px\n")
    rows = "a.png,1,2,mitosis,0.25,30,12.5\na.png,3,4,lookalike,0.25,,\nb.png,5,6,mitosis,0.25,,\n"
    read = read_annotations((header + rows).encode())
    assert read["a.png"].sizes_px is not None and read["a.png"].sizes_px.tolist() == [[30, 12.5]]
    assert read["b.png"].sizes_px is None


SIZED = HEADER.encode().replace(b"\n", b",object_width_px,object_height_px\n") + b"a.png,1,2,mitosis,0.25,9,9\n"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (b"a.png,1,2,mitosis,0.25,0,9\n", "Row 3: object_width_px and object_height_px must be above 0, not 0 and 9"),
        (b"a.png,1,2,mitosis,0.25,9,-2\n", "Row 3: object_width_px and object_height_px must be above 0"),
        (b"a.png,1,2,mitosis,0.25,9,\n", "Row 3: an object needs both"),
        (b"a.png,1,2,mitosis,0.25,nan,9\n", "Row 3: object_width_px must be a number"),
        (b"a.png,1,2,mitosis,0.25,,\n", "a.png: some mitoses have object_width_px and object_height_px, others not"),
    ],
)
def test_an_unusable_size_is_a_sentence(row: bytes, sentence: str) -> None:
    with pytest.raises(UnusableData, match=sentence):
        read_annotations(SIZED + row)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"image,x_px,label,um_per_px\n", "no column y_px"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not a text file"),
        (HEADER.encode() + b"a.png,1,2,mitosis,0.25\na.png,one,2,mitosis,0.25\n", "Row 3: x_px must be a number"),
        (HEADER.encode() + b"a.png,1,nan,mitosis,0.25\n", "Row 2: y_px must be a number"),
        (HEADER.encode() + b"a.png,1,,mitosis,0.25\n", "Row 2: y_px must be a number"),
        (HEADER.encode() + b"a.png,1,2,mitosis,\n", "Row 2: um_per_px must be a number"),
        (HEADER.encode() + b"a.png,1,2,mitosis,25\n", "Row 2: 25 µm per pixel is not plausible"),
        (HEADER.encode() + b"a.png,1,2,,0.25\n", "Row 2: label is blank"),
        (HEADER.encode() + b",1,2,mitosis,0.25\n", "Row 2: image is blank"),
        (HEADER.encode() + b"a.png,1,2,mitosis,0.25\na.png,1,2,mitosis,0.5\n", "Row 3: a.png has another"),
    ],
)
def test_unusable_annotations_say_what_is_wrong_and_where(content: bytes, sentence: str) -> None:
    with pytest.raises(UnusableData, match=sentence):
        read_annotations(content)


def test_a_table_with_other_separators_or_decimal_commas_says_what_to_do() -> None:
    with pytest.raises(UnusableData, match="separated by semicolons; please save it with commas"):
        read_annotations((HEADER + "a.png;1;2;mitosis;0.25\n").replace(",", ";").encode())
    with pytest.raises(UnusableData, match="Row 2 has more cells than the header has columns"):
        read_annotations((HEADER + "a.png,1,5,2,5,mitosis,0,25\n").encode())
    with pytest.raises(UnusableData, match="Row 2: x_px must be a number with a decimal point, not “1,5”"):
        read_annotations((HEADER + 'a.png,"1,5",2,mitosis,0.25\n').encode())


def test_a_missing_file_is_unusable_data(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="cannot be opened"):
        read_detections(tmp_path / "none.csv")


def test_detections_need_their_own_columns() -> None:
    with pytest.raises(UnusableData, match="no column score, model"):
        read_detections(HEADER.encode())


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(0, 1e4, width=32)))
def test_detections_written_then_read_are_the_same(tmp_path_factory: pytest.TempPathFactory, table: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "detections.csv"
    found = Detections(table[:, :2], table[:, 2], np.zeros(len(table)))
    write_detections(path, [ImageDetections(name, "v1", found) for name in ("a.png", "b.png")])
    read = read_detections(path)
    assert [(one.image, one.model) for one in read] == [("a.png", "v1"), ("b.png", "v1")]
    for one in read:
        np.testing.assert_array_equal(one.detections.xy_px, found.xy_px)
        np.testing.assert_array_equal(one.detections.score, found.score)


def test_an_image_without_detections_has_no_row(tmp_path: Path) -> None:
    write_detections(tmp_path / "none.csv", [ImageDetections("a.png", "v1", Detections())])
    assert (tmp_path / "none.csv").read_text().splitlines() == ["image,x_px,y_px,score,model"]
    assert read_detections(tmp_path / "none.csv") == []


def test_a_quotation_mark_that_is_never_closed_is_told_in_one_line() -> None:
    cell = '"\n' + "3,4\n" * 100
    for rows in (f"a,{cell}", f"a,1,{cell}", f'a,1,2,mitosis,0.25\n{cell},5"'):
        with pytest.raises(UnusableData) as said:
            read_annotations(f"image,x_px,y_px,label,um_per_px\n{rows}".encode())
        assert "\n" not in str(said.value) and len(str(said.value)) < 200
