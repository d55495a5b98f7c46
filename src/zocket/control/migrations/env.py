"""How Alembic runs here: inside the transaction that `database.migrate` has opened, never on its own connection."""

from __future__ import annotations

from alembic import context

from zocket.control.records import Record

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Record.metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the transaction is the caller's: Alembic must neither begin nor commit one
)
context.run_migrations()
