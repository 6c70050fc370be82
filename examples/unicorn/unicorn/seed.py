"""Fills an empty database with 232,200 rows: `python -m unicorn.seed`.

It works at each revision from 8d15f6a07c3b on: it looks at which columns there are. The rows are the same each time.
"""

import time

import sqlalchemy as sa

from unicorn.database import create_engine

# For each table: how many rows, and an SQL expression for each column that any revision has; i counts from 1.
TABLES: dict[str, tuple[int, dict[str, str]]] = {
    "organizations": (
        200,
        {
            "name": "(ARRAY['Aster','Birch','Cedar','Dahlia','Elm','Fern','Gorse','Hazel'])[1 + i % 8] || ' Works ' || i",
            "created_at": "timestamptz '2025-03-04 08:00+00' + i * interval '1 hour'",
        },
    ),
    "users": (
        20_000,
        {
            "organization_id": "1 + i % 200",
            "email": "'user' || i || '@example.com'",
            "full_name": "'Given' || i % 700 || ' Family' || i % 1300",
            "given_name": "'Given' || i % 700",
            "family_name": "'Family' || i % 1300",
            "last_seen_at": "timestamptz '2025-09-20 00:00+00' + i * interval '1 minute'",
            "created_at": "timestamptz '2025-03-20 08:00+00' + i * interval '5 minutes'",
        },
    ),
    "projects": (
        2_000,
        {
            "organization_id": "1 + i % 200",
            "name": "(ARRAY['Billing','Intranet','Logistics','Search','Website'])[1 + i % 5] || ' ' || i",
            "starts_on": "date '2025-04-01' + i % 180",
        },
    ),
    "tickets": (
        60_000,
        {
            "project_id": "1 + i % 2000",
            "reporter_id": "1 + i * 7 % 20000",
            "title": "(ARRAY['Cannot sign in','Export is slow','Page is empty','Typo on invoice','Wrong total'])[1 + i % 5]"
            " || ' (' || i || ')'",
            "status": "(ARRAY['open','in progress','resolved','closed','closed','closed'])[1 + i % 6]",
            "priority": "(ARRAY['normal','high','normal','low','low','low'])[1 + i % 6]",
            "created_at": "timestamptz '2025-04-01 06:00+00' + i * interval '4 minutes'",
        },
    ),
    "audit_log": (
        150_000,
        {
            "user_id": "1 + i * 13 % 20000",
            "action": "(ARRAY['sign in','sign out','open ticket','close ticket','export'])[1 + i % 5]",
            "client_address": "inet '10.0.0.0' + i % 65536",
            "client_hash": "encode(sha256(host(inet '10.0.0.0' + i % 65536)::bytea), 'hex')",
            "occurred_at": "timestamptz '2025-04-01 06:00+00' + i * interval '2 minutes'",
        },
    ),
}


def seed(connection: sa.Connection) -> dict[str, int]:
    """Inserts the rows on the server's side; says how many went into each table."""
    inspector = sa.inspect(connection)
    missing = [table for table in TABLES if not inspector.has_table(table)]
    if missing:
        raise SystemExit(f"There is no table {', '.join(missing)}. Migrate first: alembic upgrade head")
    if connection.scalar(sa.text("SELECT EXISTS (SELECT FROM organizations)")):
        raise SystemExit("The database is not empty. Create a new one: this fills empty ones only.")
    for table, (count, expressions) in TABLES.items():
        present = {column["name"] for column in inspector.get_columns(table)}
        columns = {name: expression for name, expression in expressions.items() if name in present}
        connection.execute(
            sa.text(
                f"INSERT INTO {table} ({', '.join(columns)})"
                f" SELECT {', '.join(columns.values())} FROM generate_series(1, {count}) AS i"
            )
        )
    return {table: count for table, (count, _) in TABLES.items()}


def main() -> None:
    started = time.monotonic()
    with create_engine().begin() as connection:
        rows = seed(connection)
    tables = ", ".join(f"{count:,} {table}" for table, count in rows.items())
    print(f"{sum(rows.values()):,} rows in {time.monotonic() - started:.1f} s: {tables}")


if __name__ == "__main__":
    main()
