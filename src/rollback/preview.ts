/**
 * What an operation would do, with no effect: the database is read, the scripts are loaded, the catalogue is listed,
 * the planner decides. Nothing is locked or written.
 */
import { revisionsOf } from './compare.ts';
import { declaredRevisions, keyOf, type MigrationTarget } from '../api/target.ts';
import { resolveRevision } from './graph.ts';
import type { BackupManifest, ChangePlan, DatabaseState, Operation, Plan, RevisionGraph } from './model.ts';
import { openStore } from './open-store.ts';
import { decideRestore, isUnmarked, type RestoreInput } from './plan.ts';
import type { AlembicSession, BackupStore, BrokenBackup, Ports, RunScripts } from './ports.ts';
import { decideByRecorded } from './recorded-scripts.ts';
import { startAlembic } from './scope.ts';
import { journalOf, statusOf } from './status.ts';
import { newOperationId, openDatabase } from './steps/check.ts';
import { decideBy, findToolsAhead, readAnew } from './steps/plan.ts';
import { stalled } from './errors.ts';
import { unsupportedFields } from '../api/unsupported.ts';

/** SQL that the migrations would run, or why alembic can't tell it beforehand. */
export type PlannedSql = Awaited<ReturnType<AlembicSession['offlineSql']>>;

export interface Preview {
  readonly plan: Plan;
  /** Absolute: as declared, or what was typed instead. */
  readonly desired: readonly string[];
  readonly declared: readonly string[];
  readonly state: DatabaseState;
  /** null: not needed, since a backup is restored that tells its revision. */
  readonly graph: RevisionGraph | null;
  /** Newest first. */
  readonly backups: readonly BackupManifest[];
  /** null: not asked for, or nothing to run. */
  readonly sql: PlannedSql | null;
  /** An operation that was begun and not ended: it is gone on with before anything else. */
  readonly unfinished: Operation | null;
}

export interface PreviewOptions {
  /** Also ask alembic for the SQL of the steps. */
  readonly sql: boolean;
  /** A backup that would be restored, instead of what is declared. */
  readonly restore?: string;
  /** What a person typed in place of the declared revision: `-1`, a label, the beginning of an id, `head`. */
  readonly revision?: string;
  /** The id of the operation that follows at once; left out: one of its own. */
  readonly operationId?: string;
  readonly signal: AbortSignal;
}

/** Throws a Failure where the database, the scripts or the catalogue can't be read; RevisionNotFound for what was typed. */
export async function preview(target: MigrationTarget, ports: Ports, options: PreviewOptions): Promise<Preview> {
  return observeTarget(target, ports, options, async ({ state, store, backups, broken, alembic, start }) => {
    const unfinished = journalOf(statusOf(target));
    const declared = declaredRevisions(target.spec);
    const restored = options.restore ?? (await pendingRestore(target, store, state));
    const typed = options.revision;
    const desired = typed === undefined ? declared : resolve(target, await readAnew(await alembic()), state, typed);
    const input = { ...inputOf(target, state, { backups, broken }), desired };
    if (restored !== null) {
      const isDeclared = options.restore === undefined;
      const because = isDeclared ? 'spec.restoreFrom declares it' : 'it was asked for';
      const graph = isDeclared && isUnmarked(backups, restored) ? await readAnew(await alembic()) : null;
      return {
        plan: decideRestore(input, { backup: restored, because, graph }),
        desired,
        declared,
        state,
        graph,
        backups,
        sql: null,
        unfinished,
      };
    }
    const session = await alembic();
    const decided = await decideByRecorded(input, await decideBy(session, input), { store, start, lock: null });
    const { plan, graph } = decided;
    await using other = decided.session;
    const steps = changeOf(plan)?.steps ?? [];
    const sql =
      options.sql && steps.length > 0 ? await (other ?? session).offlineSql({ from: plan.current ?? [], steps }) : null;
    return { plan, desired, declared, state, graph, backups, sql, unfinished };
  });
}

function resolve(
  { metadata }: MigrationTarget,
  graph: RevisionGraph,
  state: DatabaseState,
  typed: string,
): readonly string[] {
  const current = state.versionTable.kind === 'present' ? state.versionTable.revisions : [];
  const resolved = resolveRevision(graph, typed, current);
  if (resolved.kind === 'resolved') return resolved.revisions;
  throw stalled('RevisionNotFound', resolved.message.replace(/history$/, `history ${metadata.name}`));
}

/** The scripts, and where the database is (null: no version table), for drawing. */
export async function readGraph(
  target: MigrationTarget,
  ports: Ports,
  signal: AbortSignal,
): Promise<{ readonly graph: RevisionGraph; readonly current: readonly string[] | null }> {
  return observeTarget(target, ports, { signal }, async ({ state, alembic }) => ({
    graph: await (await alembic()).graph(),
    current: revisionsOf(state.versionTable),
  }));
}

/** The migrations that a plan would run, or that it refuses to. */
export const changeOf = (plan: Plan): ChangePlan | null =>
  'steps' in plan ? plan : plan.kind === 'refuse' ? plan.change : null;

interface Observed {
  readonly state: DatabaseState;
  readonly store: BackupStore;
  readonly backups: readonly BackupManifest[];
  readonly broken: readonly BrokenBackup[];
  readonly alembic: () => Promise<AlembicSession>;
  /** Another one, with recorded migrations. */
  readonly start: (scripts: RunScripts) => Promise<AlembicSession>;
}

/** Python takes longest to start, so it starts first; whatever happens it is ended. */
async function observeTarget<T>(
  target: MigrationTarget,
  ports: Ports,
  { signal, operationId }: Pick<PreviewOptions, 'signal' | 'operationId'>,
  use: (observed: Observed) => Promise<T>,
): Promise<T> {
  const unsupported = unsupportedFields(target.spec, ports.home.kind);
  if (unsupported.length > 0) throw stalled('NotSupported', `This version does not act on ${unsupported.join('; ')}.`);
  const key = keyOf(target);
  const id = operationId ?? newOperationId();
  const starting = startAlembic({ key, target, ports, signal }, id);
  starting.catch(() => {}); // asked for below, where it is needed
  try {
    await using database = await openDatabase({ key, target, ports }, id);
    if (operationId !== undefined) findToolsAhead(database);
    const [state, store] = await Promise.all([database.read(), openStore(target, ports)]);
    const { backups, broken } = await store.list();
    const start = (scripts: RunScripts): Promise<AlembicSession> =>
      startAlembic({ key, target, ports, signal }, id, null, scripts);
    return await use({ state, store, backups, broken, alembic: () => starting, start });
  } finally {
    const session = await starting.catch(() => null);
    await session?.[Symbol.asyncDispose]();
  }
}

async function pendingRestore(
  { spec }: MigrationTarget,
  store: BackupStore,
  { identity }: DatabaseState,
): Promise<string | null> {
  if (spec.restoreFrom === undefined) return null;
  const record = await store.restoreRecord(spec.restoreFrom.backup, identity);
  return record === 'done' ? null : spec.restoreFrom.backup;
}

const inputOf = (
  target: MigrationTarget,
  state: DatabaseState,
  catalogue: Pick<RestoreInput, 'backups' | 'broken'>,
): RestoreInput => ({
  uid: target.metadata.uid,
  name: target.metadata.name,
  desired: declaredRevisions(target.spec),
  versionTable: `${target.spec.database.versionTableSchema}.${target.spec.database.versionTable}`,
  policy: target.spec.policy,
  state,
  ...catalogue,
});
