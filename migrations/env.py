"""Alembic's environment. The connection comes from migrations.runner, never from a file."""

from __future__ import annotations

from alembic import context

from shared.models import Record

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Record.metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
