"""Takes hold of the drivers themselves, for what goes past SQLAlchemy: a `creator=`, a pool of its own, a raw connection.

`lead(driver, positional, named)` gives the arguments to connect with, `check(sql)` raises where a statement must not run.
"""
import functools
import inspect

from migration_target_driver.imports import AfterImport


def take_hold(lead, check):
    """Of those that are imported, and of those that will be."""
    AfterImport({
        "psycopg": lambda module: hold_psycopg(module, lead, check),
        "psycopg2": lambda module: hold_psycopg2(module, lead, check),
        "asyncpg": lambda module: hold_asyncpg(module, lead, check),
        "pg8000.core": lambda module: hold_pg8000(module, lead, check),
    }).install()


def text_of(query, context=None):
    """The SQL of whatever a driver takes for a query."""
    if isinstance(query, str):
        return query
    if isinstance(query, (bytes, bytearray, memoryview)):
        return bytes(query).decode(errors="replace")
    if hasattr(query, "as_string"):
        return query.as_string(context)
    if hasattr(query, "strings"):  # a template string
        return " x ".join(query.strings)
    return str(query)


def checked(function, check):
    """A method whose first argument is a query."""
    @functools.wraps(function)
    def run(self, *positional, **named):
        query = positional[0] if positional else next((named[n] for n in ("query", "sql", "statement", "command") if n in named), None)
        if query is not None:
            check(text_of(query, self))
        return function(self, *positional, **named)

    return run


def check_methods(kind, names, check):
    for name in names.split():
        if name in vars(kind):
            setattr(kind, name, checked(vars(kind)[name], check))


def hold_psycopg(module, lead, check):
    def connecting(kind, driver):
        connect = vars(kind)["connect"].__func__

        @functools.wraps(connect)
        def led(cls, *positional, **named):
            positional, named = lead(driver, positional, named)
            return connect(cls, *positional, **named)

        kind.connect = classmethod(led)

    connecting(module.Connection, "psycopg")
    connecting(module.AsyncConnection, "psycopg_async")
    module.connect = module.Connection.connect  # it was bound to the one before
    for name in ("Cursor", "AsyncCursor", "ServerCursor", "AsyncServerCursor"):
        check_methods(getattr(module, name), "execute executemany stream copy", check)


def hold_psycopg2(module, lead, check):
    """Its classes are written in C, so connections and cursors are made of classes of our own that inherit theirs."""
    connect = module.connect

    class CheckedCursor:
        def execute(self, query, *positional, **named):
            check(text_of(query, self))
            return super().execute(query, *positional, **named)

        def executemany(self, query, *positional, **named):
            check(text_of(query, self))
            return super().executemany(query, *positional, **named)

        def copy_expert(self, sql, *positional, **named):
            check(text_of(sql, self))
            return super().copy_expert(sql, *positional, **named)

        def callproc(self, name, *positional, **named):
            check("SELECT %s()" % name)
            return super().callproc(name, *positional, **named)

    @functools.lru_cache(maxsize=None)
    def cursor_class(kind):
        return kind if issubclass(kind, CheckedCursor) else type(kind.__name__, (CheckedCursor, kind), {"__module__": kind.__module__})

    class CheckedConnection:
        def cursor(self, *positional, **named):
            cursor = super().cursor(*positional, **named)
            if isinstance(cursor, CheckedCursor):
                return cursor
            # Which class it is depends on much; nothing was sent yet.
            named = dict(named, cursor_factory=cursor_class(type(cursor)))
            if len(positional) > 1:
                positional = positional[:1] + positional[2:]
            return super().cursor(*positional, **named)

    @functools.lru_cache(maxsize=None)
    def connection_class(kind):
        return type(kind.__name__, (CheckedConnection, kind), {"__module__": kind.__module__})

    @functools.wraps(connect)
    def led(dsn=None, connection_factory=None, cursor_factory=None, **named):
        positional, named = lead("psycopg2", [dsn], named)
        factory = connection_factory or module.extensions.connection
        if inspect.isclass(factory):
            factory = connection_class(factory)
        return connect(*positional, connection_factory=factory, cursor_factory=cursor_factory, **named)

    module.connect = led


def hold_asyncpg(module, lead, check):
    connect = module.connection.connect

    @functools.wraps(connect)
    async def led(*positional, **named):
        positional, named = lead("asyncpg", positional, named)
        return await connect(*positional, **named)

    # Its pools call the latter.
    module.connect = module.connection.connect = led
    check_methods(
        module.connection.Connection,
        "execute executemany prepare cursor fetch fetchval fetchrow fetchmany copy_from_query",
        check)


def hold_pg8000(module, lead, check):
    """All of its interfaces inherit one class."""
    kind = getattr(module, "CoreConnection", None) or module.Connection
    begin = kind.__init__
    signature = inspect.signature(begin)

    @functools.wraps(begin)
    def led(self, *positional, **named):
        arguments = dict(signature.bind(self, *positional, **named).arguments)
        arguments.pop("self")
        _, arguments = lead("pg8000", [], arguments)
        begin(self, **arguments)

    kind.__init__ = led
    check_methods(kind, "execute execute_simple execute_unnamed prepare_statement", check)
