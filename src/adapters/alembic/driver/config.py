"""alembic's configuration, made by alembic's own command line, so that env.py finds what it would find there."""
import contextlib
import importlib
import os
import sys

from alembic.config import CommandLine

from migration_target_driver.archive import use_archive
from migration_target_driver.failures import Stop


class ConfigNotFound(Exception):
    pass


def config_path(spec):
    """The declared file; Flask-Migrate's own default folder where only the default name was declared."""
    declared = spec["config"]
    candidates = [declared]
    if spec["flaskApp"] and declared == "alembic.ini":
        candidates.append(os.path.join("migrations", "alembic.ini"))
    for candidate in candidates:
        if os.path.isfile(candidate):
            return candidate
    raise ConfigNotFound("%s does not exist" % " nor ".join(os.path.abspath(c) for c in candidates))


def load_config(spec, command=("history",)):
    """What `alembic -c … -n … -x … COMMAND` hands to its command."""
    path = config_path(spec)
    arguments = ["-c", path, "-n", spec["section"]]
    for name, value in spec["xArgs"].items():
        arguments += ["-x", "%s=%s" % (name, value)]
    line = CommandLine(prog="alembic")
    found = []
    line.run_cmd = lambda config, options: found.append(config)
    sys.argv = ["alembic"] + arguments + list(command)
    line.main(sys.argv[1:])
    config = found[0]
    if spec["flaskApp"] and config.get_main_option("script_location") is None:
        config.set_main_option("script_location", os.path.dirname(path).replace("%", "%%") or ".")
    if os.path.basename(path) != "pyproject.toml" and not config.file_config.has_section(spec["section"]):
        raise ConfigNotFound("%s has no section [%s]" % (os.path.abspath(path), spec["section"]))
    _hand_over_url(spec, config)
    use_archive(spec, config)
    return config


def _hand_over_url(spec, config):
    if spec["urlOption"]:
        config.set_main_option(spec["urlOption"]["name"], spec["urlOption"]["value"].replace("%", "%%"))


#: Where `flask --app module` looks.
FLASK_NAMES = ("app", "application", "create_app", "make_app")


def resolve(reference, otherwise=()):
    """`module:attribute` as an object; `otherwise`: the attributes to look for where none is named."""
    module_name, _, attributes = reference.partition(":")
    module = importlib.import_module(module_name)
    if not attributes:
        attributes = next((name for name in otherwise if hasattr(module, name)), None)
        if attributes is None:
            raise Stop("%r names a module, but nothing in it: write module:name" % reference)
    found = module
    for attribute in attributes.replace("()", "").split("."):
        found = getattr(found, attribute)
    return found


@contextlib.contextmanager
def surroundings(spec, config):
    """Enters what the application needs around alembic, and yields the configuration to use in it."""
    with contextlib.ExitStack() as stack:
        if spec["context"] or spec["flaskApp"]:
            sys.path.insert(0, os.getcwd())
        if spec["context"]:
            stack.enter_context(resolve(spec["context"])())
        if spec["flaskApp"]:
            config = _enter_flask(spec, stack, config)
        yield config


def _enter_flask(spec, stack, config):
    import flask

    found = resolve(spec["flaskApp"], FLASK_NAMES)
    app = found if isinstance(found, flask.Flask) else found()
    stack.enter_context(app.app_context())
    if "migrate" not in app.extensions:
        return config
    # Flask-Migrate's own kind of Config, with the callbacks that the application registered.
    x_args = ["%s=%s" % item for item in spec["xArgs"].items()]
    directory = os.path.dirname(config_path(spec)) or "."
    flask_config = app.extensions["migrate"].migrate.get_config(directory, x_arg=x_args)
    flask_config.config_ini_section = spec["section"]
    _hand_over_url(spec, flask_config)
    use_archive(spec, flask_config)
    return flask_config
