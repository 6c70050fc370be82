/** Which target answers for a database and version table: the first that read it, as their statuses tell. Pure. */
import { keyText, type MigrationTarget, type TargetKey, type TargetStatus } from '../api/target.ts';
import { keyOfDeclaration, statusOfDeclaration } from './declaration.ts';
import type { DatabaseIdentity } from './model.ts';
import type { Declaration } from './ports.ts';
import type { Visit } from './visit.ts';

export const versionTableOf = ({ spec }: MigrationTarget): string =>
  `${spec.database.versionTableSchema}.${spec.database.versionTable}`;

/** What a target claims: a version table of a database. */
export type Claimed = Pick<NonNullable<TargetStatus['database']>, 'systemIdentifier' | 'name' | 'versionTable'>;

export const claimOf = (target: MigrationTarget, { systemIdentifier, name }: DatabaseIdentity): Claimed => ({
  systemIdentifier,
  name,
  versionTable: versionTableOf(target),
});

/** For the status: kept with its time while the database and the version table are the same. */
export function claim(
  { target, status }: Pick<Visit, 'target' | 'status'>,
  identity: DatabaseIdentity,
  now: Date,
): NonNullable<TargetStatus['database']> {
  const claimed = claimOf(target, identity);
  const before = status.database;
  return before !== null && isSame(before, claimed) ? before : { ...claimed, since: now.toISOString() };
}

/** As its status says. */
export function claims(declaration: Declaration, wanted: Claimed): boolean {
  const claimed = statusOfDeclaration(declaration)?.database;
  return claimed != null && isSame(claimed, wanted);
}

/** Another target that claimed the same earlier, or at the same time under a name that sorts before this one's. */
export function findRival(
  visit: Pick<Visit, 'key' | 'target' | 'status'>,
  identity: DatabaseIdentity,
  declarations: readonly Declaration[],
): TargetKey | null {
  const mine = claimOf(visit.target, identity);
  const since =
    visit.status.database !== null && isSame(visit.status.database, mine) ? visit.status.database.since : null;
  for (const declaration of declarations) {
    const key = keyOfDeclaration(declaration);
    if (keyText(key) === keyText(visit.key)) continue;
    // Whose declaration has a fault now has not given its database away.
    const other = statusOfDeclaration(declaration)?.database;
    if (other == null || !isSame(other, mine)) continue;
    const isEarlier =
      since === null || other.since < since || (other.since === since && keyText(key) < keyText(visit.key));
    if (isEarlier) return key;
  }
  return null;
}

const isSame = (a: Claimed, b: Claimed): boolean =>
  a.systemIdentifier === b.systemIdentifier && a.name === b.name && a.versionTable === b.versionTable;
