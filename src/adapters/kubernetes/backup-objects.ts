/** MigrationBackup objects: what somebody asks for, and what shows the catalogue. */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { migrationBackupStatus, type MigrationBackupStatus } from '../../api/backup.ts';
import { apiVersion, backupAnnotation, backupsShownAnnotation, targetLabel } from '../../api/group.ts';
import { keyText, type TargetKey } from '../../api/target.ts';
import type { BackupObject, BackupObjects } from '../../rollback/backup-objects.ts';
import { mergePatch, type ApiClient } from './client.ts';
import {
  applyStatus,
  generateNameFor,
  listAll,
  maxNameLength,
  pathOfAll,
  pathOfOne,
  trimmedName,
  type Collection,
} from './collections.ts';
import { asHomeFailure, isNotFound, isStatus } from './errors.ts';
import { cliFieldManager, collectionPath, fieldManager } from './objects.ts';
import { statusDigest } from './status-digest.ts';
import { watchHeads } from './watch.ts';

const collection: Collection = { kind: 'MigrationBackup', plural: 'migrationbackups' };

const stored = z.object({
  metadata: z.object({
    name: z.string(),
    namespace: z.string(),
    uid: z.string(),
    resourceVersion: z.string(),
    generation: z.int().default(0),
    annotations: z.record(z.string(), z.string()).default({}),
    deletionTimestamp: z.string().nullish(),
  }),
  spec: z.object({ targetRef: z.object({ name: z.string() }) }),
  status: migrationBackupStatus.nullish(),
});

function asBackupObject(answer: unknown): BackupObject {
  const { metadata, spec, status } = stored.parse(answer);
  const { namespace, name, uid, resourceVersion, generation, annotations, deletionTimestamp } = metadata;
  return {
    key: { namespace, name },
    uid,
    resourceVersion,
    generation,
    target: { namespace, name: spec.targetRef.name },
    shows: annotations[backupAnnotation] ?? null,
    isGoing: deletionTimestamp != null,
    status: status ?? null,
  };
}

/** The object of a backup: its id without the namespace, in lower case, as names of objects are; where that is too long, its end and a digest. */
export function objectName({ namespace }: TargetKey, id: string): string {
  const name = id.slice(namespace.length + 1).toLowerCase();
  if (name.length <= maxNameLength) return name;
  const digest = createHash('sha256').update(id).digest('hex').slice(0, 8);
  // The time and the random end of the id; the beginning is the target's, which the object names anyway.
  const end = `-${digest}${name.slice(-suffixLength)}`;
  return `${trimmedName(name.slice(0, maxNameLength - end.length))}${end}`;
}

const suffixLength = '-20260102t030405z-57a1c6'.length;

/** `namespace`: null watches all of them. */
export function createBackupObjects(client: ApiClient, namespace: string | null): BackupObjects {
  const heard = new Map<string, BackupObject>();
  const byTarget = new Map<string, Map<string, BackupObject>>();

  function forget(key: TargetKey): void {
    const before = heard.get(keyText(key));
    if (before === undefined) return;
    heard.delete(keyText(key));
    const siblings = byTarget.get(keyText(before.target));
    siblings?.delete(keyText(key));
    if (siblings?.size === 0) byTarget.delete(keyText(before.target));
  }

  function keep(object: BackupObject): void {
    forget(object.key);
    heard.set(keyText(object.key), object);
    const siblings = byTarget.get(keyText(object.target)) ?? new Map<string, BackupObject>();
    byTarget.set(keyText(object.target), siblings.set(keyText(object.key), object));
  }

  async function get(key: TargetKey): Promise<BackupObject | null> {
    try {
      return asBackupObject(await client.call({ method: 'GET', path: pathOfOne(collection, key) }));
    } catch (thrown) {
      if (isNotFound(thrown)) return null;
      throw thrown;
    }
  }

  const create = async (target: TargetKey, manager: string, metadata: object): Promise<BackupObject> =>
    asBackupObject(
      await client.call({
        method: 'POST',
        path: pathOfAll(collection, target.namespace),
        query: { fieldManager: manager },
        body: {
          apiVersion,
          kind: collection.kind,
          metadata: { namespace: target.namespace, labels: { [targetLabel]: target.name }, ...metadata },
          spec: { targetRef: { name: target.name } },
        },
      }),
    );

  async function show(target: TargetKey, id: string): Promise<BackupObject> {
    const name = objectName(target, id);
    let object: BackupObject | null;
    try {
      object = await create(target, fieldManager, { name, annotations: { [backupAnnotation]: id } });
    } catch (thrown) {
      if (!isStatus(thrown, 409)) throw thrown;
      object = await get({ namespace: target.namespace, name });
      if (object?.shows !== id) {
        throw new Error(
          `MigrationBackup ${target.namespace}/${name} was not made for backup ${id}, so that can't be shown. Delete it: kubectl -n ${target.namespace} delete migrationbackup ${name}`,
          { cause: thrown },
        );
      }
    }
    keep(object);
    return object;
  }

  async function saveStatus(object: BackupObject, status: MigrationBackupStatus): Promise<void> {
    if (object.status !== null && statusDigest(object.status) === statusDigest(status)) return;
    // Left out rather than null, which kubectl shows as `<no value>`.
    const told = Object.fromEntries(Object.entries(status).filter(([, value]) => value !== null));
    const now = await applyStatus(client, collection, object.key, object, told);
    if (now === null) forget(object.key);
    else keep({ ...object, ...now, status });
  }

  async function remove(object: BackupObject): Promise<void> {
    try {
      await client.call({
        method: 'DELETE',
        path: pathOfOne(collection, object.key),
        body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: object.uid } },
      });
    } catch (thrown) {
      // Gone, or another one of the same name: either way this one is no more.
      if (!isNotFound(thrown) && !isStatus(thrown, 409)) throw thrown;
    }
    forget(object.key);
  }

  return {
    watch: (onChange, onProblem, signal) =>
      watchHeads(client, {
        path: pathOfAll(collection, namespace),
        onObject: (key, object) => (object === null ? forget(key) : keep(asBackupObject(object))),
        onChange: (key) => {
          const object = heard.get(keyText(key));
          if (object !== undefined) onChange(object);
        },
        onProblem,
        onSynced: () => {},
        signal,
      }),
    of: (target) => [...(byTarget.get(keyText(target))?.values() ?? [])],
    list: (target) =>
      failing(
        listAll(client, collection, target.namespace).then((items) =>
          items.map(asBackupObject).filter((object) => object.target.name === target.name),
        ),
      ),
    get: (key) => failing(get(key)),
    request: (target) => failing(create(target, cliFieldManager, { generateName: generateNameFor(target.name) })),
    show: (target, id) => failing(show(target, id)),
    saveStatus: (object, status) => failing(saveStatus(object, status)),
    remove: (object) => failing(remove(object)),
    async markShown(target, until) {
      await failing(
        client.insist({
          method: 'PATCH',
          path: `${collectionPath(target.namespace)}/${encodeURIComponent(target.name)}`,
          query: { fieldManager },
          contentType: mergePatch,
          body: { metadata: { annotations: { [backupsShownAnnotation]: until } } },
        }),
      );
    },
  };
}

async function failing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    throw asHomeFailure(thrown);
  }
}
