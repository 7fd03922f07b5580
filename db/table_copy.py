"""All rows of one database into another, of whatever kinds the two are: streamed, counted, and told by digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select

from db.dialects.base import Database
from db.schema import Base, SecretRow

# In an order in which every row finds what it refers to. The key of the tokens stays where it is.
TABLES: tuple[Table, ...] = tuple(
    table for table in Base.metadata.sorted_tables if table.name != SecretRow.__tablename__
)
_AT_ONCE = 2000  # rows held in memory
_AS_TEXT = json.JSONEncoder(default=str, sort_keys=True)


@dataclass(frozen=True)
class Rows:
    """The rows of one table: how many, and a sha256 over all their values in the order of their keys."""

    number: int
    digest: str


def count_rows(connection: Connection) -> dict[str, int]:
    """table -> how many rows it has."""
    return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES}


def copy_rows(
    source: tuple[Database, Connection], target: tuple[Database, Connection], told: Callable[[int], object]
) -> Mapping[str, Rows]:
    """Add all rows of one to the other, which has none, and let its ids go on after them; table -> what was read.

    told: with the number of rows that were added. Nothing is committed.
    """
    copied = {}
    for table in TABLES:
        digest, number = hashlib.sha256(), 0
        for portion in _portions(source[1], table, digest):
            target[0].add_rows(target[1], table, portion)
            number += len(portion)
            told(len(portion))
        copied[table.name] = Rows(number, digest.hexdigest())
    target[0].set_last_ids(target[1], source[0].last_ids(source[1]))
    return copied


def read_rows(connection: Connection, told: Callable[[int], object]) -> Mapping[str, Rows]:
    """table -> what it holds."""
    found = {}
    for table in TABLES:
        digest, number = hashlib.sha256(), 0
        for portion in _portions(connection, table, digest):
            number += len(portion)
            told(len(portion))
        found[table.name] = Rows(number, digest.hexdigest())
    return found


def _portions(connection: Connection, table: Table, digest: hashlib._Hash) -> Iterator[Sequence[Row[Any]]]:
    """Rows a few at a time; the digest takes all of them."""
    wanted = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_AT_ONCE)
    for portion in connection.execute(wanted).partitions():
        digest.update("\n".join([_AS_TEXT.encode(tuple(row)) for row in portion]).encode())
        yield portion
