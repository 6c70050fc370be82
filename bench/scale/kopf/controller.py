"""The check of a target that is in sync, as a controller on kopf does it: for bench/scale.ts to compare with."""

import asyncio
import base64
import datetime
import logging
import os
import ssl
import time

import aiohttp
import asyncpg
import kopf
import prometheus_client
import yaml

WORKERS = int(os.environ["WORKERS"])
reconciles = prometheus_client.Counter(
    "controller_runtime_reconcile", "Total number of reconciliations per controller.", ["controller", "result"]
)

longest_lag = 0.0


async def watch_lag():
    global longest_lag
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        longest_lag = max(longest_lag, time.monotonic() - before)


def take_lag():
    global longest_lag
    lag, longest_lag = longest_lag, 0.0
    return lag


prometheus_client.Gauge(
    "python_eventloop_lag_max_seconds", "The longest time the event loop took for 10 ms since the last scrape."
).set_function(take_lag)


@kopf.on.startup()
async def start(settings, memo, **_):
    # An Event tells of what is new, as in the other controllers, and none of each check.
    settings.posting.level = logging.WARNING
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="bench.migrationtarget.dev")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix="bench.migrationtarget.dev")
    with open(os.environ["KUBECONFIG"]) as file:
        config = yaml.safe_load(file)
    cluster = config["clusters"][0]["cluster"]
    memo.slots = asyncio.Semaphore(WORKERS)
    memo.server = cluster["server"]
    memo.session = aiohttp.ClientSession(
        headers={"Authorization": "Bearer " + config["users"][0]["user"]["token"], "User-Agent": "kopf-secrets"},
        connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=cluster["certificate-authority"])),
    )
    memo.watching = asyncio.create_task(watch_lag())
    prometheus_client.start_http_server(int(os.environ["METRICS_PORT"]), addr="127.0.0.1")


@kopf.on.cleanup()
async def stop(memo, **_):
    memo.watching.cancel()
    await memo.session.close()


@kopf.timer("migrationtarget.dev", "v1alpha1", "migrationtargets", interval=300)
@kopf.on.update("migrationtarget.dev", "v1alpha1", "migrationtargets", field="spec")
async def check(body, spec, status, meta, namespace, memo, patch, **_):
    async with memo.slots:
        database, revisions = await read(spec["database"], namespace, memo)
    current = ",".join(revisions)
    if current == spec["revision"]:
        ready = {"status": "True", "reason": "InSync", "message": f"Database {database} is at {current}, as declared."}
    else:
        message = f"Database {database} is at {current}, and {spec['revision']} is declared."
        ready = {"status": "False", "reason": "ChangedOutside", "message": message}
    generation = meta["generation"]
    ready |= {"type": "Ready", "observedGeneration": generation}
    before = next((each for each in status.get("conditions", []) if each["type"] == "Ready"), {})
    is_same = ready.items() <= before.items() and status.get("currentRevision") == current
    if not is_same or status.get("observedGeneration") != generation:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        is_flip = before.get("status") != ready["status"]
        ready["lastTransitionTime"] = now if is_flip else before["lastTransitionTime"]
        patch.status["conditions"] = [ready]
        patch.status["currentRevision"] = current
        patch.status["observedGeneration"] = generation
        kopf.event(body, type="Normal", reason=ready["reason"], message=ready["message"])
    reconciles.labels("migrationtarget", "success").inc()


async def read(database, namespace, memo):
    reference = database["urlFrom"]["secretKeyRef"]
    async with memo.session.get(
        f"{memo.server}/api/v1/namespaces/{namespace}/secrets/{reference['name']}", raise_for_status=True
    ) as answer:
        secret = await answer.json()
    connection = await asyncpg.connect(base64.b64decode(secret["data"][reference["key"]]).decode())
    try:
        table = ".".join(
            '"' + name.replace('"', '""') + '"' for name in (database["versionTableSchema"], database["versionTable"])
        )
        rows = await connection.fetch(f"SELECT current_database() AS name, version_num FROM {table} ORDER BY 2")
        return rows[0]["name"] if rows else "", [row["version_num"] for row in rows]
    finally:
        await connection.close()
