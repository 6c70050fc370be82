"""Whether a statement reaches beyond the database that it runs in, as far as its text tells.

A role belongs to the whole server, and dblink to wherever it leads: on a copy they would be no rehearsal, but the real
thing. Only what a statement does counts, not what the strings in it say; but a DO block and the body of a function are
searched as a whole, with the statements that they put together.
"""
import functools
from collections import namedtuple

from migration_target_driver.sql_tokens import NAME, SIGN, STRING, WORD, tokens

#: `what`: the kind of statement, e.g. `CREATE ROLE`; `why`: what it has to do with more than this database.
Reach = namedtuple("Reach", "what why")

SERVER = "it changes the whole server, not one database"
ELSEWHERE = "it leads out of the database, to another one or to another server"
FILES = "it uses a file or a program on the server's machine"
SESSIONS = "it ends what other sessions do, whatever database they are in"

SHARED = {"DATABASE", "ROLE", "USER", "GROUP", "TABLESPACE"}
#: Also named by COMMENT and SECURITY LABEL.
SHARED_OR_LINKED = SHARED | {"SUBSCRIPTION"}
PRIVILEGES_ON = {"DATABASE", "TABLESPACE", "PARAMETER"}

#: Functions by what they have to do with more than this database. A name that ends with _ stands for all that begin so.
FUNCTIONS = {
    ELSEWHERE: ("dblink", "dblink_"),
    SESSIONS: ("pg_terminate_backend", "pg_cancel_backend"),
    FILES: (
        "lo_import", "lo_export", "pg_file_", "pg_execute_server_program", "pg_logdir_ls",
    ),
    SERVER: (
        "pg_create_logical_replication_slot", "pg_create_physical_replication_slot", "pg_copy_logical_replication_slot",
        "pg_copy_physical_replication_slot", "pg_drop_replication_slot", "pg_replication_slot_advance",
        "pg_sync_replication_slots", "pg_logical_slot_get_changes", "pg_logical_slot_get_binary_changes",
        "pg_replication_origin_", "pg_switch_wal", "pg_create_restore_point", "pg_backup_start", "pg_backup_stop",
        "pg_start_backup", "pg_stop_backup", "pg_promote", "pg_wal_replay_", "pg_reload_conf", "pg_rotate_logfile",
        "pg_stat_reset_shared", "pg_stat_reset_slru", "pg_stat_reset_replication_slot",
        "pg_stat_reset_subscription_stats", "pg_stat_statements_reset",
    ),
}
EXACT = {name: why for why, names in FUNCTIONS.items() for name in names if not name.endswith("_")}
PREFIXES = {name: why for why, names in FUNCTIONS.items() for name in names if name.endswith("_")}

