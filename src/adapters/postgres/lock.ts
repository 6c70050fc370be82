import { createHash } from 'node:crypto';
import { retry } from '../../rollback/errors.ts';
import type { Lock } from '../../rollback/ports.ts';
import type { Session } from './session.ts';

/** The first 64 bits of a digest of the name: the same for every target and controller of that database. */
function lockKey(database: string): { readonly key: bigint; readonly classId: number; readonly objId: number } {
  const digest = createHash('sha256').update(`migration-target:${database}`).digest();
  return { key: digest.readBigInt64BE(0), classId: digest.readUInt32BE(0), objId: digest.readUInt32BE(4) };
}

/**
 * Takes the fence on `session`, which is in the maintenance database and from then on the lock's alone; ends the session
 * and gives null where another has it. Transaction-level, in a transaction held open: session-level locks are shared by
 * whoever a pooler puts on the same session.
 */
export async function takeLock(session: Session, database: string): Promise<Lock | null> {
  const { key, classId, objId } = lockKey(database);
  let taken = false;
  try {
    const [row] = await session.script<{ taken: boolean }>(
      'Taking the lock',
      `BEGIN; SELECT pg_try_advisory_xact_lock('${key}'::bigint) AS taken`,
    );
    taken = row?.taken === true && !(await isHeldElsewhere(session, classId, objId));
  } finally {
    if (!taken) await session[Symbol.asyncDispose]();
  }
  if (!taken) return null;
  return {
    token: { classId, objId, pid: session.pid },
    async assertHeld() {
      const lost = (cause?: unknown) =>
        retry(
          'DatabaseUnreachable',
          `The session that held the lock on "${database}" (${session.subject.where}) is gone, so nothing more is done; it is tried again by itself.`,
          cause,
        );
      if (!session.alive) throw lost();
      const held = await session
        .rows<{ held: boolean }>(
          'Looking at the lock',
          `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND objsubid = 1
             AND classid = $1::bigint::oid AND objid = $2::bigint::oid) AS held`,
          [classId, objId],
        )
        .catch((error: unknown) => {
          throw lost(error);
        });
      if (held[0]?.held !== true) throw lost();
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}

/**
 * Advisory locks are each database's own: whoever declares another maintenance database would be granted the same one.
 * Asked once it was granted, so of two at the same time neither has it.
 */
async function isHeldElsewhere(session: Session, classId: number, objId: number): Promise<boolean> {
  const [row] = await session.rows<{ held: boolean }>(
    'Looking for the lock in other databases',
    `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() AND objsubid = 1
       AND classid = $1::bigint::oid AND objid = $2::bigint::oid) AS held`,
    [classId, objId],
  );
  return row?.held === true;
}
