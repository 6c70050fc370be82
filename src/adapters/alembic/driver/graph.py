"""The script folder as plain data. env.py does not run; the migration files are imported, as alembic does."""
import hashlib
import heapq
import os
import warnings

from migration_target_driver.judge import judge


def load_scripts(config):
    """alembic's ScriptDirectory with its map built. What alembic only warns of makes a graph unusable: it raises."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(config)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*is present more than once")
        warnings.filterwarnings("error", message=r".*is not present")
        scripts.revision_map._revision_map
        scripts.get_heads()
    return scripts


def all_revisions(scripts):
    return [script for script in scripts.walk_revisions() if script is not None]


def dependencies(scripts, script):
    """Absolute ids: alembic lets `depends_on` name labels."""
    names = script.dependencies or ()
    names = (names,) if isinstance(names, str) else names
    return sorted({found.revision for name in names for found in scripts.get_revisions(name)})


def downs(script):
    down = script.down_revision or ()
    return [down] if isinstance(down, str) else list(down)


def ancestors_first(revisions):
    """Sorted by id as far as the graph leaves a choice, so that the order is always the same."""
    waiting = {r["id"]: len(set(r["down"] + r["dependsOn"])) for r in revisions}
    by_id = {r["id"]: r for r in revisions}
    above = {}
    for r in revisions:
        for parent in set(r["down"] + r["dependsOn"]):
            above.setdefault(parent, []).append(r["id"])
    ready = [id for id, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered = []
    while ready:
        id = heapq.heappop(ready)
        ordered.append(by_id[id])
        for child in above.get(id, ()):
            waiting[child] -= 1
            if waiting[child] == 0:
                heapq.heappush(ready, child)
    return ordered


def describe_graph(scripts, tools):
    revisions = []
    digest = hashlib.sha256()
    for script in sorted(all_revisions(scripts), key=lambda s: s.revision):
        path = os.path.abspath(script.path)
        with open(path, "rb") as file:
            content = file.read()
        digest.update(("%s %d\n" % (script.revision, len(content))).encode())
        digest.update(content)
        relative = os.path.relpath(path)
        bodies = judge(script.module, content, script.revision, relative)
        revisions.append(
            {
                "id": script.revision,
                "down": downs(script),
                "dependsOn": dependencies(scripts, script),
                "labels": sorted(script.branch_labels & set(_own_labels(script))),
                "message": (script.doc or "").strip(),
                "file": relative,
                "upgrade": bodies["upgrade"],
                "downgrade": bodies["downgrade"],
            }
        )
    return {"revisions": ancestors_first(revisions), "digest": digest.hexdigest(), "tools": tools}


def _own_labels(script):
    labels = getattr(script.module, "branch_labels", None) or ()
    return (labels,) if isinstance(labels, str) else labels
