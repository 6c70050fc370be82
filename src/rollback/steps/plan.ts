import { declaredRevisions } from '../../api/target.ts';
import { revisionsOf } from '../compare.ts';
import { asFailure } from '../errors.ts';
import { formatHeads } from '../graph.ts';
import { adviceFor, describeIdentity } from '../identification.ts';
import { mostStepsBeside } from '../built-schemas.ts';
import { identifyIn } from '../identify.ts';
import type { BackupPlan, ChangePlan, DatabaseState, Operation, Plan, RevisionGraph } from '../model.ts';
import { newOperation } from '../operation.ts';
import { decide, decideRestore, isLost, isUnmarked, type PlanInput, type RestoreInput } from '../plan.ts';
import type { AlembicSession, LiveDatabase } from '../ports.ts';
import { decideByRecorded } from '../recorded-scripts.ts';
import { note, startAlembic, type Scope } from '../scope.ts';
import { asPart } from '../sentences.ts';
import { scratchNeeded } from './backup.ts';
import type { Checked } from './check.ts';

export type Planned = Operation | Extract<Checked, { readonly kind: 'settled' }>;

/** Observes what the pure planner needs, lets it decide, and makes an operation of its answer. */
export async function plan(scope: Scope, checked: Extract<Checked, { readonly kind: 'due' }>): Promise<Planned> {
  const planned = await makePlan(scope, checked);
  const { state, trigger } = checked;
  const seen = {
    current: revisionsOf(state.versionTable),
    keptAside: scope.keptAside,
    database: scope.claimed(state.identity),
  };
  switch (planned.kind) {
    case 'nothing':
      return {
        kind: 'settled',
        seen,
        outcome: {
          kind: 'ready',
          reason: 'InSync',
          message: `Database ${state.identity.name} is at ${formatHeads(planned.current)}, as declared.`,
        },
      };
    case 'refuse':
      tellRefusal(scope, checked, planned);
      return { kind: 'settled', seen, outcome: { kind: 'stalled', reason: planned.reason, message: planned.message } };
    case 'upgrade':
    case 'downgrade':
    case 'switch':
    case 'restore':
    case 'backup': {
      await scope.scratch.reserve(scratchNeeded(planned));
      const begun = await scope.begin(
        newOperation(
          state,
          {
            id: scope.operationId,
            trigger,
            generation: scope.target.metadata.generation,
            requestedAt: scope.requestedAt,
            plan: planned,
            rehearsals: scope.rehearsalsBefore,
          },
          scope.ports.clock.now(),
        ),
      );
      const scripts = 'scripts' in planned ? planned.scripts : undefined;
      return scripts === undefined ? begun : scope.save(note(scope, begun, scripts.because));
    }
  }
}

/** A revision that can't even be found is no operation that was refused. */
function tellRefusal(
  { asked, key, operationId, ports }: Scope,
  { restoreFrom }: Pick<Extract<Checked, { readonly kind: 'due' }>, 'restoreFrom'>,
  { change, reason }: Extract<Plan, { readonly kind: 'refuse' }>,
): void {
  const operation = change?.kind ?? (restoreFrom !== null || asked.kind === 'restore' ? 'restore' : null);
  if (operation !== null) ports.observe(key, operationId, { kind: 'refused', operation, reason });
}

