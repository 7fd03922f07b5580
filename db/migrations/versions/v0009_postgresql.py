"""The key of the tokens where servers share it; what a reader's queue is counted by; on PostgreSQL, what SQLite gives by itself or by the steps before."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_NEVER = {
    "event": "rows of event are never altered",
    "decision": "rows of decision are never altered or deleted",
    "tombstone": "rows of tombstone are never altered or deleted",
    "version_label": "version_label is append-only",
}


def upgrade() -> None:
    op.create_table(
        "secret",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secret")),
    )
    op.create_index(op.f("ix_mark_reader_field_id_verdict_deleted"), "mark", ["reader", "field_id", "verdict", "deleted"])
    op.create_index(op.f("ix_review_reader"), "review", ["reader"])
    if op.get_bind().dialect.name == "postgresql":
        _make_whole_numbers_long()
        _order_texts_by_their_characters()
        _refuse_changes_of_what_was_recorded()


def _make_whole_numbers_long() -> None:
    """SQLite's have 64 bits everywhere."""
    for table, column in _columns("integer"):
        op.execute(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE BIGINT')
    for (sequence,) in op.get_bind().execute(sa.text("SELECT sequencename FROM pg_sequences")).fetchall():
        op.execute(f'ALTER SEQUENCE "{sequence}" AS BIGINT')


def _order_texts_by_their_characters() -> None:
    """As SQLite and Python do, whatever language the server speaks."""
    for table, column in _columns("character varying"):
        if table != "alembic_version":
            size = op.get_bind().execute(
                sa.text("SELECT character_maximum_length FROM information_schema.columns "
                        "WHERE table_schema = current_schema() AND table_name = :table AND column_name = :column"),
                {"table": table, "column": column},
            ).scalar_one()  # fmt: skip
            op.execute(f'ALTER TABLE "{table}" ALTER COLUMN "{column}" TYPE VARCHAR({size}) COLLATE "C"')


def _columns(kind: str) -> list[tuple[str, str]]:
    wanted = sa.text(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND data_type = :kind ORDER BY table_name, ordinal_position"
    )
    return [(table, column) for table, column in op.get_bind().execute(wanted, {"kind": kind})]


def _refuse_changes_of_what_was_recorded() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'restrict_violation'; END $$
        """
    )
    for table, says in _NEVER.items():
        _refuse(table, "UPDATE", "ROW", says)
        _refuse(table, "TRUNCATE", "STATEMENT", says)
        if table != "event":
            _refuse(table, "DELETE", "ROW", says)
    # An event goes only with its field (which is gone when the cascade comes here), a field only with a tombstone.
    op.execute(
        """
        CREATE FUNCTION refuse_event_delete() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT 1 FROM field WHERE id = OLD.field_id)
            OR NOT EXISTS (SELECT 1 FROM tombstone WHERE field_id = OLD.field_id) THEN
                RAISE EXCEPTION 'an event is deleted only with its field' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN OLD;
        END $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION refuse_field_delete() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT EXISTS (SELECT 1 FROM tombstone WHERE field_id = OLD.id) THEN
                RAISE EXCEPTION 'a field is deleted only with a tombstone' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN OLD;
        END $$
        """
    )
    for table in ("event", "field"):
        op.execute(
            f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} FOR EACH ROW "
            f"EXECUTE FUNCTION refuse_{table}_delete()"
        )


def _refuse(table: str, what: str, each: str, says: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{what.lower()} BEFORE {what} ON {table} FOR EACH {each} EXECUTE FUNCTION refuse('{says}')"
    )
