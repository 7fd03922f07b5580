"""The tables. After a change here, write a migration: docs/data-model.md says how; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
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
        """A time with zone, as the column keeps it."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What the column keeps, as a time in UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """The base of all tables."""

    metadata = MetaData(naming_convention=_NAMES)
    # 64 bits on both; SQLite numbers rows by itself only where it reads INTEGER.
    type_annotation_map = {int: BigInteger().with_variant(Integer(), "sqlite")}  # noqa: RUF012


class FieldRow(Base):
    """One image, once. um_per_px: NULL while nobody has said; such a field waits and is not reviewed.

    look: mitosis_core.image.appearance, empty on bare glass; NULL until it has been computed.
    """

    __tablename__ = "field"
    # AUTOINCREMENT: the id of a deleted field is never given again, so that an old page cannot write to a new field.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    case: Mapped[str] = mapped_column(String(100), index=True)
    um_per_px: Mapped[float | None]
    scale_source: Mapped[str] = mapped_column(String(100))
    width_px: Mapped[int]
    height_px: Mapped[int]
    file_size: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Utc)
    look: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))


class PredictionRow(Base):
    """What one version found in one field at one µm/px."""

    __tablename__ = "prediction"
    __table_args__ = (UniqueConstraint("field_id", "version", "um_per_px"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    field_id: Mapped[int] = mapped_column(ForeignKey("field.id", ondelete="CASCADE"))
    version: Mapped[str] = mapped_column(String(100))
    um_per_px: Mapped[float]
    threshold: Mapped[float]
    uncertainty: Mapped[float] = mapped_column("doubt")  # the name that stored databases have
    seconds: Mapped[float]
    notes: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Utc)


class DetectionRow(Base):
    """One version asked to detect in one field: the queue. heartbeat: the last sign of life of its worker.

    message: why it waits or failed. attempts: how often it was begun. seconds: what it took.
    """

    __tablename__ = "detection"
    __table_args__ = (
        UniqueConstraint("field_id", "version"),
        CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", "state"),
        Index(None, "state", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    field_id: Mapped[int] = mapped_column(ForeignKey("field.id", ondelete="CASCADE"))
    version: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(10))
    message: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(60))
    attempts: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Utc)
    started_at: Mapped[datetime | None] = mapped_column(Utc)
    heartbeat: Mapped[datetime | None] = mapped_column(Utc)
    finished_at: Mapped[datetime | None] = mapped_column(Utc)
    seconds: Mapped[float | None]


class PreferencesRow(Base):
    """What one user has chosen, the same on every page and tomorrow; see db.preferences."""

    __tablename__ = "preferences"

    user: Mapped[str] = mapped_column(String(60), primary_key=True)
    reader: Mapped[str] = mapped_column(String(60))
    um_per_px: Mapped[float | None]
    field_diameter_mm: Mapped[float]
    version: Mapped[str | None] = mapped_column(String(100))
    key_layout: Mapped[str] = mapped_column(String(20))
    advance: Mapped[bool]
    theme: Mapped[str] = mapped_column(String(10), default="system")  # not used: each browser keeps its own
    at: Mapped[datetime] = mapped_column(Utc)


class AssignmentRow(Base):
    """A reader who was asked to review a field."""

    __tablename__ = "assignment"

    field_id: Mapped[int] = mapped_column(ForeignKey("field.id", ondelete="CASCADE"), primary_key=True)
    reader: Mapped[str] = mapped_column(String(60), primary_key=True)
    by: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime] = mapped_column(Utc)


class IncomingFileRow(Base):
    """A file that came in and was refused, or one of the watched folder that was dealt with; see db.incoming_files.

    size, modified_ns: of the file in the watched folder as it was read, 0 for an upload. problem: "" when it became a
    field.
    """

    __tablename__ = "incoming_file"
    __table_args__ = (UniqueConstraint("name", "watched"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(500))
    watched: Mapped[bool]
    size: Mapped[int]
    modified_ns: Mapped[int]
    problem: Mapped[str] = mapped_column(Text)
    dismissed: Mapped[bool]
    by: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime] = mapped_column(Utc)


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
    """One change by one reader; never altered, and deleted only with its field: triggers refuse all else.

    target: the mark, or ":state", ":area", ":time". base, seq, client, sent_ms: as the browser said. comment: on the
    mark, as it is after the change. settles: see `db.replay.Mark`.
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
    comment: Mapped[str | None] = mapped_column(String(500))
    settles: Mapped[bool] = mapped_column(server_default=false())


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
    comment: Mapped[str | None] = mapped_column(String(500))
    settles: Mapped[bool] = mapped_column(server_default=false())


