/**
 * Looks at everything that a rollback would need, before it is needed. Changes nothing but for a scratch database, which
 * is journalled and dropped. What the findings mean is diagnosis.ts.
 */
import { keyOf, type MigrationTarget } from '../api/target.ts';
import type { Catalogue, DoctorFacts, Looked } from './diagnosis.ts';
import { asFailure, stalled } from './errors.ts';
import { isAsked } from './application.ts';
import { askHealth } from './health.ts';
import type { BackupManifest, DatabaseState, WorkloadBefore } from './model.ts';
import { openStore } from './open-store.ts';
import type { AlembicSession, BackupStore, Health, LiveDatabase, MigrationResult, Ports } from './ports.ts';
import { startAlembic } from './scope.ts';
import { workInScratch } from './scratch-work.ts';
import { journalOf, statusOf } from './status.ts';
import { newOperationId, openDatabase } from './steps/check.ts';
import { readAnew } from './steps/plan.ts';
import { ownerOf } from './visit.ts';

/** Never throws for what it finds. */
export async function examine(target: MigrationTarget, ports: Ports, signal: AbortSignal): Promise<DoctorFacts> {
  const key = keyOf(target);
  const id = newOperationId();
  const secrets = await look(() => resolveAll(target, ports));
  const store = await look(() => openStore(target, ports));
  const catalogue = await within(store, readCatalogue);
  const writable =
    catalogue?.ok === false ? catalogue : await following(store, (opened) => tryWriting(opened, ports, id));

  const starting = secrets?.ok === true ? startAlembic({ key, target, ports, signal }, id) : null;
  starting?.catch(() => {}); // looked at below
  const opened = secrets?.ok === true ? await look(() => openDatabase({ key, target, ports }, id)) : null;
  try {
    const state = await within(opened, (database) => database.read());
    const tools = await following(opened, async (database) => {
      const { version, where } = await database.tools();
      return { version, where };
    });
    const unendable = await following(opened, (database) => findUnendable(database, target, state));
    const session = starting === null ? null : await look(() => starting);
    const graph = await within(session, readAnew);
    const { lock, environment } = await tryEnvironment(opened, state, graph?.ok === true ? session : null);
    const trial = await tryRestore(target, ports, signal, {
      catalogue,
      store,
      isReady: state?.ok === true && tools?.ok === true && lock?.ok === true && lock.value === 'free',
    });
    return {
      target,
      home: ports.home.kind,
      unfinished: journalOf(statusOf(target)),
      secrets,
      state,
      unendable,
      tools,
      lock,
      graph,
      alembicWhere: session?.ok === true ? session.value.where : '',
      environment,
      catalogue,
      writable,
      trial,
      application: await look(() => lookAtApplication(target, ports)),
    };
  } finally {
    const session = await starting?.catch(() => null);
    await session?.[Symbol.asyncDispose]();
    if (opened?.ok === true) await opened.value[Symbol.asyncDispose]();
  }
}

async function lookAtApplication(
  target: MigrationTarget,
  ports: Ports,
): Promise<{ readonly workloads: readonly WorkloadBefore[]; readonly health: Health } | null> {
  const { application } = target.spec;
  if (application === undefined || !isAsked(application)) return null;
  const own = ports.workloads(ownerOf(target));
  const workloads = await own.read(application.workloads);
  if (application.during === 'Stop') await own.tryStop(workloads);
  return { workloads, health: await askHealth({ own, probe: ports.probe }, application, workloads) };
}

async function look<T>(work: () => Promise<T>): Promise<Looked<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (thrown) {
    return { ok: false, failure: asFailure(thrown) };
  }
}

/** Looks only where the look before came to something; what went wrong there is told of that look. */
const following = async <A, T>(before: Looked<A>, work: (value: A) => Promise<T>): Promise<Looked<T>> =>
  before?.ok === true ? look(() => work(before.value)) : null;

