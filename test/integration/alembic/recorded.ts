import { query } from '../../support/postgres.ts';
import type { Revision } from '../../support/alembic.ts';

/** Each step leaves a row, so that the database itself tells what ran, and in which order. */
const leaves = (what: string): string => `op.execute("CREATE TABLE IF NOT EXISTS ran (n serial, what text)")
op.execute("INSERT INTO ran (what) VALUES ('${what}')")`;

const revision = (id: string, rest: Omit<Revision, 'id'>): Revision => ({
  id,
  up: leaves(`up ${id}`),
  downgrade: leaves(`down ${id}`),
  ...rest,
});

/** Two branches that are merged, a second root, and one that depends on a revision of another line. */
export const branchedHistory: readonly Revision[] = [
  revision('root', { down: null }),
  revision('left1', { down: 'root' }),
  revision('left2', { down: 'left1' }),
  revision('right1', { down: 'root' }),
  revision('merge', { down: ['left2', 'right1'] }),
  revision('top', { down: 'merge' }),
  revision('alone', { down: null }),
  revision('needy', { down: 'alone', dependsOn: 'left1' }),
];

export async function recorded(url: string): Promise<readonly string[]> {
  return (await query<{ what: string }>(url, 'SELECT what FROM ran ORDER BY n')).map(({ what }) => what);
}