class ReviewRow(Base):
    """Derived from the events: the state of one reader's review of one field, and its standing marks by verdict."""

    __tablename__ = "review"
    __table_args__ = (Index(None, "reader"),)

    field_id: Mapped[int] = mapped_column(ForeignKey("field.id", ondelete="CASCADE"), primary_key=True)
    reader: Mapped[str] = mapped_column(String(60), primary_key=True)
    state: Mapped[str] = mapped_column(String(10))
    x0: Mapped[float | None]
    y0: Mapped[float | None]
    x1: Mapped[float | None]
    y1: Mapped[float | None]
    seconds: Mapped[float]
    rev: Mapped[int]
    mitoses: Mapped[int] = mapped_column(server_default="0")
    lookalikes: Mapped[int] = mapped_column(server_default="0")
    unsure: Mapped[int] = mapped_column(server_default="0")


class SplitRow(Base):
    """Whether a case trains or is held out: written when a run starts, or by a person."""

    __tablename__ = "part"

    case: Mapped[str] = mapped_column(String(120), primary_key=True)
    held_out: Mapped[bool]
    by: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime] = mapped_column(Utc)


class RunRow(Base):
    """One training: what it learns from, how far it is, how it ended."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'done', 'cancelled', 'failed', 'lost')", "state"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(10))
    by: Mapped[str] = mapped_column(String(60))
    base_version: Mapped[str] = mapped_column(String(100))
    source: Mapped[str] = mapped_column(String(60))
    last_event: Mapped[int]
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    split: Mapped[dict[str, Any]] = mapped_column(JSON)
    code: Mapped[str] = mapped_column(String(60))
    progress: Mapped[dict[str, Any]] = mapped_column(JSON)
    message: Mapped[str] = mapped_column(Text)
    version: Mapped[str | None] = mapped_column(String(100))
    cancel_asked: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(Utc)
    started_at: Mapped[datetime | None] = mapped_column(Utc)
    heartbeat: Mapped[datetime | None] = mapped_column(Utc)
    finished_at: Mapped[datetime | None] = mapped_column(Utc)


class VersionRow(Base):
    """A version beside the shipped ones; its weights and card are versions/<name>.safetensors and .json."""

    __tablename__ = "version"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    parent: Mapped[str | None] = mapped_column(String(100))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    comparison: Mapped[dict[str, Any]] = mapped_column(JSON)
    by: Mapped[str] = mapped_column(String(60))
    created_at: Mapped[datetime] = mapped_column(Utc)
    deleted_at: Mapped[datetime | None] = mapped_column(Utc)


class TombstoneRow(Base):
    """A field that was deleted: what is still known of it. Never altered. A field goes only with one of these."""

    __tablename__ = "tombstone"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    field_id: Mapped[int] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(200))
    case: Mapped[str] = mapped_column(String(100))
    marks: Mapped[int]
    events: Mapped[int]
    by: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime] = mapped_column(Utc)


class DecisionRow(Base):
    """What people decided about versions; never altered. The champion follows from it."""

    __tablename__ = "decision"
    __table_args__ = (
        CheckConstraint("kind IN ('promote', 'reject', 'roll_back', 'upload', 'delete')", "kind"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    version: Mapped[str] = mapped_column(String(100))
    by: Mapped[str] = mapped_column(String(60))
    note: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(Utc)


class VersionLabelRow(Base):
    """What people call a version and note about it; never altered, the latest counts."""

    __tablename__ = "version_label"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(60))
    note: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime] = mapped_column(Utc)


class SecretRow(Base):
    """The key by which the servers of one PostgreSQL sign tokens; on SQLite it lies in secret.key. Never copied."""

    __tablename__ = "secret"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)
