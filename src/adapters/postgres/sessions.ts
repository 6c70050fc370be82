import { setTimeout as delay } from 'node:timers/promises';
import { stalled } from '../../rollback/errors.ts';
import type { Failure } from '../../rollback/errors.ts';
import type { Statements } from './session.ts';

/** A session of somebody's, as pg_stat_activity shows it. */
interface Found extends Record<string, unknown> {
  readonly pid: number;
  readonly who: string;
}

/** Which sessions: an SQL condition over pg_stat_activity, with its values. */
export interface Selection {
  readonly condition: string;
  readonly values: readonly unknown[];
}

/** Most sessions are gone within a millisecond of their end: the wait grows from there. */
const pollMs = { first: 2, most: 50 } as const;

/**
 * Ends the selected sessions, again and again until none is left, for at most `seconds`; says how many there were.
 * Each of `killers` tries: one role may end what another may not. Calls `onRemaining` for what to throw in the end.
 */
export async function endSessions(
  killers: readonly Statements[],
  selection: Selection,
  seconds: number,
  onRemaining: (who: readonly string[], cause: unknown) => Failure,
): Promise<number> {
  const [observer] = killers;
  if (!observer) throw stalled('InternalError', 'No session to end sessions with.');
  const deadline = performance.now() + seconds * 1000;
  const seen = new Set<number>();
  let refused: unknown;
  for (let wait: number = pollMs.first; ; wait = Math.min(wait * 2, pollMs.most)) {
    const found = await observer.rows<Found>(
      'Listing sessions',
      `SELECT pid, format('%s (pid %s, %s)', coalesce(usename, backend_type), pid, coalesce(nullif(application_name, ''), state, backend_type)) AS who
       FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (${selection.condition})`,
      selection.values,
    );
    if (found.length === 0) return seen.size;
    if (performance.now() > deadline)
      throw onRemaining(
        found.map(({ who }) => who),
        refused,
      );
    for (const { pid } of found) {
      seen.add(pid);
      for (const killer of killers) {
        try {
          await killer.rows('Ending a session', 'SELECT pg_terminate_backend($1)', [pid]);
          break;
        } catch (error) {
          refused = error;
        }
      }
    }
    await delay(wait);
  }
}

/** Who else is connected to the session's database, neither the server's own workers nor these backends; at most five. */
export async function findOthers(session: Statements, own: ReadonlySet<number>): Promise<readonly string[]> {
  const rows = await session.rows<{ who: string }>(
    'Listing sessions',
    `SELECT format('%s (pid %s, %s)', usename, pid, coalesce(nullif(application_name, ''), state, 'no name')) AS who
     FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND NOT pid = ANY($1::int[])
     ORDER BY backend_start LIMIT 5`,
    [[...own]],
  );
  return rows.map(({ who }) => who);
}
