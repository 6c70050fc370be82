/** Which targets claim a version table, as their statuses said when they were last read or written. */
import { keyText, type TargetKey, type TargetStatus } from '../../api/target.ts';
import type { Claimed } from '../../rollback/claim.ts';

export interface Claims {
  /** null: it is gone, or claims nothing. */
  set(key: TargetKey, database: TargetStatus['database'] | undefined): void;
  of(claim: Claimed): readonly TargetKey[];
}

export function createClaims(): Claims {
  const claimed = new Map<string, string>();
  const claimants = new Map<string, Map<string, TargetKey>>();
  return {
    set(key, database) {
      const id = keyText(key);
      const [before, now] = [claimed.get(id), database == null ? undefined : textOf(database)];
      if (before === now) return;
      if (before !== undefined) {
        const others = claimants.get(before);
        others?.delete(id);
        if (others?.size === 0) claimants.delete(before);
        claimed.delete(id);
      }
      if (now === undefined) return;
      claimed.set(id, now);
      const { namespace, name } = key;
      claimants.set(now, (claimants.get(now) ?? new Map<string, TargetKey>()).set(id, { namespace, name }));
    },
    of: (claim) => [...(claimants.get(textOf(claim))?.values() ?? [])],
  };
}

const textOf = ({ systemIdentifier, name, versionTable }: Claimed): string =>
  JSON.stringify([systemIdentifier, name, versionTable]);
