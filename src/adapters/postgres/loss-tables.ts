import type { Column, Relation } from './loss-catalogue.ts';

/** A column as it was, by its name in the table's root. */
export interface BeforeColumn extends Column {
  /** What it may be compared as, once its type has changed; null: as the text of either. */
  readonly compareAs: string | null;
}

/** A table with storage that holds rows of the table before, by then. */
export interface AfterLeaf {
  readonly relation: Relation;
  /** For each common column of the table, in that order, what it is by then. */
  readonly columns: readonly Column[];
  /** The leaf before that this is, if it was one: then the rows of both may well be the same. */
  readonly was: Relation | null;
}

/** A table before, with what became of it. */
export interface MatchedTable {
  /** `schema.table`, as it was called before. */
  readonly table: string;
  /** Where its rows were: itself, or its partitions. */
  readonly before: readonly Relation[];
  readonly after: readonly AfterLeaf[];
  readonly gone: boolean;
  /** Columns that are there by then, those of the key first. Generated ones are derived, and in neither list. */
  readonly common: readonly BeforeColumn[];
  /** How many of `common` identify a row; null: none do, and a row is known by all of its values. */
  readonly keyLength: number | null;
  readonly columnsGone: readonly Column[];
}

/** `schema.table`, as row counts call it. */
export const nameOf = ({ schema, name }: Pick<Relation, 'schema' | 'name'>): string => `${schema}.${name}`;

/**
 * Where the rows of each table before may be found by then. Identity is the oid in a copy, the name otherwise.
 *
 * Rows are looked for table by table, a partitioned table being one, with what it has taken in or let go since:
 * - a table or partition that is still there belongs to the table that it was (part of), be it detached, attached or renamed;
 * - a new partition belongs to the table that it is a partition of;
 * - of a table of which nothing is left, what has its name by then is taken.
 */
export function matchTables(
  before: readonly Relation[],
  after: readonly Relation[],
  isCopy: boolean,
): readonly MatchedTable[] {
  const identify = isCopy ? ({ oid }: Relation): string => oid : nameOf;
  const wasByOid = new Map(before.map((relation) => [relation.oid, relation]));
  const wasById = new Map(before.map((relation) => [identify(relation), relation]));
  const isByOid = new Map(after.map((relation) => [relation.oid, relation]));
  const isById = new Map(after.map((relation) => [identify(relation), relation]));
  const rootBefore = (relation: Relation): Relation => wasByOid.get(relation.root) ?? relation;

  const found = new Map<string, Found[]>();
  const unknown: Found[] = [];
  for (const relation of after) {
    if (relation.kind !== 'r') continue;
    const root = isByOid.get(relation.root) ?? relation;
    const was = wasById.get(identify(relation));
    const rootWas = wasById.get(identify(root));
    if (was?.kind === 'r') append(found, rootBefore(was).oid, { relation, root, was, rootWas: null });
    else if (rootWas !== undefined && rootWas.kind !== 'f')
      append(found, rootBefore(rootWas).oid, { relation, root, was: null, rootWas });
    else unknown.push({ relation, root, was: null, rootWas: null });
  }
  const unknownByName = Map.groupBy(unknown, ({ root }) => nameOf(root));
  const leavesBefore = Map.groupBy(
    before.filter(({ kind }) => kind === 'r'),
    (leaf) => rootBefore(leaf).oid,
  );

  return before
    .filter((relation) => relation.kind !== 'f' && rootBefore(relation) === relation)
    .map((root) => {
      const isThere = isById.has(identify(root));
      const leaves = found.get(root.oid) ?? (isThere ? [] : (unknownByName.get(nameOf(root)) ?? []));
      return matchColumns(root, leavesBefore.get(root.oid) ?? [], leaves, !isThere && leaves.length === 0, isCopy);
    });
}

interface Found {
  readonly relation: Relation;
  readonly root: Relation;
  readonly was: Relation | null;
  /** The table before that its root is; column numbers are those of the root. */
  readonly rootWas: Relation | null;
}

function append(map: Map<string, Found[]>, key: string, found: Found): void {
  const list = map.get(key);
  if (list) list.push(found);
  else map.set(key, [found]);
}

