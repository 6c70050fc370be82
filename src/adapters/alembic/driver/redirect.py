"""Leads every connection that means the live database to its copy, in the terms of each driver."""
import os
import ssl
from importlib import import_module

from migration_target_driver.conninfo import WHERE, database_of_service, parse_url

#: By SQLAlchemy's names of drivers.
LIBPQ = {"psycopg", "psycopg_async", "psycopg2", "psycopg2cffi"}


class Redirect:
    """`refuse(kind, message)` raises, where another database is meant."""

    def __init__(self, copy, application_name, refuse):
        self._instead_of = copy["insteadOf"]
        self._database = copy["database"]
        #: Where the copy is; None: on the same server.
        self._server = parse_url(copy["url"]) if copy["url"] else None
        self._application_name = application_name
        self._refuse = refuse

    def lead(self, driver, positional, named):
        """The arguments that `driver`'s connect would be called with, as (positional, named) that lead to the copy."""
        if driver in LIBPQ:
            return self._libpq(driver, list(positional), dict(named))
        if driver == "asyncpg":
            return self._asyncpg(list(positional), dict(named))
        if driver == "pg8000":
            return list(positional), self._pg8000(dict(named))
        return self._refuse("escaped", "The driver %s is none that could be led to a copy, so this can't be rehearsed." % driver)

    def _assert_meant(self, database, service, service_file, user):
        """In libpq's own order. Who names none means the one that is led to anyway."""
        meant = (
            database
            or database_of_service(service or os.environ.get("PGSERVICE"), service_file)
            or os.environ.get("PGDATABASE")
            or user
            or os.environ.get("PGUSER")
        )
        if isinstance(meant, bytes):
            meant = meant.decode(errors="replace")
        if meant not in (None, self._instead_of, self._database):
            self._refuse("wrongDatabase", "A connection to the database %r is asked for, not to the declared %r" % (meant, self._instead_of))

    def _libpq(self, driver, positional, named):
        is_psycopg2 = driver.startswith("psycopg2")
        if is_psycopg2:
            parse = import_module(driver + ".extensions").parse_dsn
        else:
            parse = import_module("psycopg.conninfo").conninfo_to_dict
        name = "dsn" if is_psycopg2 else "conninfo"
        text = (positional.pop(0) if positional else named.pop(name, None)) or ""
        said = dict(parse(text)) if text else {}
        given = dict(said, **{key: value for key, value in named.items() if value is not None})
        self._assert_meant(
            given.get("dbname") or given.get("database"), given.get("service"), given.get("servicefile"), given.get("user"))
        named.pop("database", None)
        if self._server is None:
            named["dbname"] = self._database
        else:
            text = ""
            kept = {key: value for key, value in said.items() if key not in WHERE}
            named = dict(kept, **{key: value for key, value in named.items() if key not in WHERE})
            named.update(self._server, dbname=self._database)
        named["application_name"] = self._application_name
        return ([text] if text or positional else []) + positional, named

    def _asyncpg(self, positional, named):
        dsn = positional.pop(0) if positional else named.pop("dsn", None)
        said = parse_url(dsn) if dsn else {}
        self._assert_meant(
            named.get("database") or said.get("dbname") or said.get("database"),
            named.get("service") or said.get("service"),
            named.get("servicefile") or said.get("servicefile"),
            named.get("user") or said.get("user"))
        named["database"] = self._database
        named["server_settings"] = dict(named.get("server_settings") or {}, application_name=self._application_name)
        if self._server is not None:
            for key in ("service", "servicefile", "passfile", "target_session_attrs"):
                named.pop(key, None)
            kept = {key: value for key, value in said.items() if key not in WHERE}
            named["server_settings"] = dict(kept, **named["server_settings"])
            named.update(self._address())
            # Else asyncpg would look for it where the live server's is found.
            named["ssl"] = self._tls() or self._server.get("sslmode", "prefer")
            dsn = None
        return [dsn] if dsn else [], named

    def _pg8000(self, named):
        self._assert_meant(named.get("database"), None, None, named.get("user"))
        named["database"] = self._database
        named["application_name"] = self._application_name
        if self._server is not None:
            for key in ("unix_sock", "sock", "ssl_context", "source_address"):
                named.pop(key, None)
            address = self._address()
            if address["host"].startswith("/"):
                named["unix_sock"] = "%s/.s.PGSQL.%s" % (address.pop("host"), address["port"])
            named.update(address)
            context = self._tls()
            if context is not None:
                named["ssl_context"] = context
        return named

    def _address(self):
        """For the drivers that are not libpq's: the first of several servers."""
        server = self._server
        return {
            "host": server.get("host", "localhost").split(",")[0],
            "port": int(server.get("port", "5432").split(",")[0]),
            "user": server.get("user"),
            "password": server.get("password"),
        }

    def _tls(self):
        """As the URL's `sslmode` asks for it; None where it does not have to be."""
        mode = self._server.get("sslmode", "prefer")
        if mode not in ("require", "verify-ca", "verify-full"):
            return None
        root = self._server.get("sslrootcert")
        context = ssl.create_default_context(cafile=None if root == "system" else root)
        context.check_hostname = mode == "verify-full"
        if mode == "require" and root is None:
            context.verify_mode = ssl.CERT_NONE
        if "sslcert" in self._server:
            context.load_cert_chain(self._server["sslcert"], self._server.get("sslkey"), self._server.get("sslpassword"))
        return context
