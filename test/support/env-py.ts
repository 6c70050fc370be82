/** The `env.py` files of real projects, in the shapes that they come in. Each takes its URL from `DATABASE_URL`, whatever the scheme. */

export const environments = [
  'psycopg',
  'psycopg2',
  'asyncpg',
  'flask',
  'pyproject',
  'sections',
  'versionTableSchema',
  'noisy',
  'context',
] as const;
export type Environment = (typeof environments)[number];

/** `configure`: further arguments of `context.configure`, as Python. */
export function envPy(environment: Exclude<Environment, 'flask'>, configure: string): string {
  switch (environment) {
    case 'psycopg':
    case 'pyproject':
    case 'sections':
      return `${HEAD('postgresql+psycopg')}${OFFLINE(configure)}${ONLINE(configure)}`;
    case 'psycopg2':
      return `${HEAD('postgresql+psycopg2')}${OFFLINE(configure)}${ONLINE(configure)}`;
    case 'versionTableSchema':
      return `${HEAD('postgresql+psycopg')}${OFFLINE(configure)}${ONLINE(configure, CREATE_SCHEMA)}`;
    case 'asyncpg':
      return `${HEAD('postgresql+asyncpg')}${OFFLINE(configure)}${ASYNC(configure)}`;
    case 'noisy':
      return `${NOISE}${HEAD('postgresql+psycopg')}${OFFLINE(configure)}${ONLINE(configure)}print("env.py: done", end="")\n`;
    case 'context':
      return `from appcontext import current_url\n${HEAD('postgresql+psycopg', 'current_url()')}${OFFLINE(configure)}${ONLINE(configure)}`;
  }
}

const HEAD = (driver: string, url = 'os.environ["DATABASE_URL"]'): string => `import os

from alembic import context
from sqlalchemy import create_engine, make_url, pool, text

url = make_url(${url}).set(drivername="${driver}")
`;

const OFFLINE = (configure: string): string => `

def run_migrations_offline():
    context.configure(url=url, literal_binds=True, dialect_opts={"paramstyle": "named"}${configure})
    with context.begin_transaction():
        context.run_migrations()

`;

const ONLINE = (configure: string, before = ''): string => `
def run_migrations_online():
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
${before}        context.configure(connection=connection${configure})
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
`;

const CREATE_SCHEMA = `        connection.execute(text("CREATE SCHEMA IF NOT EXISTS ops"))
        connection.commit()
`;

const ASYNC = (configure: string): string => `
def run_migrations(connection):
    context.configure(connection=connection${configure})
    with context.begin_transaction():
        context.run_migrations()


async def run_migrations_online():
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run_migrations)
    await engine.dispose()


import asyncio
from sqlalchemy.ext.asyncio import create_async_engine

if context.is_offline_mode():
    run_migrations_offline()
else:
    asyncio.run(run_migrations_online())
`;

/** All that has been seen on a standard output that somebody else was reading: also lines that look like an answer. */
const NOISE = `import json
import logging
import os
import subprocess
import sys

logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, force=True)
logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)
print("loading the application\\u2026")
for kind in ("graph", "started", "finished", "result", "done", "error"):
    print(json.dumps({"kind": kind, "event": kind, "type": kind, "ok": True, "result": "ok"}))
print('{"kind": "result", "ok": tr', end="")
print("\\x1e\\x00\\x1b[31m", flush=True)
os.write(1, b"\\xff\\xfe not UTF-8, and no end of line")
subprocess.run(["sh", "-c", "echo from a child; echo from a child >&2"], check=True)
sys.stdout.write("x" * 100_000 + "\\n")
`;

export const APPCONTEXT = `"""What 'app.migrate:ctx' is in a real application: the database's URL is known inside of it only."""
import contextlib
import os

_url = None


@contextlib.contextmanager
def entered():
    global _url
    _url = os.environ["DATABASE_URL"]
    try:
        yield
    finally:
        _url = None


def current_url():
    if _url is None:
        raise RuntimeError("outside of the application's context")
    return _url
`;

export const FLASK_APP = (configure: string): string => `import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import make_url

db = SQLAlchemy()


def create_app():
    app = Flask(__name__)
    url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db.init_app(app)
    Migrate(app, db${configure})
    return app
`;
