/** The Kubernetes home: declarations and status are MigrationTarget objects, values are Secrets. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import * as z from 'zod';
import { apiVersion, finalizer, group, requestedAtAnnotation, version } from '../../api/group.ts';
import { problemsText } from '../../api/problems.ts';
import { targetStatus } from '../../api/status.ts';
import { keyText, parseTarget, type TargetKey, type TargetStatus } from '../../api/target.ts';
import { isAllowed, type Permission } from '../../rollback/allowed.ts';
import { stalled } from '../../rollback/errors.ts';
import type { Clock, Declaration, Home } from '../../rollback/ports.ts';
import { resolveValue } from '../directory/secrets.ts';
import { applyTarget } from './apply.ts';
import { applyPatch, createClient, mergePatch, pathTo, type ApiClient } from './client.ts';
import { connect, type ConnectionOptions } from './connection.ts';
import { asHomeFailure, isStatus } from './errors.ts';
import { createRecorder } from './events.ts';
import { readSecret } from './secrets.ts';
import { statusDigest } from './status-digest.ts';
import { watchHeads } from './watch.ts';

export interface KubernetesHomeOptions extends ConnectionOptions {
  /** Lists and watches every namespace instead of one. */
  readonly allNamespaces?: boolean;
  /** What `--allow` said; it matters in a pod only. */
  readonly allow: readonly Permission[];
  /** What goes wrong beside the work, e.g. an event that could not be written. */
  readonly onProblem?: (problem: Error) => void;
  /** How long an answer is waited for. */
  readonly callTimeoutSeconds?: number | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly clock?: Clock;
}

export interface KubernetesHome extends Home, AsyncDisposable {
  readonly kind: 'kubernetes';
  /** The URL of the API server. */
  readonly server: string;
  /** Where targets are looked for that are named without a namespace. */
  readonly namespace: string;
  /** Whether this is a pod, where `notAllowed` (rollback/allowed.ts) refuses what was not allowed. */
  readonly inPod: boolean;
  /** Whether the cluster is being watched just now: false until `watch` listed once, and while it reconnects. */
  readonly synced: boolean;
}

/** What an object was when it was last read or written. */
interface Seen {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly status: string;
}

/** Who wrote a field, as `kubectl get --show-managed-fields` tells. */
const fieldManager = 'migration-target';
const cliFieldManager = 'migration-target-cli';

const object = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().default(''),
    uid: z.string().default(''),
    generation: z.int().default(0),
    resourceVersion: z.string().default(''),
    deletionTimestamp: z.string().nullish(),
    finalizers: z.array(z.string()).default([]),
  }),
  status: z.unknown(),
});
const objectList = z.object({
  metadata: z.object({ continue: z.string().optional() }),
  items: z.array(z.unknown()),
});

