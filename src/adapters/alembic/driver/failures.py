"""What went wrong, as a MigrationError: kind, place, statement, SQLSTATE, who was in the way."""
import os

from alembic.util import CommandError

from migration_target_driver.guard import sqlstate_of
from migration_target_driver.refused import Refused

LONGEST = 4000

BY_SQLSTATE = {
    "55P03": "lockTimeout",
    "40P01": "lockTimeout",
    "53200": "outOfMemory",
    "53300": "connectionLost",
    # A statement_timeout, or somebody's pg_cancel_backend.
    "57014": "timedOut",
}


class Stop(Exception):
    """A reason of our own not to go on."""


def chain(error):
    """An exception with all that it was raised from, the outermost first."""
    found, todo = [], [error]
    while todo:
        one = todo.pop(0)
        if one is None or any(one is other for other in found):
            continue
        found.append(one)
        todo.append(getattr(one, "orig", None) if isinstance(getattr(one, "orig", None), BaseException) else None)
        todo.append(one.__cause__)
        todo.extend(getattr(one, "exceptions", ()))
        todo.append(None if one.__suppress_context__ else one.__context__)
    return found


def kind_of(errors, disconnected, running, url_is_ours):
    state = next(filter(None, map(sqlstate_of, errors)), None)
    if state in BY_SQLSTATE:
        return BY_SQLSTATE[state], state
    if disconnected or (state or "").startswith(("08", "57P0")):
        return "connectionLost", state
    unreachable = any(type(e).__name__ == "OperationalError" or isinstance(e, (ConnectionError, TimeoutError)) for e in errors)
    if not running and url_is_ours and unreachable and state is None:
        return "connectionLost", state
    return ("migration" if running else "environment"), state


def place_of(errors, folders):
    """The innermost line of the user's that raised: of a migration if there is one, else of the script folder, else of the project."""
    for folder in folders:
        for error in errors:
            if isinstance(error, SyntaxError) and error.filename and _inside(error.filename, folder):
                return os.path.relpath(error.filename), error.lineno
            place = None
            trace = error.__traceback__
            while trace is not None:
                name = trace.tb_frame.f_code.co_filename
                if _inside(name, folder):
                    place = os.path.relpath(name), trace.tb_lineno
                trace = trace.tb_next
            if place:
                return place
    return None, None


def _inside(name, folder):
    if name.startswith("<") or os.sep + "site-packages" + os.sep in name[len(folder):]:
        return False
    return os.path.realpath(name).startswith(os.path.realpath(folder) + os.sep)


def message_of(errors):
    """The driver's own words where a statement failed: SQLAlchemy's would repeat the parameters, which are data."""
    error = next((e for e in errors if sqlstate_of(e)), None)
    while error is not None and error.__cause__ is not None and sqlstate_of(error.__cause__):
        error = error.__cause__  # asyncpg's own, below SQLAlchemy's adapter
    if error is None:
        error = next((e.orig for e in errors if isinstance(getattr(e, "orig", None), BaseException)), errors[0])
    if isinstance(error, SystemExit):
        return "sys.exit(%r) was called" % (error.code,)
    text = str(error).strip()
    if error.args and isinstance(error.args[0], dict):  # pg8000
        text = str(error.args[0].get("M", text))
    if isinstance(error, SyntaxError):
        text = error.msg
    plain = sqlstate_of(error) or isinstance(error, (Stop, Refused, CommandError))
    if not text or not plain:
        text = ": ".join(filter(None, (type(error).__name__, text)))
    return text[:LONGEST]


def describe(error, guard, running, folders, url_is_ours):
    """`running`: whether any migration had been started."""
    errors = chain(error)
    kind, state = kind_of(errors, guard.disconnected, running, url_is_ours)
    statement = None
    if guard.failed is not None and any(guard.failed[0] is e for e in errors):
        statement = guard.failed[1]
    file, line = place_of(errors, folders)
    return {
        "kind": kind,
        "message": message_of(errors),
        "sqlstate": state,
        "statement": statement[:LONGEST] if statement else None,
        "file": file,
        "line": line,
        "blockedBy": guard.blocked_by if kind == "lockTimeout" else None,
    }