/** The same, where the look before has no line of its own: what went wrong there is told of this one. */
const within = async <A, T>(before: Looked<A>, work: (value: A) => Promise<T>): Promise<Looked<T>> =>
  before?.ok === false ? before : following(before, work);

async function resolveAll(target: MigrationTarget, { home }: Ports): Promise<null> {
  const { spec } = target;
  const sources = [
    spec.database.urlFrom,
    spec.database.adminUrlFrom,
    ...spec.alembic.env.map(({ valueFrom }) => valueFrom),
  ];
  for (const source of sources) if (source !== undefined) await home.resolve(source, ownerOf(target));
  return null;
}

async function readCatalogue(store: BackupStore): Promise<Catalogue> {
  const [{ backups, broken }, freeBytes] = await Promise.all([store.list(), store.freeBytes()]);
  return { backups, broken, freeBytes };
}

/** A draft that is given up at once. */
async function tryWriting(store: BackupStore, { clock }: Ports, operationId: string): Promise<null> {
  const draft = await store.begin(store.newId(clock.now()), operationId);
  await draft.discard();
  return null;
}

const unendableSessions = `
  SELECT string_agg(DISTINCT a.usename::text, ', ') FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
  WHERE a.datname = current_database() AND a.usename <> current_user
    AND (r.rolsuper OR NOT (pg_has_role(a.usesysid, 'MEMBER') OR pg_has_role('pg_signal_backend', 'MEMBER')))`;

/** Asked as the application's role, so known only where that one swaps, or where the other may end anything. */
async function findUnendable(
  database: LiveDatabase,
  { spec }: MigrationTarget,
  state: Looked<DatabaseState>,
): Promise<string | null> {
  const isSuperuser = state?.ok === true && state.value.role.superuser;
  return isSuperuser || spec.database.adminUrlFrom !== undefined ? null : database.query(unendableSessions);
}

/** env.py only connects under the lock: it may do so in ways of its own. */
async function tryEnvironment(
  opened: Looked<LiveDatabase>,
  state: Looked<DatabaseState>,
  session: Looked<AlembicSession>,
): Promise<{ readonly lock: Looked<'free' | 'held'>; readonly environment: Looked<MigrationResult> }> {
  const taken = await following(opened, (database) => database.lock());
  const lock = await within(taken, async (held) => (held === null ? 'held' : 'free'));
  if (taken?.ok !== true || taken.value === null) return { lock, environment: null };
  await using held = taken.value;
  if (state?.ok !== true || session?.ok !== true) return { lock, environment: null };
  return {
    lock,
    environment: await look(() => session.value.probe({ database: state.value.identity, lock: held.token })),
  };
}

/** The newest archive's schema, into a scratch database, as the roles of a real restore. */
async function tryRestore(
  target: MigrationTarget,
  ports: Ports,
  signal: AbortSignal,
  {
    catalogue,
    store,
    isReady,
  }: { readonly catalogue: Looked<Catalogue>; readonly store: Looked<BackupStore>; readonly isReady: boolean },
): Promise<Looked<BackupManifest | null>> {
  if (!isReady || catalogue?.ok !== true || store?.ok !== true || statusOf(target).operation !== null) return null;
  const [newest] = catalogue.value.backups;
  if (newest === undefined) return { ok: true, value: null };
  return look(async () => {
    const checked = await store.value.check(newest.id);
    if (!checked.ok)
      throw stalled(
        'BackupInvalid',
        `Backup ${newest.id} can't be restored: ${checked.problem}. Take another: migration-target backup ${target.metadata.name}`,
      );
    const dump = {
      place: store.value.dumpOf(newest),
      format: newest.format,
      schemaOnly: newest.format !== 'plain',
    };
    return workInScratch(target, ports, signal, async ({ scope, scratch }) => {
      await scope.database.restoreInto(scratch, dump, () => {});
      return newest;
    });
  });
}
