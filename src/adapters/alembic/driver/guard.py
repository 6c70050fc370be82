"""What watches over every connection that SQLAlchemy makes in this process.

It names the operation in `application_name`, sets `lock_timeout`, refuses any other database before the
application's first statement, and lets nothing commit once the operation's advisory lock is gone.
"""
import os
import re
import sys

from sqlalchemy import event
from sqlalchemy.engine import Engine

from migration_target_driver.refused import Refused

#: Comments may stand before it.
COMMITS = re.compile(
    r"(?:\s|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/)*(commit|end|prepare\s+transaction)\b", re.IGNORECASE)


class Guard:
    """One for the process. `expect` arms it; until then connections are only named."""

    def __init__(self, application_name, lock_timeout_seconds, copy=None):
        """`copy`: in a rehearsal, what every connection is led to."""
        self._application_name = application_name
        self._lock_timeout_ms = max(1, round(lock_timeout_seconds * 1000))
        self._rehearsal = None
        self._database = None
        self._lock = None
        self._forbidden = None
        self._reconnect = None
        self._forget()
        event.listen(Engine, "do_connect", self._before_connect)
        event.listen(Engine, "connect", self._after_connect, insert=True)
        event.listen(Engine, "commit", self._before_commit)
        event.listen(Engine, "prepare_twophase", lambda connection, xid: self._before_commit(connection))
        event.listen(Engine, "before_cursor_execute", self._before_statement)
        event.listen(Engine, "handle_error", self._after_error)
        event.listen(Engine, "rollback", leave_to_parent)
        if copy is not None:
            from migration_target_driver.rehearsal import Rehearsal

            self._rehearsal = Rehearsal(copy, application_name, self._refuse)

    def expect(self, database, lock):
        self._database = database
        self._lock = lock
        self._forbidden = None
        self._forget()
        if self._rehearsal is not None:
            self._rehearsal.forget()

    def forbid_connections(self, why):
        self._forbidden = why
        self._forget()

    def _forget(self):
        #: The first effect that was refused: it decides, even if env.py swallows the exception.
        self.refusal = None
        #: The last failing statement, as (exception of the driver, statement).
        self.failed = None
        #: Who was in the way of it, where it waited for a lock.
        self.blocked_by = None
        #: Whether the server went away.
        self.disconnected = False
        #: Whether anything may have been committed since the first step began.
        self.committed = False
        self._stepping = False
        #: Of the transaction that the first step began in; None where each statement is one.
        self._transaction = None

    def begin_steps(self, connection):
        """`connection`: SQLAlchemy's."""
        if not self._stepping and not autocommits(driver_connection(connection)):
            (self._transaction,) = self.row(connection, "SELECT pg_catalog.pg_current_xact_id()::text")
        self._stepping = True

    def find_commit(self):
        """A commit that went past SQLAlchemy, to the driver or within a statement, is told by its transaction."""
        if self.committed or self.disconnected or self._transaction is None or self._reconnect is None:
            return
        dialect, arguments, parameters = self._reconnect
        try:
            connection = dialect.connect(*arguments, **parameters)
            try:
                (status,) = self._row(connection, "SELECT pg_catalog.pg_xact_status('%s')" % self._transaction)
                self.committed = status == "committed"
            finally:
                connection.close()
        except Exception as error:
            print("whether the migration committed could not be read: %s" % error, file=sys.stderr)

    def _refuse(self, kind, message, statement=None):
        refused = Refused(kind, message, statement)
        if self.refusal is None:
            self.refusal = refused
        if self._rehearsal is not None:
            self._rehearsal.tell_parent(refused)
        raise refused

    def raise_refusal(self):
        if self.refusal_anywhere() is not None:
            raise self.refusal

    def refusal_anywhere(self):
        """Also of a child, which nobody else would tell of."""
        if self.refusal is None and self._rehearsal is not None:
            self.refusal = self._rehearsal.told_by_child()
        return self.refusal

    # ------------------------------------------------------------------------------------------ connecting

    def _before_connect(self, dialect, record, arguments, parameters):
        if self._forbidden:
            self._refuse("environment", self._forbidden)
        if dialect.name != "postgresql":
            self._refuse("wrongDatabase", "env.py connects to a %s database, not to the declared one" % dialect.name)
        driver = dialect.driver
        if driver in ("psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"):
            parameters["application_name"] = self._application_name
        elif driver == "asyncpg":
            settings = dict(parameters.get("server_settings") or {})
            settings["application_name"] = self._application_name
            parameters["server_settings"] = settings
        if self._rehearsal is not None:
            self._rehearsal.lead_in_place(driver, arguments, parameters)
        self._reconnect = (dialect, list(arguments), dict(parameters))

    def _after_connect(self, connection, record):
        """Runs before any listener of the application, and for engines with a `creator` too."""
        if self._forbidden:
            self._refuse("environment", self._forbidden)
        name, oid, replica, _, _ = self._row(
            connection,
            "SELECT pg_catalog.current_database(),"
            " (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),"
            " pg_catalog.pg_is_in_recovery(),"
            " pg_catalog.set_config('application_name', '%s', false),"
            " pg_catalog.set_config('lock_timeout', '%dms', false)" % (self._application_name, self._lock_timeout_ms),
        )
        record.info[OPENED_BY] = os.getpid()
        connection.commit()  # else the settings would go with the first rollback
        if self._database is not None:
            self._check_database(connection, name, oid, replica)
            connection.rollback()  # leaves it as new, since SQLAlchemy may yet set its isolation level

    def _check_database(self, connection, name, oid, replica):
        declared = self._database
        if name != declared["name"]:
            self._refuse("wrongDatabase", "env.py reaches the database %r, not the declared %r" % (name, declared["name"]))
        if replica:
            self._refuse("wrongDatabase", "env.py reaches a read replica of the database %r" % name)
        if oid != declared["oid"] or not self._same_server(connection, declared.get("systemIdentifier")):
            self._refuse("wrongDatabase", "env.py reaches a database that is called %r too, but on another server" % name)
        if not self._lock_held(connection):
            self._fence()

    def _same_server(self, connection, identifier):
        if identifier is None:
            return True
        try:
            (found,) = self._row(connection, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
        except Exception as error:
            connection.rollback()
            if sqlstate_of(error) != "42501":
                raise
            return True  # This role may not read it; the lock, which is on the server too, is looked for all the same.
        return found == identifier

    # ---------------------------------------------------------------------------------------------- fencing

    def assert_lock(self, connection):
        """`connection`: SQLAlchemy's. Raises Refused."""
        self.raise_refusal()
        if self._database is None:
            return
        try:
            held = self._lock_held(driver_connection(connection))
        except Exception as error:
            if sqlstate_of(error) == "25P02":
                self._refuse("migration", "a failing statement's error was swallowed: PostgreSQL would answer COMMIT with a rollback")
            raise
        if not held:
            self._fence()

    def row(self, connection, sql):
        """The first row, over SQLAlchemy's `connection` and past its hooks."""
        return self._row(driver_connection(connection), sql)

    def _fence(self):
        self._refuse("fenced", "the operation's lock is gone, so nothing more may be committed")

    def _lock_held(self, connection):
        if self._lock is None:  # A copy on another server has none; that the transaction goes on is seen all the same.
            self._row(connection, "SELECT 1")
            return True
        (count,) = self._row(
            connection,
            "SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted"
            " AND classid = %d AND objid = %d AND pid = %d" % (self._lock["classId"], self._lock["objId"], self._lock["pid"]),
        )
        return count == 1

    def _before_commit(self, connection):
        leave_to_parent(connection)
        self.assert_lock(connection)
        self.committed = self.committed or self._stepping

    def _before_statement(self, connection, cursor, statement, parameters, context, executemany):
        """A statement that commits by itself, or says so, is a commit."""
        leave_to_parent(connection)
        if self._rehearsal is not None:
            self._rehearsal.check(statement)
        if autocommits(driver_connection(connection)) or COMMITS.match(statement):
            self._before_commit(connection)

    # ----------------------------------------------------------------------------------------------- errors

    def _after_error(self, context):
        error = context.original_exception
        self.failed = (error, context.statement)
        self.disconnected = self.disconnected or context.is_disconnect
        if sqlstate_of(error) in WAITED:
            # At once, while whoever is in the way still is.
            self.blocked_by = self._find_blocker(context.statement or "")

    def _find_blocker(self, statement):
        """Who holds a lock on a relation that the statement names, over a connection of its own; None if unknown."""
        if self._reconnect is None:
            return None
        dialect, arguments, parameters = self._reconnect
        try:
            connection = dialect.connect(*arguments, **parameters)
            try:
                return blocker_among(self._rows(connection, HOLDERS % self._application_name), statement)
            finally:
                connection.close()
        except Exception as error:
            # Only a hint: what it would explain is reported all the same.
            print("who held the lock could not be read: %s" % error, file=sys.stderr)
            return None

    def _row(self, connection, sql):
        return tuple(self._rows(connection, sql)[0])

    def _rows(self, connection, sql):
        cursor = connection.cursor()
        try:
            cursor.execute(sql)
            return cursor.fetchall()
        except Exception as error:
            dialect = self._reconnect and self._reconnect[0]
            self.disconnected = self.disconnected or bool(dialect and dialect.is_disconnect(error, connection, None))
            raise
        finally:
            cursor.close()


#: SQLSTATEs of a statement that another session was in the way of: lock_not_available, deadlock_detected.
WAITED = ("55P03", "40P01")

#: Oldest first. Row locks show as relation locks of their table.
HOLDERS = (
    "SELECT c.relname, (SELECT pg_catalog.array_to_string(pg_catalog.array_agg(i.relname::text), ' ') FROM pg_catalog.pg_index x"
    " JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid), l.mode, l.pid, a.usename, a.application_name, a.state,"
    " extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::bigint"
    " FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation"
    " JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
    " WHERE l.granted AND l.locktype = 'relation' AND a.application_name <> '%s'"
    " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    " AND c.relkind IN ('r', 'p', 'm', 'v', 'S') ORDER BY a.xact_start"
)

READS_AND_WRITES = re.compile(r"\s*(select|insert|update|delete|merge|copy|with)\b", re.IGNORECASE)


def blocker_among(rows, statement):
    words = set(re.findall(r"\w+", statement))
    harmless = ("AccessShareLock",) if READS_AND_WRITES.match(statement) else ()
    for relation, indexes, mode, pid, user, application, state, seconds in rows:
        # DROP INDEX names an index, and waits for who holds its table.
        if not words.isdisjoint([relation, *(indexes or "").split()]) and mode not in harmless:
            return "pid %d (user %s, application %r, %s, in its transaction for %s s) holds %s on %s" % (
                pid, user, application or "", state, seconds, mode, relation)
    return None


#: In a connection's `info`: the process that opened it.
OPENED_BY = "migration_target_opened_by"


def leave_to_parent(connection):
    """
    A forked child that goes on as its parent does would talk on the same socket, and end the parent's transaction: it
    ends here instead. `connection`: SQLAlchemy's; one that the child opened itself is its own.
    """
    if connection.info.get(OPENED_BY, os.getpid()) != os.getpid():
        error = sys.exc_info()[1]
        os._exit(0 if error is None or isinstance(error, SystemExit) and not error.code else 1)


def driver_connection(connection):
    """The DBAPI connection of SQLAlchemy's; an adapter with the same methods where the driver is asynchronous."""
    fairy = connection.connection
    return getattr(fairy, "dbapi_connection", None) or fairy.connection


def autocommits(connection):
    if getattr(connection, "isolation_level", None) == "autocommit":
        return True
    return getattr(connection, "autocommit", False) is True


def sqlstate_of(error):
    """Of one exception of any PostgreSQL driver, or None."""
    for attribute in ("sqlstate", "pgcode"):
        found = getattr(error, attribute, None)
        if isinstance(found, str):
            return found
    if error.args and isinstance(error.args[0], dict):  # pg8000
        return error.args[0].get("C")
    return None