/** Reads the kubeconfig and connects to nothing yet. Throws where there is no cluster to talk to. */
export async function createKubernetesHome(options: KubernetesHomeOptions): Promise<KubernetesHome> {
  const { allow, env = process.env, clock = { now: () => new Date() } } = options;
  const onProblem = options.onProblem ?? ((problem: Error) => process.emitWarning(problem));
  // Half a second: only who talks to a cluster pays for it.
  const kubernetes = await import('@kubernetes/client-node');
  const connection = await connect((): KubeConfig => new kubernetes.KubeConfig(), options, env);
  const client = createClient(kubernetes, connection, options.callTimeoutSeconds);
  const recorder = createRecorder(client, clock);
  const collection =
    options.allNamespaces === true
      ? `/apis/${group}/${version}/migrationtargets`
      : pathTo`/apis/${group}/${version}/namespaces/${connection.namespace}/migrationtargets`;
  /** What each object was last seen to be, so that a status that is there already is not written. */
  const seen = new Map<string, Seen>();
  let synced = false;

  const failing = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (thrown) {
      throw asHomeFailure(thrown);
    }
  };

  /** null: there is none. */
  async function read(key: TargetKey): Promise<z.output<typeof object> | null> {
    try {
      return object.parse(await client.call({ method: 'GET', path: pathOf(key) }));
    } catch (thrown) {
      if (
        isStatus(thrown, 404) &&
        thrown.reason === 'NotFound' &&
        thrown.causes.length === 0 &&
        isAboutObject(thrown.says)
      )
        return null;
      throw thrown;
    }
  }

  async function get(key: TargetKey): Promise<Declaration | null> {
    const found = await read(key);
    if (found === null) {
      seen.delete(keyText(key));
      return null;
    }
    seen.set(keyText(key), seenIn(found, statusDigest(found.status)));
    const declaration = declare(found);
    const { deletionTimestamp } = found.metadata;
    if (declaration.kind === 'invalid' && deletionTimestamp != null && !hasJournal(found.status)) {
      // Nobody will ever work on it, so nobody else would let it go.
      await editFinalizers(client, key, without);
      return null;
    }
    return declaration;
  }

  return {
    kind: 'kubernetes',
    server: connection.server,
    namespace: connection.namespace,
    inPod: connection.inPod,
    get synced() {
      return synced;
    },

    list: () =>
      failing(
        (async () => {
          const declarations: Declaration[] = [];
          let page: string | undefined;
          do {
            const answer = objectList.parse(
              await client.call({ method: 'GET', path: collection, query: { limit: '500', continue: page } }),
            );
            // The items of a list do not tell their kind.
            for (const item of answer.items) declarations.push(declare(object.parse(item)));
            page = answer.metadata.continue === '' ? undefined : answer.metadata.continue;
          } while (page !== undefined);
          return declarations;
        })(),
      ),

    get: (key) => failing(get(key)),

    watch: (onChange, onWatchProblem, signal) =>
      watchHeads(client, {
        path: collection,
        onChange,
        onProblem: onWatchProblem,
        onSynced: (now) => {
          synced = now;
        },
        signal,
      }),

    async saveStatus(key, status) {
      const digest = statusDigest(status);
      const known = seen.get(keyText(key));
      if (known?.status === digest) return;
      const written = await failing(saveStatus(client, key, known, status));
      seen.set(keyText(key), seenIn(written, digest));
    },

    hold: (key) => failing(editFinalizers(client, key, (finalizers) => [...without(finalizers), finalizer])),
    release: (key) => failing(editFinalizers(client, key, without)),

    async record(key, event) {
      try {
        const uid = seen.get(keyText(key))?.uid ?? (await read(key))?.metadata.uid;
        // Gone: there is nothing left to describe.
        if (uid !== undefined) await recorder.record({ ...key, uid }, event);
      } catch (thrown) {
        // A namespace that is being deleted takes no events, and no operation may fail over that.
        onProblem(
          new Error(`The event ${event.reason} of ${keyText(key)} could not be written: ${messageOf(thrown)}`, {
            cause: thrown,
          }),
        );
      }
    },

    async resolve(source, namespace) {
      if (source.secretKeyRef !== undefined) return failing(readSecret(client, namespace, source.secretKeyRef));
      const permission = source.file === undefined ? 'env' : 'file';
      if (!isAllowed(permission, { inPod: connection.inPod, allow })) {
        throw stalled(
          'NotAllowed',
          `A value from ${permission} would be read as the controller, and it was not allowed to. Write secretKeyRef, or start the controller with --allow=${permission}`,
        );
      }
      return resolveValue(source, '', env);
    },

    setSuspended: (key, suspended) => failing(edit(client, key, { spec: { suspend: suspended } })),
    requestReconcile: (key, at) =>
      failing(edit(client, key, { metadata: { annotations: { [requestedAtAnnotation]: at } } })),

    apply: (document, { dryRun }) =>
      failing(
        applyTarget(client, document, {
          dryRun,
          namespace: connection.namespace,
          namespaceIsAsked: options.namespace !== undefined,
          fieldManager: cliFieldManager,
        }).then((applied) => (applied.kind === 'applied' ? declare(object.parse(applied.object)) : applied)),
      ),

    // Reports are the Events and the status; a cluster has no folder for them.
    saveReport: () => Promise.resolve(null),

    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

const pathOf = ({ namespace, name }: TargetKey): string =>
  pathTo`/apis/${group}/${version}/namespaces/${namespace}/migrationtargets/${name}`;

/** Not about the kind, which the cluster may not know. */
const isAboutObject = (says: string): boolean => says.includes('not found');

function declare(found: z.output<typeof object>): Declaration {
  const parsed = parseTarget({ ...found, apiVersion, kind: 'MigrationTarget', status: found.status ?? null });
  if (parsed.ok) return { kind: 'target', target: parsed.target };
  const { namespace, name, generation } = found.metadata;
  const status = targetStatus.safeParse(found.status ?? {});
  return {
    kind: 'invalid',
    key: { namespace, name },
    generation,
    problem: `${problemsText(parsed.problems)}. Mend it: kubectl -n ${namespace} edit mtgt ${name}`,
    status: status.success && found.status !== undefined ? status.data : null,
  };
}

const hasJournal = (status: unknown): boolean =>
  z.looseObject({ operation: z.looseObject({}) }).safeParse(status).success;

const seenIn = ({ metadata: { uid, resourceVersion } }: z.output<typeof object>, status: string): Seen => ({
  uid,
  resourceVersion,
  status,
});

/**
 * Server-side apply: fields that we wrote once and no longer do go, those of others stay. The version that was read is
 * a condition, so that a status never lands on an object that was deleted and made again meanwhile; where others only
 * changed it, it is written all the same. (A uid in the body is not looked at for a status: tried with 1.35.)
 */
async function saveStatus(
  client: ApiClient,
  key: TargetKey,
  known: Seen | undefined,
  status: TargetStatus,
): Promise<z.output<typeof object>> {
  let resourceVersion = known?.resourceVersion;
  for (let conflicts = 0; ; conflicts += 1) {
    try {
      const answer = await client.insist({
        method: 'PATCH',
        path: `${pathOf(key)}/status`,
        query: { fieldManager, force: 'true' },
        contentType: applyPatch,
        body: {
          apiVersion,
          kind: 'MigrationTarget',
          metadata: {
            namespace: key.namespace,
            name: key.name,
            ...(resourceVersion === undefined ? {} : { resourceVersion }),
          },
          status,
        },
      });
      return object.parse(answer);
    } catch (thrown) {
      if (!isStatus(thrown, 409) || conflicts >= maxConflicts) throw thrown;
      const now = object.parse(await client.insist({ method: 'GET', path: pathOf(key) }));
      if (known !== undefined && now.metadata.uid !== known.uid) {
        throw new Error(
          `MigrationTarget ${keyText(key)} was deleted and made again meanwhile; the status of the old one is dropped`,
          { cause: thrown },
        );
      }
      resourceVersion = now.metadata.resourceVersion;
      await conflictPause(conflicts);
    }
  }
}

const without = (finalizers: readonly string[]): readonly string[] => finalizers.filter((one) => one !== finalizer);

/** How often others may change an object between our reading and writing it. */
const maxConflicts = 10;
const conflictPause = (conflicts: number): Promise<void> => sleep(10 * 2 ** conflicts * Math.random());

/** Reads and writes in one go, as far as the API can: the version that was read is a condition of the write. */
async function editFinalizers(
  client: ApiClient,
  key: TargetKey,
  change: (finalizers: readonly string[]) => readonly string[],
): Promise<void> {
  for (let conflicts = 0; ; conflicts += 1) {
    let found;
    try {
      found = object.parse(await client.insist({ method: 'GET', path: pathOf(key) }));
    } catch (thrown) {
      // Nothing is left to be let go.
      if (isStatus(thrown, 404) && change === without) return;
      throw thrown;
    }
    const { finalizers, resourceVersion, uid } = found.metadata;
    const changed = change(finalizers);
    if (changed.length === finalizers.length && changed.every((one) => finalizers.includes(one))) return;
    try {
      await client.insist({
        method: 'PATCH',
        path: pathOf(key),
        query: { fieldManager },
        contentType: mergePatch,
        body: { metadata: { uid, resourceVersion, finalizers: changed } },
      });
      return;
    } catch (thrown) {
      if (isStatus(thrown, 404) && change === without) return;
      if (!isStatus(thrown, 409) || conflicts >= maxConflicts) throw thrown;
      await conflictPause(conflicts);
    }
  }
}

/** What a person asks for by a command. */
async function edit(client: ApiClient, key: TargetKey, body: unknown): Promise<void> {
  try {
    await client.call({
      method: 'PATCH',
      path: pathOf(key),
      query: { fieldManager: cliFieldManager },
      contentType: mergePatch,
      body,
    });
  } catch (thrown) {
    if (!isStatus(thrown, 404) || !isAboutObject(thrown.says)) throw thrown;
    throw new Error(`There is no MigrationTarget ${keyText(key)}. See: kubectl get mtgt --all-namespaces`, {
      cause: thrown,
    });
  }
}

const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));
