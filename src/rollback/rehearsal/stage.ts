/** Where a rehearsal takes place: a copy of the present state, another one that is changed, and alembic led there. */
import type { Operation, OwnDatabase } from '../model.ts';
import type { AlembicSession } from '../ports.ts';
import { grouped } from '../numbers.ts';
import { progressOf, requireBackup, startAlembic, type Scope, type Stage, withCopy } from '../scope.ts';

/** Where it is tried: the state of before, and its copy, which alembic is led to. */
export interface Trial {
  readonly stage: Stage;
  readonly before: OwnDatabase;
  readonly copy: OwnDatabase;
  readonly session: AlembicSession;
}

/** What a restored backup is held against: the present state, on the stage. */
export interface Comparison {
  readonly stage: Stage;
  readonly before: OwnDatabase;
  readonly deadline: AbortSignal;
}

/** The stage, with a copy of the present state on it: the one that the backup was tried in, or another on the rehearsal server. */
export async function onStage<T>(
  scope: Scope,
  operation: Operation,
  deadline: AbortSignal,
  use: (stage: Stage, before: OwnDatabase) => Promise<T>,
): Promise<T> {
  const stage = await scope.stage();
  const kept = scope.scratch.kept();
  if (kept === null || operation.backup === null) throw new Error('the copy that the backup was tried in is gone');
  if (stage.url === null) return use(stage, kept);
  scope.scratch.letGo();
  const manifest = await requireBackup(scope, operation.backup.id);
  return withCopy(scope, operation, async ({ database: before, created }) => {
    await created;
    const dump = { place: scope.store.dumpOf(manifest), format: manifest.format };
    await stage.server.restoreInto(before, dump, progressOf(scope, operation, 'rehearse'), deadline);
    return use(stage, before);
  });
}

export async function startOnCopy(
  scope: Scope,
  operation: Operation,
  { stage, copy, created }: Pick<Trial, 'stage' | 'copy'> & { readonly created: Promise<unknown> },
  deadline: AbortSignal,
): Promise<AlembicSession> {
  const { key, target, ports } = scope;
  const scripts = await scope.scripts();
  const starting = startAlembic(
    { key, target, ports, signal: AbortSignal.any([scope.signal, deadline]) },
    operation.id,
    { insteadOf: operation.origin.identity.name, database: copy.name, url: stage.url },
    scripts,
  );
  try {
    await Promise.all([created, starting]);
    return await starting;
  } catch (thrown) {
    await (await starting.catch(() => null))?.[Symbol.asyncDispose]();
    throw thrown;
  }
}

/** Free space can't be read by SQL; where it can be known, the copies have to fit, with a tenth to spare. */
export async function diskWouldFill(scope: Scope, operation: Operation): Promise<string | null> {
  const { server, url } = await scope.stage();
  const free = await server.freeBytes();
  const { sizeBytes } = await scope.database.read();
  // What the backup was tried in is on the live server already.
  const needed = Math.ceil(sizeBytes * (url === null ? 1 : 2) * 1.1);
  if (free === null || free >= needed) return null;
  const asMb = (bytes: number): string => `${grouped(Math.ceil(bytes / 1_000_000))} MB`;
  return `a copy of ${operation.origin.identity.name} needs ${asMb(needed)}, and the server's disk has ${asMb(free)} left`;
}
