/** What there is to say of a declaration that no controller has answered. Pure. */
import { keyOf, keyText, type MigrationTarget, type TargetKey } from '../api/target.ts';
import type { Home } from '../rollback/ports.ts';
import { statusOf } from '../rollback/status.ts';

/** Longer than it takes to hand over between two controllers. */
export const unattendedMs = 20_000;

export const isUnattended = (target: MigrationTarget): boolean =>
  statusOf(target).observedGeneration !== target.metadata.generation;

/** In a cluster with a command of kubectl's: there is nobody else to ask. */
export const unattendedText = (key: TargetKey, home: Home['kind'] = 'kubernetes'): string =>
  home === 'kubernetes'
    ? `No controller has looked at ${keyText(key)} as it is declared now. If that stays so, none is running that watches the namespace ${key.namespace}; look: kubectl get deployments --all-namespaces --selector app.kubernetes.io/name=migration-target`
    : `Nobody has looked at ${key.name} as it is declared now. If that stays so, no controller runs for this folder; start one: migration-target run; or do it from here: migration-target reconcile ${key.name}`;

/** Tells it once, where it stays so for long; to be called with each look. `now`: monotonic milliseconds. */
export function unattendedTeller(
  say: (text: string) => void,
  now: () => number,
  home: Home['kind'] = 'kubernetes',
): (target: MigrationTarget) => void {
  const since = now();
  let isTold = false;
  return (target) => {
    if (isTold || !isUnattended(target) || now() - since < unattendedMs) return;
    isTold = true;
    say(unattendedText(keyOf(target), home));
  };
}
