import { findRestoreFault, formatRevisions, sameRevisions } from '../compare.ts';
import { asFailure, changedSincePlanned, retry, stalled } from '../errors.ts';
import type { BackupManifest, BackupReason, Operation, OperationStep, OwnDatabase, SchemaFacts } from '../model.ts';
import type { DumpResult, Progress } from '../ports.ts';
import { keptUntil, note, progressOf, type Scope, withScratch } from '../scope.ts';

/**
 * A verified backup of the database as it is: dumped, restored once into a scratch database, and compared.
 * Nothing goes on without it, but a restore: that leaves the old database whole, so a database that can't be
 * dumped (corrupt, say) may still be replaced.
 */
export async function backup(scope: Scope, operation: Operation): Promise<Operation> {
  await scope.store.removeLeftovers(operation.id);
  const { kind } = operation.plan;
  // What is found out only after the backup has another one taken each time that it is tried.
  if (mayBeRehearsed(scope, operation)) await scope.stage();
  try {
    const { manifest, dump, fault } = await take(scope, operation);
    if (fault !== null) return unverified(scope, operation, manifest, fault);
    return {
      ...operation,
      step: nextStep(scope, operation, manifest),
      origin: { ...operation.origin, revisions: manifest.revisions, schema: dump.schema.digest },
      backup: { id: manifest.id, xmax: dump.snapshot.xmax, inProgress: dump.snapshot.inProgress },
      begun: false,
    };
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (kind !== 'restore' || failure.kind === 'retry') throw failure;
    return note(
      scope,
      { ...operation, step: 'gate' },
      `The database as it is could not be backed up (${failure.message}). It is kept aside whole, under another name, instead.`,
    );
  }
}

/** It is better than nothing where the database is damaged; but nothing ever falls back to it by itself. */
function unverified(scope: Scope, operation: Operation, { id }: BackupManifest, fault: string): Operation {
  const message = `Backup ${id} of ${operation.origin.identity.name} is kept, but it is not verified: ${fault}`;
  return operation.plan.kind === 'backup'
    ? { ...operation, step: 'report', failure: { reason: 'BackupFailed', message, passing: true, committed: false } }
    : note(scope, { ...operation, step: 'gate' }, message);
}

/** In an emergency: of a database that may be damaged, what could be dumped is kept though it can't be restored as it is. */
const isKeptUnverified = ({ plan }: Operation): boolean =>
  plan.kind === 'restore' || (plan.kind === 'backup' && plan.reason === 'Requested');

function nextStep(scope: Scope, operation: Operation, manifest: Pick<BackupManifest, 'schema'>): OperationStep {
  if (operation.plan.kind === 'backup') return 'report';
  return isToBeRehearsed(scope, operation, manifest) ? 'rehearse' : 'gate';
}

/** What a restore loses need not be known where loss is allowed. */
function mayBeRehearsed({ target }: Scope, { plan }: Operation): boolean {
  if (plan.kind === 'backup') return false;
  const { policy } = target.spec;
  return policy.rehearsal === 'Always' && (plan.kind !== 'restore' || policy.dataLoss !== 'Allow');
}

/** Once, and again where the schema has moved since. */
const isToBeRehearsed = (scope: Scope, operation: Operation, { schema }: Pick<BackupManifest, 'schema'>): boolean =>
  mayBeRehearsed(scope, operation) && (operation.rehearsal === null || operation.rehearsal.origin !== schema?.digest);

interface Taken {
  readonly manifest: BackupManifest;
  readonly dump: DumpResult;
  /** Why it is not verified; null: it is. */
  readonly fault: string | null;
}

async function take(scope: Scope, operation: Operation): Promise<Taken> {
  const { database, store, key, ports, target } = scope;
  const startedAt = ports.clock.now();
  const progress = progressOf(scope, operation, 'backup');
  const id = store.newId(startedAt);
  const deadline = scope.deadline(operation);
  const draft = await store.begin(id, operation.id);
  if (await scope.scratch.reserve(scratchNeeded(operation.plan))) await scope.save(operation);
  try {
    return await withScratch(scope, operation, async (trial) => {
      const { database: scratch, created } = trial;
      const dump = await database.dump(draft.dump, progress, deadline);
      assertUnmoved(operation, dump.revisions);
      await created;
      scope.scratch.createAhead();
      const { schema, fault } = await tryRestore(scope, operation, { scratch, dump, progress, deadline });
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
          format: dump.format,
          revisions: dump.revisions,
          versionTable: { schema: target.spec.database.versionTableSchema, name: target.spec.database.versionTable },
          schema: schema === null ? null : { digest: schema.digest, major: schema.major },
          rowCounts: dump.snapshot.rowCounts,
          properties: dump.properties,
          scripts: await scriptsOf(scope, operation),
          startedAt: startedAt.toISOString(),
          finishedAt: finishedAt.toISOString(),
          reason: reasonOf(operation),
          verifiedAt: fault === null ? finishedAt.toISOString() : null,
          keptUntil: keptUntil(target, finishedAt),
        },
        schema,
      );
      if (isToBeRehearsed(scope, operation, manifest)) scope.scratch.keep(trial);
      return { manifest, dump, fault };
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

interface Trial {
  readonly scratch: OwnDatabase;
  readonly dump: DumpResult;
  readonly progress: Progress;
  readonly deadline: AbortSignal;
}

/** The schema that was restored; or, where the dump is kept all the same, why it can't be. */
async function tryRestore(
  scope: Scope,
  operation: Operation,
  trial: Trial,
): Promise<{ readonly schema: SchemaFacts; readonly fault: null } | { readonly schema: null; readonly fault: string }> {
  try {
    return { schema: await restored(scope, operation, trial), fault: null };
  } catch (thrown) {
    const failure = asFailure(thrown);
    // What passes by itself, or was cut short, says nothing of the dump.
    if (!isKeptUnverified(operation) || failure.kind === 'retry' || trial.deadline.aborted) throw thrown;
    return { schema: null, fault: failure.message };
  }
}

async function restored({ database, key }: Scope, { origin }: Operation, trial: Trial): Promise<SchemaFacts> {
  const { scratch, dump, progress, deadline } = trial;
  await database.restoreInto(scratch, dump, progress, deadline);
  const contents = await database.contents(scratch);
  const fault = findRestoreFault(
    { rowCounts: dump.snapshot.rowCounts, revisions: dump.revisions, schema: null },
    null,
    contents,
  );
  if (fault === null) return contents.schema;
  throw stalled(
    'BackupFailed',
    `The backup of ${origin.identity.name}, restored to try it, is not equal: ${fault}. Nothing was changed. See: migration-target doctor ${key.name}`,
  );
}

/** Read for the plan already, or remembered: then it is proven here. What needs no plan of migrations needs no Python. */
async function scriptsOf(scope: Scope, { plan }: Operation): Promise<string | null> {
  if (plan.kind === 'backup' || plan.kind === 'restore') return null;
  const session = await scope.alembic();
  if (!(await session.prove())) throw changedSincePlanned(scope.target.spec.alembic.workingDir);
  return (await session.graph()).digest;
}

function reasonOf({ plan, trigger }: Operation): BackupReason {
  // Nothing is changed after it.
  if (trigger === 'rehearse') return 'Requested';
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
