"""Run by Alembic for every service: migrates over the connection that `sima_runtime.migrations` hands in."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema=context.config.attributes["schema"],
)
with context.begin_transaction():
    context.run_migrations()
