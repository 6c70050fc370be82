/** One look at one target: what is declared, what is asked for, what is known from before. */
import { fluxRequestedAtAnnotation, requestedAtAnnotation } from '../api/group.ts';
import type { MigrationTarget, TargetKey, TargetStatus } from '../api/target.ts';
import type { BackupReason, Operation } from './model.ts';
import type { Owner, Ports } from './ports.ts';

/** What a person or a pipeline asks for beyond the declaration. */
export type Asked =
  | { readonly kind: 'reconcile' }
  /** Once more, though it stalled before: `apply`. */
  | {
      readonly kind: 'apply';
      /** The id that its operation gets: that of the plan which was shown, made a moment ago; left out: a new one. */
      readonly operationId?: string;
    }
  | {
      readonly kind: 'backup';
      readonly reason: BackupReason;
      /** The id that its operation gets, so that whoever asked finds the backup by its manifest; left out: a new one. */
      readonly operationId?: string;
    }
  /** A catalogued backup, whatever the declaration says. */
  | { readonly kind: 'restore'; readonly backup: string };

export interface Visit {
  readonly key: TargetKey;
  readonly target: MigrationTarget;
  /** As it was last saved. */
  readonly status: TargetStatus;
  readonly journal: Operation | null;
  readonly asked: Asked;
  readonly ports: Ports;
  readonly signal: AbortSignal;
  /** Journals; see Scope.save. */
  readonly save: (operation: Operation) => Promise<Operation>;
}

export const ownerOf = ({ metadata: { namespace, name, uid }, spec }: MigrationTarget): Owner => ({
  namespace,
  name,
  uid,
  ...(spec.serviceAccountName === undefined ? {} : { serviceAccountName: spec.serviceAccountName }),
});

/** The annotations that ask for one more try, the own one first. */
export const requestAnnotations = [requestedAtAnnotation, fluxRequestedAtAnnotation] as const;

/** The newest request made by annotation, as it was written, or null. Where their times can't be compared, the own one. */
export function requestedAt({ metadata }: MigrationTarget): string | null {
  const [first, ...others] = requestAnnotations.flatMap((name) => metadata.annotations[name] || []);
  if (first === undefined) return null;
  return others.reduce((newest, one) => (Date.parse(one) > Date.parse(newest) ? one : newest), first);
}
