/** The Kubernetes home: declarations and status are MigrationTarget objects, values are Secrets. */
import { HttpMethod, IsomorphicFetchHttpLibrary, KubeConfig, RequestContext } from '@kubernetes/client-node';
import { requestedAtAnnotation } from '../../api/group.ts';
import { keyText, type TargetKey, type ValueSource } from '../../api/target.ts';
import { isAllowed, type Permission } from '../../rollback/allowed.ts';
import type { BackupObjects } from '../../rollback/backup-objects.ts';
import type { Claimed } from '../../rollback/claim.ts';
import { keyOfDeclaration, statusOfDeclaration } from '../../rollback/declaration.ts';
import { stalled } from '../../rollback/errors.ts';
import type { ApprovalObjects, Clock, Declaration, Home, LeaseStore, Owner } from '../../rollback/ports.ts';
import { resolveValue } from '../directory/secrets.ts';
import { applyTarget } from './apply.ts';
import { createApprovals } from './approvals.ts';
import { createBackupObjects } from './backup-objects.ts';
import { createClaims } from './claims.ts';
import { createClient, type ApiClient } from './client.ts';
import { connect, type ConnectionOptions } from './connection.ts';
import { asHomeFailure } from './errors.ts';
import { createRecorder } from './events.ts';
import { createKeptTargets } from './kept.ts';
import { createLeaseStore } from './lease.ts';
import {
  asStored,
  collectionPath,
  declarationOf,
  editTarget,
  isHeldForNothing,
  readTarget,
  writeFinalizer,
  writeStatus,
} from './objects.ts';
import { readOwnImage, type OwnImage } from './own-image.ts';
import { eachItem } from './pages.ts';
import { createSecretValues, type SecretValues } from './secret-values.ts';
import { statusDigest } from './status-digest.ts';
import { listHeads, watchHeads } from './watch.ts';

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
  /** What comes before the path at which a pod finds its service account. */
  readonly podRoot?: string;
}

export interface KubernetesHome extends Home, AsyncDisposable {
  readonly kind: 'kubernetes';
  readonly backupObjects: BackupObjects;
  readonly approvalObjects: ApprovalObjects;
  readonly lease: (name: string) => LeaseStore;
  /** The URL of the API server. */
  readonly server: string;
  /** For what else is done in the same cluster. */
  readonly client: ApiClient;
  /** Throws NotSupported where it can't be told. */
  readonly ownImage: () => Promise<OwnImage>;
  /** Where targets are looked for that are named without a namespace. */
  readonly namespace: string;
  /** Whether this is a pod, where `notAllowed` (rollback/allowed.ts) refuses what was not allowed. */
  readonly inPod: boolean;
  /** Declares `spec.restoreFrom` and no other field. */
  declareRestore(key: TargetKey, backup: string): Promise<void>;
  /** Whether the cluster is being watched just now: false until `watch` listed once, and while it reconnects. */
  readonly synced: boolean;
}

/** Imported here alone: it takes half a second, which only who talks to a cluster pays for. */
const library = { HttpMethod, IsomorphicFetchHttpLibrary, RequestContext };

/** Several tries fit into the time for which a leader tries to renew; no other call keeps one waiting. */
const leaseCallSeconds = 4;

