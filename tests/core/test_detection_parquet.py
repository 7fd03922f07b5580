"""Parquet from `detect`: the rows of the CSV, gone on with after any stop, and read by others as one table."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from mitosis_core import detection_parquet
from mitosis_core.detection_stream import COLUMNS, DetectionStream, open_stream
from mitosis_core.errors import UnusableData

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (requirements-scale.txt)")


def record(number: int, found: int) -> dict[str, Any]:
    """What `Result.to_dict` gives of a field."""
    return {
        "image": f"f{number}.png",
        "model": "v",
        "threshold": 0.5,
        "um_per_px": 0.25,
        "width_px": 100,
        "height_px": 80,
        "digest": f"{number:064x}",
        "tissue_mm2": 0.1 + number,
        "count": found,
        "detections": [{"x_px": 1.25 + i, "y_px": 2.5, "score": 0.9} for i in range(found)],
    }


def in_rows(folder: Path) -> list[dict[str, Any]]:
    return list(parquet.read_table(folder).to_pylist())


def test_the_rows_are_those_of_the_csv(tmp_path: Path) -> None:
    one, other = open_stream(tmp_path / "found.parquet"), DetectionStream(tmp_path / "found.csv")
    for stream in (one, other):
        for number, found in enumerate([2, 0, 1]):
            stream.add(record(number, found))
        stream.close()
    with (tmp_path / "found.csv").open(newline="") as file:
        expected = [list(row.values()) for row in csv.DictReader(file)]
    assert [
        ["" if v is None else str(v) for v in row.values()] for row in in_rows(tmp_path / "found.parquet")
    ] == expected
    assert list(in_rows(tmp_path / "found.parquet")[0]) == list(COLUMNS)


def test_it_is_gone_on_with_and_a_part_that_was_not_written_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection_parquet, "_MOST_FIELDS", 2)
    folder = tmp_path / "found.parquet"
    first = open_stream(folder)
    for number in range(5):
        first.add(record(number, number))
    del first  # killed: the fifth is not written
    second = open_stream(folder)
    assert [key[0] for key in second.done] == ["f0.png", "f1.png", "f2.png", "f3.png"]
    assert second.threshold_of("v") == 0.5 and second.knows("f3.png", "v") and not second.knows("f4.png", "v")
    last = second.done["f3.png", f"{3:064x}", "v", 0.25]
    assert (last.count, last.tissue_mm2) == (3, 3.1)
    second.add(record(4, 4))
    second.close()
    second.close()  # nothing is left to write
    assert [row["image"] for row in in_rows(folder)] == ["f0.png", "f1.png"] + ["f2.png"] * 2 + ["f3.png"] * 3 + [
        "f4.png"
    ] * 4
    assert sorted(path.name for path in folder.iterdir()) == [f"part-{n:06d}.parquet" for n in (1, 2, 3)]


def test_something_else_at_the_path_is_left_alone(tmp_path: Path) -> None:
    import pyarrow

    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for name, content in (("b", b"no parquet"), ("c", None)):
        folder = tmp_path / f"{name}.parquet"
        folder.mkdir()
        if content is None:
            parquet.write_table(pyarrow.table({"x": [1]}), folder / "part-000001.parquet")
        else:
            (folder / "part-000001.parquet").write_bytes(content)
    for name in ("a", "b", "c"):
        with pytest.raises(UnusableData, match="please name another"):
            open_stream(tmp_path / f"{name}.parquet")


def test_without_pyarrow_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnusableData, match=r"pip install -r requirements-scale\.txt"):
        open_stream(tmp_path / "found.parquet")
