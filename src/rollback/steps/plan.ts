import { declaredRevisions } from '../../api/target.ts';
import { revisionsOf } from '../compare.ts';
import { formatHeads } from '../graph.ts';
import type { BackupPlan, DatabaseState, Operation, Plan } from '../model.ts';
import { newOperation } from '../operation.ts';
import { decide, decideRestore, isUnmarked, type RestoreInput } from '../plan.ts';
import type { LiveDatabase } from '../ports.ts';
import type { Scope } from '../scope.ts';
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
    case 'backup':
      await scope.scratch.reserve(scratchNeeded(planned));
      return scope.begin(
        newOperation(
          state,
          {
            id: scope.operationId,
            trigger,
            generation: scope.target.metadata.generation,
            requestedAt: scope.requestedAt,
            plan: planned,
          },
          scope.ports.clock.now(),
        ),
      );
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
    const graph = isUnmarked(backups, restoreFrom) ? await (await scope.alembic()).graph() : null;
    return decideRestore(input, { backup: restoreFrom, because: 'spec.restoreFrom declares it', graph });
  }
  findToolsAhead(scope.database);
  const session = await scope.alembic();
  const decided = decide({ ...input, graph: await session.graph() });
  // While the backup is taken Python would be idle.
  if (decided.kind !== 'nothing' && decided.kind !== 'refuse') session.warmUp();
  return decided;
}

function backupPlan(state: DatabaseState, reason: BackupPlan['reason']): BackupPlan {
  const current = revisionsOf(state.versionTable);
  return { kind: 'backup', current, desired: current ?? [], reason, digest: '' };
}

/** pg_dump and its kin, found and remembered while Python starts. Whether they are there is told by who needs them. */
export function findToolsAhead(database: Pick<LiveDatabase, 'tools'>): void {
  database.tools().catch(() => undefined);
}
