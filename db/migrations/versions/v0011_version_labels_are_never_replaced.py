"""INSERT OR REPLACE over a name or note of a version is refused too."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # PostgreSQL has no REPLACE
    op.execute(
        "CREATE TRIGGER version_label_replace BEFORE INSERT ON version_label "
        "WHEN EXISTS (SELECT 1 FROM version_label WHERE id = NEW.id) "
        "BEGIN SELECT RAISE(ABORT, 'rows of version_label are never replaced'); END"
    )
