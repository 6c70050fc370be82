"""Runs the migrations against the database that DATABASE_URL names, all in one transaction."""

from alembic import context

from ops_center.database import create_engine

with create_engine().connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
