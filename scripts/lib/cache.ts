import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** Says what long work is doing; one short line without an end. */
export type OnProgress = (message: string) => void;

/**
 * Where what is installed or built once is kept: `MIGRATION_TARGET_CACHE`, else by the XDG convention `~/.cache/migration-target`.
 *
 * As root it is `/var/cache/migration-target`: PostgreSQL refuses to run as root, so its binaries run under another uid, which
 * cannot enter root's home. Of the folders that everybody can enter, `/tmp` would let anybody put a program in root's way.
 */
export function cacheDirectory(): string {
  const chosen = process.env['MIGRATION_TARGET_CACHE'];
  if (chosen) {
    if (!isAbsolute(chosen)) throw new Error(`MIGRATION_TARGET_CACHE is '${chosen}': set it to an absolute path`);
    return chosen;
  }
  if (process.getuid?.() === 0) return '/var/cache/migration-target';
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'migration-target');
}
