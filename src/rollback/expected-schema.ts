/**
 * Whether a schema is the one of the revisions that a change should lead to. It is compared with the one that the
 * database had when it was there before, or else, on the way down, with the one that the migrations make from base; a
 * downgrade() that is `pass` shows in a schema that did not move.
 */
import { buildSchemas, mostStepsBeside } from './built-schemas.ts';
import { beyondDrift, compareSchemas, describeDifference, isSame } from './compare.ts';
import { formatHeads, sameSet } from './graph.ts';
import type { ChangePlan, Operation, SchemaFacts } from './model.ts';
import { chooseFallback } from './retention.ts';
import type { Scope } from './scope.ts';
import { asPart, capitalized } from './sentences.ts';

export interface SchemaVerdict {
  /** Why it is not the schema of those revisions, as part of a sentence; null: nothing tells that it is not. */
  readonly fault: string | null;
  /** What people should know all the same; null: nothing. */
  readonly note: string | null;
  /** Whether it may be recorded as the schema of those revisions: nothing else is known of them. */
  readonly isFirst: boolean;
}

const verdict = (so: Partial<SchemaVerdict>): SchemaVerdict => ({ fault: null, note: null, isFirst: false, ...so });

/**
 * `present`: canonical, of the database that the change was run on. `mayBuild`: whether there is time to run migrations from
 * base, where nothing else is known of the desired revision.
 */
export async function judgeSchema(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  present: SchemaFacts,
  { mayBuild }: { readonly mayBuild: boolean },
): Promise<SchemaVerdict> {
  const { store } = scope;
  const { identity, server } = operation.origin;
  const known = await findKnownSchema(scope, operation, plan.desired);
  const found = operation.backup === null ? null : await store.schema(operation.backup.id);
  const isUnmoved = found !== null && found.digest === present.digest;
  if (known === null) {
    if (plan.kind === 'upgrade') return verdict({ isFirst: true });
    const built = await findBuiltSchema(scope, operation, plan, found, mayBuild);
    return built.kind === 'built'
      ? asBuilt(plan, built.schema, present, isUnmoved)
      : unknown(plan, built.because, isUnmoved, await idleDowngrades(scope, plan));
  }
  const difference = compareSchemas(known.lines, present.lines);
  if (isSame(difference)) return verdict({});
  if (isUnmoved) {
    return verdict({
      fault: `the schema did not move at all, and is not the one of ${formatHeads(plan.desired)} (${describeDifference(difference)})`,
    });
  }
  const recorded = await store.recordedSchema(identity, plan.current, server.major);
  const beyond = beyondDrift(difference, { found: found?.lines ?? [], recorded: recorded?.lines ?? null });
  return isSame(beyond)
    ? verdict({
        note: `The schema differs from that of ${formatHeads(plan.desired)} by what had drifted before: ${describeDifference(difference)}.`,
      })
    : verdict({ fault: `the schema is not the one of ${formatHeads(plan.desired)} (${describeDifference(beyond)})` });
}

/** The database began exactly where its migrations lead from base, so nothing of a difference had drifted before. */
function asBuilt({ desired }: ChangePlan, built: SchemaFacts, present: SchemaFacts, isUnmoved: boolean): SchemaVerdict {
  const difference = compareSchemas(built.lines, present.lines);
  if (isSame(difference)) return verdict({ isFirst: true });
  const what = isUnmoved ? 'did not move at all, and is not' : 'is not';
  return verdict({
    fault: `the schema ${what} the one of ${formatHeads(desired)} as its migrations make it from base (${describeDifference(difference)})`,
  });
}

/** What nobody can tell is no fault, and no drift either. */
function unknown({ desired }: ChangePlan, because: string, isUnmoved: boolean, idle: readonly string[]): SchemaVerdict {
  const doesNothing = idle.length === 0 ? '' : `downgrade() of ${idle.join(', ')} does nothing, and `;
  const told = `${doesNothing}the database was never seen at ${formatHeads(desired)} before: whether its schema is the one of that revision can't be told${isUnmoved ? '; it did not move' : ''}. Nor can it be built from base to compare with: ${asPart(because)}. Compare it by hand.`;
  return verdict({
    note: idle.length === 0 ? capitalized(told) : told,
    isFirst: idle.length === 0 && !isUnmoved,
  });
}

type Built =
  { readonly kind: 'built'; readonly schema: SchemaFacts } | { readonly kind: 'none'; readonly because: string };

/**
 * The schema that the migrations make from base, only where they also make the one that the database was found with: old
 * histories often end elsewhere than the databases that lived through them.
 */
async function findBuiltSchema(
  scope: Scope,
  operation: Operation,
  { current, desired }: ChangePlan,
  found: SchemaFacts | null,
  mayBuild: boolean,
): Promise<Built> {
  if (found === null) return { kind: 'none', because: 'the schema of before is not known' };
  const graph = await (await scope.alembic()).graph();
  const mostSteps = mayBuild ? mostStepsBeside : 0;
  const { schemas, unbuilt } = await buildSchemas(scope, operation, { graph, wanted: [current, desired], mostSteps });
  const at = (wanted: readonly string[]): SchemaFacts | null =>
    schemas.find(({ revisions }) => sameSet(revisions, wanted))?.schema ?? null;
  const [from, to] = [at(current), at(desired)];
  if (from === null || to === null) {
    const missing = from === null ? current : desired;
    const because = unbuilt.find(({ revisions }) => sameSet(revisions, missing))?.because;
    return { kind: 'none', because: because ?? `base does not lead to ${formatHeads(missing)}` };
  }
  const difference = compareSchemas(from.lines, found.lines);
  if (isSame(difference)) return { kind: 'built', schema: to };
  return {
    kind: 'none',
    because: `at ${formatHeads(current)} base leads elsewhere than to the schema that the database had (${describeDifference(difference)})`,
  };
}

/** The steps down that were taken by a downgrade() that is `pass`, though the upgrade() is not. */
async function idleDowngrades(scope: Scope, plan: ChangePlan): Promise<readonly string[]> {
  const down = new Set(plan.steps.filter(({ direction }) => direction === 'down').map(({ revision }) => revision));
  if (down.size === 0) return [];
  const { revisions } = await (await scope.alembic()).graph();
  return revisions
    .filter(({ id, upgrade, downgrade }) => down.has(id) && upgrade.shape === 'code' && downgrade.shape === 'pass')
    .map(({ id }) => id);
}

/** The schema recorded when the revision was last reached, or else that of the newest backup at it. */
async function findKnownSchema(
  scope: Scope,
  operation: Operation,
  revisions: readonly string[],
): Promise<SchemaFacts | null> {
  const { identity, server } = operation.origin;
  const recorded = await scope.store.recordedSchema(identity, revisions, server.major);
  if (recorded !== null) return recorded;
  const { backups } = await scope.store.list();
  const choice = chooseFallback(backups, revisions, identity, server.major);
  return choice.kind === 'none' ? null : scope.store.schema(choice.backup.id);
}
