"""What the controller can ask for: the graph, a run of explicit steps, their SQL."""
import contextlib
import functools
import io
import os

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import HeadMaintainer, MigrationStep
from sqlalchemy.engine.url import make_url

from migration_target_driver.archive import pack, remove_unpacked
from migration_target_driver.config import ConfigNotFound, load_config, surroundings
from migration_target_driver.failures import LONGEST, Stop, chain, describe, message_of, place_of
from migration_target_driver.graph import dependencies, describe_graph, downs, load_scripts
from migration_target_driver.guard import Guard
from migration_target_driver.importing import importing
from migration_target_driver.locks import tell_locks
from migration_target_driver.sources import Sources, locations


class DryHeads(HeadMaintainer):
    """alembic's own bookkeeping of the version table, without the table."""

    def __init__(self, heads):
        super().__init__(None, heads)

    def _insert_version(self, version):
        assert version not in self.heads
        self.heads.add(version)

    def _delete_version(self, version):
        self.heads.remove(version)

    def _update_version(self, from_, to_):
        self._delete_version(from_)
        self._insert_version(to_)


def look_first(environment, look):
    """Has `look` see the migration context before alembic writes anything, its version table included."""
    run_migrations = environment.run_migrations

    def looked(**arguments):
        look(environment.get_context())
        return run_migrations(**arguments)

    # On the object: alembic's proxy knows no subclasses.
    environment.run_migrations = looked
    return environment


