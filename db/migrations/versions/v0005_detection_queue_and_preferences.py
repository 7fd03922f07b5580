"""The detection queue, preferences, fields that wait for their µm/px, and splits that nobody decided taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_COLUMNS = (
    '"id", "digest", "name", "case", "um_per_px", "scale_source", "width_px", "height_px", "file_size", "created_at", '
    '"look"'
)


def upgrade() -> None:
    _let_fields_wait_for_their_scale()
    op.create_table(
        "detection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=60), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=True),
        sa.Column("heartbeat", sa.DateTime(), nullable=True),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", name=op.f("ck_detection_state")),
        sa.ForeignKeyConstraint(
            ["field_id"], ["field.id"], name=op.f("fk_detection_field_id_field"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_detection")),
        sa.UniqueConstraint("field_id", "version", name=op.f("uq_detection_field_id_version")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_detection_state_id"), "detection", ["state", "id"])
    op.create_table(
        "preferences",
        sa.Column("user", sa.String(length=60), nullable=False),
        sa.Column("reader", sa.String(length=60), nullable=False),
        sa.Column("um_per_px", sa.Double(), nullable=True),
        sa.Column("field_diameter_mm", sa.Double(), nullable=False),
        sa.Column("version", sa.String(length=100), nullable=True),
        sa.Column("key_layout", sa.String(length=20), nullable=False),
        sa.Column("advance", sa.Boolean(), nullable=False),
        sa.Column("theme", sa.String(length=10), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_preferences")),
    )
    op.add_column("part", sa.Column("by", sa.String(length=60), nullable=False, server_default=""))
    _take_back_splits_that_no_run_used()


def _let_fields_wait_for_their_scale() -> None:
    """SQLite cannot make a column nullable: the table is made anew, and its ids go on where they were."""
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("field", "um_per_px", nullable=True)
        return
    op.execute("DROP TRIGGER event_delete")  # it names the table that is gone for a moment
    op.create_table(
        "field_new",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("case", sa.String(length=100), nullable=False),
        sa.Column("um_per_px", sa.Double(), nullable=True),
        sa.Column("scale_source", sa.String(length=100), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("file_size", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("look", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_field")),
        sa.UniqueConstraint("digest", name=op.f("uq_field_digest")),
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO field_new ({_COLUMNS}) SELECT {_COLUMNS} FROM field")
    # An id is never given twice, also not that of a field that was deleted last.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'field_new'")
    op.execute("INSERT INTO sqlite_sequence SELECT 'field_new', seq FROM sqlite_sequence WHERE name = 'field'")
    op.execute("DROP TABLE field")
    op.execute("ALTER TABLE field_new RENAME TO field")
    op.create_index(op.f("ix_field_case"), "field", ["case"])
    _refuse(
        "event", "an event is deleted only with its field",
        "EXISTS (SELECT 1 FROM field WHERE id = OLD.field_id)"
        " OR NOT EXISTS (SELECT 1 FROM tombstone WHERE field_id = OLD.field_id)",
    )  # fmt: skip
    _refuse(
        "field", "a field is deleted only with a tombstone",
        "NOT EXISTS (SELECT 1 FROM tombstone WHERE field_id = OLD.id)",
    )  # fmt: skip


def _take_back_splits_that_no_run_used() -> None:
    """Until now a look at the Retrain page wrote them; those that a run learnt from or was judged on stay."""
    if op.get_bind().dialect.name != "sqlite":
        return  # no store was there before 0009
    op.execute(
        """
        DELETE FROM part WHERE "case" NOT IN (
            SELECT CASE field."case" WHEN '' THEN 'field ' || substr(field.digest, 1, 16) ELSE field."case" END
            FROM run, json_each(run.split) AS side, json_each(side.value) AS one JOIN field ON field.id = one.value
        )
        """
    )


def _refuse(table: str, says: str, when: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, '{says}'); END"
    )
