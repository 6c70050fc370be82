"""Where the data is: one URL, from the environment; and which revisions of it this code works with."""

import os

import sqlalchemy as sa

# The newest, and the one before it, which only lacks an index.
WORKS_AT = frozenset({"5e2a9c41d7b0", "c83f0b6d19e4"})


def create_engine() -> sa.Engine:
    """psycopg is the driver, whatever the URL's scheme says (`postgres://`, `postgresql://`)."""
    text = os.environ.get("DATABASE_URL", "")
    _, separator, rest = text.partition("://")
    if not separator:
        raise SystemExit("DATABASE_URL is no URL. Try: export DATABASE_URL=postgresql://unicorn:password@localhost/unicorn_db")
    return sa.create_engine(f"postgresql+psycopg://{rest}", pool_pre_ping=True)


def revision(connection: sa.Connection) -> str | None:
    """Which revision the database is at; None: at none yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
