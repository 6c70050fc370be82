"""Where the data is: one URL, from the environment."""

import os

import sqlalchemy as sa


def database_url() -> sa.URL:
    """DATABASE_URL, with psycopg as its driver whatever its scheme says (`postgres://`, `postgresql://`)."""
    text = os.environ.get("DATABASE_URL")
    if not text:
        raise SystemExit("DATABASE_URL is not set. Try: export DATABASE_URL=postgresql://user:password@localhost/unicorn_db")
    _, separator, rest = text.partition("://")
    if not separator:
        raise SystemExit("DATABASE_URL is not a URL: it has no scheme. Start it with postgresql://")
    return sa.make_url(f"postgresql+psycopg://{rest}")


def create_engine() -> sa.Engine:
    """An engine without a pool: every user of it here needs one connection, once."""
    return sa.create_engine(database_url(), poolclass=sa.NullPool)
