"""A comment on a mark, and whether its verdict settles a dispute of the readers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for table in ("event", "mark"):
        op.add_column(table, sa.Column("comment", sa.String(length=500), nullable=True))
        op.add_column(table, sa.Column("settles", sa.Boolean(), nullable=False, server_default=sa.false()))
