/**
 * Which revision a database is at, told by its schema alone: where the version table is missing, or says something else.
 * It is compared with every schema that was recorded of it, with those of its verified backups, and with those that its
 * migrations make from base. The database is only read.
 */
import type { MigrationTarget } from '../api/target.ts';
import { everyRevision } from './build-plan.ts';
import { buildSchemas } from './built-schemas.ts';
import { revisionsOf } from './compare.ts';
import { judgeIdentity, type Candidate, type Identification } from './identification.ts';
import type { BuiltSchemas, DatabaseState, Operation, RevisionGraph } from './model.ts';
import type { Ports } from './ports.ts';
import { progressStep, type Scope, withScratch } from './scope.ts';
import { idleOperation, workUnderLock } from './scratch-work.ts';

export interface Identified {
  readonly state: DatabaseState;
  readonly graph: RevisionGraph;
  readonly found: Identification;
}

/** Throws a Failure where the database, the scripts or the catalogue can't be read. */
export async function identify(target: MigrationTarget, ports: Ports, signal: AbortSignal): Promise<Identified> {
  return workUnderLock(target, ports, signal, async ({ scope, state }) => {
    const graph = await (await scope.alembic()).graph();
    return { state, graph, found: await identifyIn(scope, state, graph, Infinity) };
  });
}

/** Journals what it needs, and clears it away. `mostSteps`: migrations that may be run for it. */
export async function identifyIn(
  scope: Scope,
  state: DatabaseState,
  graph: RevisionGraph,
  mostSteps: number,
): Promise<Identification> {
  const operation = await scope.begin(idleOperation(scope, state, 'identify'));
  try {
    const present = await progressStep(scope, operation, 'compare', () =>
      withScratch(scope, operation, ({ database: scratch, created }) =>
        scope.database.canonicalSchema(scratch, created),
      ),
    );
    const { candidates, built } = await knownSchemas(scope, operation, graph, mostSteps);
    return judgeIdentity(present, candidates, { graph, built, said: revisionsOf(state.versionTable) });
  } finally {
    await scope.clearScratch();
  }
}

/** All schemas that are known of a revision. */
export interface KnownSchemas {
  readonly candidates: readonly Candidate[];
  readonly built: BuiltSchemas;
}

export async function knownSchemas(
  scope: Scope,
  operation: Operation,
  graph: RevisionGraph,
  mostSteps: number,
): Promise<KnownSchemas> {
  const built = await progressStep(scope, operation, 'build', () =>
    buildSchemas(scope, operation, { graph, wanted: everyRevision(graph), mostSteps }),
  );
  return {
    built,
    candidates: [
      ...(await recorded(scope, operation)),
      ...(await inBackups(scope, operation)),
      ...built.schemas.map((at): Candidate => ({ ...at, by: 'built', backup: null })),
    ],
  };
}

async function recorded({ store }: Scope, { origin }: Operation): Promise<readonly Candidate[]> {
  const schemas = await store.recordedSchemas(origin.identity, origin.server.major);
  return schemas.map((at) => ({ ...at, by: 'recorded', backup: null }));
}

async function inBackups({ store }: Scope, { origin }: Operation): Promise<readonly Candidate[]> {
  const { systemIdentifier, name } = origin.identity;
  const { backups } = await store.list();
  const candidates: Candidate[] = [];
  for (const { id, revisions, verifiedAt, database, schema: digest } of backups) {
    const isOurs = database.systemIdentifier === systemIdentifier && database.name === name;
    if (!isOurs || verifiedAt === null || revisions === null || digest?.major !== origin.server.major) continue;
    // One that was taken at the same revisions and looks the same says no more.
    if (
      candidates.some(({ schema, revisions: at }) => schema.digest === digest.digest && at.join() === revisions.join())
    )
      continue;
    const schema = await store.schema(id);
    if (schema !== null) candidates.push({ revisions, schema, by: 'backup', backup: id });
  }
  return candidates;
}