#: Before a name and a parenthesis, these make it no call: `INSERT INTO dblink (url)`, `DROP FUNCTION dblink(text)`.
NO_CALL_AFTER = {"FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "INTO", "TABLE", "EXISTS", "REFERENCES"}
#: These name functions without calling them.
NAMES_FUNCTIONS = {"DROP", "GRANT", "REVOKE", "COMMENT", "SECURITY"}

#: What a statement of PL/pgSQL may follow.
STATEMENT_AFTER = {"BEGIN", "THEN", "ELSE", "LOOP"}
#: Statements of PL/pgSQL whose strings are data, or messages.
ONLY_SAY = {"RAISE", "INSERT", "UPDATE", "DELETE", "COMMENT"}
DEEPEST = 5


@functools.lru_cache(maxsize=512)
def reach(sql):
    """The first part of `sql`, one statement or several, that reaches beyond; None where nothing does."""
    for statement in _statements(tokens(sql)):
        found = _head(statement, 0) or _call(statement) or _bodies(statement)
        if found:
            return found
    return None


def reach_of_script(text):
    """The same of a text in which statements are only somewhere, as on a command line."""
    return _inside(text, 0, anywhere=True)


def _statements(all_tokens):
    statement = []
    for token in all_tokens:
        if token == (SIGN, ";"):
            yield statement
            statement = []
        else:
            statement.append(token)
    yield statement


def _word(statement, at):
    """The word there; None for a quoted name, a string, the end."""
    return statement[at][1] if 0 <= at < len(statement) and statement[at][0] == WORD else None


def _head(statement, at):
    """What begins at that token."""
    first, second = _word(statement, at), _word(statement, at + 1)
    if first in ("CREATE", "ALTER", "DROP"):
        return _definition(statement, at, first, second)
    if first == "REASSIGN" and second == "OWNED":
        return Reach("REASSIGN OWNED", SERVER)
    if first in ("GRANT", "REVOKE"):
        return _privileges(statement, at, first)
    if first == "COMMENT" and second == "ON" and _word(statement, at + 2) in SHARED_OR_LINKED:
        return Reach("COMMENT ON " + _word(statement, at + 2), SERVER)
    if first == "SECURITY" and second == "LABEL":
        on = at + 2 if _word(statement, at + 2) == "ON" else at + 4
        if _word(statement, on) == "ON" and _word(statement, on + 1) in SHARED_OR_LINKED:
            return Reach("SECURITY LABEL ON " + _word(statement, on + 1), SERVER)
    if first == "IMPORT" and second == "FOREIGN":
        return Reach("IMPORT FOREIGN SCHEMA", ELSEWHERE)
    if first == "COPY":
        return _copy(statement, at)
    return None


def _definition(statement, at, first, second):
    if second == "USER" and _word(statement, at + 2) == "MAPPING":
        # With one a foreign table could be written through, to where it lives; a copy carries none.
        return None if first == "DROP" else Reach(first + " USER MAPPING", ELSEWHERE)
    if second in SHARED:
        return Reach("%s %s" % (first, second), SERVER)
    if second == "SUBSCRIPTION":
        return Reach("%s SUBSCRIPTION" % first, ELSEWHERE)
    if (first, second) in (("ALTER", "SYSTEM"), ("DROP", "OWNED")):
        return Reach("%s %s" % (first, second), SERVER)
    if second == "FOREIGN" and any(
        (WORD, "PROGRAM") == token and statement[i + 1][0] == STRING for i, token in enumerate(statement[:-1])
    ):
        return Reach("%s FOREIGN TABLE with a program" % first, FILES)
    return None


def _privileges(statement, at, first):
    """On an object, or else a role's membership."""
    depth = 0
    for i in range(at + 1, len(statement)):
        kind, text = statement[i]
        if (kind, text) == (SIGN, ";"):
            return None
        depth += {"(": 1, ")": -1}.get(text, 0) if kind == SIGN else 0
        if kind == WORD and depth == 0:
            if text == "ON":
                on = _word(statement, i + 1)
                return Reach("%s … ON %s" % (first, on), SERVER) if on in PRIVILEGES_ON else None
            if text in ("TO", "FROM"):
                return Reach("%s of a role" % first, SERVER)
    return None


def _copy(statement, at):
    depth = 0
    for i in range(at + 1, len(statement)):
        kind, text = statement[i]
        depth += {"(": 1, ")": -1}.get(text, 0) if kind == SIGN else 0
        if kind == WORD and depth == 0 and text in ("FROM", "TO"):
            target = _word(statement, i + 1)
            if target in ("STDIN", "STDOUT"):
                return None
            return Reach("COPY … %s %s" % (text, "PROGRAM" if target == "PROGRAM" else "a file"), FILES)
    return None


def _call(statement):
    if _word(statement, 0) in NAMES_FUNCTIONS:
        return None
    for i, (kind, text) in enumerate(statement[:-1]):
        if kind not in (WORD, NAME) or statement[i + 1] != (SIGN, "("):
            continue
        name = text.lower() if kind == WORD else text
        why = EXACT.get(name) or next((why for prefix, why in PREFIXES.items() if name.startswith(prefix)), None)
        if why is not None and _word(statement, _before_name(statement, i)) not in NO_CALL_AFTER:
            return Reach("%s()" % name, why)
    return None


def _before_name(statement, at):
    """Past the schema that a name is qualified with."""
    while at >= 2 and statement[at - 1] == (SIGN, "."):
        at -= 2
    return at - 1


def _bodies(statement):
    if not _has_body(statement):
        return None
    return next(filter(None, (_inside(text, 0) for kind, text in statement if kind == STRING)), None)


def _has_body(statement):
    first = _word(statement, 0)
    if first == "CREATE":
        at = 3 if (_word(statement, 1), _word(statement, 2)) == ("OR", "REPLACE") else 1
        return _word(statement, at) in ("FUNCTION", "PROCEDURE")
    return first == "DO"


def _inside(text, depth, anywhere=False):
    """What a body reaches, or a statement that it puts together, of strings in strings too."""
    if depth > DEEPEST:
        return None
    inner = tokens(text)
    begins, led_by = True, None
    for i, (kind, content) in enumerate(inner):
        if begins or anywhere:
            led_by = content if kind == WORD else led_by
            found = _head(inner, i)
            if found:
                return found
        begins = (kind, content) in ((SIGN, ";"), (SIGN, ">")) or kind == WORD and content in STATEMENT_AFTER
        # In other languages than SQL a quoted name is a string.
        is_text = kind == STRING or kind == NAME and " " in content
        if is_text and led_by not in ONLY_SAY:
            found = _inside(content, depth + 1)
            if found:
                return found
    return _call(inner) or _put_together(inner, depth)


def _put_together(inner, depth):
    """EXECUTE 'CREATE ' || 'ROLE ' || name"""
    for statement in _statements(inner):
        start = next((i + 1 for i in range(len(statement)) if _word(statement, i) == "EXECUTE"), None)
        strings = [] if start is None else [text for kind, text in statement[start:] if kind == STRING]
        if len(strings) > 1:
            found = _inside("".join(_operand(token) for token in statement[start:]), depth + 1)
            if found:
                return found
    return None


def _operand(token):
    kind, text = token
    return text if kind == STRING else "" if (kind, text) == (SIGN, "|") else " x "
