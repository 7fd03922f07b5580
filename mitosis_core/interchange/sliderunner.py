"""SlideRunner's database: SQLite with slides, annotations, their coordinates, classes, persons and who said what.

The tables are those that SlideRunner 2 makes (its dataAccess/database.py; Aubreville et al., BVM 2018). Marks are spots
in whole pixels, as its columns are integers, the first of them 0; classes are `mitotic figure`, `hard negative` and
`unsure`. Read besides: areas, circles and polygons, as the middle of their extent; what is deleted is passed over. The
class of a mark is the agreed one; where persons disagree it is `no agreement`, which is read as unsure. The reader
comes back where one person alone labelled a mark.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import LOOKALIKE, MITOSIS, UNSURE
from mitosis_core.interchange.files import Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.marks import Mark, MarkedImage, number, whole

# Name and colour of each class.
CLASSES = {
    MITOSIS: ("mitotic figure", "#c80000"),
    LOOKALIKE: ("hard negative", "#006ec8"),
    UNSURE: ("unsure", "#e6a000"),
}
SPOT = 1
_SHAPES = (SPOT, 2, 3, 4, 5)  # spot, area, polygon, special spot, circle
_KEY = "`uid` INTEGER PRIMARY KEY AUTOINCREMENT UNIQUE"
TABLES = {
    "Annotations_label": f"{_KEY}, `person` INTEGER, `class` INTEGER, `exact_id` INTEGER, `annoId` INTEGER",
    "Annotations_coordinates": (
        f"{_KEY}, `coordinateX` INTEGER, `coordinateY` INTEGER, `coordinateZ` INTEGER DEFAULT 0, `slide` INTEGER, "
        "`annoId` INTEGER, `orderIdx` INTEGER"
    ),
    "Annotations": (
        f"{_KEY}, `slide` INTEGER, `guid` TEXT, `lastModified` REAL, `deleted` INTEGER DEFAULT 0, `type` INTEGER, "
        "`agreedClass` INTEGER, `description` TEXT"
    ),
    "Classes": f"{_KEY}, `name` TEXT, `color` TEXT",
    "Persons": f"{_KEY}, `name` TEXT, `isExactUser` INTEGER DEFAULT 0",
    "Slides": (
        f"{_KEY}, `filename` TEXT, `width` INTEGER, `height` INTEGER, `EXACTUSER` INTEGER DEFAULT 0, `directory` TEXT, "
        "`uuid` TEXT, `exactImageID` TEXT"
    ),
    "Log": f"{_KEY}, `dateTime` FLOAT, `labelId` INTEGER",
}
_NEEDED = {
    "Slides": {"uid", "filename"},
    "Annotations": {"uid", "slide", "type", "agreedClass"},
    "Annotations_coordinates": {"coordinateX", "coordinateY", "annoId", "orderIdx"},
    "Classes": {"uid", "name"},
}
_MARKS = """
    SELECT a.uid, a.type, a.agreedClass, {time}, {deleted}, min(c.coordinateX), max(c.coordinateX), min(c.coordinateY),
           max(c.coordinateY)
    FROM Annotations a LEFT JOIN Annotations_coordinates c ON c.annoId = a.uid
    WHERE a.slide = ? GROUP BY a.uid ORDER BY a.uid
