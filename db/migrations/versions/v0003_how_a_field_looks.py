"""How a field looks, in a few numbers; unknown for the fields that are there already."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("field", sa.Column("look", sa.JSON(), nullable=True))
