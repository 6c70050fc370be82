"""Serves one operation: finds alembic, then answers the controller's requests one after another."""
import os
import platform
import sys

from migration_target_driver.channel import Channel
from migration_target_driver.importing import importing

OLDEST_ALEMBIC = (1, 8)


def find_alembic():
    """Imports alembic before the working directory is searched: many projects call their script folder `alembic`."""
    try:
        with importing():
            import alembic
            import sqlalchemy
    except ImportError as error:
        return None, {"reason": "AlembicNotFound", "message": str(error)}
    finally:
        sys.path.append(os.getcwd())
    version = tuple(int(part) for part in alembic.__version__.split(".")[:2])
    if version < OLDEST_ALEMBIC:
        return None, {"reason": "AlembicFailed", "message": "alembic %s is older than 1.8, the oldest supported" % alembic.__version__}
    return {
        "python": platform.python_version(),
        "alembic": alembic.__version__,
        "sqlalchemy": sqlalchemy.__version__,
    }, None


def serve(requests):
    channel = Channel(requests)
    tools, fatal = find_alembic()
    if fatal is not None:
        channel.answer({"fatal": fatal})
        return
    channel.watch()

    with importing():
        from migration_target_driver.operation import Operation

    operation = Operation(channel, tools)
    methods = {"graph": operation.graph, "archive": operation.archive, "tidy": operation.tidy, "warmUp": operation.warm_up, "migrate": operation.migrate, "probe": operation.probe, "offlineSql": operation.offline_sql}
    channel.answer({"hello": tools})
    while True:
        request = channel.receive()
        channel.answer({"result": methods[request["method"]](request["params"])})
