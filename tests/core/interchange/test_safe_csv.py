"""No cell that leaves as CSV is a formula to a spreadsheet, and our own files come back as they were."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.interchange.annotation_csv import ImageDetections, read_annotations, read_detections
from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS
from mitosis_core.interchange.exchange import write_marks
from mitosis_core.interchange.marks import Mark, MarkedImage
from mitosis_core.interchange.safe_csv import plain_cell, safe_cell
from mitosis_core.types import Detections
from tests.core.interchange.detections_file import write_detections

NAMES = ["=cmd|' /C calc'!A0", "+1.png", "-2.png", "@SUM(A1)", "\tx.png", "\rx.png", "'=x.png", "''=x", "'a'"]
XY = np.array([[-1.5, 2.0]], np.float32)


@given(st.text(alphabet="'=+-@\t\r\n a1", max_size=6))
def test_no_text_leaves_as_a_formula_and_all_of_it_comes_back(text: str) -> None:
    safe = safe_cell(text)
    assert not re.match(r"\s*[=+\-@]|[\t\r\n]", safe)
    assert plain_cell(safe) == text


def test_ordinary_text_is_left_alone() -> None:
    for text in ("", "A01_02.png", "o'clock", "'tis", "a-b", "12"):
        assert safe_cell(text) == text == plain_cell(text)


@pytest.mark.parametrize("name", NAMES)
def test_detections_and_annotations_round_trip_whatever_the_image_is_called(name: str, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_detections(path, [ImageDetections(name, name, Detections(XY, np.array([0.5]), np.array([20.0])))])
    with path.open(newline="", encoding="utf-8") as file:
        row = list(csv.reader(file))[1]
    assert row[0] == row[-1] == safe_cell(name) and float(row[1]) == -1.5  # the number is not touched
    (back,) = read_detections(path)
    assert (back.image, back.model, back.detections.xy_px.tolist()) == (name, name, XY.tolist())

    path.unlink()
    image = MarkedImage(name, (Mark(1, 2, MITOSIS), Mark(3, 4, LOOKALIKE)), um_per_px=0.25, slide=name)
    write_marks(path, [image], "csv")
    with path.open(newline="", encoding="utf-8") as file:
        assert all(row["image"] == row["slide"] == safe_cell(name) for row in csv.DictReader(file))
    read = read_annotations(path)
    assert list(read) == [name] and read[name].slide == name
