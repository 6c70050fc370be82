import { statfs } from 'node:fs/promises';
import { isIP } from 'node:net';
import { Failure } from '../../rollback/errors.ts';
import type { Statements } from './session.ts';

/**
 * Free bytes on the disk of the server's data. SQL can't tell: only where the server is on this machine, its data
 * directory is named to this role, and can be looked at, it is known. null: unknown. `host` null: it is elsewhere.
 */
export async function freeServerBytes(maintenance: Statements, host: string | null): Promise<number | null> {
  if (host === null || !isThisMachine(host)) return null;
  const directory = await dataDirectory(maintenance);
  if (directory === null) return null;
  try {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  } catch {
    return null; // the server may be in a container, with a port of this machine's
  }
}

/** A socket's folder, `localhost`, or a loopback address. */
const isThisMachine = (host: string): boolean =>
  host.startsWith('/') || host === 'localhost' || (isIP(host) !== 0 && (host.startsWith('127.') || host === '::1'));

async function dataDirectory(maintenance: Statements): Promise<string | null> {
  try {
    const [row] = await maintenance.rows<{ directory: string | null }>(
      'Reading where the data is',
      "SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END AS directory",
    );
    return row?.directory ?? null;
  } catch (error) {
    if (error instanceof Failure && error.reason === 'PermissionDenied') return null;
    throw error;
  }
}
