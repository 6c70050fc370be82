import { Failure } from '../../rollback/errors.ts';
import { compareRows, onBoth } from './loss-read.ts';
import type { Sides } from './loss-read.ts';
import type { Judged } from './loss-report.ts';
import { tooManyRows } from './loss-report.ts';
import { hash, physicalSum } from './loss-sql.ts';
import { largeObjectPages, largeObjects, mayReadPages } from './row-counts.ts';

/** Large objects as rows: known by their oid, which a restore and a copy keep; the content is the value. */
const rowsOf = (content: string): string =>
  `SELECT m.oid::int8 AS k0, 0::int8 AS k1, ${content} AS v, false AS g FROM pg_largeobject_metadata m`;

/** Where the pages may be read; an object of no content has none. */
const byPages = `${rowsOf('coalesce(p.v, 0)')} LEFT JOIN (
  SELECT loid, hashtextextended(sum(${hash(['pageno', 'data'])})::text COLLATE "C", 0) AS v FROM pg_largeobject GROUP BY 1) p ON p.loid = m.oid`;

/** For an ordinary role: what it may read of each, which is only its own. */
const byContent = rowsOf(hash(['lo_get(m.oid)']));

/** null: nothing of them is lost. */
export async function compareLargeObjects(sides: Sides, isCopy: boolean, mostRows: number): Promise<Judged | null> {
  const [rowsBefore] = await onBoth(sides, async (session) => {
    const [row] = await session.rows<{ count: string }>(
      'Counting large objects',
      `SELECT count(*) AS count FROM ${largeObjects.sql}`,
    );
    return Number(row?.count ?? 0);
  });
  if (rowsBefore === 0) return null;
  const mayRead = (await onBoth(sides, mayReadPages)).every(Boolean);
  if (isCopy && mayRead && (await areUntouched(sides))) return null;

  const judge = (rows: number | null, part: Partial<Judged['loss']>): Judged => ({
    rows,
    loss: {
      table: largeObjects.key,
      rowsBefore,
      gone: false,
      rowsGone: null,
      rowsChanged: null,
      columnsChanged: [],
      columnsGone: [],
      notCompared: null,
      ...part,
    },
  });
  const sql = mayRead ? byPages : byContent;
  try {
    const difference = await compareRows(sides, { before: sql, after: sql }, mostRows);
    if ('tooMany' in difference)
      return judge(null, { notCompared: tooManyRows(difference.tooMany, rowsBefore, mostRows) });
    const { gone, changed } = difference;
    return judge(gone + changed, {
      rowsGone: gone,
      rowsChanged: changed,
      columnsChanged: changed > 0 ? ['data'] : [],
    });
  } catch (error) {
    if (!(error instanceof Failure) || error.reason !== 'PermissionDenied') throw error;
    return judge(null, { notCompared: `the role ${sides.before.subject.role} may not read every large object` });
  }
}

async function areUntouched(sides: Sides): Promise<boolean> {
  const [before, after] = await onBoth(sides, (session) =>
    session.rows<{ count: string; sum: string | null }>(
      'Looking at large objects',
      [largeObjects, largeObjectPages]
        .map(({ sql }) => `SELECT count(*) AS count, ${physicalSum} AS sum FROM ${sql} AS t`)
        .join(' UNION ALL '),
    ),
  );
  return before.every(({ count, sum }, index) => after[index]?.count === count && after[index].sum === sum);
}
