"""Names and notes of versions."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "version_label",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=60), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version_label")),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name != "sqlite":
        return  # 0009 makes the triggers of PostgreSQL
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER version_label_{change.lower()} BEFORE {change} ON version_label "
            "BEGIN SELECT RAISE(ABORT, 'version_label is append-only'); END"
        )
