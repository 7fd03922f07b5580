"""A review's numbers are of the marks inside the area that was reviewed."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for column, verdict in (("mitoses", "mitosis"), ("lookalikes", "lookalike"), ("unsure", "unsure")):
        op.execute(
            f"UPDATE review SET {column} = (SELECT count(*) FROM mark WHERE mark.field_id = review.field_id "
            f"AND mark.reader = review.reader AND mark.verdict = '{verdict}' AND NOT mark.deleted "
            "AND mark.x + 0.5 >= review.x0 AND mark.x + 0.5 < review.x1 "
            "AND mark.y + 0.5 >= review.y0 AND mark.y + 0.5 < review.y1) WHERE review.x0 IS NOT NULL"
        )
