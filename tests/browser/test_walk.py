"""The whole way of a case in the real program, on drawn fields, shortened: two fields, two formats."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.camera import Camera
from tests.browser.walk import KEYS, MOUSE, different, draw, walk

ALONE = "a minute long, and disturbed by tests beside it in one run of four: WALK=1 pytest tests/browser/test_walk.py"
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.skipif("WALK" not in os.environ, reason=ALONE)]
SIZE_PX = 512


def test_a_case_goes_from_the_drop_to_a_second_installation(browser: Any, tmp_path: Path) -> None:
    files, truth = draw(2, tmp_path / "fields", SIZE_PX)
    said = walk(browser, files, truth, 0.25, tmp_path, names=("qupath", "sliderunner"), camera=Camera(None))
    mitoses = sum(map(len, truth.values()))
    for reader, hand in ((MOUSE, "mouse"), (KEYS, "keyboard")):
        done = said[hand]
        assert sum(one.proposals + one.missed for one in done) == said["counts"][reader].total()
        assert said["counts"][reader]["mitosis"] == mitoses
    for one in said["mouse"]:  # a click for each verdict and each missed cell, one to begin, one to finish
        assert one.total <= one.proposals + one.missed + 2
    pdf, html, marks, pictures = said["reports"]
    assert pdf.read_bytes().startswith(b"%PDF-") and b"Case D01</h1>" in html.read_bytes()
    rows = csv.DictReader(marks.read_text(encoding="utf-8").splitlines())
    assert sum(row["counted"] == "1" for row in rows) == mitoses and pictures.stat().st_size > 10_000
    assert different(said) == []