"""


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """The slides of the databases. Raises UnusableData with file and annotation."""
    for source in sources:
        with (
            source.on_disk() as path,
            closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database,
        ):
            try:
                database.execute("PRAGMA trusted_schema = OFF")
                yield from _images(database, source)
            except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: what SQLite says of damaged names
                raise UnusableData(f"{source.shown} is no SQLite database, is damaged, or was cut short.") from error


def _images(database: sqlite3.Connection, source: Source) -> Iterator[MarkedImage]:
    columns = _columns(database, source)
    classes = dict(database.execute("SELECT uid, name FROM Classes"))
    people = _people(database, columns)
    time = "a.lastModified" if "lastModified" in columns["Annotations"] else "NULL"
    deleted = "a.deleted" if "deleted" in columns["Annotations"] else "0"
    # One pass over the coordinates of each slide: without an index SQLite makes one of its own for every query.
    database.execute("CREATE TEMP TABLE place AS SELECT annoId, coordinateX, coordinateY FROM Annotations_coordinates")
    database.execute("CREATE INDEX temp.of_annotation ON place (annoId)")
    query = _MARKS.format(time=time, deleted=deleted).replace("Annotations_coordinates", "temp.place")
    size = "width, height" if {"width", "height"} <= columns["Slides"] else "NULL, NULL"
    for slide, name, width, height in database.execute(f"SELECT uid, filename, {size} FROM Slides ORDER BY uid"):
        place = f"{source.shown}, slide {slide}"
        if not isinstance(name, str) or not name:
            raise UnusableData(f"{place}: the slide has no file name.")
        marks = []
        for row in database.execute(query, (slide,)):
            if not row[4] and row[1] in _SHAPES:
                marks.append(_mark(row, classes, people, f"{source.shown}, annotation {row[0]}"))
        width_px, height_px = (whole(side or None, "the size of the slide", place) for side in (width, height))
        yield MarkedImage(
            name, tuple(marks), width_px=width_px, height_px=height_px, source=source.shown, counted="annotation"
        )


def _columns(database: sqlite3.Connection, source: Source) -> dict[str, set[str]]:
    found = {table: {row[1] for row in database.execute(f"PRAGMA table_info(`{table}`)")} for table in TABLES}
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, needed in _NEEDED.items():
        if table not in tables or needed - found[table]:
            raise UnusableData(f"{source.shown} is no database of SlideRunner: it has no table {table} as it makes it.")
    return found


def _people(database: sqlite3.Connection, columns: dict[str, set[str]]) -> dict[int, str]:
    """Annotation -> who labelled it, where one person alone did."""
    if not {"person", "annoId"} <= columns["Annotations_label"] or "name" not in columns["Persons"]:
        return {}
    query = """SELECT l.annoId, min(p.name) FROM Annotations_label l JOIN Persons p ON p.uid = l.person
               GROUP BY l.annoId HAVING count(DISTINCT l.person) = 1"""
    return {anno: str(name or "") for anno, name in database.execute(query)}


def _mark(row: tuple[object, ...], classes: dict[int, object], people: dict[int, str], place: str) -> Mark:
    uid, _, agreed, time, _, left, right, top, bottom = row
    x0, x1, y0, y1 = (number(value, "a coordinate", place) for value in (left, right, top, bottom))
    label = str(classes.get(agreed) or "no agreement") if isinstance(agreed, int) else "no agreement"
    when = ""
    if isinstance(time, int | float) and 0 < time < 1e11:
        when = datetime.fromtimestamp(time, UTC).isoformat()
    assert isinstance(uid, int)
    return Mark((x0 + x1) / 2, (y0 + y1) / 2, label, None, None, people.get(uid, ""), when, "", uid)


# ---- writing


def write(path: Path, images: Iterable[MarkedImage]) -> None:
    """One database, as SlideRunner makes it; it adds its triggers when it opens it for the first time."""
    with closing(sqlite3.connect(path)) as database, database:
        for table, columns in TABLES.items():
            database.execute(f"CREATE TABLE `{table}` ({columns})")
        database.executemany("INSERT INTO Classes (name, color) VALUES (?, ?)", CLASSES.values())
        people: dict[str, int] = defaultdict(lambda: len(people) + 1)
        first = 1
        for slide, image in enumerate(images, 1):
            size = (image.width_px, image.height_px)
            database.execute(
                "INSERT INTO Slides (uid, filename, width, height, directory, uuid) VALUES (?, ?, ?, ?, '', '')",
                (slide, image.name, *size),
            )
            _insert(database, slide, image, first, people)
            first += len(image.marks)
        database.executemany("INSERT INTO Persons (uid, name) VALUES (?, ?)", ((n, name) for name, n in people.items()))


def _insert(database: sqlite3.Connection, slide: int, image: MarkedImage, first: int, people: dict[str, int]) -> None:
    """The marks of one image; first: the number of the first of them."""
    ids = {label: nth for nth, label in enumerate(CLASSES, 1)}
    numbered = list(enumerate(image.marks, first))
    guids = (str(uuid.uuid5(uuid.NAMESPACE_OID, f"{image.name}\n{n}")) for n, _ in numbered)
    database.executemany(
        "INSERT INTO Annotations (uid, slide, type, description, guid, lastModified, agreedClass) "
        f"VALUES (?, ?, {SPOT}, '', ?, ?, ?)",
        ((n, slide, guid, _seconds(m), ids[m.label]) for (n, m), guid in zip(numbered, guids, strict=True)),
    )
    database.executemany(
        "INSERT INTO Annotations_coordinates (coordinateX, coordinateY, slide, annoId, orderIdx) "
        "VALUES (?, ?, ?, ?, 1)",
        ((round(mark.x_px), round(mark.y_px), slide, n) for n, mark in numbered),
    )
    database.executemany(
        "INSERT INTO Annotations_label (person, class, annoId) VALUES (?, ?, ?)",
        ((people[mark.reader] if mark.reader else 0, ids[mark.label], n) for n, mark in numbered),
    )


def _seconds(mark: Mark) -> float | None:
    """When it was marked, in seconds since 1970; None where it is not known."""
    try:
        then = datetime.fromisoformat(mark.time)
    except ValueError:
        return None
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()


def recognises(source: Source) -> bool:
    """Whether it is a database of SQLite."""
    with source.open() as file:
        return file.read(16) == b"SQLite format 3\0"


FORMAT = Format(
    "sliderunner",
    "SlideRunner database",
    (".sqlite", ".db"),
    read,
    write,
    Keeps(0.5, reader=True, time=True, image_size=True),
    recognises,
)
