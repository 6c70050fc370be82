"""Programs that a migration starts: Python tells of each before it does.

The environment leads PostgreSQL's own to the copy. What names another database all the same, or changes the server
whatever it names, is refused.
"""
import os
import re
import shlex
import sys

from migration_target_driver.conninfo import parse_url
from migration_target_driver.reach import ELSEWHERE, SERVER, reach_of_script

CHANGE_THE_SERVER = {"createdb", "dropdb", "createuser", "dropuser", "pg_dumpall", "pg_basebackup", "pg_ctl", "pg_receivewal"}
CLIENTS = {"psql", "pg_dump", "pg_restore", "vacuumdb", "reindexdb", "clusterdb", "pgbench", "pg_isready"}
URL = re.compile(r"postgres(?:ql)?(?:\+\w+)?://[^\s'\"<>|;&]+")
DBNAME = re.compile(r"\b(?:dbname|PGDATABASE)\s*=\s*'?([^\s'\";&]+)")
DATABASE_OPTION = re.compile(r"(?:^|\s)(?:-d\s*|--dbname[=\s]\s*)['\"]?([^\s'\"=:]+)(?=['\"\s]|$)")


class Programs:
    def __init__(self, copy, escape):
        """`escape(what, why)` raises."""
        self._copy = copy
        self._server = parse_url(copy["url"]) if copy["url"] else None
        self._escape = escape

    def watch(self):
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
            program, command = arguments[0], arguments[1]
            self._judge([program] + _listed(command), arguments[-1])
        elif event == "os.system":
            self._judge(_listed(arguments[0]), None)
        elif event == "os.spawn":
            self._judge([arguments[1]] + _listed(arguments[2]), arguments[3])

    def _judge(self, command, environment):
        words = [os.fsdecode(word) for word in command if word is not None]
        text = " ".join(words)
        names = {os.path.basename(part) for word in words for part in _split(word)}
        for name in sorted(names & CHANGE_THE_SERVER):
            self._escape(name, SERVER)
        for database in self._databases(text, environment):
            self._escape("The program %s, which names the database %r," % (os.path.basename(words[0]), database), ELSEWHERE)
        for name in sorted(names & CLIENTS):
            if self._names_live(text):
                self._escape("%s on the database %r" % (name, self._copy["insteadOf"]), ELSEWHERE)
            found = next(filter(None, (reach_of_script(word) for word in words)), None)
            if found is not None:
                self._escape("%s in %s" % (found.what, name), found.why)
            for database in DATABASE_OPTION.findall(text):
                if "$" not in database and database != self._copy["database"]:
                    self._escape("%s on the database %r" % (name, database), ELSEWHERE)

    def _databases(self, text, environment):
        """Those that are named for sure, and are not the copy."""
        handed = {} if environment is None else {os.fsdecode(k): os.fsdecode(v) for k, v in dict(environment).items()}
        said = [handed["PGDATABASE"]] if "PGDATABASE" in handed else []
        said += [name for name in DBNAME.findall(text) if "$" not in name]
        for url in URL.findall(text):
            if "$" not in url and not self._leads_to_copy(url):
                said.append(parse_url(url).get("dbname", ""))
        return [name for name in said if name and name != self._copy["database"]]

    def _leads_to_copy(self, url):
        found = parse_url(url)
        if found.get("dbname") != self._copy["database"]:
            return False
        return self._server is None or found.get("host") == self._server.get("host")

    def _names_live(self, text):
        live = self._copy["insteadOf"]
        if live == self._copy["database"]:
            return False
        rest = text.replace(self._copy["database"], "")  # which often begins with the live one's name
        return re.search(r"(?<![\w$-])%s(?![\w$-])" % re.escape(live), rest) is not None


def _listed(command):
    return [command] if isinstance(command, (str, bytes)) else list(command or ())


def _split(word):
    """A shell's command line, as far as it is one."""
    try:
        return shlex.split(re.sub(r"[;|&()`\n]", " ", word))
    except ValueError:
        return word.split()
