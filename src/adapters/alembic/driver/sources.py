"""What a graph was made of: whoever finds all of it unchanged need not read the scripts again."""
import os
import sys

import alembic
import sqlalchemy

#: Of what is installed the versions are enough.
VERSIONED = (alembic.__file__, sqlalchemy.__file__)
INSTALLED = tuple({os.path.dirname(os.__file__) + os.sep} | {os.path.dirname(os.path.dirname(f)) + os.sep for f in VERSIONED})


class Sources:
    """Made before the scripts are loaded: what is imported from then on is theirs."""

    def __init__(self):
        self._before = set(sys.modules)

    def of(self, spec, config, scripts):
        """As {files, folders}, absolute; what is not there would count if it were."""
        searched = [folder for location in locations(scripts) for folder in _searched(scripts, location)]
        files = [spec["config"], config.config_file_name, getattr(config, "toml_file_name", None)]
        files += [os.path.join(folder, name) for folder in searched for name in _python_in(folder)]
        imported = {getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - self._before}
        files += [file for file in imported if file and not file.startswith(INSTALLED)]
        return {
            "files": sorted({os.path.abspath(str(file)) for file in files if file} | set(VERSIONED)),
            "folders": sorted({os.path.abspath(str(scripts.dir)), *searched}),
        }


def locations(scripts):
    found = scripts._version_locations if hasattr(scripts, "_version_locations") else [scripts.versions]
    return [os.path.abspath(str(location)) for location in found if location]


def _searched(scripts, location):
    """The folders of one version location in which alembic looks for migrations."""
    found = [location]
    for folder, names, _ in os.walk(location):
        names[:] = [name for name in names if name != "__pycache__"]
        if scripts.sourceless:
            found.append(os.path.join(folder, "__pycache__"))
        if not getattr(scripts, "recursive_version_locations", False):
            break
        found += [os.path.join(folder, name) for name in names]
    return found


def _python_in(folder):
    try:
        return [name for name in os.listdir(folder) if name.endswith((".py", ".pyc", ".pyo"))]
    except FileNotFoundError:
        return []
