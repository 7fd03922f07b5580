"""The results of `detect` as Parquet: a folder of files, which pandas, Arrow, DuckDB and Spark read as one table.

A Parquet file cannot grow, so fields are gathered, and every file is whole or not there: a process that is killed loses
the fields of the last minute, and they are done again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitosis_core.atomic_write import atomic_write
from mitosis_core.detection_stream import COLUMNS, DetectionStream, done_of, rows
from mitosis_core.errors import UnusableData

if TYPE_CHECKING:
    import pyarrow

_MOST_FIELDS, _LONGEST_S = 1000, 60.0  # in memory until a file is written
_MISSING = "Parquet needs pyarrow, which is not installed here: pip install -r requirements-scale.txt"
_TYPES = {
    "image": "string",
    "model": "string",
    "digest": "string",
    "width_px": "int32",
    "height_px": "int32",
    "detections": "int32",
}
_OF_DONE = ("image", "digest", "model", "um_per_px", "threshold", "tissue_mm2", "detections")


class ParquetStream(DetectionStream):
    """One such folder, opened to go on with it. Raises UnusableData when something else is at the path, or pyarrow is
    not installed."""

    def __init__(self, path: Path) -> None:
        self._schema = _schema()
        self._waiting: list[Mapping[str, Any]] = []
        self._since, self._files = time.monotonic(), 0
        super().__init__(path)

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep the results of one field, as `Result.to_dict` gives them, for the next file."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(record)
        self._keep(done_of(record))
        if len(self._waiting) >= _MOST_FIELDS or time.monotonic() > self._since + _LONGEST_S:
            self.close()

    def close(self) -> None:
        """Write the fields that wait as a file."""
        if not self._waiting:
            return
        from pyarrow import parquet, table

        columns = zip(*(cells for record in self._waiting for cells in rows(record)), strict=True)
        gathered = table(dict(zip(COLUMNS, columns, strict=True)), schema=self._schema)
        with atomic_write(self._path / f"part-{self._files + 1:06d}.parquet") as place:
            parquet.write_table(gathered, place, compression="zstd")
        self._files += 1
        self._waiting.clear()

    def _take_up(self) -> None:
        from pyarrow import ArrowException, parquet

        if not self._path.is_dir():
            raise UnusableData(f"{self._path.name} is one file, and a folder is written; please name another one.")
        for file in sorted(self._path.glob("*.parquet")):
            try:
                if parquet.read_schema(file) != self._schema:
                    raise UnusableData(f"{file} has other columns; please name another folder.")
                for row in parquet.read_table(file, columns=list(_OF_DONE)).to_pylist():
                    self._keep(done_of({**row, "count": row["detections"]}))
                self._files = max(self._files, int(file.stem.removeprefix("part-")))
            except (ArrowException, ValueError) as error:
                raise UnusableData(f"{file} was not written by this program; please name another folder.") from error


def _schema() -> pyarrow.Schema:
    try:
        import pyarrow
    except ImportError as error:
        raise UnusableData(_MISSING) from error
    return pyarrow.schema([(name, getattr(pyarrow, _TYPES.get(name, "float64"))()) for name in COLUMNS])