/** Reads the kubeconfig and connects to nothing yet. Throws where there is no cluster to talk to. */
export async function createKubernetesHome(options: KubernetesHomeOptions): Promise<KubernetesHome> {
  const { allow, env = process.env, clock = { now: () => new Date() } } = options;
  const onProblem = options.onProblem ?? ((problem: Error) => process.emitWarning(problem));
  const connection = await connect(() => new KubeConfig(), options, env, options.podRoot);
  const client = createClient(library, connection, options.callTimeoutSeconds);
  const leaseClient = createClient(library, connection, leaseCallSeconds);
  const recorder = createRecorder(client, clock);
  const watched = options.allNamespaces === true ? null : connection.namespace;
  const collection = collectionPath(watched);
  const kept = createKeptTargets();
  const claims = createClaims();
  const secrets = createSecretValues(client);
  let claimsKnown: Promise<unknown> | null = null;
  let synced = false;

  const failing = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (thrown) {
      throw asHomeFailure(thrown);
    }
  };

  async function list(): Promise<readonly Declaration[]> {
    const declarations: Declaration[] = [];
    for await (const declaration of eachDeclaration()) declarations.push(declaration);
    return declarations;
  }

  async function* eachDeclaration(): AsyncGenerator<Declaration, void, undefined> {
    // The items of a list do not tell their kind.
    for await (const item of eachItem(client, { path: collection })) yield declarationOf(asStored(item));
  }

  async function get(key: TargetKey): Promise<Declaration | null> {
    const stored = await readTarget(client, key);
    if (stored === null) {
      kept.forget(key);
      claims.set(key, null);
      return null;
    }
    kept.keep(key, stored);
    const declaration = declarationOf(stored);
    claims.set(key, statusOfDeclaration(declaration)?.database);
    if (declaration.kind === 'target' || !isHeldForNothing(stored)) return declaration;
    // Nobody works on what can't be read, so nobody else would let it go.
    await writeFinalizer(client, key, false);
    return null;
  }

  /** Asked of every target that is new: it must not cost a list of all others. */
  async function claiming(claim: Claimed): Promise<readonly Declaration[]> {
    claimsKnown ??= readClaims();
    await claimsKnown;
    const found = await Promise.all(claims.of(claim).map((key) => readTarget(client, key)));
    return found.filter((one) => one !== null).map(declarationOf);
  }

  async function readClaims(): Promise<void> {
    try {
      for await (const one of eachDeclaration()) claims.set(keyOfDeclaration(one), statusOfDeclaration(one)?.database);
    } catch (thrown) {
      claimsKnown = null;
      throw thrown;
    }
  }

  async function resolve(source: ValueSource, owner: Owner, read: SecretValues['read']): Promise<string> {
    if (source.secretKeyRef !== undefined) return failing(read(owner, source.secretKeyRef));
    const permission = source.file === undefined ? 'env' : 'file';
    if (!isAllowed(permission, { inPod: connection.inPod, allow })) {
      throw stalled(
        'NotAllowed',
        `A value from ${permission} would be read as the controller, and it was not allowed to. Write secretKeyRef, or start the controller with --allow=${permission}`,
      );
    }
    return resolveValue(source, '', env);
  }

  async function hold(key: TargetKey, held: boolean): Promise<void> {
    const now = await writeFinalizer(client, key, held);
    if (now !== null) kept.rewritten(key, now);
  }

  return {
    kind: 'kubernetes',
    server: connection.server,
    client,
    ownImage: () => readOwnImage(client, connection, env),
    namespace: connection.namespace,
    inPod: connection.inPod,
    get synced() {
      return synced;
    },

    list: () => failing(list()),

    get: (key) => failing(get(key)),

    heads: () => failing(listHeads(client, collection)),

    claiming: (claim) => failing(claiming(claim)),

    known: {
      target: (key) => (synced ? kept.recall(key) : null),
      resolve: (source, owner) => resolve(source, owner, secrets.recall),
    },

    watch: (onChange, onWatchProblem, signal) =>
      watchHeads(client, {
        path: collection,
        onChange,
        onVersion: (key, now) => kept.told(key, now),
        onProblem: onWatchProblem,
        onSynced: (now) => {
          synced = now;
        },
        signal,
      }),

    async saveStatus(key, status, replaces) {
      const digest = statusDigest(status);
      const known = kept.version(key);
      if (known?.status === digest) return;
      kept.keep(key, await failing(writeStatus(client, key, known, status, replaces)));
      claims.set(key, status.database);
    },

    hold: (key) => failing(hold(key, true)),
    release: (key) => failing(hold(key, false)),

    async record(key, event) {
      try {
        const uid = kept.version(key)?.uid ?? (await readTarget(client, key))?.metadata.uid;
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

    resolve: (source, owner) => resolve(source, owner, secrets.read),

    setSuspended: (key, suspended) => failing(editTarget(client, key, { spec: { suspend: suspended } })),
    declareRestore: (key, backup) => failing(editTarget(client, key, { spec: { restoreFrom: { backup } } })),
    requestReconcile: (key, at) =>
      failing(editTarget(client, key, { metadata: { annotations: { [requestedAtAnnotation]: at } } })),

    apply: (document, { dryRun }) =>
      failing(
        applyTarget(client, document, {
          dryRun,
          namespace: connection.namespace,
          namespaceIsAsked: options.namespace !== undefined,
        }).then((applied) => (applied.kind === 'applied' ? declarationOf(asStored(applied.object)) : applied)),
      ),

    // Reports are the Events and the status; a cluster has no folder for them.
    saveReport: () => Promise.resolve(null),

    backupObjects: createBackupObjects(client, watched),
    ...createApprovals(client, watched, clock),

    lease: (name) =>
      createLeaseStore(leaseClient, {
        namespace: connection.ownNamespace,
        name,
        recorder: createRecorder(leaseClient, clock),
        onProblem,
      }),

    async [Symbol.asyncDispose]() {
      await Promise.all([client[Symbol.asyncDispose](), leaseClient[Symbol.asyncDispose]()]);
    },
  };
}

const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));