class Operation:
    def __init__(self, channel, tools):
        self._channel = channel
        self._tools = tools
        self._spec = channel.settings
        self._guard = Guard(self._spec["applicationName"], self._spec["lockTimeoutSeconds"], self._spec["copy"])
        self._loaded = None
        self._sources = Sources()

    # -------------------------------------------------------------------------------------------------- graph

    def graph(self, params):
        try:
            scripts = self._scripts()
            sources = self._sources.of(self._spec, self._config, scripts)
            return {"graph": describe_graph(scripts, self._tools), "sources": sources}
        except ConfigNotFound as error:
            return {"failure": {"reason": "AlembicConfigNotFound", "message": str(error), "file": None, "line": None}}
        except (Exception, SystemExit) as error:
            errors = chain(error)
            file, line = place_of(errors, self._folders())
            return {"failure": {"reason": "AlembicFailed", "message": message_of(errors), "file": file, "line": line}}

    def archive(self, params):
        return pack(self._scripts())

    def tidy(self, params):
        remove_unpacked()

    def _scripts(self):
        if self._loaded is None:
            self._config = load_config(self._spec)
            self._loaded = load_scripts(self._config)
        return self._loaded

    def _folders(self):
        """Where the user's code is, the most telling first."""
        here = [os.getcwd()]
        if self._loaded is None:
            return here
        return locations(self._loaded) + [str(self._loaded.dir)] + here

    # ------------------------------------------------------------------------------------------------ running

    def warm_up(self, params):
        """Imports what nearly every env.py does, while the controller is busy. What is missing is missed by who needs it."""
        with contextlib.suppress(Exception), importing():
            import sqlalchemy.orm
        with contextlib.suppress(Exception), importing():
            dialect = make_url(params["driver"] + "://").get_dialect()
            (getattr(dialect, "import_dbapi", None) or dialect.dbapi)()

    def migrate(self, params):
        run = Run(self._channel, self._guard, self._spec, params)
        self._guard.expect(params["database"], params["lock"])
        error = self._attempt(run, params)
        if error is None:
            return {"ok": True}
        return {"ok": False, "error": dict(error, step=run.step())}

    def _attempt(self, run, params):
        try:
            scripts = self._scripts()
            steps = make_steps(scripts, params["from"], params["steps"])
            config = load_config(self._spec, command_for(params["steps"]))
            with surroundings(self._spec, config) as config:
                environment = EnvironmentContext(
                    config,
                    scripts,
                    fn=lambda heads, context: run.steps(steps, heads, context),
                    as_sql=False,
                    destination_rev=params["steps"][-1]["revision"],
                    tag=None,
                )
                with look_first(environment, run.check_version_table):
                    scripts.run_env()
            raised = None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            raised = error
        return self._judge(run, raised)

    def probe(self, params):
        """env.py up to where its migrations would begin: which database it reaches, which version table it keeps."""
        run = Run(self._channel, self._guard, self._spec, {"from": [], "steps": []})
        self._guard.expect(params["database"], params["lock"])
        reached = []

        def look(context):
            run.check_version_table(context)
            reached.append(True)

        try:
            scripts = self._scripts()
            with surroundings(self._spec, load_config(self._spec, ("current",))) as config:
                environment = EnvironmentContext(config, scripts, fn=lambda heads, context: iter(()), as_sql=False, tag=None)
                # On the object, as in look_first; nothing runs, not even the making of the version table.
                environment.run_migrations = lambda **arguments: look(environment.get_context())
                with environment:
                    scripts.run_env()
                if not reached:
                    raise Stop("env.py returned without coming to its migrations")
            raised = None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            raised = error
        error = self._judge(run, raised)
        return {"ok": True} if error is None else {"ok": False, "error": dict(error, step=None)}

    def _judge(self, run, raised):
        """The cause that was seen first, however env.py dressed it up."""
        started = run.index is not None
        cause = run.raised or raised
        described = None
        if cause is not None:
            described = describe(cause, self._guard, started, self._folders(), self._spec["urlIsOurs"])
        refusal = self._guard.refusal_anywhere()
        if refusal is not None:
            at_refusal = describe(refusal, self._guard, started, self._folders(), False)
            if described is None or at_refusal["file"] is not None:
                described = at_refusal
            described.update(kind=refusal.kind, message=str(refusal), sqlstate=None)
            if refusal.statement is not None:
                described.update(statement=refusal.statement[:LONGEST])
        elif described is None and run.done < run.total:
            described = {
                "kind": "nothingDone",
                "message": "env.py returned, but ran %d of %d steps" % (run.done, run.total),
                "sqlstate": None, "statement": None, "file": None, "line": None, "blockedBy": None,
            }
        return described and dict(described, committed=self._guard.committed)

    # ------------------------------------------------------------------------------------------------ offline

    def offline_sql(self, params):
        self._guard.forbid_connections("env.py connects to the database although alembic's offline mode was asked for")
        output = io.StringIO()
        ran = []

        def planned(heads, context):
            if not context.as_sql:
                raise Stop("env.py has no offline mode")
            ran.append(True)
            return iter(steps)

        try:
            scripts = self._scripts()
            steps = make_steps(scripts, params["from"], params["steps"])
            config = load_config(self._spec, command_for(params["steps"]) + ("--sql",))
            with surroundings(self._spec, config) as config:
                config.output_buffer = output
                start = params["from"]
                with EnvironmentContext(
                    config,
                    scripts,
                    fn=planned,
                    as_sql=True,
                    starting_rev=None if not start else start[0] if len(start) == 1 else tuple(start),
                    destination_rev=params["steps"][-1]["revision"],
                    tag=None,
                ):
                    scripts.run_env()
        except (Exception, SystemExit) as error:
            return {"kind": "unavailable", "because": str(self._guard.refusal or message_of(chain(error)))}
        if self._guard.refusal is not None:
            return {"kind": "unavailable", "because": str(self._guard.refusal)}
        if not ran or not output.getvalue().strip():
            return {"kind": "unavailable", "because": "env.py writes no SQL in alembic's offline mode"}
        return {"kind": "sql", "sql": output.getvalue()}


def command_for(steps):
    """The command line that env.py may look at: the nearest thing to a list of explicit steps."""
    last = steps[-1]
    return ("upgrade" if last["direction"] == "up" else "downgrade", last["revision"])


