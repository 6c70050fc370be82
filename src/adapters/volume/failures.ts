/** What the operating system of an agent said, told apart by what a person has to do. */
import { retry, type Failure } from '../../rollback/errors.ts';
import { BackupProblem } from '../storage/manifest.ts';
import type { Refusal } from './protocol.ts';

/** What messages name. */
export interface Claim {
  readonly namespace: string;
  readonly name: string;
}

export const claimText = ({ namespace, name }: Claim): string => `the claim ${namespace}/${name}`;

/** A BackupProblem where what lies there is no file; else StorageUnavailable. */
export function volumeFailure({ code, message, freeBytes }: Refusal, claim: Claim): Failure | BackupProblem {
  const say = (what: string, remedy: string): Failure =>
    retry(
      'StorageUnavailable',
      `The volume of ${claimText(claim)} ${what} (${message}). ${remedy}; it is tried again by itself.`,
    );
  const see = `kubectl -n ${claim.namespace} describe pvc ${claim.name}`;
  switch (code) {
    case 'NoFile':
      return new BackupProblem(message);
    case 'ENOSPC':
    case 'EDQUOT':
      return say(
        `is full, ${freeBytes ?? 'an unknown number of'} bytes free`,
        `Make room there, or ask for more where its class can be expanded: kubectl -n ${claim.namespace} edit pvc ${claim.name}`,
      );
    case 'EROFS':
      return say('is read-only', `Mount it writable, or declare another claim; see: ${see}`);
    case 'EACCES':
    case 'EPERM':
      return say(
        'is not open to user 10001 nor to group 10001',
        `Grant the right to the group, where the volume does not take a pod's fsGroup by itself; see: ${see}`,
      );
    default:
      return say('can’t be used', `Look at it: ${see}`);
  }
}
