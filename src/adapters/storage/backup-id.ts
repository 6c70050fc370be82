import { randomBytes } from 'node:crypto';
import type { TargetKey } from '../../api/target.ts';

const shape = /^(?<prefix>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)-\d{8}T\d{6}Z-[0-9a-f]{6}$/;

/** What the id of each of a target's backups starts with; names are of 63 characters at most, so a file name holds it. */
const prefixOf = (target: TargetKey): string => `${target.namespace}.${target.name}`;

/** `<namespace>.<name>-<UTC yyyymmddThhmmssZ>-<6 random hex digits>`: sorts by time, and is a safe file name. */
export function newBackupId(target: TargetKey, now: Date): string {
  const time = now.toISOString().replace(/\.\d+/, '').replaceAll(/[-:]/g, '');
  const id = `${prefixOf(target)}-${time}-${randomBytes(3).toString('hex')}`;
  if (!isBackupIdOf(target, id)) throw new Error(`no backup id can be made of "${target.namespace}/${target.name}"`);
  return id;
}

/** Whether `id` is well-formed, so that it can become a path, and names a backup of this target. */
export function isBackupIdOf(target: TargetKey, id: string): boolean {
  return shape.exec(id)?.groups?.['prefix'] === prefixOf(target);
}
