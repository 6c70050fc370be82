"""Runs the migrations against the database that DATABASE_URL names."""

from logging.config import fileConfig

from alembic import context

from unicorn.database import create_engine, database_url
from unicorn.models import Base

if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)


def run_offline() -> None:
    """Prints the SQL instead of running it: `alembic upgrade head --sql`."""
    context.configure(
        url=database_url(),
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Runs all migrations in one transaction: either every one of them, or none."""
    with create_engine().connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