def make_steps(scripts, heads, steps):
    """alembic's steps, each tried on what is applied by then. Raises Stop where one can't follow the others."""
    dry = DryHeads(heads)
    applied = with_ancestors(scripts, heads)
    made = []
    for step in steps:
        script = scripts.get_revision(step["revision"])
        is_up = step["direction"] == "up"
        # alembic itself would take a revision without its parent for a new branch.
        fits = can_go_up(script, applied) if is_up else can_go_down(script, applied)
        if not fits:
            raise Stop("%s of %s can't follow from the heads %s" % (step["direction"], script.revision, sorted(dry.heads)))
        make = MigrationStep.upgrade_from_script if is_up else MigrationStep.downgrade_from_script
        made.append(make(scripts.revision_map, script))
        dry.update_to_step(made[-1])
        (applied.add if is_up else applied.remove)(script.revision)
    return made


def with_ancestors(scripts, ids):
    found, todo = set(), list(ids)
    while todo:
        script = scripts.get_revision(todo.pop())
        if script.revision not in found:
            found.add(script.revision)
            todo += downs(script) + dependencies(scripts, script)
    return found


def can_go_up(script, applied):
    return script.revision not in applied and applied.issuperset(script._all_down_revisions)


def can_go_down(script, applied):
    return script.revision in applied and applied.isdisjoint(script._all_nextrev)


class Run:
    """One run of the steps, as alembic asks for them."""

    def __init__(self, channel, guard, spec, params):
        self._channel = channel
        self._guard = guard
        self._table = spec["versionTable"]
        self._from = params["from"]
        self._asked = params["steps"]
        self._tells_locks = params.get("tellLocks", False)
        self.total = len(params["steps"])
        #: The step that runs, or ran last; None before the first.
        self.index = None
        self.done = 0
        #: What a migration raised, before env.py could hide it.
        self.raised = None

    def step(self):
        """The step that failed; None before the first and after the last, as when COMMIT fails."""
        return None if self.index is None or self.done == self.total else self._asked[self.index]

    def check_version_table(self, context):
        """alembic's version table must be the declared one."""
        if context.connection is None:
            raise Stop("env.py has no offline mode and no connection")
        schema = context.version_table_schema or self._default_schema(context)
        if (schema, context.version_table) != (self._table["schema"], self._table["name"]):
            raise Stop(
                "env.py keeps its revisions in %s.%s, but database.versionTableSchema and database.versionTable say %s.%s"
                % (schema, context.version_table, self._table["schema"], self._table["name"]))

    def _default_schema(self, context):
        """Where an unqualified name leads: to the table if it is there, else to where it would be created."""
        name = context.version_table.replace("'", "''").replace('"', '""')
        row = self._guard.row(
            context.connection,
            "SELECT coalesce((SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.oid = pg_catalog.to_regclass('\"%s\"')), pg_catalog.current_schema())" % name)
        return row[0]

    def steps(self, steps, heads, context):
        """A generator: alembic comes back for the next step once the one before is done."""
        if self.index is not None:
            raise Stop("env.py runs the migrations more than once: on several databases, or schemas")
        self.check_version_table(context)
        if set(heads) != set(self._from):
            raise Stop("the version table holds %s, but %s was planned from" % (sorted(heads) or "nothing", sorted(self._from) or "nothing"))
        self._wait_for_go()
        for index, step in enumerate(steps):
            self._guard.assert_lock(context.connection)
            self._guard.begin_steps(context.connection)
            self.index = index
            self._channel.send({"event": {"kind": "started", "index": index}})
            step.migration_fn = self._watched(step.migration_fn, context)
            yield step
            self._guard.raise_refusal()  # The migration may have swallowed it.
            self.done = index + 1
            self._channel.send({"event": {"kind": "finished", "index": index}})

    def _wait_for_go(self):
        """From here on the controller never interrupts: it says when, so that both know it."""
        self._channel.send({"event": {"kind": "ready"}})
        if self._channel.receive() != {"go": True}:
            raise Stop("the controller did not give the go-ahead")

    def _watched(self, function, context):
        @functools.wraps(function)
        def run(*positional, **named):
            try:
                function(*positional, **named)
                if self._tells_locks:
                    tell_locks(self._channel, self._guard, context.connection)
            except BaseException as error:
                self.raised = error
                self._guard.find_commit()
                raise

        return run
