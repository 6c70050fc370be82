/** The statements that rows are compared by. Values are compared by their text, in hashes that don't depend on a collation. */
import { qualified, quoteName } from './identifiers.ts';
import type { Column, Relation } from './loss-catalogue.ts';
import type { BeforeColumn, MatchedTable } from './loss-tables.ts';

/** A table with storage to be read, and what its columns are compared as. */
export interface Source {
  readonly relation: Relation;
  /** In the order of `common`. */
  readonly columns: readonly { readonly name: string; readonly type: string; readonly compareAs: string | null }[];
  /** Those of which any value is lost. */
  readonly gone: readonly Column[];
}

export const sourcesBefore = (table: MatchedTable): readonly Source[] =>
  table.before.map((relation) => ({ relation, columns: table.common, gone: table.columnsGone }));

export const sourcesAfter = (table: MatchedTable): readonly Source[] =>
  table.after.map(({ relation, columns }) => ({
    relation,
    columns: columns.map((column, index) => ({ ...column, compareAs: table.common[index]?.compareAs ?? null })),
    gone: [],
  }));

/** Its own rows, not those of tables that inherit from it. */
export const from = (relation: Relation): string => `ONLY ${qualified(relation.schema, relation.name)} AS t`;

/**
 * To be summed up. A record's hash is a linear combination of its parts, so that two rows could swap values and leave the
 * sum as it was: hence the second hash over it.
 */
export const hash = (values: readonly string[]): string =>
  `hashint8extended(hash_record_extended(ROW(${values.join(', ')}), 0), 0)`;

/** Where each row is and which transaction wrote it. Two heaps that are copies and agree in this hold the same rows. */
export const physicalSum = `sum(${hash(['t.ctid', 't.xmin'])})`;

/** True for a row that has a value in any of these columns; a row of NULLs is a value. */
export const hasValue = (columns: readonly Column[]): string =>
  columns.length === 0 ? 'false' : columns.map(({ name }) => `t.${quoteName(name)} IS DISTINCT FROM NULL`).join(' OR ');

function text({ name, type, compareAs }: Pick<BeforeColumn, 'name' | 'type' | 'compareAs'>): string {
  const column = `t.${quoteName(name)}`;
  const as = compareAs === 'numeric' && type === '1700' ? `trim_scale(${column})` : column;
  return `${compareAs === null || compareAs === 'numeric' ? as : `(${as})::${compareAs}`}::text COLLATE "C"`;
}

/**
 * A row each: `k0`, `k1` (what it is known by, 128 bits), `v` (its other common values), `g` (whether a value of a column
 * that goes is in it). Values are turned into text once: `OFFSET 0` keeps the planner from doing it for each use.
 */
export function hashedRows(sources: readonly Source[], keyLength: number | null): string {
  return sources
    .map(({ relation, columns, gone }) => {
      const texts = columns.map(text);
      const known = keyLength === null ? texts : texts.slice(0, keyLength);
      const rest = keyLength === null ? [] : texts.slice(keyLength);
      return `SELECT hash_record_extended(k, 0) AS k0, hash_record_extended(k, 1) AS k1, hash_record_extended(v, 0) AS v, g
        FROM (SELECT ROW(${known.join(', ')}) AS k, ROW(${rest.join(', ')}) AS v, (${hasValue(gone)}) AS g FROM ${from(relation)} OFFSET 0) s`;
    })
    .join('\nUNION ALL\n');
}

/** One number for all rows, whatever their order. */
export const valueSum = `sum(${hash(['k0', 'v'])})`;

/** Rows are counted by so many lowest bits of what they are known by, so that only where something differs is read. */
export const buckets = 4096;

export const bucketSums = (rows: string): string =>
  `SELECT (k0 & ${buckets - 1})::int AS bucket, count(*) AS count, ${valueSum} AS sum FROM (${rows}) r GROUP BY 1`;

export function sortedRows(rows: string, wanted: readonly number[]): string {
  const some = wanted.length === buckets ? '' : `WHERE (k0 & ${buckets - 1}) = ANY ('{${wanted.join(',')}}'::int8[])`;
  return `SELECT k0, k1, v, g FROM (${rows}) r ${some} ORDER BY k0, k1`;
}

/** One number for each column that is not of the key, over the rows whose `k0` is in $1. */
export function columnSums(sources: readonly Source[], keyLength: number): string {
  const rows = sources
    .map(({ relation, columns }) => {
      const values = columns.slice(keyLength).map((column, index) => `${text(column)} AS c${index}`);
      const known = `hash_record_extended(ROW(${columns.slice(0, keyLength).map(text).join(', ')}), 0) AS k0`;
      return `SELECT ${[known, ...values].join(', ')} FROM ${from(relation)}`;
    })
    .join('\nUNION ALL\n');
  const count = (sources[0]?.columns.length ?? 0) - keyLength;
  const sums = Array.from({ length: count }, (_, index) => `sum(${hash(['k0', `c${index}`])})::text`);
  return `SELECT ARRAY[${sums.join(', ')}]::text[] AS sums FROM (${rows}) r WHERE k0 = ANY ($1::int8[])`;
}
