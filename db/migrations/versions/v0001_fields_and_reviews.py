"""Fields, predictions, review events and what follows from them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "field",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("case", sa.String(length=100), nullable=False),
        sa.Column("um_per_px", sa.Double(), nullable=False),
        sa.Column("scale_source", sa.String(length=100), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("file_size", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_field")),
        sa.UniqueConstraint("digest", name=op.f("uq_field_digest")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("field", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_field_case"), ["case"], unique=False)

    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("op_id", sa.String(length=32), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(length=60), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("base", sa.Integer(), nullable=False),
        sa.Column("sent_ms", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("x", sa.Double(), nullable=True),
        sa.Column("y", sa.Double(), nullable=True),
        sa.Column("verdict", sa.String(length=10), nullable=True),
        sa.Column("version", sa.String(length=100), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=True),
        sa.Column("x0", sa.Double(), nullable=True),
        sa.Column("y0", sa.Double(), nullable=True),
        sa.Column("x1", sa.Double(), nullable=True),
        sa.Column("y1", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('add', 'delete', 'restore', 'move', 'class', 'state', 'area', 'time')", name=op.f("ck_event_kind")
        ),
        sa.CheckConstraint("state IN ('in_review', 'complete', 'excluded')", name=op.f("ck_event_state")),
        sa.CheckConstraint("verdict IN ('mitosis', 'lookalike', 'unsure')", name=op.f("ck_event_verdict")),
        sa.ForeignKeyConstraint(["field_id"], ["field.id"], name=op.f("fk_event_field_id_field"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sa.UniqueConstraint("op_id", name=op.f("uq_event_op_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_event_field_id_reader_target"), ["field_id", "reader", "target"], unique=False
        )

    op.create_table(
        "mark",
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(length=60), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("verdict", sa.String(length=10), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("version", sa.String(length=100), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["field_id"], ["field.id"], name=op.f("fk_mark_field_id_field"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("field_id", "reader", "id", name=op.f("pk_mark")),
    )
    op.create_table(
        "prediction",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=100), nullable=False),
        sa.Column("um_per_px", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("doubt", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["field_id"], ["field.id"], name=op.f("fk_prediction_field_id_field"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction")),
        sa.UniqueConstraint("field_id", "version", "um_per_px", name=op.f("uq_prediction_field_id_version_um_per_px")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "review",
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("reader", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("x0", sa.Double(), nullable=True),
        sa.Column("y0", sa.Double(), nullable=True),
        sa.Column("x1", sa.Double(), nullable=True),
        sa.Column("y1", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["field_id"], ["field.id"], name=op.f("fk_review_field_id_field"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("field_id", "reader", name=op.f("pk_review")),
    )
    op.create_table(
        "proposal",
        sa.Column("prediction_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("area_um2", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["prediction.id"], name=op.f("fk_proposal_prediction_id_prediction"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prediction_id", "place", name=op.f("pk_proposal")),
    )
