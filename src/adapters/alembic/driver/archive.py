"""The script folder as data, to be kept; and kept ones in place of those that are here."""
import base64
import os
import shutil
import tempfile

#: Bytes of all files: far more than migrations have, so that what was put among them by mistake is not carried about.
MOST_BYTES = 16 * 1024 * 1024
LEFT_OUT = ("__pycache__", ".git")


def pack(scripts):
    """As {files, versionLocations}; None: it is too large."""
    root = os.path.realpath(str(scripts.dir))
    found = scripts._version_locations if hasattr(scripts, "_version_locations") else [scripts.versions]
    places = [os.path.realpath(str(place)) for place in found if place]
    outside = [place for place in places if not _is_below(place, root)]
    trees = [(root, "")] + [(place, "__versions__/%d/" % index) for index, place in enumerate(outside)]
    files = {}
    size = 0
    for folder, prefix in trees:
        for path in _files_of(folder):
            size += os.path.getsize(path)
            if size > MOST_BYTES:
                return None
            with open(path, "rb") as file:
                files[prefix + os.path.relpath(path, folder)] = base64.b64encode(file.read()).decode()
    locations = [os.path.relpath(p, root) if _is_below(p, root) else "__versions__/%d" % outside.index(p) for p in places]
    return {"files": files, "versionLocations": locations}


def _is_below(path, folder):
    return path == folder or path.startswith(folder + os.sep)


def _files_of(folder):
    for at, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in LEFT_OUT)
        for name in sorted(files):
            path = os.path.join(at, name)
            if os.path.isfile(path) and not name.endswith((".pyc", ".pyo")):
                yield path


def use_archive(spec, config):
    """Has the configuration lead to the archive, whatever its file says."""
    if spec["scripts"] is None:
        return
    folder = _unpacked(id(spec["scripts"]), spec["scripts"])
    config.set_main_option("script_location", folder.replace("%", "%%"))
    locations = [os.path.join(folder, name) for name in spec["scripts"]["versionLocations"]]
    config.set_main_option("version_locations", os.pathsep.join(locations).replace("%", "%%"))
    # By the name that each alembic knows it by.
    for option in ("path_separator", "version_path_separator"):
        config.set_main_option(option, "os")


_folders = {}


def _unpacked(key, archive):
    if key not in _folders:
        folder = tempfile.mkdtemp(prefix="migration-target-scripts-")
        for name, content in archive["files"].items():
            path = os.path.join(folder, name)
            if not _is_below(os.path.realpath(path), os.path.realpath(folder)):
                raise ValueError("the archive holds a file outside of its folder: %r" % name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(base64.b64decode(content))
        _folders[key] = folder
    return _folders[key]


def remove_unpacked():
    while _folders:
        shutil.rmtree(_folders.popitem()[1], ignore_errors=True)
