"""The tables. After a change here, write a migration: docs/data-model.md says how; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Named constraints: a migration that rebuilds a table can say which one it means.
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Utc(TypeDecorator[datetime]):
    """A time with zone; SQLite keeps it as UTC without one."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=_NAMES)


class FieldRow(Base):
    """One image, once."""

    __tablename__ = "field"
    # AUTOINCREMENT: the id of a deleted field is never given again, so that an old page cannot write to a new field.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    case: Mapped[str] = mapped_column(String(100), index=True)
    um_per_px: Mapped[float]
    scale_source: Mapped[str] = mapped_column(String(100))
    width_px: Mapped[int]
    height_px: Mapped[int]
    file_size: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Utc)


class PredictionRow(Base):
    """What one version found in one field at one µm/px."""

    __tablename__ = "prediction"
    __table_args__ = (UniqueConstraint("field_id", "version", "um_per_px"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    field_id: Mapped[int] = mapped_column(ForeignKey("field.id", ondelete="CASCADE"))
    version: Mapped[str] = mapped_column(String(100))
    um_per_px: Mapped[float]
    threshold: Mapped[float]
    doubt: Mapped[float]
    seconds: Mapped[float]
    notes: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Utc)


class ProposalRow(Base):
    """One candidate of a prediction; place 0 has the best score."""

    __tablename__ = "proposal"

    prediction_id: Mapped[int] = mapped_column(ForeignKey("prediction.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    x: Mapped[float]
    y: Mapped[float]
    score: Mapped[float]
    area_um2: Mapped[float]


class EventRow(Base):
    """One change by one reader; never altered, and deleted only with its field.

    target: the mark, or ":state", ":area", ":time". base, seq, client, sent_ms: as the browser said.
    """

    __tablename__ = "event"
    __table_args__ = (
        CheckConstraint("kind IN ('add', 'delete', 'restore', 'move', 'class', 'state', 'area', 'time')", "kind"),
        CheckConstraint("verdict IN ('mitosis', 'lookalike', 'unsure')", "verdict"),
        CheckConstraint("state IN ('in_review', 'complete', 'excluded')", "state"),
        Index(None, "field_id", "reader", "target"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    op_id: Mapped[str] = mapped_column(String(32), unique=True)
    field_id: Mapped[int] = mapped_column(ForeignKey("field.id", ondelete="CASCADE"))
    reader: Mapped[str] = mapped_column(String(60))
    client: Mapped[str] = mapped_column(String(64))
    seq: Mapped[int]
    base: Mapped[int]
    sent_ms: Mapped[float]
    at: Mapped[datetime] = mapped_column(Utc)
    kind: Mapped[str] = mapped_column(String(10))
    target: Mapped[str] = mapped_column(String(64))
    x: Mapped[float | None]
    y: Mapped[float | None]
    verdict: Mapped[str | None] = mapped_column(String(10))
    version: Mapped[str | None] = mapped_column(String(100))
    score: Mapped[float | None]
    state: Mapped[str | None] = mapped_column(String(10))
    x0: Mapped[float | None]
    y0: Mapped[float | None]
    x1: Mapped[float | None]
    y1: Mapped[float | None]
    seconds: Mapped[float | None]
    superseded: Mapped[bool]


class MarkRow(Base):
    """Derived from the events: each mark of each reader as it is now."""

    __tablename__ = "mark"

    field_id: Mapped[int] = mapped_column(ForeignKey("field.id", ondelete="CASCADE"), primary_key=True)
    reader: Mapped[str] = mapped_column(String(60), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    x: Mapped[float]
    y: Mapped[float]
    verdict: Mapped[str] = mapped_column(String(10))
    deleted: Mapped[bool]
    version: Mapped[str | None] = mapped_column(String(100))
    score: Mapped[float | None]


class ReviewRow(Base):
    """Derived from the events: the state of one reader's review of one field."""

    __tablename__ = "review"

    field_id: Mapped[int] = mapped_column(ForeignKey("field.id", ondelete="CASCADE"), primary_key=True)
    reader: Mapped[str] = mapped_column(String(60), primary_key=True)
    state: Mapped[str] = mapped_column(String(10))
    x0: Mapped[float | None]
    y0: Mapped[float | None]
    x1: Mapped[float | None]
    y1: Mapped[float | None]
    seconds: Mapped[float]
    rev: Mapped[int]
