"""What is left of deleted fields; events, decisions and these rows can no longer be altered or taken out."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# REPLACE deletes without asking a trigger, so a row that is there already is refused at INSERT too.
_KEPT = {"event": "id = NEW.id OR op_id = NEW.op_id", "decision": "id = NEW.id", "tombstone": "id = NEW.id"}


def upgrade() -> None:
    op.create_table(
        "tombstone",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("case", sa.String(length=100), nullable=False),
        sa.Column("marks", sa.Integer(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(length=60), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstone")),
        sa.UniqueConstraint("field_id", name=op.f("uq_tombstone_field_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tombstone_digest"), "tombstone", ["digest"])
    for table, same in _KEPT.items():
        _refuse(table, "update", "UPDATE", f"rows of {table} are never altered")
        _refuse(
            table,
            "replace",
            "INSERT",
            f"rows of {table} are never replaced",
            f"EXISTS (SELECT 1 FROM {table} WHERE {same})",
        )
    for table in ("decision", "tombstone"):
        _refuse(table, "delete", "DELETE", f"rows of {table} are never deleted")
    # An event goes only with its field (which is gone when the cascade comes here), a field only with a tombstone.
    _refuse(
        "event", "delete", "DELETE", "an event is deleted only with its field",
        "EXISTS (SELECT 1 FROM field WHERE id = OLD.field_id)"
        " OR NOT EXISTS (SELECT 1 FROM tombstone WHERE field_id = OLD.field_id)",
    )  # fmt: skip
    _refuse(
        "field", "delete", "DELETE", "a field is deleted only with a tombstone",
        "NOT EXISTS (SELECT 1 FROM tombstone WHERE field_id = OLD.id)",
    )  # fmt: skip


def _refuse(table: str, name: str, what: str, says: str, when: str = "1") -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # 0009 makes those of PostgreSQL
    op.execute(
        f"CREATE TRIGGER {table}_{name} BEFORE {what} ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, '{says}'); END"
    )
