"""Run by Alembic for every migration, on the connection and in the transaction that `db.migrate` opened."""

from typing import Any, Literal

from alembic import context

from db.schema import Base, Utc


def _as_plain_type(kind: str, item: Any, _: object) -> str | Literal[False]:
    """A migration must not change when the program does, so it names no type of ours."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, Utc) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_as_plain_type,
)
with context.begin_transaction():
    context.run_migrations()
