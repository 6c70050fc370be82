/** What a process keeps of the storage of each target, from one look to the next: of the one that it names, and of no other. */
import { keyText, type TargetKey } from '../../api/target.ts';

export interface PerTarget<T> {
  /** What is kept of it, where `named` says the same as before; else what was kept is let go of, and another one made. */
  readonly keep: (target: TargetKey, named: string, make: () => T) => T;
  readonly letGo: (target: TargetKey) => void;
  readonly all: () => readonly T[];
}

/** `end`: of what is let go of. */
export function perTarget<T>(end: (kept: T) => void = () => undefined): PerTarget<T> {
  const kept = new Map<string, { readonly named: string; readonly what: T }>();
  const letGo = (target: TargetKey): void => {
    const found = kept.get(keyText(target));
    kept.delete(keyText(target));
    if (found !== undefined) end(found.what);
  };
  return {
    keep(target, named, make) {
      const found = kept.get(keyText(target));
      if (found?.named === named) return found.what;
      const what = make();
      letGo(target);
      kept.set(keyText(target), { named, what });
      return what;
    },
    letGo,
    all: () => [...kept.values()].map(({ what }) => what),
  };
}
