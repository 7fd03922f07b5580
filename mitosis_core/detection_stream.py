"""The results of `detect` over many fields: a CSV or JSON Lines file that grows field by field and is gone on with.
A folder of Parquet files does so too (detection_parquet).

A field is written in one piece once it is done, so that a process that is killed loses the field under way at most;
what it left half written is cut off when the file is opened again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.annotation_csv import DETECTION_COLUMNS
from mitosis_core.interchange.csv_rows import short
from mitosis_core.interchange.safe_csv import SafeTable, plain_cell
from mitosis_core.plurals import count_noun

SUFFIXES = (".csv", ".jsonl", ".parquet")
# Of the field, the same in each of its rows; detections: how many rows it has, which tells whether all are there.
_OF_FIELD = ("um_per_px", "width_px", "height_px", "digest", "threshold", "tissue_mm2", "detections")
COLUMNS = (*DETECTION_COLUMNS, *_OF_FIELD)
_HEADER = (",".join(COLUMNS) + "\r\n").encode()
Key = tuple[str, str, str, float]  # image, digest, version, µm/px


@dataclass(frozen=True)
class Done:
    """A field whose results are in the file."""

    key: Key
    threshold: float
    count: int
    tissue_mm2: float


def open_stream(path: Path) -> DetectionStream:
    """The results at a path that ends with one of SUFFIXES, to go on with them. Raises UnusableData."""
    if path.suffix.lower() == ".parquet":
        from mitosis_core.detection_parquet import ParquetStream

        return ParquetStream(path)
    return DetectionStream(path)


class DetectionStream:
    """One such file, opened to go on with it. Raises UnusableData when there is another kind of file at the path."""

    def __init__(self, path: Path) -> None:
        self._path, self._csv = path, path.suffix.lower() == ".csv"
        self.done: dict[Key, Done] = {}
        self._names: set[tuple[str, str]] = set()  # image and version
        if path.exists():
            self._take_up()

    def threshold_of(self, version: str) -> float | None:
        """The threshold of the fields of a version that are in the file; None when there is none."""
        return next((one.threshold for key, one in self.done.items() if key[2] == version), None)

    def knows(self, image: str, version: str) -> bool:
        """Whether the file has an image of this name, analysed by this version."""
        return (image, version) in self._names

    def changed(self, key: Key) -> bool:
        """Whether the file has an image of this name and version that is another one, or was read at another µm/px."""
        return key not in self.done and self.knows(key[0], key[2])

    def add(self, record: Mapping[str, Any]) -> None:
        """Write the results of one field, as `Result.to_dict` gives them, to the end of the file."""
        with self._path.open("ab") as file:
            head = _HEADER if self._csv and file.tell() == 0 else b""
            file.write(head + (_csv_rows(record) if self._csv else _line(record)))
        self._keep(done_of(record))

    def close(self) -> None:
        """Write what is not written yet."""

    def _keep(self, one: Done) -> None:
        self.done[one.key] = one
        self._names.add((one.key[0], one.key[2]))

    def _take_up(self) -> None:
        """Read what is done, and cut off what was left half written."""
        whole = 0
        with self._path.open("rb") as file:
            for one, end in self._csv_fields(file) if self._csv else self._json_fields(file):
                self._keep(one)
                whole = end
        if self._csv and whole == 0:
            whole = self._after_header()
        if whole < self._path.stat().st_size:
            with self._path.open("r+b") as file:
                file.truncate(whole)

    def _after_header(self) -> int:
        with self._path.open("rb") as file:
            first = file.readline()
        return len(_HEADER) if first == _HEADER else 0

    def _csv_fields(self, file: io.BufferedReader) -> Iterator[tuple[Done, int]]:
        first = file.readline()
        if first != _HEADER and (not _HEADER.startswith(first) or file.read(1)):
            raise UnusableData(f"{self._path.name} is there already and has other columns; please name another file.")
        fields = groupby(self._table_rows(file), _field_of)
        for _, rows in fields:
            of_field = list(rows)
            one = done_of(of_field[0][0])
            missing = max(1, one.count) - len(of_field)
            if missing > 0 and next(fields, None) is None:
                return  # the last one, cut short
            if missing:
                raise self._was_changed(f"{one.key[0]} should have {count_noun(one.count, 'detection')}")
            yield one, of_field[-1][1]

    def _table_rows(self, file: io.BufferedReader) -> Iterator[tuple[dict[str, Any], int]]:
        """Row and end of its line; without the last line where it was cut short."""
        end = file.tell()
        for line in file:
            end += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                cells = next(csv.reader([line.decode()]))
                row: dict[str, Any] = dict(zip(COLUMNS, map(plain_cell, cells), strict=True))
                for name in ("um_per_px", "threshold", "tissue_mm2"):
                    row[name] = float(row[name])
                row["count"] = int(row["detections"])
            except (ValueError, StopIteration, csv.Error) as error:
                raise self._was_changed(f"“{short(line.decode(errors='replace'))}” is no row of it") from error
            yield row, end

    def _was_changed(self, how: str) -> UnusableData:
        return UnusableData(f"{self._path.name} was changed since it was written: {how}. Please name another file.")

    def _json_fields(self, file: io.BufferedReader) -> Iterator[tuple[Done, int]]:
        end = 0
        for line in file:
            end += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                yield done_of(json.loads(line)), end
            except (ValueError, KeyError, TypeError) as error:
                raise UnusableData(
                    f"{self._path.name} is there already and holds something else; please name another file."
                ) from error


def _field_of(row: tuple[Mapping[str, Any], int]) -> tuple[str, str, str]:
    return row[0]["image"], row[0]["model"], row[0]["digest"]


def done_of(record: Mapping[str, Any]) -> Done:
    """What is remembered of a field whose results these are."""
    key = (record["image"], record["digest"], record["model"], record["um_per_px"])
    return Done(key, record["threshold"], record["count"], record["tissue_mm2"])


def rows(record: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Cells in the order of COLUMNS: a row for each detection, and one with None for its place where there is none."""
    shared = [record[name] for name in _OF_FIELD[:-1]] + [record["count"]]
    for found in record["detections"] or [{}]:
        place = [found.get(name) for name in ("x_px", "y_px", "score")]
        yield [record["image"], *place, record["model"], *shared]


def _csv_rows(record: Mapping[str, Any]) -> bytes:
    text = io.StringIO(newline="")
    table = SafeTable(text)
    for cells in rows(record):
        table.write_row(cells)
    return text.getvalue().encode()


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()