function matchColumns(
  root: Relation,
  before: readonly Relation[],
  leaves: readonly Found[],
  gone: boolean,
  isCopy: boolean,
): MatchedTable {
  const rows = leaves.map((leaf) => successors(leaf, isCopy));
  const columns = root.columns
    .filter(({ generated }) => !generated)
    .map((column) => ({ column, became: rows.map((successor) => successor(column.name)) }));
  const stays = columns.filter(({ became }) => became.every((column) => column !== null));
  const staying = new Map(stays.map((entry) => [entry.column.number, entry]));
  const key = root.keys.find((numbers) => numbers.every((number) => staying.has(number))) ?? null;
  const ordered =
    key === null
      ? stays
      : [
          ...key.flatMap((number) => staying.get(number) ?? []),
          ...stays.filter(({ column }) => !key.includes(column.number)),
        ];
  return {
    table: nameOf(root),
    before,
    gone,
    common: ordered.map(({ column, became }) => ({ ...column, compareAs: commonType(column, became[0] ?? column) })),
    keyLength: key === null ? null : key.length,
    columnsGone: columns.filter((entry) => !stays.includes(entry)).map(({ column }) => column),
    after: leaves.map(({ relation, was }, index) => ({
      relation,
      was,
      columns: ordered.flatMap(({ became }) => became[index] ?? []),
    })),
  };
}

/** What a column of that name became in a leaf; null: it is gone. */
function successors({ relation, root, was, rootWas }: Found, isCopy: boolean): (name: string) => Column | null {
  const now = byName(relation);
  // A partition has its root's names, at places of its own.
  const numbered = isCopy ? (was ?? rootWas) : null;
  if (numbered === null) return (name) => now.get(name) ?? null;
  const then = byName(numbered);
  const numbersThen = new Set(numbered.columns.map(({ number }) => number));
  const numbersNow = new Map((was === null ? root : relation).columns.map((column) => [column.number, column]));
  return (name) => {
    const same = numbersNow.get(then.get(name)?.number ?? 0);
    if (same) return now.get(same.name) ?? null;
    // Dropped and made anew under its name.
    const anew = byName(was === null ? root : relation).get(name);
    return anew === undefined || numbersThen.has(anew.number) ? null : (now.get(name) ?? null);
  };
}

const byName = ({ columns }: Relation): ReadonlyMap<string, Column> =>
  new Map(columns.map((column) => [column.name, column]));

const numeric = '1700';
const [float4, float8, date, timestamp, timestamptz] = ['700', '701', '1082', '1114', '1184'];
/** Conversions that keep every value and change its text. */
const widening = new Map([
  [`${float4} ${float8}`, 'float8'],
  [`${date} ${timestamp}`, 'timestamp'],
  [`${date} ${timestamptz}`, 'timestamptz'],
  [`${timestamp} ${timestamptz}`, 'timestamptz'],
]);

/** What a value before and one by then are both made, before their texts are compared; `numeric`: without trailing zeros. */
function commonType(before: Column, after: Column): string | null {
  if (isSameType(before, after)) return null;
  return before.type === numeric || after.type === numeric
    ? 'numeric'
    : (widening.get(`${before.type} ${after.type}`) ?? null);
}

export const isSameType = (a: Column, b: Column): boolean => a.type === b.type && a.typeModifier === b.typeModifier;

/** The first oid that the system doesn't give out itself. */
const firstOwnOid = 16_384;

/**
 * Whether the rows of a leaf are the same, value by value, if they have the same places and transactions: its columns
 * have kept their numbers and types. `sameTypes`: the types that the database has made itself render as before.
 */
export function mayBeUntouched(table: MatchedTable, leaf: AfterLeaf, sameTypes: boolean): boolean {
  const { was, relation } = leaf;
  if (was === null || !was.heap || !relation.heap || was.oid !== relation.oid) return false;
  const then = byName(was);
  return table.common.every(({ name }, index) => {
    const before = then.get(name);
    const after = leaf.columns[index];
    return (
      before !== undefined &&
      after !== undefined &&
      before.number === after.number &&
      isSameType(before, after) &&
      !after.generated &&
      (sameTypes || Number(before.type) < firstOwnOid)
    );
  });
}
