"""Alembic's entry: runs the revisions on the connection it is given."""

from alembic import context

from jarvis_recorder.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