/** A backup and a restore need no scripts, so no Python runs for them. */
async function makePlan(
  scope: Scope,
  { state, restoreFrom, trigger }: Extract<Checked, { readonly kind: 'due' }>,
): Promise<Plan> {
  const { asked, target } = scope;
  if (asked.kind === 'backup') return backupPlan(state, asked.reason);
  if (trigger === 'backup') return backupPlan(state, 'MaxAge');

  const { backups, broken } = await scope.store.list();
  const input: RestoreInput = {
    uid: target.metadata.uid,
    name: scope.key.name,
    desired: declaredRevisions(target.spec),
    policy: target.spec.policy,
    state,
    versionTable: `${target.spec.database.versionTableSchema}.${target.spec.database.versionTable}`,
    backups,
    broken,
  };
  if (asked.kind === 'restore') return decideRestore(input, { backup: asked.backup, because: 'it was asked for' });
  if (restoreFrom !== null) {
    const graph = isUnmarked(backups, restoreFrom) ? await readAnew(await scope.alembic()) : null;
    return decideRestore(input, { backup: restoreFrom, because: 'spec.restoreFrom declares it', graph });
  }
  findToolsAhead(scope.database);
  const session = await scope.alembic();
  const first = await decideBy(session, input);
  const {
    plan: found,
    graph,
    session: other,
  } = await decideByRecorded(input, first, {
    store: scope.store,
    start: (scripts) => startAlembic(scope, scope.operationId, null, scripts),
    lock: scope.lock.token,
  });
  await other?.[Symbol.asyncDispose]();
  if (isChange(found)) {
    await scope.useScripts(found.scripts ?? null);
    if (found.scripts !== undefined) return found;
  }
  const decided = await lookWhereLost(scope, { ...input, graph }, found);
  // While the backup is taken Python would be idle. After a rehearsal it is another one.
  if (isChange(decided) && target.spec.policy.rehearsal === 'Never') session.warmUp();
  return decided;
}

/**
 * Where the version table tells nothing, what the schema is, and what to type, goes into the refusal. Nothing is stamped by
 * itself, however sure it is: two revisions may differ in data alone, and a person knows what was done to the database.
 */
async function lookWhereLost(scope: Scope, input: PlanInput, decided: Plan): Promise<Plan> {
  const { state, graph, name } = input;
  const isOfThat =
    decided.kind === 'refuse' && (decided.reason === 'VersionTableMissing' || decided.reason === 'RevisionNotFound');
  const isBlocked = state.blockers.some(({ blocks }) => blocks === 'change');
  if (!isOfThat || isBlocked || !isLost(input)) return decided;
  return decide({ ...input, identified: await tellIdentity(scope, state, graph, name) });
}

async function tellIdentity(scope: Scope, state: DatabaseState, graph: RevisionGraph, name: string): Promise<string> {
  try {
    const found = await identifyIn(scope, state, graph, mostStepsBeside);
    const advice = adviceFor(found, { name, spec: scope.target.spec, graph });
    return `${describeIdentity(found)} ${advice}`;
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (failure.kind === 'retry' || scope.signal.aborted) throw failure;
    return `Which revision its schema is could not be told: ${asPart(failure.message)}. Then: migration-target identify ${name}`;
  } finally {
    // What was journalled for it is over; the database itself was only read.
    await scope.ports.home.release(scope.key);
  }
}

/**
 * A change may be decided from what is remembered of the scripts: before it begins they are proven. Whatever else is
 * decided is only told once they are: a refusal stands until somebody acts.
 */
export async function decideBy(
  session: AlembicSession,
  input: RestoreInput,
): Promise<{ readonly plan: Plan; readonly graph: RevisionGraph }> {
  const remembered = await session.graph();
  const decided = decide({ ...input, graph: remembered });
  if (isChange(decided) || (await session.prove())) return { plan: decided, graph: remembered };
  const graph = await session.graph();
  return { plan: decide({ ...input, graph }), graph };
}

/** The scripts as they are, not as they are remembered. */
export async function readAnew(session: AlembicSession): Promise<RevisionGraph> {
  await session.prove();
  return session.graph();
}

const isChange = (one: Plan): one is ChangePlan =>
  one.kind === 'upgrade' || one.kind === 'downgrade' || one.kind === 'switch';

function backupPlan(state: DatabaseState, reason: BackupPlan['reason']): BackupPlan {
  const current = revisionsOf(state.versionTable);
  return { kind: 'backup', current, desired: current ?? [], reason, digest: '' };
}

/** pg_dump and its kin, found and remembered while Python starts. Whether they are there is told by who needs them. */
export function findToolsAhead(database: Pick<LiveDatabase, 'tools'>): void {
  database.tools().catch(() => undefined);
}
