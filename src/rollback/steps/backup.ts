import { findRestoreFault, formatRevisions, sameRevisions } from '../compare.ts';
import { asFailure, retry, stalled } from '../errors.ts';
import type { BackupManifest, BackupReason, Operation } from '../model.ts';
import type { DumpResult } from '../ports.ts';
import { keptUntil, note, progressOf, type Scope, withScratch } from '../scope.ts';

/**
 * A verified backup of the database as it is: dumped, restored once into a scratch database, and compared.
 * Nothing goes on without it, but a restore: that leaves the old database whole, so a database that can't be
 * dumped (corrupt, say) may still be replaced.
 */
export async function backup(scope: Scope, operation: Operation): Promise<Operation> {
  await scope.store.removeLeftovers(operation.id);
  const { kind } = operation.plan;
  const next = kind === 'backup' ? 'report' : kind === 'restore' ? 'restore' : 'change';
  try {
    const { manifest, dump } = await take(scope, operation);
    return {
      ...operation,
      step: next,
      origin: { ...operation.origin, revisions: manifest.revisions, schema: dump.schema.digest },
      backup: { id: manifest.id, xmax: dump.snapshot.xmax, inProgress: dump.snapshot.inProgress },
      begun: false,
    };
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (kind !== 'restore' || failure.kind === 'retry') throw failure;
    return note(
      scope,
      { ...operation, step: next },
      `The database as it is could not be backed up (${failure.message}). It is kept aside whole, under another name, instead.`,
    );
  }
}

async function take(scope: Scope, operation: Operation): Promise<{ manifest: BackupManifest; dump: DumpResult }> {
  const { database, store, key, ports, target } = scope;
  const startedAt = ports.clock.now();
  const progress = progressOf(scope, operation, 'backup');
  const id = store.newId(startedAt);
  const deadline = scope.deadline(operation);
  const draft = await store.begin(id, operation.id);
  if (await scope.scratch.reserve(scratchNeeded(operation.plan))) await scope.save(operation);
  try {
    return await withScratch(scope, operation, async ({ database: scratch, created }) => {
      const dump = await database.dump(draft.dumpDirectory, progress, deadline);
      assertUnmoved(operation, dump.revisions);
      await created;
      scope.scratch.createAhead();
      await database.restoreInto(scratch, { path: draft.dumpDirectory, format: 'directory' }, progress, deadline);
      const restored = await database.contents(scratch);
      const facts = { rowCounts: dump.snapshot.rowCounts, revisions: dump.revisions, schema: null };
      const fault = findRestoreFault(facts, null, restored);
      if (fault !== null) {
        throw stalled(
          'BackupFailed',
          `The backup of ${operation.origin.identity.name}, restored to try it, is not equal: ${fault}. Nothing was changed. See: migration-target doctor ${key.name}`,
        );
      }
      const finishedAt = ports.clock.now();
      const manifest = await draft.commit(
        {
          version: 1,
          id,
          target: key,
          operation: operation.id,
          database: operation.origin.identity,
          server: operation.origin.server,
          tools: { pgDump: dump.tool },
          format: 'directory',
          revisions: dump.revisions,
          versionTable: { schema: target.spec.database.versionTableSchema, name: target.spec.database.versionTable },
          schema: { digest: restored.schema.digest, major: restored.schema.major },
          rowCounts: dump.snapshot.rowCounts,
          properties: dump.properties,
          scripts: await scriptsOf(scope, operation),
          startedAt: startedAt.toISOString(),
          finishedAt: finishedAt.toISOString(),
          reason: reasonOf(operation),
          verifiedAt: finishedAt.toISOString(),
          keptUntil: keptUntil(target, finishedAt),
        },
        restored.schema,
      );
      return { manifest, dump };
    });
  } catch (thrown) {
    await draft.discard();
    if (deadline.aborted) {
      throw stalled(
        'TimedOut',
        `The backup of ${operation.origin.identity.name} did not end within spec.timeout (${target.spec.timeout}). Nothing was changed. Give it more time, then: migration-target reconcile ${key.name}`,
        thrown,
      );
    }
    const failure = asFailure(thrown);
    if (failure.reason !== 'InternalError') throw failure;
    throw stalled(
      'BackupFailed',
      `No backup of ${operation.origin.identity.name} could be taken: ${failure.message} Nothing was changed. See: migration-target doctor ${key.name}`,
      thrown,
    );
  }
}

/** The graph was read for the plan already; what needs no plan of migrations needs no Python either. */
async function scriptsOf(scope: Scope, { plan }: Operation): Promise<string | null> {
  if (plan.kind === 'backup' || plan.kind === 'restore') return null;
  const session = await scope.alembic();
  return (await session.graph()).digest;
}

function reasonOf({ plan }: Operation): BackupReason {
  switch (plan.kind) {
    case 'backup':
      return plan.reason;
    case 'restore':
      return 'BeforeRestore';
    case 'upgrade':
    case 'downgrade':
    case 'switch':
      return 'BeforeChange';
  }
}

/** Scratch databases for what is planned: one to try the backup in, and one for the verification of a change. */
export const scratchNeeded = ({ kind }: Operation['plan']): number => (kind === 'backup' || kind === 'restore' ? 1 : 2);

/** A backup at another revision than the one that was planned from is none for that plan. */
function assertUnmoved({ plan, origin }: Operation, revisions: readonly string[] | null): void {
  if (plan.kind === 'backup' || sameRevisions(revisions, origin.revisions)) return;
  throw retry(
    'ChangedOutside',
    `Database ${origin.identity.name} went from ${formatRevisions(origin.revisions)} to ${formatRevisions(revisions)} while the change was planned; nothing was done. It is planned again.`,
  );
}
