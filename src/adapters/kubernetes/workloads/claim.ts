/**
 * What is written on a workload while it is stopped, so that neither a crash nor a lost journal loses how it was, and
 * whoever finds it at 0 reads why. Pure.
 */
import { noteAnnotation, stoppedByAnnotation } from '../../../api/group.ts';
import type { TargetKey } from '../../../api/target.ts';
import { kinds, type ClusterKind, type Level } from './kinds.ts';

type Annotations = Readonly<Record<string, string>>;
/** null takes one away. */
export type AnnotationsPatch = Readonly<Record<string, string | null>>;

export interface Claim {
  /** Name of the target, in the workload's own namespace, that stopped it. */
  readonly by: string;
  /** How it was; null: somebody made that unreadable. */
  readonly before: Level | null;
}

/** Whose it is while it is stopped; null: nobody's. */
export function claimOf(kind: ClusterKind, annotations: Annotations): Claim | null {
  const by = annotations[stoppedByAnnotation];
  if (by === undefined) return null;
  return { by, before: parse(kind, annotations[kinds[kind].beforeAnnotation]) };
}

interface Named {
  readonly kind: ClusterKind;
  readonly name: string;
}

export const claimed = (target: TargetKey, { kind, name }: Named, before: Level, now: Date): AnnotationsPatch => ({
  [stoppedByAnnotation]: target.name,
  [kinds[kind].beforeAnnotation]: String(kinds[kind].valueOf(before)),
  [noteAnnotation]: `Stopped by MigrationTarget ${target.name} at ${now.toISOString()}, while its database changes, and started again by it. Only where that target is gone, by hand: ${kinds[kind].command(target.namespace, name, before)}`,
});

/** It stays stopped, and is nobody's any more; how it was stays for whoever starts it. */
export const leftBehind = (target: TargetKey, { kind, name }: Named, before: Level, now: Date): AnnotationsPatch => ({
  [stoppedByAnnotation]: null,
  [kinds[kind].beforeAnnotation]: String(kinds[kind].valueOf(before)),
  [noteAnnotation]: `Left stopped by MigrationTarget ${target.name} at ${now.toISOString()}, as its spec.application.after: None says. To start it: ${kinds[kind].command(target.namespace, name, before)}`,
});

export const unclaimed = (kind: ClusterKind): AnnotationsPatch => ({
  [stoppedByAnnotation]: null,
  [kinds[kind].beforeAnnotation]: null,
  [noteAnnotation]: null,
});

function parse(kind: ClusterKind, text = ''): Level | null {
  if (kinds[kind].field === 'suspend') return text === 'false' ? 1 : null;
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : null;
}
