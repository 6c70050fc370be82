"""Which locks a migration holds at its end: asked in its own transaction, since they go with it."""

HELD = (
    "SELECT coalesce(pg_catalog.string_agg(DISTINCT relation::text || ' ' || mode, ','), '') FROM pg_catalog.pg_locks"
    " WHERE locktype = 'relation' AND granted AND pid = pg_catalog.pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
)


def tell_locks(channel, guard, connection):
    """`connection`: SQLAlchemy's, still in the transaction."""
    (held,) = guard.row(connection, HELD)
    locks = [one.split(" ") for one in held.split(",") if one]
    channel.send({"event": {"kind": "locks", "locks": [{"relation": int(oid), "mode": mode} for oid, mode in locks]}})
